//! Leases under torture: at least once, and never without a reason more than once.
//!
//! Each item has a word in a ledger, `{ holder, next, state }`: who has it, and which delivery comes next. A holder writes there before it gives an item back or
//! acknowledges it, and looks whether the word still is its own.
//!
//! - **Nothing is lost**: an item whose `put` returned is acknowledged at the end, whoever died, or was about to be.
//! - **One holder**: who ends a lease and finds another one's name was robbed while it lived, *duplicated*. So a second delivery is one of an item whose holder
//!   died, or stopped short, or gave it back.
//! - **Acknowledged is gone**: it never comes again. If its holder died in the middle of that, it may; not if it is known to have died behind the step that frees the slot.
//! - **The count**: `deliveries` is one more each time. A holder that dies before it has written down what it got leaves out one: each such death excuses one.
//! - **Order**: what comes for the first time comes in the order of each producer.

use crate::items::{self, Item, Items, MOMENT, QUOTA, item};
use crate::journal::{Journal, Shared, Wrong};
use crate::subject::{Dead, End, Findings, Part, Stage, Subject, Trouble};
use skep::{GetError, Lease, SimpleQueue};
use std::sync::atomic::{
    AtomicU32, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};

/// The most leases of a handle.
const LEASES: u64 = 8;

pub struct Leases {
    items: Items,
    lives: usize,
    ledger: Shared<AtomicU32>,
    /// Deliveries that the ledger does not know of: its one word.
    untold: Shared<AtomicU64>,
    /// Deaths that explain one.
    excused: u64,
    findings: Findings,
}

/// A word of the ledger: `{ holder's life + 1: 16, next delivery: 12, state: 2 }`.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    holder: u64,
    next: u32,
    state: u32,
}

/// With nobody, or with the holder.
const LEASED: u32 = 0;
/// The holder is about to acknowledge it.
const ENDING: u32 = 1;
/// It has.
const GONE: u32 = 2;

impl Entry {
    fn unpack(word: u32) -> Self {
        Entry { holder: u64::from(word >> 16), next: word >> 2 & 0xfff, state: word & 3 }
    }

    fn pack(self) -> u32 {
        (self.holder as u32) << 16 | self.next << 2 | self.state
    }
}

pub fn make(stage: Stage) -> Result<Box<dyn Subject>, Trouble> {
    let (lives, memory) = (stage.lives, |e| format!("the ledger: {e}"));
    Ok(Box::new(Leases {
        items: Items::make(stage)?,
        lives,
        ledger: Shared::new(lives * QUOTA as usize).map_err(memory)?,
        untold: Shared::new(1).map_err(memory)?,
        excused: 0,
        findings: Findings::default(),
    }))
}

impl Subject for Leases {
    fn fault_points(&self, seat: usize) -> &'static [&'static str] {
        if self.items.produces(seat) {
            items::FAULT_POINTS
        } else {
            &[
                "join: joined",
                "get: announced",
                "get: claimed",
                "get: skip claimed",
                "lease: written",
                "lease: taken",
                "release: freed",
                "ack: woken",
                "nack: returned",
                "nack: told",
                "repair: settled",
                "leave: vacant",
            ]
        }
    }

    fn play(&self, part: Part<'_>) -> Result<(), Trouble> {
        let queue = self.items.join()?;
        if self.items.produces(part.seat) { items::produce(queue, part) } else { self.consume(&queue, part) }
    }

    fn bury(&mut self, dead: &Dead<'_>) {
        self.findings.witnessed(dead.journal);
        if self.items.produces(dead.seat) {
            self.items.bury_producer(dead);
            return;
        }
        match dead.end {
            End::Left => {}
            // A place that was passed over is freed with nothing in hand.
            End::At("release: freed" | "ack: woken") => {
                if let Some(id) = dead.journal.held() {
                    self.has_gone(id, dead.life);
                }
            }
            End::Killed | End::Failed | End::At("get: claimed" | "lease: written" | "lease: taken") => {
                self.excused += dead.journal.under_way().min(1);
            }
            End::At(_) => {} // in no lease that is not written down
        }
    }

    fn judge(mut self: Box<Self>) -> Result<Findings, Trouble> {
        self.items.queue.recover().map_err(|e| format!("recover: {e}"))?;
        let journal = Journal::default();
        let mut last_view = View::new(&self, self.lives as u64, &journal);
        while let Ok(lease) = self.items.queue.try_lease() {
            last_view.take(&lease);
            last_view.ack(lease);
        }
        self.findings.witnessed(&journal);
        self.findings.duplicated += self.untold[0].load(Acquire).saturating_sub(self.excused);
        self.count();
        self.items.end(&mut self.findings);
        Ok(self.findings)
    }
}

impl Leases {
    fn consume(&self, queue: &SimpleQueue<Item>, mut part: Part<'_>) -> Result<(), Trouble> {
        let (journal, pace) = (part.journal, part.pace());
        let mut view = View::new(self, part.life, journal);
        let mut held = Vec::new();
        while part.stays() {
            // The first one is waited for, with nothing in the hands: they might have all slots.
            let wanted = if part.random.one_in(4) { part.random.below(LEASES) + 1 } else { 1 };
            for n in 0..wanted {
                journal.begin(1);
                let leased = match part.random.below(3) {
                    _ if n > 0 => queue.try_lease(),
                    0 => queue.lease(),
                    1 => queue.lease_timeout(MOMENT),
                    _ => queue.try_lease(),
                };
                match leased {
                    Ok(lease) => {
                        view.take(&lease);
                        held.push(lease);
                        journal.finish(1);
                    }
                    Err(GetError::Empty) => break,
                    Err(other) => return Err(format!("lease: {other}")),
                }
            }
            if held.is_empty() {
                std::thread::yield_now();
            }
            pace.think(&mut part.random);
            // In any order.
            while let Some(last) = held.len().checked_sub(1) {
                let lease = held.swap_remove(part.random.below(last as u64 + 1) as usize);
                match part.random.below(8) {
                    0 => view.give_back(lease, Lease::nack),
                    1 => view.give_back(lease, drop),
                    _ => view.ack(lease),
                }
            }
        }
        Ok(())
    }

    /// A dead one had acknowledged this: whoever got it since should not have.
    fn has_gone(&mut self, id: u64, life: u64) {
        let word = &self.ledger[id as usize];
        let entry = Entry::unpack(word.load(Acquire));
        if entry.holder != life + 1 {
            self.findings.count(Wrong::Duplicated);
        }
        word.store(Entry { state: GONE, ..entry }.pack(), Relaxed);
    }

    /// Compares what is gone with what was put.
    fn count(&mut self) {
        for (life, puts) in self.items.lives.iter().enumerate() {
            let first = life as u64 * QUOTA;
            // Behind the last one that was begun nothing may have come out; a few are looked at.
            for number in 0..(puts.begun + items::BATCH).min(QUOTA) {
                let entry = Entry::unpack(self.ledger[(first + number) as usize].load(Acquire));
                // One whose holder died in the middle of acknowledging it came again and was taken by another one, or was gone.
                let is_gone = entry.state != LEASED;
                self.findings.lost += u64::from(number < puts.done && !is_gone);
                self.findings.torn += u64::from(number >= puts.begun && entry.next > 0);
            }
        }
    }
}

/// One consumer's side of the ledger.
struct View<'a> {
    leases: &'a Leases,
    life: u64,
    journal: &'a Journal,
    /// Of each producer's life, what cannot have come for the first time yet.
    next: Vec<u64>,
}

impl<'a> View<'a> {
    fn new(leases: &'a Leases, life: u64, journal: &'a Journal) -> Self {
        View { leases, life, journal, next: vec![0; leases.lives] }
    }

    /// Writes down a delivery.
    fn take(&mut self, lease: &Lease<'_, Item>) {
        let (id, delivery) = (lease[0], lease.deliveries());
        let (Some(word), true) = (self.leases.ledger.get(id as usize), **lease == item(id)) else {
            self.journal.saw(Wrong::Torn);
            return;
        };
        // Nobody else writes while this one holds it; if somebody does, one of both finds out at the end.
        let entry = Entry::unpack(word.load(Acquire));
        if entry.state == GONE || delivery < entry.next {
            self.journal.saw(Wrong::Duplicated);
        }
        let mine = Entry { holder: self.life + 1, next: delivery + 1, state: LEASED };
        word.store(mine.pack(), Release);
        self.leases.untold[0].fetch_add(delivery.saturating_sub(entry.next).into(), AcqRel);
        if delivery == 0 {
            let (next, number) = (&mut self.next[(id / QUOTA) as usize], id % QUOTA);
            if number < *next {
                self.journal.saw(Wrong::Reordered);
            }
            *next = number + 1;
        }
    }

    fn ack(&self, lease: Lease<'_, Item>) {
        let id = lease[0];
        self.change(id, LEASED, self.life + 1, ENDING);
        self.journal.hold(id);
        lease.ack();
        self.journal.hold_nothing();
        self.change(id, ENDING, self.life + 1, GONE);
    }

    fn give_back<'l>(&self, lease: Lease<'l, Item>, way: impl FnOnce(Lease<'l, Item>)) {
        self.change(lease[0], LEASED, 0, LEASED);
        way(lease);
    }

    /// Changes a word that must be this participant's own.
    fn change(&self, id: u64, from: u32, holder: u64, to: u32) {
        let Some(word) = self.leases.ledger.get(id as usize) else { return };
        let seen = Entry::unpack(word.load(Acquire));
        let is_mine = seen.holder == self.life + 1 && seen.state == from;
        let next = Entry { holder, state: to, ..seen };
        if !is_mine || word.compare_exchange(seen.pack(), next.pack(), AcqRel, Relaxed).is_err() {
            self.journal.saw(Wrong::Duplicated);
        }
    }
}

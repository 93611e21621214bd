//! `SimpleQueue` under torture: what is known of each item, and what follows.
//!
//! An item is `{ life, number }` of its producer and a checksum, spread over a cache line. Who gets one counts it in a ledger, of a byte an item.
//!
//! - A `put` that **returned**: the item comes out exactly once.
//! - A `put` that was **cut short**: once or not at all. Never begun: not at all.
//! - A `get` that was cut short may have taken its item in its last steps, behind the one that frees the slot, and before the ledger: so each consumer that
//!   was killed from outside in a `get` excuses one missing item (in a batch: as many as it asked for). One that is known to have died before that step excuses none.
//! - In rounds of `get_with` nothing may be missing: who dies before it returns has given the item back. It writes into its journal which item it
//!   holds; if it dies, that one, and no other, may come once more.
//! - **Order**: each consumer sees the numbers of each producer's life grow. An item that comes back goes before the others, so the next consumer may see it late:
//!   each death with an item in the hands excuses one that does.

use crate::journal::{Shared, Wrong};
use crate::random::mix;
use crate::subject::{Dead, End, Findings, Part, Stage, Subject, Trouble};
use skep::{GetError, PutError, QueueOptions, SimpleQueue};
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU8, Ordering::AcqRel, Ordering::Acquire};
use std::time::Duration;

/// The most items that one life puts; then it leaves.
const QUOTA: u64 = 1 << 16;
/// The most items of a batch.
const BATCH: u64 = 8;
/// So short that it often is over before there is an item, or room.
const MOMENT: Duration = Duration::from_micros(200);

/// `{ id, seven words that follow from it }`.
type Item = [u64; 8];

pub struct Queue {
    queue: SimpleQueue<Item>,
    name: Option<String>,
    producers: usize,
    peers: usize,
    /// Consumers use `get_with`.
    keeps: bool,
    /// How often each item came out, by its id.
    ledger: Shared<AtomicU8>,
    /// What each producer's life has begun and done.
    lives: Vec<Puts>,
    excuses: Excuses,
    findings: Findings,
}

#[derive(Clone, Copy, Default)]
struct Puts {
    begun: u64,
    done: u64,
}

/// What deaths explain.
#[derive(Default)]
struct Excuses {
    missing: u64,
    late: u64,
    once_more: HashMap<u64, u8>,
}

pub fn make(mut stage: Stage) -> Result<Box<dyn Subject>, Trouble> {
    // Often so few places that a newcomer must take a dead one's.
    let peers = stage.seats() + 1 + stage.random.below(6) as usize;
    let options = QueueOptions::new(stage.capacity).peers(peers);
    let queue = match &stage.name {
        Some(name) => options.create(name),
        None => options.anonymous(),
    };
    let ledger = Shared::new(stage.lives * QUOTA as usize).map_err(|e| format!("the ledger: {e}"))?;
    Ok(Box::new(Queue {
        queue: queue.map_err(|e| format!("making a queue: {e}"))?,
        name: stage.name,
        producers: stage.producers,
        peers,
        keeps: stage.random.one_in(2),
        ledger,
        lives: vec![Puts::default(); stage.lives],
        excuses: Excuses::default(),
        findings: Findings::default(),
    }))
}

impl Subject for Queue {
    fn fault_points(&self, seat: usize) -> &'static [&'static str] {
        if seat < self.producers {
            &[
                "join: locked",
                "join: repaired",
                "join: joined",
                "put: announced",
                "put: claimed",
                "put: written",
                "put: published",
                "repair: settled",
                "leave: vacant",
            ]
        } else {
            &[
                "join: locked",
                "join: repaired",
                "join: joined",
                "get: announced",
                "get: claimed",
                "get: skip claimed",
                "repair: settled",
                "leave: vacant",
            ]
        }
    }

    fn play(&self, part: Part<'_>) -> Result<(), Trouble> {
        let queue = self.join()?;
        if part.seat < self.producers { produce(queue, part) } else { self.consume(queue, part) }
    }

    fn bury(&mut self, dead: &Dead<'_>) {
        self.findings.witnessed(dead.journal);
        if dead.seat < self.producers {
            let Dead { life, journal, .. } = *dead;
            self.lives[life as usize] = Puts { begun: journal.begun(), done: journal.done() };
            return;
        }
        let in_hand = dead.journal.under_way();
        match dead.end {
            End::At("get: claimed") => {}
            End::Left | End::At(_) => return, // with nothing in its hands
            End::Killed | End::Failed if self.keeps => {}
            End::Killed | End::Failed => self.excuses.missing += in_hand,
        }
        self.excuses.late += in_hand;
        if let Some(id) = dead.journal.held() {
            *self.excuses.once_more.entry(id).or_default() += 1;
        }
    }

    fn judge(mut self: Box<Self>) -> Result<Findings, Trouble> {
        self.queue.recover().map_err(|e| format!("recover: {e}"))?;
        let mut last_view = View::new(&self.ledger, self.lives.len());
        while let Ok(item) = self.queue.try_get() {
            last_view.record(&item, |wrong| self.findings.count(wrong));
        }
        self.count();
        self.findings.reordered = self.findings.reordered.saturating_sub(self.excuses.late);
        self.findings.entries += self.entries_left();
        self.queue.close();
        // Only an item in somebody's hands could hold the end up, and nobody is left.
        self.findings.wedged += u64::from(self.queue.try_get() != Err(GetError::Closed));
        Ok(self.findings)
    }
}

impl Queue {
    /// As any process joins: by name, or by descriptor.
    fn join(&self) -> Result<SimpleQueue<Item>, Trouble> {
        loop {
            let joined = match &self.name {
                Some(name) => SimpleQueue::open(name),
                None => {
                    let descriptor = self.queue.as_fd().try_clone_to_owned();
                    SimpleQueue::from_fd(descriptor.map_err(|e| format!("duplicating a descriptor: {e}"))?)
                }
            };
            match joined {
                // A dead one's place cannot be had while another one repairs, or while a living one's next step decides.
                Err(skep::Error::TooManyPeers { .. }) => std::thread::sleep(MOMENT),
                joined => return joined.map_err(|e| format!("joining: {e}")),
            }
        }
    }

    fn consume(&self, mut queue: SimpleQueue<Item>, mut part: Part<'_>) -> Result<(), Trouble> {
        let (journal, pace) = (part.journal, part.pace());
        let mut view = View::new(&self.ledger, self.lives.len());
        let mut record = |item: &Item| view.record(item, |wrong| journal.saw(wrong));
        let mut batch = [[0; 8]; BATCH as usize];
        while part.stays() {
            let wanted =
                if self.keeps || !part.random.one_in(4) { 1 } else { 2 + part.random.below(BATCH - 1) };
            journal.begin(wanted);
            let got = if self.keeps {
                let mut work = |item: Item| {
                    journal.hold(item[0]);
                    record(&item);
                };
                let done = match part.random.below(2) {
                    0 => queue.get_with(work),
                    _ => retry_get(|| queue.try_get_with(&mut work)),
                };
                journal.hold_nothing();
                done.map(|()| 1)
            } else if wanted > 1 {
                let got = queue.get_batch(&mut batch[..wanted as usize]);
                got.inspect(|&n| batch[..n].iter().for_each(&mut record))
            } else {
                let got = match part.random.below(3) {
                    0 => queue.get(),
                    1 => retry_get(|| queue.try_get()),
                    _ => retry_get(|| queue.get_timeout(MOMENT)),
                };
                got.map(|item| record(&item)).map(|()| 1)
            };
            journal.finish(got.map_err(|e| format!("get: {e}"))? as u64);
            pace.think(&mut part.random);
        }
        Ok(())
    }

    /// Compares what came out with what was put.
    fn count(&mut self) {
        let mut missing = 0;
        for (life, puts) in self.lives.iter().enumerate() {
            let first = life as u64 * QUOTA;
            // Behind the last one that was begun nothing may have come out; a few are looked at.
            let end = (puts.begun + BATCH).min(QUOTA);
            for number in 0..end {
                let came_out = u64::from(self.ledger[(first + number) as usize].load(Acquire));
                let once_more = self.excuses.once_more.get(&(first + number)).copied().unwrap_or(0);
                missing += u64::from(number < puts.done && came_out == 0);
                self.findings.duplicated += came_out.saturating_sub(1 + u64::from(once_more));
                self.findings.torn += u64::from(number >= puts.begun && came_out > 0);
            }
        }
        self.findings.lost += missing.saturating_sub(self.excuses.missing);
    }

    /// How many places a queue without any other participant does not give.
    fn entries_left(&mut self) -> u64 {
        let not_repaired_at_once = self.queue.recover().unwrap_or(self.peers) as u64;
        let mut others = Vec::new();
        while let Ok(other) = self.queue.try_clone() {
            others.push(other);
        }
        not_repaired_at_once + (self.peers - 1 - others.len()) as u64
    }
}

fn produce(mut queue: SimpleQueue<Item>, mut part: Part<'_>) -> Result<(), Trouble> {
    let (journal, pace) = (part.journal, part.pace());
    let mut number = 0;
    while number < QUOTA && part.stays() {
        let count =
            if part.random.one_in(4) { 2 + part.random.below(BATCH - 1) } else { 1 }.min(QUOTA - number);
        let item = |number| item(part.life * QUOTA + number);
        journal.begin(count);
        let put = if count > 1 {
            let items: [Item; BATCH as usize] = std::array::from_fn(|n| item(number + n as u64));
            queue.put_batch(&items[..count as usize]).map_err(|e| e.reason)
        } else {
            match part.random.below(3) {
                0 => queue.put(item(number)),
                1 => retry_put(item(number), |item| queue.try_put(item)),
                _ => retry_put(item(number), |item| queue.put_timeout(item, MOMENT)),
            }
            .map_err(|e| match e {
                PutError::Closed(_) => PutError::Closed(()),
                PutError::Forked(_) => PutError::Forked(()),
                PutError::Full(_) => PutError::Full(()),
                PutError::Corrupt(_) => PutError::Corrupt(()),
            })
        };
        put.map_err(|e| format!("put: {e}"))?;
        journal.finish(count);
        number += count;
        pace.think(&mut part.random);
    }
    Ok(())
}

/// Puts again as long as there is no room.
fn retry_put(
    mut item: Item,
    mut put: impl FnMut(Item) -> Result<(), PutError<Item>>,
) -> Result<(), PutError<Item>> {
    loop {
        match put(item) {
            Err(PutError::Full(refused)) => item = refused,
            done => return done,
        }
        std::thread::yield_now();
    }
}

/// Gets again as long as there is nothing.
fn retry_get<R>(mut get: impl FnMut() -> Result<R, GetError>) -> Result<R, GetError> {
    loop {
        match get() {
            Err(GetError::Empty) => std::thread::yield_now(),
            done => return done,
        }
    }
}

fn item(id: u64) -> Item {
    std::array::from_fn(|n| if n == 0 { id } else { mix(id ^ n as u64) })
}

/// One consumer's: what it has seen of each producer's life.
struct View<'a> {
    ledger: &'a [AtomicU8],
    next: Vec<u64>,
}

impl<'a> View<'a> {
    fn new(ledger: &'a [AtomicU8], lives: usize) -> Self {
        View { ledger, next: vec![0; lives] }
    }

    /// Counts an item in the ledger.
    fn record(&mut self, got: &Item, mut saw: impl FnMut(Wrong)) {
        let id = got[0];
        let (Some(count), true) = (self.ledger.get(id as usize), *got == item(id)) else {
            saw(Wrong::Torn);
            return;
        };
        count.fetch_add(1, AcqRel);
        let (next, number) = (&mut self.next[(id / QUOTA) as usize], id % QUOTA);
        if number < *next {
            saw(Wrong::Reordered);
        } else {
            *next = number + 1;
        }
    }
}

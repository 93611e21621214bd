//! `SimpleQueue` under torture: what is known of each item, and what follows.
//!
//! Who gets an item counts it in a ledger, of a byte an item; what is known of its `put` is told in `items.rs`.
//!
//! - A `get` that was cut short may have taken its item in its last steps, behind the one that frees the slot, and before the ledger: so each consumer that
//!   was killed from outside in a `get` excuses one missing item (in a batch: as many as it asked for). One that is known to have died before that step excuses none.
//! - In rounds of `get_with` nothing may be missing: who dies before it returns has given the item back. It writes into its journal which item it
//!   holds; if it dies, that one, and no other, may come once more.
//! - **Order**: each consumer sees the numbers of each producer's life grow. An item that comes back goes before the others, so the next consumer may see it late:
//!   each death with an item in the hands excuses one that does.

use crate::items::{self, BATCH, Item, Items, MOMENT, QUOTA, item};
use crate::journal::{Shared, Wrong};
use crate::subject::{Dead, End, Findings, Part, Stage, Subject, Trouble};
use skep::{GetError, SimpleQueue};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering::AcqRel, Ordering::Acquire};

pub struct Queue {
    items: Items,
    /// Consumers use `get_with`.
    keeps: bool,
    /// How often each item came out, by its id.
    ledger: Shared<AtomicU8>,
    excuses: Excuses,
    findings: Findings,
}

/// What deaths explain.
#[derive(Default)]
struct Excuses {
    missing: u64,
    late: u64,
    once_more: HashMap<u64, u8>,
}

pub fn make(mut stage: Stage) -> Result<Box<dyn Subject>, Trouble> {
    let ledger = Shared::new(stage.lives * QUOTA as usize).map_err(|e| format!("the ledger: {e}"))?;
    Ok(Box::new(Queue {
        keeps: stage.random.one_in(2),
        items: Items::make(stage)?,
        ledger,
        excuses: Excuses::default(),
        findings: Findings::default(),
    }))
}

impl Subject for Queue {
    fn fault_points(&self, seat: usize) -> &'static [&'static str] {
        if self.items.produces(seat) {
            items::FAULT_POINTS
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
        let queue = self.items.join()?;
        if self.items.produces(part.seat) { items::produce(queue, part) } else { self.consume(queue, part) }
    }

    fn bury(&mut self, dead: &Dead<'_>) {
        self.findings.witnessed(dead.journal);
        if self.items.produces(dead.seat) {
            self.items.bury_producer(dead);
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
        self.items.queue.recover().map_err(|e| format!("recover: {e}"))?;
        let mut last_view = View::new(&self.ledger, self.items.lives.len());
        while let Ok(item) = self.items.queue.try_get() {
            last_view.record(&item, |wrong| self.findings.count(wrong));
        }
        self.count();
        self.findings.reordered = self.findings.reordered.saturating_sub(self.excuses.late);
        self.items.end(&mut self.findings);
        Ok(self.findings)
    }
}

impl Queue {
    fn consume(&self, mut queue: SimpleQueue<Item>, mut part: Part<'_>) -> Result<(), Trouble> {
        let (journal, pace) = (part.journal, part.pace());
        let mut view = View::new(&self.ledger, self.items.lives.len());
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
        for (life, puts) in self.items.lives.iter().enumerate() {
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

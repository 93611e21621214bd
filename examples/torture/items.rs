//! A queue of items, and those who put: what `queue.rs` and `lease.rs` have in common.
//!
//! An item is `{ life, number }` of its producer and a checksum, spread over a cache line.
//!
//! - A `put` that **returned**: the item comes out.
//! - A `put` that was **cut short**: it does, or it does not. Never begun: it does not.

use crate::random::mix;
use crate::subject::{Dead, Findings, Part, Stage, Trouble};
use skep::{GetError, PutError, QueueOptions, SimpleQueue};
use std::os::fd::AsFd;
use std::time::Duration;

/// The most items that one life puts; then it leaves.
pub const QUOTA: u64 = 1 << 16;
/// The most items of a batch.
pub const BATCH: u64 = 8;
/// So short that it often is over before there is an item, or room.
pub const MOMENT: Duration = Duration::from_micros(200);

/// Where a producer can be made to kill or stop itself.
pub const FAULT_POINTS: &[&str] = &[
    "join: locked",
    "join: repaired",
    "join: joined",
    "put: announced",
    "put: claimed",
    "put: written",
    "put: published",
    "repair: settled",
    "leave: vacant",
];

/// `{ id, seven words that follow from it }`.
pub type Item = [u64; 8];

pub struct Items {
    pub queue: SimpleQueue<Item>,
    /// What each producer's life has begun and done.
    pub lives: Vec<Puts>,
    name: Option<String>,
    producers: usize,
    peers: usize,
}

#[derive(Clone, Copy, Default)]
pub struct Puts {
    pub begun: u64,
    pub done: u64,
}

impl Items {
    pub fn make(mut stage: Stage) -> Result<Self, Trouble> {
        // Often so few places that a newcomer must take a dead one's.
        let peers = stage.seats() + 1 + stage.random.below(6) as usize;
        let options = QueueOptions::new(stage.capacity).peers(peers);
        let queue = match &stage.name {
            Some(name) => options.create(name),
            None => options.anonymous(),
        };
        Ok(Items {
            queue: queue.map_err(|e| format!("making a queue: {e}"))?,
            lives: vec![Puts::default(); stage.lives],
            name: stage.name,
            producers: stage.producers,
            peers,
        })
    }

    /// Whether a producer plays there.
    pub fn produces(&self, seat: usize) -> bool {
        seat < self.producers
    }

    pub fn bury_producer(&mut self, dead: &Dead<'_>) {
        let Dead { life, journal, .. } = *dead;
        self.lives[life as usize] = Puts { begun: journal.begun(), done: journal.done() };
    }

    /// As any process joins: by name, or by descriptor.
    pub fn join(&self) -> Result<SimpleQueue<Item>, Trouble> {
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

    /// The queue is drained, and nobody is left.
    pub fn end(&mut self, findings: &mut Findings) {
        findings.entries += self.entries_left();
        self.queue.close();
        // Only an item in somebody's hands could hold the end up.
        findings.wedged += u64::from(self.queue.try_get() != Err(GetError::Closed));
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

/// Puts items, in all ways there are, until it is killed, or leaves.
pub fn produce(mut queue: SimpleQueue<Item>, mut part: Part<'_>) -> Result<(), Trouble> {
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

/// The item of that id.
pub fn item(id: u64) -> Item {
    std::array::from_fn(|n| if n == 0 { id } else { mix(id ^ n as u64) })
}

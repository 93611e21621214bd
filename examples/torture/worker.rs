//! A participant of an arena under torture: what it does until it is killed, or leaves.

use crate::arena::{Item, Memory, QUEUES, QUOTA};
use crate::journal::{Journal, Wrong};
use crate::object::MOMENT;
use crate::stock::{Board, Held, MOST};
use crate::subject::{Part, Trouble};
use skep::{AllocError, Arena, Error, Queue, RecvValueError, SendValueError};
use std::sync::atomic::Ordering::Acquire;
use std::time::Duration;

/// Where a participant can be made to kill or stop itself.
pub const FAULT_POINTS: &[&str] = &[
    "join: joined",
    "leave: vacant",
    "allocate: claimed",
    "split: written",
    "split: cut",
    "free: freed",
    "merge: covered",
    "grow: reserved",
    "grow: founded",
    "grow: committed",
    "send: marked",
    "take: taken",
    "share: referred",
    "share: counted",
    "count: announced",
    "count: changed",
    "count: reference changed",
    "count: done",
    "mend: settled",
    "mend: reference taken over",
    "put: announced",
    "put: claimed",
    "put: written",
    "put: published",
    "get: announced",
    "get: claimed",
    "lease: written",
    "lease: taken",
    "lease: ended",
    "nack: returned",
    "repair: settled",
];

/// In the hands of somebody who gets without a lease.
pub const GETTING: u64 = u64::MAX - 1;
/// More words than this no thing has at first.
const LONGEST_BITS: u64 = 9;
/// The most things in one item.
const LOAD: usize = 3;

pub struct Worker<'a> {
    memory: &'a Memory,
    part: Part<'a>,
    board: Board<'a>,
    stock: Vec<Held>,
    /// The number of the next thing that it makes.
    next: u64,
}

impl<'a> Worker<'a> {
    pub fn play(memory: &'a Memory, part: Part<'a>) -> Result<(), Trouble> {
        let (board, next) = (memory.boards.of(part.seat), part.life << 32);
        let mut worker = Worker { memory, part, board, stock: vec![], next };
        let arena = worker.retry(|memory| memory.join())?;
        // Both before anything else is allocated: there must be room for them.
        for name in QUEUES {
            drop(worker.retry(|memory| Queue::<Item>::open_or_create_in(&arena, name, memory.slots))?);
        }
        let name = QUEUES[worker.part.random.below(2) as usize];
        let queue = worker.retry(|_| Queue::open_in(&arena, name))?;
        worker.work(&arena, queue)
    }

    /// Joins, as soon as there is a place, and memory. Meanwhile it stands still if it is asked to.
    fn retry<R>(&mut self, join: impl Fn(&Memory) -> Result<R, Error>) -> Result<R, Trouble> {
        loop {
            match join(self.memory) {
                Err(Error::TooManyPeers { .. } | Error::NoMemory { .. }) => {
                    self.stand_still_if_asked();
                    std::thread::sleep(MOMENT);
                }
                joined => return joined.map_err(|e| format!("joining: {e}")),
            }
        }
    }

    /// For the auditor.
    fn stand_still_if_asked(&self) {
        let asked = || self.memory.asked[0].load(Acquire);
        let audit = asked();
        if audit == 0 {
            return;
        }
        self.look_through();
        self.board.stand_still(audit, &self.stock, self.memory.granule);
        while asked() == audit {
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// Whether all that it has is what was written into it.
    fn look_through(&self) {
        for _ in self.stock.iter().filter(|held| !held.is_whole()) {
            self.journal().saw(Wrong::Torn);
        }
    }

    fn journal(&self) -> &'a Journal {
        self.part.journal
    }

    fn work(&mut self, arena: &Arena, mut queue: Queue<Item>) -> Result<(), Trouble> {
        let pace = self.part.pace();
        while self.part.stays() && self.board.puts().1 < QUOTA - 1 {
            self.stand_still_if_asked();
            self.journal().begin(1);
            // What the queue's own participant has goes through the queue as well.
            let arena = if self.part.random.one_in(4) { queue.arena().clone() } else { arena.clone() };
            let code = self.part.random.below(20);
            match code {
                0..=4 => self.allocate(&arena)?,
                5..=6 => drop(self.pick()),
                7 => self.grow()?,
                8 => self.share()?,
                9..=10 => self.clone_one()?,
                11..=14 => self.put(&mut queue)?,
                15..=18 if self.memory.keeps => self.lease(&queue)?,
                15..=18 => self.get(&mut queue)?,
                _ => self.look_after(&arena)?,
            }
            if self.stock.len() > MOST - LOAD - 1 {
                self.stock.truncate(self.part.random.below(MOST as u64 / 2) as usize);
            }
            self.journal().finish(1);
            pace.think(&mut self.part.random);
        }
        Ok(())
    }

    /// Anything that it has, which must be whole.
    fn pick(&mut self) -> Option<Held> {
        let last = self.stock.len().checked_sub(1)?;
        let held = self.stock.swap_remove(self.part.random.below(last as u64 + 1) as usize);
        if !held.is_whole() {
            self.journal().saw(Wrong::Torn);
        }
        Some(held)
    }

    /// Adds what it has got; what does not fit goes, to make room for others.
    fn keep(&mut self, made: Result<Held, AllocError>) -> Result<(), Trouble> {
        match made {
            Ok(held) => self.stock.push(held),
            Err(AllocError::Full { .. } | AllocError::TooLarge { .. }) => {
                self.stock.truncate(self.stock.len() / 2);
            }
            Err(e) => return Err(format!("allocating: {e}")),
        }
        Ok(())
    }

    fn allocate(&mut self, arena: &Arena) -> Result<(), Trouble> {
        let arena = if self.part.random.one_in(4) { arena.within(MOMENT) } else { arena.clone() };
        let len = self.part.random.skewed(LONGEST_BITS) as usize;
        self.next += 1;
        let vec = self.part.random.one_in(3);
        let make = if vec { Held::vec } else { Held::slice };
        self.keep(make(&arena, self.next, len))
    }

    fn grow(&mut self) -> Result<(), Trouble> {
        let Some(mut held) = self.pick() else { return Ok(()) };
        let by = self.part.random.skewed(6) as usize;
        match held.extend(by) {
            Ok(()) => self.keep(Ok(held)),
            Err(full) => self.keep(Err(full)),
        }
    }

    fn share(&mut self) -> Result<(), Trouble> {
        let Some(held) = self.pick() else { return Ok(()) };
        self.keep(held.share())
    }

    fn clone_one(&mut self) -> Result<(), Trouble> {
        let Some(held) = self.pick() else { return Ok(()) };
        let another = held.another();
        self.keep(Ok(held))?;
        another.map_or(Ok(()), |another| self.keep(another))
    }

    /// What needs no thing: repair for others, another participant, a sweep of everything.
    fn look_after(&mut self, arena: &Arena) -> Result<(), Trouble> {
        match self.part.random.below(4) {
            0 => arena.recover().map(drop).map_err(|e| format!("recover: {e}"))?,
            1 => match arena.another() {
                // What it holds keeps its place: so it keeps nothing.
                Ok(another) => drop(Held::slice(&another, 0, 9)),
                Err(Error::TooManyPeers { .. }) => {}
                Err(e) => return Err(format!("another participant: {e}")),
            },
            2 => _ = arena.free_bytes(),
            _ => drop(arena.slice_unfilled::<u8>(arena.size() as usize / 2)),
        }
        Ok(())
    }

    // --- through a queue -----------------------------------------------------------------------------------------

    fn put(&mut self, queue: &mut Queue<Item>) -> Result<(), Trouble> {
        let (_, number) = self.board.puts();
        let load = self.part.random.below(LOAD as u64 + 1) as usize;
        let things: Vec<Held> = (0..load).map_while(|_| self.pick()).collect();
        let bytes = vec![7; self.part.random.skewed(8) as usize - 1];
        let item = (self.part.life * QUOTA + number, things, bytes);
        self.board.begin_put();
        let put =
            if self.part.random.one_in(2) { queue.try_put(item) } else { queue.put_timeout(item, MOMENT) };
        self.board.finish_put(put.is_ok());
        match put {
            Ok(()) => Ok(()),
            Err(SendValueError::Full((_, things, _))) => {
                // It is this one's as before.
                self.stock.extend(things);
                self.look_through();
                Ok(())
            }
            Err(e) => Err(format!("put: {e}")),
        }
    }

    fn get(&mut self, queue: &mut Queue<Item>) -> Result<(), Trouble> {
        self.journal().hold(GETTING);
        let got = match self.part.random.below(2) {
            0 => queue.try_get(),
            _ => queue.get_timeout(MOMENT),
        };
        if let Some(item) = some(got)? {
            self.take(item, true);
        }
        self.journal().hold_nothing();
        Ok(())
    }

    fn lease(&mut self, queue: &Queue<Item>) -> Result<(), Trouble> {
        let leased = match self.part.random.below(2) {
            0 => queue.try_lease(),
            _ => queue.lease_timeout(MOMENT),
        };
        let Some(lease) = some(leased)? else { return Ok(()) };
        for _ in lease.1.iter().filter(|held| !held.is_whole()) {
            self.journal().saw(Wrong::Torn);
        }
        match self.part.random.below(6) {
            0 => lease.nack(),
            1 => drop(lease),
            _ => {
                self.journal().hold(lease.0);
                self.memory.record(&lease);
                let item = lease.ack().map_err(|e| format!("ack: {e}"))?;
                self.journal().hold_nothing();
                self.take(item, false);
            }
        }
        Ok(())
    }

    /// Has got an item.
    fn take(&mut self, item: Item, is_news: bool) {
        if is_news && !self.memory.record(&item) || item.2.iter().any(|&byte| byte != 7) {
            self.journal().saw(Wrong::Torn);
        }
        for held in item.1 {
            if !held.is_whole() {
                self.journal().saw(Wrong::Torn);
            }
            self.stock.push(held);
        }
    }
}

fn some<R>(got: Result<R, RecvValueError>) -> Result<Option<R>, Trouble> {
    match got {
        Ok(got) => Ok(Some(got)),
        Err(RecvValueError::Empty) => Ok(None),
        Err(e) => Err(format!("get: {e}")),
    }
}

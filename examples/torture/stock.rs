//! What a participant of an arena under torture has: things whose contents follow from their numbers, and the board on which it says what they are.

use crate::journal::Shared;
use crate::random::mix;
use serde::{Deserialize, Serialize};
use skep::{AllocError, Arena, ShmArc, ShmSlice, ShmVec};
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};

/// The most things that one participant has.
pub const MOST: usize = 32;

/// A thing, and the number that its contents follow from. Nothing else that anybody holds has the number, but for further handles of what is shared.
#[derive(Serialize, Deserialize)]
pub struct Held {
    pub id: u64,
    pub thing: Thing,
}

/// Memory of the arena, by the ways in which it is had.
#[derive(Serialize, Deserialize)]
pub enum Thing {
    Slice(ShmSlice<u64>),
    Vec(ShmVec<u64>),
    Shared(ShmArc<[u64]>),
}

impl Held {
    pub fn slice(arena: &Arena, id: u64, len: usize) -> Result<Self, AllocError> {
        let slice = arena.slice_with(len, |n| word(id, n))?;
        Ok(Held { id, thing: Thing::Slice(slice) })
    }

    pub fn vec(arena: &Arena, id: u64, len: usize) -> Result<Self, AllocError> {
        let mut held = Held { id, thing: Thing::Vec(arena.vec(1)?) };
        held.extend(len)?;
        Ok(held)
    }

    /// Makes a vector longer, and leaves everything else alone.
    pub fn extend(&mut self, by: usize) -> Result<(), AllocError> {
        let Thing::Vec(vec) = &mut self.thing else { return Ok(()) };
        (vec.len()..vec.len() + by).try_for_each(|n| vec.push(word(self.id, n)))
    }

    /// Shares what is not shared yet.
    pub fn share(self) -> Result<Self, AllocError> {
        let shared = match self.thing {
            Thing::Slice(slice) => slice.share()?,
            Thing::Vec(vec) => vec.share()?,
            Thing::Shared(shared) => shared,
        };
        Ok(Held { id: self.id, thing: Thing::Shared(shared) })
    }

    /// Another handle of what is shared.
    pub fn another(&self) -> Option<Result<Self, AllocError>> {
        let Thing::Shared(shared) = &self.thing else { return None };
        Some(shared.try_clone().map(|shared| Held { id: self.id, thing: Thing::Shared(shared) }))
    }

    /// Whether it is what was written into it.
    pub fn is_whole(&self) -> bool {
        let contents = self.contents();
        contents.iter().enumerate().all(|(n, &found)| found == word(self.id, n))
    }

    fn contents(&self) -> &[u64] {
        match &self.thing {
            Thing::Slice(slice) => slice,
            Thing::Vec(vec) => vec,
            Thing::Shared(shared) => shared,
        }
    }

    /// What there is to say of it; `granule` is the size of the smallest block.
    pub fn entry(&self, granule: usize) -> Entry {
        let bytes = match &self.thing {
            Thing::Vec(vec) => vec.capacity() * 8,
            _ => self.contents().len() * 8,
        };
        let bytes = bytes.max(granule).next_power_of_two() as u64;
        Entry { id: self.id, bytes, is_shared: matches!(self.thing, Thing::Shared(_)) }
    }
}

/// The word number `n` of what has that id.
fn word(id: u64, n: usize) -> u64 {
    mix(id ^ mix(n as u64))
}

/// What is said of a thing: the bytes are those of its block, and of what is shared not the reference's, which is a granule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    pub id: u64,
    pub bytes: u64,
    pub is_shared: bool,
}

/// Where each participant says what it has, while it stands still, and how many things it has put into queues.
pub struct Boards(Shared<AtomicU64>);

/// Words of a board: `{ puts begun, puts done, count: the audit that it stands still for, entries }`, then two an entry.
const BOARD: usize = 4 + 2 * MOST;

impl Boards {
    pub fn new(seats: usize) -> std::io::Result<Self> {
        Ok(Boards(Shared::new(seats * BOARD)?))
    }

    pub fn of(&self, seat: usize) -> Board<'_> {
        Board(&self.0[seat * BOARD..][..BOARD])
    }
}

/// One participant's.
#[derive(Clone, Copy)]
pub struct Board<'a>(&'a [AtomicU64]);

impl Board<'_> {
    pub fn begin_put(self) {
        self.0[0].store(self.puts().1 + 1, Release);
    }

    pub fn finish_put(self, is_put: bool) {
        let done = self.puts().1 + u64::from(is_put);
        self.0[1].store(done, Release);
    }

    /// How many puts were begun and how many have put something. One that was refused counts as begun until there is another.
    pub fn puts(self) -> (u64, u64) {
        (self.0[0].load(Acquire), self.0[1].load(Acquire))
    }

    /// Says what it has, and that it stands still from now on.
    pub fn stand_still(self, audit: u64, stock: &[Held], granule: usize) {
        for (words, held) in self.0[4..].chunks_exact(2).zip(stock) {
            let Entry { id, bytes, is_shared } = held.entry(granule);
            words[0].store(id, Release);
            words[1].store(bytes << 1 | u64::from(is_shared), Release);
        }
        self.0[3].store(stock.len().min(MOST) as u64, Release);
        self.0[2].store(audit, Release);
    }

    pub fn stands_still_for(self, audit: u64) -> bool {
        self.0[2].load(Acquire) == audit
    }

    pub fn entries(self) -> impl Iterator<Item = Entry> {
        let count = self.0[3].load(Acquire) as usize;
        self.0[4..].chunks_exact(2).take(count).map(|words| {
            let (id, word) = (words[0].load(Acquire), words[1].load(Acquire));
            Entry { id, bytes: word >> 1, is_shared: word & 1 == 1 }
        })
    }

    pub fn clear(self) {
        self.0.iter().for_each(|word| word.store(0, Release));
    }
}

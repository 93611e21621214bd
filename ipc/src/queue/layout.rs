//! The words and slots of an MPMC ring in shared memory.
//!
//! ```text
//! body + 0    tail   { closed: 1, position: 63 }        written by producers
//!        128  head   { position: 64 }                   written by consumers
//!        256  items, space (wait words), orphans        written when somebody sleeps or died
//!        384  slot 0: { turn: 64, value: T }, slot 1, … a power of two of them
//! ```
//!
//! A slot's turn is `{ position: 62, phase: 2 }`, and says whose turn it is:
//!
//! | turn | meaning | who may change it |
//! | --- | --- | --- |
//! | `free(p)` | empty; the producer of position `p` may fill it | the producer that claimed `p`, or repair for it |
//! | `published(p)` | holds the item of `p` | the consumer that claimed `p`, or repair for it |
//! | `skipped(p)` | the producer of `p` died: there is no item | the consumer that claimed `p`, or repair for it |
//! | `orphaned(p)` | the consumer of `p` died: the item is there again | a consumer, by one CAS to `published(p)` |
//!
//! A turn grows along `free < published < skipped < orphaned < free` of the next lap, but for the step that adopts an orphan.

use crate::sync::{AtomicU32, AtomicU64, Cell, Line};
use crate::wait::WaitWord;

/// In `tail`: no further position may be claimed.
pub(crate) const CLOSED: u64 = 1 << 63;

/// In `orphans`: some slot may be orphaned.
pub(crate) const PRESENT: u32 = 1;

/// Positions stay below this: at a thousand million items a second for a century.
const POSITIONS: u64 = 1 << 62;

const FREE: u64 = 0;
const PUBLISHED: u64 = 1;
const SKIPPED: u64 = 2;
const ORPHANED: u64 = 3;

/// `{ p, FREE }`
#[inline]
pub(crate) const fn free(p: u64) -> u64 {
    (p % POSITIONS) << 2 | FREE
}

/// `{ p, PUBLISHED }`
#[inline]
pub(crate) const fn published(p: u64) -> u64 {
    (p % POSITIONS) << 2 | PUBLISHED
}

/// `{ p, SKIPPED }`
#[inline]
pub(crate) const fn skipped(p: u64) -> u64 {
    (p % POSITIONS) << 2 | SKIPPED
}

/// `{ p, ORPHANED }`
#[inline]
pub(crate) const fn orphaned(p: u64) -> u64 {
    (p % POSITIONS) << 2 | ORPHANED
}

/// Whether the turn is `free` of any position.
#[inline]
pub(crate) const fn is_free(turn: u64) -> bool {
    turn & 3 == FREE
}

/// The position of an orphan's turn.
#[inline]
pub(crate) const fn orphan_position(turn: u64) -> Option<u64> {
    if turn & 3 == ORPHANED { Some(turn >> 2) } else { None }
}

/// What sleepers and the finders of orphans look at; seldom written.
#[cfg_attr(not(loom), repr(C))]
pub(crate) struct Signals {
    /// Consumers sleep here.
    pub(crate) items: WaitWord,
    /// Producers sleep here.
    pub(crate) space: WaitWord,
    /// `{ count: 31, PRESENT: 1 }`: some slot may be orphaned. Changes with every orphan that is made.
    pub(crate) orphans: AtomicU32,
}

/// The words before the slots.
#[cfg_attr(not(loom), repr(C))]
pub(crate) struct Control {
    pub(crate) tail: Line<AtomicU64>,
    pub(crate) head: Line<AtomicU64>,
    pub(crate) signals: Line<Signals>,
}

/// One cell of the ring.
#[cfg_attr(not(loom), repr(C))]
pub(crate) struct Slot<T> {
    pub(crate) turn: AtomicU64,
    pub(crate) value: Cell<T>,
}

#[cfg(not(loom))]
mod bytes {
    use super::{Control, Slot, free};
    use crate::sync::Relaxed;
    use std::ptr::NonNull;

    const _: () = assert!(size_of::<Control>() == 384);
    const _: () = assert!(size_of::<Slot<u64>>() == 16);

    /// Where the slots start.
    pub(crate) const fn slots_offset<T>() -> usize {
        size_of::<Control>().next_multiple_of(align_of::<Slot<T>>())
    }

    /// The bytes of a ring of `capacity` slots; `None` unless that is a power of two and fits.
    pub(crate) fn body_len<T>(capacity: u64) -> Option<u64> {
        if !capacity.is_power_of_two() || align_of::<Slot<T>>() > 4096 {
            return None;
        }
        capacity.checked_mul(size_of::<Slot<T>>() as u64)?.checked_add(slots_offset::<T>() as u64)
    }

    /// Writes the first turns into a zeroed body.
    ///
    /// # Safety
    /// `body` has `body_len::<T>(capacity)` bytes, page aligned, which nobody else uses yet.
    pub(crate) unsafe fn init<T>(body: NonNull<u8>, capacity: u64) {
        for p in 0..capacity {
            // SAFETY: slot `p` lies within the body, as the caller promises; zeroes are valid atomics.
            let slot =
                unsafe { body.byte_add(slots_offset::<T>()).cast::<Slot<T>>().add(p as usize).as_ref() };
            slot.turn.store(free(p), Relaxed);
        }
    }
}
#[cfg(not(loom))]
pub(crate) use bytes::{body_len, init, slots_offset};

#[cfg(loom)]
mod heap {
    use super::{Control, Line, Signals, Slot, free};
    use crate::sync::{AtomicU32, AtomicU64, Cell};
    use crate::wait::WaitWord;

    impl Control {
        pub(crate) fn new() -> Self {
            let signals =
                Signals { items: WaitWord::new(), space: WaitWord::new(), orphans: AtomicU32::new(0) };
            Control { tail: Line(AtomicU64::new(0)), head: Line(AtomicU64::new(0)), signals: Line(signals) }
        }
    }

    impl<T: bytemuck::Pod> Slot<T> {
        pub(crate) fn new(p: u64) -> Self {
            Slot { turn: AtomicU64::new(free(p)), value: Cell::new(T::zeroed()) }
        }
    }
}

//! The words and slots of an MPMC ring in shared memory.
//!
//! ```text
//! body + 0    tail   { closed: 1, position: 63 }        written by producers
//!        128  head   { position: 64 }                   written by consumers
//!        256  items, space (relays), orphans            written when somebody sleeps, died or closes
//!        384  slot 0: { turn: 64, value: T }, slot 1, … a power of two of them
//! ```
//!
//! A slot's turn is `{ position: 54, returns: 8, phase: 2 }`, and says whose turn it is. The position is at the top, so that turns wrap as positions do.
//! `r` says how often the item came back from a consumer, up to 255; a fresh item has 0, and `published(p)` means `published(p, 0)`:
//!
//! | turn | meaning | who may change it |
//! | --- | --- | --- |
//! | `free(p)` | empty; the producer of position `p` may fill it | the producer that claimed `p`, or repair for it |
//! | `published(p, r)` | holds the item of `p` | the consumer that claimed `p`, or repair for it |
//! | `skipped(p)` | the producer of `p` died, or gave it up: there is no item | the consumer that claimed `p`, or repair for it |
//! | `orphaned(p, r)` | the consumer of `p` died or gave it back: the item is there again | a consumer, by one CAS to `published(p, r)` |
//!
//! A turn grows along `free < published < skipped < orphaned < free` of the next lap, but for the step that adopts an orphan.

use crate::relay::Relay;
use crate::sync::{AtomicU32, AtomicU64, Cell, Line};

/// In `tail`: no further position may be claimed.
pub(crate) const CLOSED: u64 = 1 << 63;

/// In `orphans`: some slot may be orphaned.
pub(crate) const PRESENT: u32 = 1;
/// In `orphans`: the ring may be closed.
pub(crate) const CLOSING: u32 = 2;
/// In `orphans`: one more of its count.
pub(crate) const ORPHAN: u32 = 4;

/// The most returns that a turn tells apart.
pub(crate) const MAX_RETURNS: u64 = if cfg!(loom) { 2 } else { 255 };

const POSITION_SHIFT: u32 = 10;
const RETURNS_SHIFT: u32 = 2;

const FREE: u64 = 0;
const PUBLISHED: u64 = 1;
const SKIPPED: u64 = 2;
const ORPHANED: u64 = 3;

/// `{ p, FREE }`
#[inline]
pub(crate) const fn free(p: u64) -> u64 {
    p << POSITION_SHIFT | FREE
}

/// `{ p, PUBLISHED }`
#[inline]
pub(crate) const fn published(p: u64) -> u64 {
    p << POSITION_SHIFT | PUBLISHED
}

/// `{ p, SKIPPED }`
#[inline]
pub(crate) const fn skipped(p: u64) -> u64 {
    p << POSITION_SHIFT | SKIPPED
}

/// `{ p, returns, PUBLISHED }`
#[inline]
pub(crate) const fn delivered(p: u64, returns: u64) -> u64 {
    published(p) | returns << RETURNS_SHIFT
}

/// The turn of an item that comes back, after `returns` earlier times.
#[inline]
pub(crate) const fn orphaned(p: u64, returns: u64) -> u64 {
    let returns = if returns < MAX_RETURNS { returns + 1 } else { MAX_RETURNS };
    p << POSITION_SHIFT | returns << RETURNS_SHIFT | ORPHANED
}

/// How often the item of this turn came back.
#[inline]
pub(crate) const fn returns(turn: u64) -> u64 {
    (turn >> RETURNS_SHIFT) & 0xff
}

/// Whether the turn is `published(p, r)` for any r.
#[inline]
pub(crate) const fn is_delivered(turn: u64, p: u64) -> bool {
    turn == delivered(p, returns(turn))
}

/// Whether the turn is `orphaned(p, r)` for any r.
#[inline]
pub(crate) const fn is_orphaned(turn: u64, p: u64) -> bool {
    turn == p << POSITION_SHIFT | returns(turn) << RETURNS_SHIFT | ORPHANED
}

/// The position that a turn tells of, as far as turns keep it.
#[inline]
pub(crate) const fn position(turn: u64) -> u64 {
    turn >> POSITION_SHIFT
}

/// Whether a turn comes before another one; positions wrap.
#[inline]
pub(crate) const fn is_before(turn: u64, other: u64) -> bool {
    (turn.wrapping_sub(other) as i64) < 0
}

/// Whether the turn is `free` of any position.
#[inline]
pub(crate) const fn is_free(turn: u64) -> bool {
    turn & 3 == FREE
}

/// The position of an orphan's turn, as far as turns keep it.
#[inline]
pub(crate) const fn orphan_position(turn: u64) -> Option<u64> {
    if turn & 3 == ORPHANED { Some(turn >> POSITION_SHIFT) } else { None }
}

/// What sleepers and the finders of orphans look at; seldom written.
#[cfg_attr(not(loom), repr(C))]
pub(crate) struct Signals {
    /// Consumers sleep here.
    pub(crate) items: Relay,
    /// Producers sleep here.
    pub(crate) space: Relay,
    /// `{ count: 30, CLOSING: 1, PRESENT: 1 }`: some slot may be orphaned, the ring may be closed. Changes with every orphan that is made.
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
    use crate::relay::Relay;
    use crate::sync::{AtomicU32, AtomicU64, Cell};

    impl Control {
        pub(crate) fn new() -> Self {
            let signals = Signals { items: Relay::new(), space: Relay::new(), orphans: AtomicU32::new(0) };
            Control { tail: Line(AtomicU64::new(0)), head: Line(AtomicU64::new(0)), signals: Line(signals) }
        }
    }

    impl<T: bytemuck::Pod> Slot<T> {
        pub(crate) fn new(p: u64) -> Self {
            Slot { turn: AtomicU64::new(free(p)), value: Cell::new(T::zeroed()) }
        }
    }
}

//! The bytes of an arena's segment.
//!
//! ```text
//! body + 0     control words, one page: extent, where sleepers wait, the directory of queues (`directory.rs`)
//!      | hints                        (`hints.rs`)
//!      | words, one a granule         (`word.rs`)
//!      | granules, page aligned: the arena's memory
//! ```
//!
//! All of it has its place for the largest size from the beginning; memory is committed for control words and hints at creation, and for words and granules
//! stretch by stretch (`extent.rs`).

use super::extent::Extent;
use super::hints::Hints;
use super::word::MAX_ORDER;
use crate::header::PAGE_BYTES;
use crate::sync::{AtomicU64, Line};
use crate::wait::WaitWord;
use std::ops::Range;

/// Granules have at least 2^6 bytes.
const LEAST_SHIFT: u32 = 6;
/// And at most a page.
const MOST_SHIFT: u32 = 12;

/// How many queues an arena has room for.
pub(super) const QUEUES: usize = 64;

/// The first words of the body.
#[repr(C)]
pub(super) struct Control {
    pub(super) extent: Line<Extent>,
    /// Whoever waits for memory sleeps here.
    pub(super) space: Line<WaitWord>,
    /// Written once, before anybody attaches.
    pub(super) fixed: Line<Fixed>,
    pub(super) queues: [AtomicU64; QUEUES],
}

/// What is decided at creation, and cannot be derived from the capacity.
#[repr(C)]
pub(super) struct Fixed {
    /// Tells this arena's descriptors from others'.
    pub(super) id: AtomicU64,
    /// How many granules a stretch has.
    pub(super) step: AtomicU64,
    /// Not 0: one process knows carriers that lie elsewhere, and alone may repair.
    pub(super) is_private: AtomicU64,
}

const _: () = assert!(size_of::<Control>() as u64 <= PAGE_BYTES);

/// How an arena's body is cut up; follows from the capacity in the segment's header, `{ shift: 32, granules: 32 }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// A granule has 2^shift bytes.
    pub(super) shift: u32,
    /// How many there are at the largest size.
    pub(super) granules: u32,
}

impl Plan {
    /// For granules of so many bytes, and so much memory of them. `None`: impossible.
    pub(super) fn new(granule: usize, bytes: u64) -> Option<Plan> {
        let shift = granule.trailing_zeros();
        let granules = bytes.div_ceil(granule as u64);
        let is_possible = granule.is_power_of_two()
            && (LEAST_SHIFT..=MOST_SHIFT).contains(&shift)
            && (1..=1 << MAX_ORDER).contains(&granules);
        is_possible.then_some(Plan { shift, granules: granules as u32 })
    }

    pub(super) fn capacity(self) -> u64 {
        u64::from(self.shift) << 32 | u64::from(self.granules)
    }

    pub(super) fn from_capacity(capacity: u64) -> Option<Plan> {
        let (shift, granules) = ((capacity >> 32) as u32, capacity as u32);
        let is_possible =
            (LEAST_SHIFT..=MOST_SHIFT).contains(&shift) && (1..=1 << MAX_ORDER).contains(&granules);
        is_possible.then_some(Plan { shift, granules })
    }

    pub(super) fn hints(self) -> u64 {
        PAGE_BYTES
    }

    pub(super) fn words(self) -> u64 {
        self.hints() + Hints::bytes(self.granules).next_multiple_of(PAGE_BYTES)
    }

    pub(super) fn memory(self) -> u64 {
        self.words() + (u64::from(self.granules) * 8).next_multiple_of(PAGE_BYTES)
    }

    pub(super) fn body_len(self) -> u64 {
        self.memory() + (u64::from(self.granules) << self.shift)
    }

    /// What the granules of a stretch need memory for, as offsets in the body: their words, and themselves; in whole pages.
    pub(super) fn stretch(self, start: u32, end: u32) -> [Range<u64>; 2] {
        let (start, end) = (u64::from(start), u64::from(end));
        let pages = |from: u64, to: u64| from / PAGE_BYTES * PAGE_BYTES..to.next_multiple_of(PAGE_BYTES);
        let words = self.words();
        let memory = self.memory();
        [
            pages(words + start * 8, words + end * 8),
            pages(memory + (start << self.shift), memory + (end << self.shift)),
        ]
    }

    /// The order of the smallest block for so many bytes at such an alignment. `None`: none is large enough.
    #[inline]
    pub(super) fn order(self, bytes: usize, align: usize) -> Option<u32> {
        let granules = bytes.max(align).max(1).checked_add((1 << self.shift) - 1)? >> self.shift;
        let order = granules.checked_next_power_of_two()?.trailing_zeros();
        (order <= MAX_ORDER && 1_u64 << order <= u64::from(self.granules)).then_some(order)
    }

    /// The bytes of a block.
    #[inline]
    pub(super) fn block_bytes(self, order: u32) -> usize {
        1 << (order + self.shift)
    }
}

/// The bytes of the body at a capacity.
pub(super) fn body_len(capacity: u64) -> Option<u64> {
    Plan::from_capacity(capacity).map(Plan::body_len)
}

//! The word in which a participant announces what it is about to claim.

use std::ops::Range;

/// The most positions that one claim covers.
pub(crate) const MAX_BATCH: usize = 4095;

/// `{ side: 2, count: 12, position: 50 }`: what a participant is about to claim. Zero: nothing.
///
/// The low bits of the position are enough: what is claimed lies within a lap of `tail` or `head`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Intent(pub(super) u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Put = 1,
    Get = 2,
}

impl Intent {
    const POSITION_BITS: u32 = 50;
    const LOW: u64 = (1 << Self::POSITION_BITS) - 1;
    pub(super) const NONE: Intent = Intent(0);

    #[inline]
    pub(super) fn new(side: Side, position: u64, count: u64) -> Self {
        Intent((side as u64) << 62 | count << Self::POSITION_BITS | position & Self::LOW)
    }

    pub(super) fn side(self) -> Option<Side> {
        match self.0 >> 62 {
            1 => Some(Side::Put),
            2 => Some(Side::Get),
            _ => None,
        }
    }

    pub(super) fn count(self) -> u64 {
        (self.0 >> Self::POSITION_BITS) & (MAX_BATCH as u64)
    }

    pub(super) fn covers(self, side: Side, position: u64) -> bool {
        self.side() == Some(side) && (position.wrapping_sub(self.0) & Self::LOW) < self.count()
    }

    /// The positions below `end` that this covers, if one of them may be in its maker's hands: such a one lies within a lap of `end`,
    /// and the first of its batch no further ahead of it than the batch is long.
    pub(super) fn claimed_below(self, end: u64, capacity: u64) -> Range<u64> {
        let back = end.wrapping_sub(self.0) & Self::LOW;
        if back == 0 || back > (capacity + self.count()).min(end) {
            return 0..0;
        }
        let first = end - back;
        first..end.min(first.saturating_add(self.count()))
    }
}

//! The words in which a participant announces what it is about to claim, and what it has leased.

use super::layout::{MAX_RETURNS, delivered, free, is_delivered, returns, skipped};
use std::ops::Range;

/// The most positions that one claim covers.
pub(crate) const MAX_BATCH: usize = 4095;

/// `{ side: 2, count: 12, position: 50 }`: what a participant is about to claim. Zero: nothing.
///
/// A lease word has the returns of the item in the place of the count: `{ LEASE, r, p }` is written by whoever holds the delivery (p, r), and by nobody else.
///
/// The low bits of the position are enough: what is claimed lies within a lap of `tail` or `head`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Intent(pub(super) u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Put = 1,
    Get = 2,
    Lease = 3,
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
            3 => Some(Side::Lease),
            _ => None,
        }
    }

    fn middle(self) -> u64 {
        (self.0 >> Self::POSITION_BITS) & (MAX_BATCH as u64)
    }

    pub(super) fn count(self) -> u64 {
        if self.side() == Some(Side::Lease) { 1 } else { self.middle() }
    }

    /// Whether a slot with this turn may be in the hands of whoever announced this, which covers `p`.
    pub(super) fn may_hold(self, turn: u64, p: u64) -> bool {
        match self.side() {
            Some(Side::Put) => turn == free(p),
            Some(Side::Get) => is_delivered(turn, p) || turn == skipped(p),
            Some(Side::Lease) => turn == delivered(p, self.middle()),
            None => false,
        }
    }

    /// Whether this is a lease whose delivery no other one is equal to: (p, r) is claimed once, unless r is as high as it gets.
    pub(super) fn is_certain(self) -> bool {
        self.side() == Some(Side::Lease) && self.middle() < MAX_RETURNS
    }

    /// Whether this is the lease of just the delivery that the turn of `p` tells of, so that its maker is the holder and nobody else.
    pub(super) fn is_lease_of(self, turn: u64, p: u64) -> bool {
        self.is_certain() && self.covers(true, p) && self.middle() == returns(turn) && is_delivered(turn, p)
    }

    /// Whether this names a position, for consumers or for producers.
    pub(super) fn covers(self, as_consumer: bool, position: u64) -> bool {
        let is_consumer = matches!(self.side(), Some(Side::Get | Side::Lease));
        self.side().is_some()
            && is_consumer == as_consumer
            && (position.wrapping_sub(self.0) & Self::LOW) < self.count()
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

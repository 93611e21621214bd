//! Who takes part: one participant of a segment of parts.

use super::{Part, Place, blueprint};
use crate::error::{Error, Mismatch};
use crate::header::Blueprint;
use crate::peer::{self, Membership, Repair};
use crate::segment::{Member, Segment};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// One participant of a segment of parts: holds its entry until the last of its handles is dropped.
pub struct Seat {
    mend: fn(&Segment, usize),
    /// What the segment holds.
    whole: Blueprint,
    member: Member,
}

impl Seat {
    /// For a handle of an object without participants, which fills a segment of its own.
    pub(crate) fn apart(segment: &Segment, whole: Blueprint) -> Arc<Self> {
        Arc::new(Seat { mend: |_, _| {}, whole, member: segment.guest() })
    }

    /// Whether it was made by [`apart`](Self::apart).
    pub(crate) fn is_apart(&self) -> bool {
        self.member.is_guest()
    }

    /// Another participant's handle of the `P` that fills this one's segment.
    pub(crate) fn another<P: Part>(&self) -> Result<P, Error> {
        let (whole, expected) = (&self.whole, blueprint::<P>());
        if (whole.kind, whole.item) != (expected.kind, expected.item) {
            let (found, expected) = (format!("{:?}", whole.kind), format!("{:?}", expected.kind));
            return Err(Mismatch::Kind { found, expected }.into());
        }
        take_part(self.segment().clone())
    }

    /// This participant's number.
    pub(crate) fn me(&self) -> usize {
        self.member.peer()
    }

    pub(crate) fn segment(&self) -> &Segment {
        self.member.segment()
    }

    /// Whether this still is the process that took the seat: one load.
    #[inline]
    pub(crate) fn is_own(&self) -> bool {
        self.segment().is_own()
    }

    /// Mends every part for every dead participant that is found. Returns for how many.
    pub(crate) fn mend_the_dead(&self) -> usize {
        let segment = self.segment();
        peer::recover(
            segment.peers(),
            segment,
            self.me(),
            |_| true,
            |dead| {
                (self.mend)(segment, dead);
                Repair::Done
            },
        )
    }

    /// Whether a participant is dead, or nobody, at this moment: a system call.
    pub(crate) fn is_dead(&self, peer: usize) -> bool {
        self.segment().is_dead(peer)
    }
}

impl Drop for Seat {
    /// Gives back what this participant still holds, such as through a guard that was forgotten; then `member` leaves.
    fn drop(&mut self) {
        // In a forked child all of it is the parent's.
        if self.is_own() {
            (self.mend)(self.segment(), self.me());
        }
    }
}

impl AsFd for Seat {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.segment().as_fd()
    }
}

/// Becomes a participant of a segment that was checked against the blueprint.
pub(super) fn take_part<P: Part>(segment: Segment) -> Result<P, Error> {
    let (capacity, peers) = (segment.capacity(), segment.max_peers());
    if capacity != P::bytes(peers) as u64 {
        return Err(Mismatch::Geometry { capacity, peers: u32::try_from(peers).unwrap_or(u32::MAX) }.into());
    }
    let mend = |segment: &Segment, peer: usize| P::mend(&mut Place::of(segment), peer);
    let member = segment.join(|dead| {
        mend(&segment, dead);
        Repair::Done
    })?;
    let seat = Seat { mend, whole: blueprint::<P>(), member };
    P::attach(&mut Place::of(&segment), &Arc::new(seat))
}

/// What every part's handle has: the descriptor to pass to another process.
macro_rules! as_fd {
    ($($handle:tt)+) => {
        impl $($handle)+ {
            /// The descriptor to pass to another process, which opens it with [`from_fd`](crate::Part::from_fd).
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                std::os::fd::AsFd::as_fd(&**crate::part::Part::seat(self))
            }
        }
    };
}
pub(crate) use as_fd;

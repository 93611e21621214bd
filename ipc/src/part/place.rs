//! Where a part lies: what hands out a segment's body to parts, one after the other.

use crate::segment::Segment;
use crate::sync::LINE;
use crate::table::Table;
use std::ptr::NonNull;

/// A stretch of a segment's body, from which parts take their memory one after the other.
#[doc(hidden)]
pub struct Place {
    next: NonNull<u8>,
    left: usize,
    peers: usize,
}

impl Place {
    pub(super) fn new(base: NonNull<u8>, bytes: usize, peers: usize) -> Self {
        Place { next: base, left: bytes, peers }
    }

    pub(super) fn of(segment: &Segment) -> Self {
        Place::new(segment.body(), segment.body_len(), segment.max_peers())
    }

    /// How many participants there may be.
    pub(crate) fn peers(&self) -> usize {
        self.peers
    }

    /// The next so many values of type `V`, at a multiple of `LINE`.
    pub(crate) fn take<V>(&mut self, count: usize) -> NonNull<V> {
        const { assert!(align_of::<V>() <= LINE, "a part's values are aligned to a line at most") };
        let (here, bytes) = (self.next, lines::<V>(count));
        assert!(bytes <= self.left, "a part takes no more than its `bytes` says");
        // SAFETY: within the body, as just checked.
        self.next = unsafe { here.byte_add(bytes) };
        self.left -= bytes;
        here.cast()
    }

    /// The next control words, valid as long as the segment, which the caller keeps.
    ///
    /// # Safety
    /// `C` consists of atomics, of which zeroes are valid ones.
    pub(crate) unsafe fn control<'a, C>(&mut self) -> &'a C {
        // SAFETY: within the body and aligned, as `take` has checked; the kernel has filled it with zeroes or a part with its words.
        unsafe { self.take::<C>(1).as_ref() }
    }

    /// The next table of claims, one a participant, valid as long as the segment, which the caller keeps.
    ///
    /// # Safety
    /// As [`control`](Self::control).
    pub(crate) unsafe fn claims<'a, C>(&mut self) -> Table<'a, C> {
        let count = self.peers;
        // SAFETY: as above.
        unsafe { Table::new(self.take::<C>(count), count) }
    }
}

/// The bytes of so many values, in whole lines.
pub(crate) const fn lines<V>(count: usize) -> usize {
    (size_of::<V>() * count).next_multiple_of(LINE)
}

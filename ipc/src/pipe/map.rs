//! A pipe's memory in this process: the segment, and its data once more, mapped twice in a row.
//!
//! ```text
//! file:      | header | peers | control words | data            |
//!                                              \               / \
//! addresses:                                   | data            | data again      |
//! ```
//!
//! A record that runs over the end of the first mapping goes on in the second, which is the data's beginning: contiguous for whoever reads or
//! writes it, and no byte of the ring is lost to padding.

use super::layout::{self, Control};
use super::ring::Ring;
use crate::error::{Error, Mismatch};
use crate::header::{Blueprint, Item, Kind};
use crate::segment::Segment;
use crate::sys;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;

/// What a program expects of a segment that holds a pipe; the segment's capacity is the bytes of the ring.
pub(crate) const BLUEPRINT: Blueprint = Blueprint {
    kind: Kind::new(*b"pipe\0\0\0\0"),
    item: Item::opaque(1),
    body_len: |bytes| layout::body_len(bytes, sys::page_size() as u64),
};

/// The participants of a pipe: a sender and a receiver.
pub(crate) const ROLES: usize = 2;

/// A pipe's segment and the mirrored mapping of its data.
pub(crate) struct Memory {
    data: Mirror,
    segment: Segment,
}

impl Memory {
    /// Maps the pipe in a segment that was checked against the blueprint.
    pub(crate) fn map(segment: Segment) -> Result<Self, Error> {
        let (capacity, peers) = (segment.capacity(), segment.max_peers());
        if peers != ROLES {
            return Err(
                Mismatch::Geometry { capacity, peers: u32::try_from(peers).unwrap_or(u32::MAX) }.into()
            );
        }
        let offset = layout::data_offset(segment.body_offset(), sys::page_size() as u64);
        Ok(Memory { data: Mirror::map(&segment, offset, capacity)?, segment })
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    pub(crate) fn control(&self) -> &Control {
        // SAFETY: the blueprint's `body_len` has room for the control words; zeroes are valid ones, and all are atomics.
        unsafe { self.segment.body().cast().as_ref() }
    }

    /// The ring.
    ///
    /// # Safety
    /// The caller keeps this memory for as long as it uses the ring.
    pub(crate) unsafe fn ring<'a>(&self) -> Ring<'a> {
        // SAFETY: both are mapped as long as this memory, which the caller keeps; the blueprint has checked that the bytes are a power of two
        // of whole pages.
        unsafe {
            let control = self.segment.body().cast().as_ref();
            Ring::new(control, self.data.base.cast(), self.segment.capacity())
        }
    }
}

/// The same bytes of a file mapped twice in a row; unmapped when dropped.
struct Mirror {
    base: NonNull<u8>,
    bytes: NonZeroUsize,
}

// SAFETY: a mapping belongs to the process, not to a thread; who may touch its bytes when is the ring's business.
unsafe impl Send for Mirror {}
// SAFETY: as above.
unsafe impl Sync for Mirror {}

impl Mirror {
    fn map(segment: &Segment, offset: u64, bytes: u64) -> Result<Self, Error> {
        let offset = i64::try_from(offset).map_err(|_| Error::Corrupt)?;
        let length = usize::try_from(bytes).ok().and_then(NonZeroUsize::new).ok_or(Error::Corrupt)?;
        let base = segment.with_file(|file| sys::map_twice(file.as_fd(), offset, length))?;
        Ok(Mirror { base, bytes: length })
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        // SAFETY: what `map` mapped; handles and grants keep the memory that keeps this.
        unsafe { sys::unmap_twice(self.base, self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_behind_the_end_stands_at_the_beginning() {
        let segment = Segment::anonymous(&BLUEPRINT, 8192, ROLES).expect("two pages");
        let memory = Memory::map(segment).expect("mapped");
        let base = memory.data.base.as_ptr();
        // SAFETY: within the two mappings of 8192 bytes each; nobody else has them.
        unsafe {
            base.add(8190).copy_from_nonoverlapping(b"seam".as_ptr(), 4);
            assert_eq!(base.cast::<[u8; 2]>().read(), *b"am");
            assert_eq!(base.add(2 * 8192 - 2).cast::<[u8; 2]>().read(), *b"se");
        }
        // The control words lie before, and are as they were.
        assert_eq!(memory.control().tail.0.load(crate::sync::Relaxed), 0);
    }
}

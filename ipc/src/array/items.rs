//! A segment that holds nothing but items: what the arrays without a lock stand on.
//!
//! It has no words beside the items, so there is nothing that a death could leave in disorder; and no participants, so a handle is a mapping, of
//! which a forked child may go on using its copy.

use crate::error::Error;
use crate::header::{Blueprint, Item, Kind};
use crate::lock::row_bytes;
use crate::segment::Segment;
use bytemuck::Pod;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

/// A mapping of a segment of items. Clones share it.
#[derive(Clone)]
pub(super) struct Items<T> {
    segment: Segment,
    /// In the segment's mapping: as many as its capacity, which attach has checked.
    all: NonNull<[T]>,
}

// SAFETY: a pointer into a mapping that goes with it, to items that may be read and written in any thread.
unsafe impl<T: Send> Send for Items<T> {}
// SAFETY: as above; how they are read and written at the same time is the business of the types that stand on this.
unsafe impl<T: Send + Sync> Sync for Items<T> {}

impl<T: Pod> Items<T> {
    /// Creates an anonymous segment of `len` zeroes, which `fill` sees before anybody else.
    pub(super) fn anonymous(kind: Kind, len: usize, fill: impl FnOnce(&mut [T])) -> Result<Self, Error> {
        Self::build(None, kind, len, fill)
    }

    /// Creates a named segment of `len` zeroes, which `fill` sees before anybody else.
    pub(super) fn named(
        name: &str,
        kind: Kind,
        len: usize,
        fill: impl FnOnce(&mut [T]),
    ) -> Result<Self, Error> {
        Self::build(Some(name), kind, len, fill)
    }

    fn build(name: Option<&str>, kind: Kind, len: usize, fill: impl FnOnce(&mut [T])) -> Result<Self, Error> {
        let init = |body| fill_new(body, len, fill);
        let over = |segment| Ok(Self::over(segment));
        Segment::build(name, &blueprint::<T>(kind), (len as u64, 1), init, over)
    }

    pub(super) fn open(name: &str, kind: Kind) -> Result<Self, Error> {
        Segment::open(name, &blueprint::<T>(kind)).map(Self::over)
    }

    pub(super) fn from_fd(file: OwnedFd, kind: Kind) -> Result<Self, Error> {
        Segment::from_fd(file, &blueprint::<T>(kind)).map(Self::over)
    }

    /// The items of a segment that was checked against the blueprint.
    fn over(segment: Segment) -> Self {
        let len = segment.capacity() as usize; // which the blueprint has seen to fit
        Items { all: NonNull::slice_from_raw_parts(segment.body().cast(), len), segment }
    }

    /// Where the items are: mapped as long as this.
    #[inline]
    pub(super) fn all(&self) -> NonNull<[T]> {
        self.all
    }
}

impl<T> AsFd for Items<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.segment.as_fd()
    }
}

/// What a program expects of a segment of so many items as its capacity says.
fn blueprint<T: Pod>(kind: Kind) -> Blueprint {
    const { assert!(align_of::<T>() <= 4096, "an item in shared memory is aligned to a page at most") };
    Blueprint { kind, item: Item::of::<T>(), body_len: row_bytes::<T> }
}

/// Has `fill` see the zeroed body of a new segment, which has room for `len` items.
fn fill_new<T: Pod>(body: NonNull<u8>, len: usize, fill: impl FnOnce(&mut [T])) -> Result<(), Error> {
    let mut all = NonNull::slice_from_raw_parts(body.cast(), len);
    // SAFETY: the body has room, page aligned, and nobody else sees it yet; any bytes are valid items.
    fill(unsafe { all.as_mut() });
    Ok(())
}

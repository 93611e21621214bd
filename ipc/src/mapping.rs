//! Where a segment's bytes are in this process, and how its first contents get there.

use crate::error::Error;
use crate::header::{Blueprint, Geometry, HEADER_BYTES, take_magic};
use crate::memory;
use crate::sync::{Acquire, AtomicU64, Release};
use memmap2::MmapOptions;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

/// Where the bytes are, and what keeps them mapped.
pub(crate) struct Mapping {
    base: NonNull<u8>,
    bytes: u64,
    _keeper: Box<dyn Send + Sync>,
}

// SAFETY: the pointer is an address that the keeper, which is both, keeps mapped; who may touch which bytes is the protocols' business.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `bytes` of a file, which are at least a page.
    pub(crate) fn of_file(file: &OwnedFd, bytes: u64) -> Result<Self, Error> {
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        let map = MmapOptions::new().len(length).map_raw(file);
        let map = map.map_err(|e| memory::unmapped("mmap", bytes, e))?;
        // A mapping is never at address zero; `dangling` would be caught by the first access, not by luck.
        let base = NonNull::new(map.as_mut_ptr()).unwrap_or(NonNull::dangling());
        // SAFETY: as long as `map` lives, `bytes` bytes are mapped at `base`, page aligned.
        Ok(unsafe { Mapping::new(base, bytes, Box::new(map)) })
    }

    /// Memory that somebody else mapped.
    ///
    /// # Safety
    /// `base` is page aligned, and `bytes` bytes, at least a page, are mapped there for reading and writing as long as `keeper` lives.
    pub(crate) unsafe fn new(base: NonNull<u8>, bytes: u64, keeper: Box<dyn Send + Sync>) -> Self {
        Mapping { base, bytes, _keeper: keeper }
    }

    /// The first byte.
    #[inline]
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A copy of the header page, as it was when its magic number was written or later.
    pub(crate) fn header(&self) -> [u8; HEADER_BYTES] {
        // SAFETY: the mapping is at least a page long and page aligned.
        let magic = unsafe { self.base.cast::<AtomicU64>().as_ref() };
        let magic = magic.load(Acquire); // pairs with the store in `write_new`
        // SAFETY: as above; `[u8; N]` has no invalid values.
        let mut page = unsafe { self.base.cast::<[u8; HEADER_BYTES]>().read_volatile() };
        // The magic number that the load has seen counts, not one that came between it and the copy.
        page[..8].copy_from_slice(&magic.to_ne_bytes());
        page
    }

    /// Writes the first contents of a zeroed region of `geometry.total` bytes that nobody else uses yet: the magic number last, so that
    /// whoever finds it, in memory that others have mapped already, finds a whole segment.
    pub(crate) fn write_new(
        &self,
        blueprint: &Blueprint,
        geometry: &Geometry,
        init: impl FnOnce(NonNull<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // SAFETY: the body lies within the `total` bytes of the mapping.
        init(unsafe { self.base.byte_add(geometry.body as usize) })?;
        let mut page = blueprint.header(geometry);
        let magic = take_magic(&mut page);
        // SAFETY: the mapping is at least a page long and page aligned; nobody else writes to it.
        unsafe { self.base.cast().write_volatile(page) };
        // SAFETY: as above.
        unsafe { self.base.cast::<AtomicU64>().as_ref() }.store(magic, Release); // pairs with the load in `header`
        Ok(())
    }
}

//! Memory of an arena that its owner lends to other processes for the time of a call, without giving it up: the owner keeps the handle, borrowed, and tells where the
//! memory lies.

use super::handle::Arena;
use std::ptr::NonNull;

impl Arena {
    /// How far behind the arena's first granule a slice begins, in bytes; `None`: it does not lie in this mapping of it.
    #[doc(hidden)]
    pub fn offset_of<T>(&self, slice: *const [T]) -> Option<u64> {
        let bytes = slice.len().checked_mul(size_of::<T>())?;
        if bytes == 0 {
            return Some(0);
        }
        // Exposed, since others will write there while the caller has it borrowed.
        let place = slice.cast::<u8>().expose_provenance();
        let offset = place.checked_sub(self.core().address(0).as_ptr().addr())? as u64;
        self.is_within(offset, bytes).then_some(offset)
    }

    /// The memory at an offset; `None`: so many bytes are not there, or not so aligned.
    #[doc(hidden)]
    pub fn memory_at(&self, offset: u64, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        if !self.is_within(offset, bytes) || !offset.is_multiple_of(align as u64) {
            return None;
        }
        // SAFETY: within the memory that exists, as just checked.
        Some(unsafe { self.core().address(0).byte_add(usize::try_from(offset).ok()?) })
    }

    fn is_within(&self, offset: u64, bytes: usize) -> bool {
        offset.checked_add(bytes as u64).is_some_and(|end| end <= self.size())
    }

    /// Whether this process is the one that made or opened the handle.
    #[doc(hidden)]
    #[inline]
    pub fn is_own(&self) -> bool {
        self.core().is_own()
    }
}

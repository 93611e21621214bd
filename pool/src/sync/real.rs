//! The machine's own atomics, memory and locks, and ipc's rings and arenas.

pub(crate) use skep_ipc::{Arena, Freight, GetError, PutError, SimpleQueue, Taken};
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, OnceLock};

use std::cell::UnsafeCell;
use std::marker::PhantomData;

/// Bytes of a record, which its state word gives to one process at a time (R1). No reference is
/// made to them.
#[repr(transparent)]
pub(crate) struct Bytes<const N: usize>(UnsafeCell<[u8; N]>);

impl<const N: usize> Bytes<N> {
    #[inline]
    pub(crate) fn span(&self) -> Span<'_> {
        Span { start: self.0.get().cast(), length: N, bytes: PhantomData }
    }
}

/// A row of bytes.
#[derive(Clone, Copy)]
pub(crate) struct Span<'a> {
    start: *mut u8,
    length: usize,
    bytes: PhantomData<&'a UnsafeCell<[u8]>>,
}

impl Span<'_> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Copies `bytes` to `at`.
    ///
    /// # Safety
    /// They lie within, and are this process's to write.
    #[inline]
    pub(crate) unsafe fn write(&self, at: usize, bytes: &[u8]) {
        debug_assert!(at + bytes.len() <= self.length);
        // SAFETY: within, and the caller's.
        unsafe { self.start.add(at).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    /// Fills `into` with the bytes at `at`.
    ///
    /// # Safety
    /// They lie within, and nobody writes them now.
    #[inline]
    pub(crate) unsafe fn read(&self, at: usize, into: &mut [u8]) {
        debug_assert!(at + into.len() <= self.length);
        // SAFETY: within, and not written.
        unsafe { into.as_mut_ptr().copy_from_nonoverlapping(self.start.add(at), into.len()) };
    }
}

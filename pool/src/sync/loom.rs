//! Loom's model of a machine, by ipc's shim, and what stands in for ipc's rings and arenas.

pub(crate) use crate::model::arena::{Arena, Freight, Lading, Taken};
pub(crate) use crate::model::ring::{GetError, PutError, SimpleQueue};
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
pub(crate) use skep_ipc::model::{AtomicU32, AtomicU64};

use loom::cell::UnsafeCell;
use skep_ipc::model::step;
use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Release};

/// A flag.
pub(crate) struct AtomicBool(AtomicU32);

impl AtomicBool {
    pub(crate) fn new(value: bool) -> Self {
        AtomicBool(AtomicU32::new(value.into()))
    }

    pub(crate) fn load(&self, order: Ordering) -> bool {
        self.0.load(order) != 0
    }

    pub(crate) fn store(&self, value: bool, order: Ordering) {
        self.0.store(value.into(), order);
    }
}

/// Bytes of a record. Each is a cell of loom's, which checks that the protocol keeps accesses apart.
pub(crate) struct Bytes<const N: usize>([UnsafeCell<u8>; N]);

impl<const N: usize> Bytes<N> {
    pub(crate) fn new() -> Self {
        Bytes(std::array::from_fn(|_| UnsafeCell::new(0)))
    }

    pub(crate) fn span(&self) -> Span<'_> {
        Span(&self.0)
    }
}

/// A row of bytes. A process may be killed before it copies them, and in the middle.
#[derive(Clone, Copy)]
pub(crate) struct Span<'a>(&'a [UnsafeCell<u8>]);

impl Span<'_> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// See the twin.
    ///
    /// # Safety
    /// Loom checks it.
    pub(crate) unsafe fn write(&self, at: usize, bytes: &[u8]) {
        let (first, second) = bytes.split_at(bytes.len().div_ceil(2));
        for (at, half) in [(at, first), (at + first.len(), second)] {
            if half.is_empty() || !step() {
                continue;
            }
            for (cell, byte) in self.0[at..].iter().zip(half) {
                // SAFETY: loom checks that nothing else touches the cell at the same time.
                cell.with_mut(|p| unsafe { *p = *byte });
            }
        }
    }

    /// See the twin.
    ///
    /// # Safety
    /// Loom checks it.
    pub(crate) unsafe fn read(&self, at: usize, into: &mut [u8]) {
        if into.is_empty() || !step() {
            return;
        }
        for (cell, byte) in self.0[at..].iter().zip(into) {
            // SAFETY: loom checks that no write happens at the same time.
            *byte = cell.with(|p| unsafe { *p });
        }
    }
}

/// A cell that is set once. Whoever sees it set sees what it is set to, as with the machine's.
pub(crate) struct OnceLock<T> {
    state: AtomicU32,
    value: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        OnceLock { state: AtomicU32::new(0), value: std::sync::OnceLock::new() }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        if self.state.load(Acquire) == 2 { self.value.get() } else { None }
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        if self.state.compare_exchange(0, 1, AcqRel, Acquire).is_err() {
            return Err(value);
        }
        let set = self.value.set(value);
        self.state.store(2, Release);
        set
    }
}

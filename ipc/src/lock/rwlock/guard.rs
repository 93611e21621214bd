//! The guards of a [`RwLock`], and what to do with one that comes after a death. Steps and invariants are those of `protocol.rs`.

use super::handle::RwLock;
use crate::error::LockError;
use bytemuck::Pod;
use std::convert::Infallible;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// The right to read the value of a [`RwLock`], until it is dropped.
///
/// In a child that `fork()` copied it into, it holds nothing: the child must not use it, and dropping it there does nothing.
///
/// ```compile_fail
/// fn sent<T: Send>() {}
/// sent::<skep_ipc::RwLockReadGuard<u64>>();
/// ```
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct RwLockReadGuard<'a, T: Pod> {
    lock: &'a RwLock<T>,
}

/// The right to read and write the value of a [`RwLock`], until it is dropped.
///
/// In a child that `fork()` copied it into, it holds nothing: the child must not use it, and dropping it there does nothing.
///
/// ```compile_fail
/// fn sent<T: Send>() {}
/// sent::<skep_ipc::RwLockWriteGuard<u64>>();
/// ```
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct RwLockWriteGuard<'a, T: Pod> {
    lock: &'a RwLock<T>,
    /// Whether the thread was panicking already when it locked.
    panicking: bool,
}

// SAFETY: a shared guard gives nothing but `&T` and a look at an atomic.
unsafe impl<T: Pod + Sync> Sync for RwLockReadGuard<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Pod + Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<'a, T: Pod> RwLockReadGuard<'a, T> {
    /// The guard of a read lock that this handle has just taken.
    #[inline]
    pub(super) fn new(lock: &'a RwLock<T>) -> Self {
        RwLockReadGuard { lock }
    }

    /// Whether a writer died, and nobody has [marked](RwLockWriteGuard::mark_consistent) the value since.
    #[inline]
    pub fn is_suspect(&self) -> bool {
        self.lock.lock().is_suspect()
    }
}

impl<'a, T: Pod> RwLockWriteGuard<'a, T> {
    /// The guard of a write lock that this handle has just taken.
    #[inline]
    pub(super) fn new(lock: &'a RwLock<T>) -> Self {
        RwLockWriteGuard { lock, panicking: std::thread::panicking() }
    }

    /// Says that the value is in order again after [`LockError::OwnerDied`]: later locks are ordinary ones.
    pub fn mark_consistent(&mut self) {
        if self.lock.is_own() {
            self.lock.lock().mark_consistent(); // M1
        }
    }

    /// Whether a writer died, and nobody has [marked](Self::mark_consistent) the value since.
    #[inline]
    pub fn is_suspect(&self) -> bool {
        self.lock.lock().is_suspect()
    }
}

impl<'a, T: Pod> LockError<RwLockWriteGuard<'a, T>> {
    /// The guard after a death, once `repair` has brought the value in order and it is marked so; any other error as it is.
    ///
    /// # Errors
    /// All but [`OwnerDied`](Self::OwnerDied), without a guard in them, so that they can be passed up.
    pub fn recover(
        self,
        repair: impl FnOnce(&mut T),
    ) -> Result<RwLockWriteGuard<'a, T>, LockError<Infallible>> {
        let mut guard = self.into_guard()?;
        repair(&mut guard);
        guard.mark_consistent();
        Ok(guard)
    }
}

impl<T: Pod> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: invariant 2: nobody writes while this participant reads; any bytes are a valid `T: Pod`.
        unsafe { self.lock.value().as_ref() }
    }
}

impl<T: Pod> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: invariants 1 and 2: this participant alone reads or writes; any bytes are a valid `T: Pod`.
        unsafe { self.lock.value().as_ref() }
    }
}

impl<T: Pod> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; the guard is borrowed mutably.
        unsafe { self.lock.value().as_mut() }
    }
}

impl<T: Pod> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.lock.is_own() {
            self.lock.lock().release_read(); // R5, R6
        }
    }
}

impl<T: Pod> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.lock.is_own() {
            self.lock.lock().release_write(std::thread::panicking() && !self.panicking); // W5, W6
        }
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

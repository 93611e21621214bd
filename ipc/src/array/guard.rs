//! The guard of an [`Array`]. Steps and invariants are those of `lock/robust.rs`.

use super::array::Array;
use crate::error::LockError;
use bytemuck::Pod;
use std::convert::Infallible;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// The right to the items of an [`Array`], until it is dropped: a slice of them.
///
/// It stays in the thread that locked. In a child that `fork()` copied it into, it holds nothing: the child must not use it, and dropping it
/// there does nothing.
///
/// ```compile_fail
/// fn sent<T: Send>() {}
/// sent::<skep_ipc::ArrayGuard<u64>>();
/// ```
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct ArrayGuard<'a, T: Pod> {
    array: &'a Array<T>,
    /// Whether the thread was panicking already when it locked.
    panicking: bool,
    _not_send: PhantomData<*mut ()>,
}

// SAFETY: a shared guard gives nothing but `&[T]`.
unsafe impl<T: Pod + Sync> Sync for ArrayGuard<'_, T> {}

impl<'a, T: Pod> ArrayGuard<'a, T> {
    /// The guard of a lock that this thread has just taken.
    #[inline]
    pub(super) fn new(array: &'a Array<T>) -> Self {
        ArrayGuard { array, panicking: std::thread::panicking(), _not_send: PhantomData }
    }

    /// Says that the items are in order again after [`LockError::OwnerDied`]: later locks are ordinary ones.
    pub fn mark_consistent(&mut self) {
        self.array.0.mark_consistent(); // M1
    }

    /// Whether a holder died, and nobody has [marked](Self::mark_consistent) the items since.
    #[inline]
    pub fn is_suspect(&self) -> bool {
        self.array.0.is_suspect()
    }
}

impl<'a, T: Pod> LockError<ArrayGuard<'a, T>> {
    /// The guard after a death, once `repair` has brought the items in order and they are marked so; any other error as it is.
    ///
    /// ```
    /// let array = skep_ipc::Array::from_slice(&[7_u64; 2])?;
    /// let pair = array.lock().or_else(|e| e.recover(|pair| pair[1] = pair[0]))?;
    /// assert_eq!(pair[0], pair[1]);
    /// # drop(pair);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// All but [`OwnerDied`](Self::OwnerDied), without a guard in them, so that they can be passed up.
    pub fn recover(self, repair: impl FnOnce(&mut [T])) -> Result<ArrayGuard<'a, T>, LockError<Infallible>> {
        let mut guard = self.into_guard()?;
        repair(&mut guard);
        guard.mark_consistent();
        Ok(guard)
    }
}

impl<T: Pod> Deref for ArrayGuard<'_, T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the lock grants the bytes to this thread; any bytes are a valid `T: Pod`.
        unsafe { self.array.0.contents().as_ref() }
    }
}

impl<T: Pod> DerefMut for ArrayGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; the guard is borrowed mutably.
        unsafe { self.array.0.contents().as_mut() }
    }
}

impl<T: Pod> Drop for ArrayGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.array.0.release(std::thread::panicking() && !self.panicking); // D1, D2
    }
}

impl<T: Pod + std::fmt::Debug> std::fmt::Debug for ArrayGuard<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

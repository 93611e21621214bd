//! `Array`: a row of values in shared memory that one thread at a time holds. States, steps and invariants are those of `lock/robust.rs`.

use super::guard::ArrayGuard;
use super::range::{AccessError, within};
use crate::error::{Error, LockError};
use crate::header::Kind;
use crate::lock::{Lock, Relock, Robust};
use crate::segment::{Segment, agree, open_or_create};
use crate::wait::Until;
use bytemuck::Pod;
use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The lock of an [`Array`].
pub(super) struct OfRow;

impl Lock for OfRow {
    const KIND: Kind = Kind::new(*b"array\0\0\0");
    const RELOCK: Relock = Relock::Refuse;
}

/// A fixed number of values in shared memory with one lock, like Python's `multiprocessing.Array`.
///
/// It is to a row of values what a [`Mutex`](crate::Mutex) is to one, except that its length is told when it is made, and taken from the segment
/// when it is opened. The handle is shared by the threads of a process; another process opens the array by name, or by a descriptor that was passed to it.
/// [`lock`](Self::lock) gives a slice; [`get`](Self::get), [`set`](Self::set), [`copy_to`](Self::copy_to) and [`copy_from`](Self::copy_from) take
/// the lock for as long as they need it. A lock that is free is taken and released without a system call.
///
/// Where each item is a number of its own, an [`AtomicArray`](crate::AtomicArray) needs no lock; where processes agree by other means who writes
/// when, a [`RawArray`](crate::RawArray) has none.
///
/// # When a holder dies
/// killed, crashed or ended, the lock goes to the next one who asks or waits for it, with the items as the dead left them:
/// [`lock`](Self::lock) gives [`LockError::OwnerDied`], and the guard in it, until somebody calls
/// [`mark_consistent`](ArrayGuard::mark_consistent). A panic that unwinds through a guard counts as a death. A holder that is *stopped* is alive, and
/// keeps the lock.
///
/// # What the processes have to keep to
/// is what a [`Mutex`](crate::Mutex) asks of them.
///
/// ```
/// use skep_ipc::Array;
/// let histogram = Array::<u64>::new(256)?; // zeroes
/// std::thread::scope(|threads| {
///     for text in [&b"hello"[..], b"world"] {
///         let histogram = &histogram;
///         threads.spawn(move || {
///             let mut counts = histogram.lock().expect("nobody dies");
///             text.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
///         });
///     }
/// });
/// assert_eq!(histogram.get(usize::from(b'l'))?, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The items are of plain bytes:
/// ```compile_fail
/// skep_ipc::Array::from_slice(&[String::new()]);
/// ```
pub struct Array<T: Pod>(pub(super) Robust<[T], OfRow>);

impl<T: Pod> Array<T> {
    // --- create and open -----------------------------------------------------------------------------------------

    /// Makes an anonymous array of `len` zeroes, which lives as long as somebody has it.
    ///
    /// # Errors
    /// [`Error::Capacity`] (zero, or too large), [`Error::NoMemory`], [`Error::Os`].
    pub fn new(len: usize) -> Result<Self, Error> {
        Robust::build_anonymous(len as u64, |_| {}).map(Array)
    }

    /// Makes an anonymous array of these items.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_slice(items: &[T]) -> Result<Self, Error> {
        Robust::build_anonymous(items.len() as u64, |all: &mut [T]| all.copy_from_slice(items)).map(Array)
    }

    /// Makes a named array of `len` zeroes, which stays until it is [unlinked](Self::unlink).
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Name`], and as [`new`](Self::new).
    pub fn create(name: &str, len: usize) -> Result<Self, Error> {
        Robust::build_named(name, len as u64, |_| {}).map(Array)
    }

    /// Makes a named array of these items: whoever opens it finds them all.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_from_slice(name: &str, items: &[T]) -> Result<Self, Error> {
        Robust::build_named(name, items.len() as u64, |all: &mut [T]| all.copy_from_slice(items)).map(Array)
    }

    /// Opens the array of that name, with as many items as it was made with.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Name`], [`Error::Mismatch`] (it holds something else), [`Error::Os`].
    pub fn open(name: &str) -> Result<Self, Error> {
        Robust::open(name).map(Array)
    }

    /// Opens the array of that name, or makes it with `len` zeroes if there is none.
    ///
    /// # Errors
    /// [`Mismatch::Option`] if there is one of another length: [`open`](Self::open) takes it as it is.
    /// Other errors are those of [`create`](Self::create) and [`open`](Self::open).
    ///
    /// [`Mismatch::Option`]: crate::Mismatch::Option
    pub fn open_or_create(name: &str, len: usize) -> Result<Self, Error> {
        let open = || {
            let array = Self::open(name)?;
            agree("length", array.len() as u64, len as u64)?;
            Ok(array)
        };
        open_or_create(open, || Self::create(name, len))
    }

    /// Opens the array behind a descriptor that another process passed on ([`AsFd`]).
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::Os`].
    pub fn from_fd(file: OwnedFd) -> Result<Self, Error> {
        Robust::from_fd(file).map(Array)
    }

    /// Removes an array's name. Whoever has it open goes on; the memory is freed with the last of them.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Name`], [`Error::Os`].
    pub fn unlink(name: &str) -> Result<(), Error> {
        Segment::unlink(name)
    }

    /// Makes another handle.
    ///
    /// # Errors
    /// [`Error::Forked`], [`Error::Os`].
    pub fn try_clone(&self) -> Result<Self, Error> {
        self.0.another().map(Array)
    }

    /// How many items it has: at least one.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.0.contents().len()
    }

    // --- lock ----------------------------------------------------------------------------------------------------

    /// Takes the lock, as soon as it is free or its holder dies.
    ///
    /// # Errors
    /// [`LockError::OwnerDied`] with the guard; without it [`LockError::WouldDeadlock`], [`LockError::Unrecoverable`],
    /// [`LockError::Forked`], [`LockError::Corrupt`].
    #[inline]
    pub fn lock(&self) -> Result<ArrayGuard<'_, T>, LockError<ArrayGuard<'_, T>>> {
        self.guard(self.0.lock(|| Until::Forever))
    }

    /// Takes the lock if it is free, or its holder is dead.
    ///
    /// # Errors
    /// [`LockError::WouldBlock`], and as [`lock`](Self::lock).
    #[inline]
    pub fn try_lock(&self) -> Result<ArrayGuard<'_, T>, LockError<ArrayGuard<'_, T>>> {
        self.guard(self.0.try_lock())
    }

    /// Takes the lock, if it gets free or its holder dies before `timeout` is over.
    ///
    /// # Errors
    /// [`LockError::Timeout`], and as [`lock`](Self::lock).
    pub fn lock_timeout(&self, timeout: Duration) -> Result<ArrayGuard<'_, T>, LockError<ArrayGuard<'_, T>>> {
        self.guard(self.0.lock(|| Until::after(timeout)))
    }

    /// L4.
    #[inline]
    fn guard(
        &self,
        locked: Result<(), LockError<Infallible>>,
    ) -> Result<ArrayGuard<'_, T>, LockError<ArrayGuard<'_, T>>> {
        locked.map_err(LockError::of_another_guard)?;
        let guard = ArrayGuard::new(self);
        if guard.is_suspect() { Err(LockError::OwnerDied(guard)) } else { Ok(guard) }
    }

    // --- one step under the lock ---------------------------------------------------------------------------------

    /// A copy of one item.
    ///
    /// # Errors
    /// [`AccessError::OutOfRange`]; [`AccessError::Lock`] as [`lock`](Self::lock) refuses, also if a holder died and nobody has brought the items in
    /// order since.
    pub fn get(&self, index: usize) -> Result<T, AccessError> {
        let mut item = T::zeroed();
        self.copy_to(index, std::slice::from_mut(&mut item))?;
        Ok(item)
    }

    /// Replaces one item.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn set(&self, index: usize, item: T) -> Result<(), AccessError> {
        self.copy_from(index, &[item])
    }

    /// Copies the items from number `start` on out, as many as there is room for in `to`.
    ///
    /// # Errors
    /// As [`get`](Self::get), also if only some of the items are out of range; `to` is as it was then.
    pub fn copy_to(&self, start: usize, to: &mut [T]) -> Result<(), AccessError> {
        let range = within(self.len(), start, to.len())?;
        to.copy_from_slice(&self.locked()?[range]);
        Ok(())
    }

    /// Replaces the items from number `start` on with those of `from`.
    ///
    /// # Errors
    /// As [`get`](Self::get), also if only some of the items are out of range; the array is as it was then.
    pub fn copy_from(&self, start: usize, from: &[T]) -> Result<(), AccessError> {
        let range = within(self.len(), start, from.len())?;
        self.locked()?[range].copy_from_slice(from);
        Ok(())
    }

    fn locked(&self) -> Result<ArrayGuard<'_, T>, LockError<()>> {
        self.lock().map_err(|error| error.map(drop))
    }
}

impl<T: Pod> AsFd for Array<T> {
    /// The descriptor to pass to another process, which opens the array with [`from_fd`](Array::from_fd).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.segment().as_fd()
    }
}

impl<T: Pod> std::fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (len, suspect) = (self.len(), self.0.is_suspect());
        f.debug_struct("Array").field("len", &len).field("suspect", &suspect).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C, align(256))]
    #[derive(Debug, Clone, Copy)]
    struct Wide([u64; 32]);
    // SAFETY: an array of integers without padding.
    unsafe impl bytemuck::Zeroable for Wide {}
    // SAFETY: as above.
    unsafe impl Pod for Wide {}

    /// More than the control words ask for.
    #[test]
    fn items_are_aligned_as_their_type_asks() {
        let array = Array::from_slice(&[Wide([5; 32]); 3]).unwrap();
        let guard = array.lock().unwrap();
        assert!(guard.iter().all(|item| (&raw const *item).addr() % 256 == 0 && item.0 == [5; 32]));
    }
}

//! `RLock`: a value in shared memory whose holder may lock again. States, steps and invariants are those of `robust.rs`.
//!
//! How often the holder has locked stands in the C library's words. An inner guard's drop counts down, the last one's is D2. A holder that dies leaves
//! `OWNER_DIED` whatever the count was, and the next one starts with one.

use super::pthread::Relock;
use super::robust::{Lock, Robust};
use crate::error::{Error, LockError};
use crate::header::{Item, Kind};
use crate::part::{Part, Place, Seat};
use crate::segment::Segment;
use crate::wait::Until;
use bytemuck::Pod;
use std::convert::Infallible;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// The lock of an [`RLock`].
pub(super) struct Counting;

impl Lock for Counting {
    const KIND: Kind = Kind::new(*b"rlock\0\0\0");
    const RELOCK: Relock = Relock::Count;
}

/// A value in shared memory that one thread of one process holds at a time, and may lock again while it does, like Python's
/// `multiprocessing.RLock`.
///
/// It is a [`Mutex`](crate::Mutex) but for that: the handle is shared by the threads of a process, other processes open it by name or by
/// descriptor, and it can be a field of a [struct](crate::shared_struct). The lock is free when the last of the holder's guards is dropped. As
/// several guards of one thread may exist, none of them lends the value: they copy it out and in.
///
/// # When a holder dies
/// killed, crashed or ended, however often it had locked, the lock goes to the next one, with the value as the dead left it:
/// [`lock`](Self::lock) gives [`LockError::OwnerDied`], and the guard in it, until somebody calls [`mark_consistent`](RLockGuard::mark_consistent).
/// A panic that unwinds through a guard counts as a death. A holder that is *stopped* is alive, and keeps the lock.
///
/// # What the processes have to keep to
/// is what a [`Mutex`](crate::Mutex) asks of them.
///
/// ```
/// use skep_ipc::{LockError, RLock};
/// let balance = RLock::new(10_i64)?;
/// let withdraw = |amount| -> Result<i64, LockError<_>> {
///     let guard = balance.lock()?;
///     guard.update(|balance| *balance -= amount);
///     Ok(guard.get())
/// };
/// let guard = balance.lock().expect("nobody dies");
/// if guard.get() >= 3 {
///     assert_eq!(withdraw(3).expect("the same thread may lock again"), 7);
/// }
/// # drop(guard);
/// # Ok::<(), skep_ipc::Error>(())
/// ```
pub struct RLock<T: Pod>(Robust<T, Counting>);

impl<T: Pod> RLock<T> {
    // --- create and open -----------------------------------------------------------------------------------------

    /// Makes an anonymous lock, which lives as long as somebody has it.
    ///
    /// # Errors
    /// [`Error::NoMemory`], [`Error::Os`].
    pub fn new(value: T) -> Result<Self, Error> {
        Robust::anonymous(value).map(RLock)
    }

    /// Makes a named lock, which stays until it is [unlinked](Self::unlink).
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Name`], and as [`new`](Self::new).
    pub fn create(name: &str, value: T) -> Result<Self, Error> {
        Robust::create(name, value).map(RLock)
    }

    /// Opens the lock of that name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Name`], [`Error::Mismatch`] (it holds something else), [`Error::Os`].
    pub fn open(name: &str) -> Result<Self, Error> {
        Robust::open(name).map(RLock)
    }

    /// Opens the lock of that name, or makes it with this value if there is none.
    ///
    /// `value` is what a new one starts with: one that exists keeps its own.
    ///
    /// # Errors
    /// As [`create`](Self::create) and [`open`](Self::open).
    pub fn open_or_create(name: &str, value: T) -> Result<Self, Error> {
        Robust::open_or_create(name, value).map(RLock)
    }

    /// Opens the lock behind a descriptor that another process passed on ([`AsFd`]).
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::Os`].
    pub fn from_fd(file: OwnedFd) -> Result<Self, Error> {
        Robust::from_fd(file).map(RLock)
    }

    /// Removes a lock's name. Whoever has it open goes on; the memory is freed with the last of them.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Name`], [`Error::Os`].
    pub fn unlink(name: &str) -> Result<(), Error> {
        Segment::unlink(name)
    }

    // --- lock ----------------------------------------------------------------------------------------------------

    /// Takes the lock, as soon as it is free or its holder dies; at once, if this thread has it.
    ///
    /// # Errors
    /// [`LockError::OwnerDied`] with the guard; without it [`LockError::Unrecoverable`], [`LockError::Forked`], [`LockError::Corrupt`].
    #[inline]
    pub fn lock(&self) -> Result<RLockGuard<'_, T>, LockError<RLockGuard<'_, T>>> {
        self.guard(self.0.lock(|| Until::Forever))
    }

    /// Takes the lock if it is free, this thread has it, or its holder is dead.
    ///
    /// # Errors
    /// [`LockError::WouldBlock`], and as [`lock`](Self::lock).
    #[inline]
    pub fn try_lock(&self) -> Result<RLockGuard<'_, T>, LockError<RLockGuard<'_, T>>> {
        self.guard(self.0.try_lock())
    }

    /// Takes the lock, if it gets free or its holder dies before `timeout` is over; at once, if this thread has it.
    ///
    /// # Errors
    /// [`LockError::Timeout`], and as [`lock`](Self::lock).
    pub fn lock_timeout(&self, timeout: Duration) -> Result<RLockGuard<'_, T>, LockError<RLockGuard<'_, T>>> {
        self.guard(self.0.lock(|| Until::after(timeout)))
    }

    /// L4.
    #[inline]
    fn guard(
        &self,
        locked: Result<(), LockError<Infallible>>,
    ) -> Result<RLockGuard<'_, T>, LockError<RLockGuard<'_, T>>> {
        locked.map_err(LockError::of_another_guard)?;
        let guard = RLockGuard { lock: self, panicking: std::thread::panicking(), _not_send: PhantomData };
        if guard.is_suspect() { Err(LockError::OwnerDied(guard)) } else { Ok(guard) }
    }
}

/// The right to the value of an [`RLock`], until it is dropped.
///
/// It stays in the thread that locked, which may have several. In a child that `fork()` copied it into, it holds nothing, as a
/// [`MutexGuard`](crate::MutexGuard) there.
///
/// ```compile_fail
/// fn sent<T: Send>() {}
/// sent::<skep_ipc::RLockGuard<u64>>();
/// ```
/// ```compile_fail
/// fn shared<T: Sync>() {}
/// shared::<skep_ipc::RLockGuard<u64>>();
/// ```
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct RLockGuard<'a, T: Pod> {
    lock: &'a RLock<T>,
    /// Whether the thread was panicking already when it locked.
    panicking: bool,
    /// Another thread with this guard would write beside the holder.
    _not_send: PhantomData<*mut ()>,
}

impl<T: Pod> RLockGuard<'_, T> {
    /// A copy of the value.
    #[inline]
    pub fn get(&self) -> T {
        // SAFETY: the lock grants the bytes to this thread, which lends them to nobody; any bytes are a valid `T: Pod`.
        unsafe { self.lock.0.contents().read() }
    }

    /// Replaces the value.
    #[inline]
    pub fn set(&self, value: T) {
        // SAFETY: as in `get`.
        unsafe { self.lock.0.contents().write(value) }
    }

    /// Has `change` work on a copy of the value, and puts that in its place. What `change` does to the value by another guard is replaced.
    ///
    /// Whoever dies in `change` leaves the value as it was.
    #[inline]
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut value = self.get();
        let result = change(&mut value);
        self.set(value);
        result
    }

    /// Says that the value is in order again after [`LockError::OwnerDied`]: later locks are ordinary ones.
    pub fn mark_consistent(&self) {
        self.lock.0.mark_consistent(); // M1
    }

    /// Whether a holder died, and nobody has [marked](Self::mark_consistent) the value since.
    #[inline]
    pub fn is_suspect(&self) -> bool {
        self.lock.0.is_suspect()
    }
}

impl<T: Pod> Drop for RLockGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.0.release(std::thread::panicking() && !self.panicking); // D1, D2
    }
}

impl<T: Pod + std::fmt::Debug> std::fmt::Debug for RLockGuard<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

// SAFETY: the same values are taken from a place each time, and the item names their type.
unsafe impl<T: Pod> Part for RLock<T> {
    type Setup = T;
    const KIND: Kind = Counting::KIND;

    fn item() -> Item {
        Item::of::<T>()
    }

    fn bytes(_peers: usize) -> usize {
        Robust::<T, Counting>::bytes()
    }

    fn init(place: &mut Place, value: T) -> Result<(), Error> {
        Robust::<T, Counting>::init_at(place, value)
    }

    fn attach(place: &mut Place, seat: &Arc<Seat>) -> Result<Self, Error> {
        Robust::attach(place, seat).map(RLock)
    }

    fn mend(place: &mut Place, _peer: usize) {
        Robust::<T, Counting>::skip(place);
    }

    fn seat(&self) -> &Arc<Seat> {
        self.0.seat()
    }

    // Those of the lock itself: with fewer bytes, and no participants.

    fn anonymous(value: T) -> Result<Self, Error> {
        RLock::new(value)
    }

    fn create(name: &str, value: T) -> Result<Self, Error> {
        RLock::create(name, value)
    }

    fn open(name: &str) -> Result<Self, Error> {
        RLock::open(name)
    }

    fn from_fd(file: OwnedFd) -> Result<Self, Error> {
        RLock::from_fd(file)
    }

    fn try_clone(&self) -> Result<Self, Error> {
        self.0.try_clone().map_or_else(|| self.seat().another(), |clone| clone.map(RLock))
    }
}

impl<T: Pod> AsFd for RLock<T> {
    /// The descriptor to pass to another process, which opens the lock with [`from_fd`](RLock::from_fd).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.segment().as_fd()
    }
}

impl<T: Pod> std::fmt::Debug for RLock<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RLock").field("suspect", &self.0.is_suspect()).finish_non_exhaustive()
    }
}

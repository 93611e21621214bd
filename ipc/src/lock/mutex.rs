//! `Mutex`: a value in shared memory that one thread at a time holds. States, steps and invariants are those of `robust.rs`; the guard is in
//! `guard.rs`.

use super::guard::MutexGuard;
use super::pthread::Relock;
use super::robust::{Lock, Robust};
use crate::error::{Error, LockError};
use crate::header::{Item, Kind};
use crate::part::{Part, Place, Seat};
use crate::segment::Segment;
use crate::wait::Until;
use bytemuck::Pod;
use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// The lock of a [`Mutex`].
pub(super) struct Checking;

impl Lock for Checking {
    const KIND: Kind = Kind::new(*b"mutex\0\0\0");
    const RELOCK: Relock = Relock::Refuse;
}

/// A value in shared memory that one thread of one process holds at a time.
///
/// The handle is shared by the threads of a process like a [`std::sync::Mutex`]; another process opens the lock by name, or by a descriptor
/// that was passed to it. A lock that is free is taken and released without a system call.
///
/// # When a holder dies
/// killed, crashed or ended, the lock goes to the next one who asks or waits for it, with the value as the dead left it:
/// [`lock`](Self::lock) gives [`LockError::OwnerDied`], and the guard in it. The new holder brings the value in order and says so by
/// [`mark_consistent`](MutexGuard::mark_consistent). As long as nobody has, every lock reports `OwnerDied`; the lock itself is as good as new
/// in any case. A panic that unwinds through a guard counts as a death. A holder that is *stopped* is alive, and keeps the lock.
///
/// # Blocking
/// [`lock`](Self::lock) waits as long as a living holder keeps the lock, [`lock_timeout`](Self::lock_timeout) no longer than it is told to.
///
/// # What the processes have to keep to
/// The value may only be touched under the lock; a process that writes to the memory by other ways can make another one read anything that
/// fits a `T`. The lock itself is the C library's, which follows addresses that it keeps in the shared memory: of all of skep's objects,
/// this one, an [`RLock`](crate::RLock), a [`Value`](crate::Value) and an [`Array`](crate::Array) trust the
/// processes that share them with their own memory's safety. The lock names its holder by thread id, so the processes must be in the pid
/// namespace of the one that made it; in another one it cannot be opened ([`PidNamespace`](crate::Mismatch::PidNamespace)).
///
/// ```
/// use skep_ipc::{LockError, Mutex};
/// let total = Mutex::new(0_u64)?;
/// std::thread::scope(|threads| {
///     for n in 1..=4 {
///         let total = &total;
///         threads.spawn(move || *total.lock().expect("nobody dies") += n);
///     }
/// });
/// let mut guard = match total.lock() {
///     Ok(guard) => guard,
///     Err(LockError::OwnerDied(mut guard)) => {
///         *guard = 0; // start again
///         guard.mark_consistent();
///         guard
///     }
///     Err(other) => panic!("{other}"),
/// };
/// *guard += 1;
/// assert_eq!(*guard, 11);
/// # drop(guard);
/// # Ok::<(), skep_ipc::Error>(())
/// ```
///
/// As a field of a [struct](crate::shared_struct) it starts with a value:
/// ```
/// use skep_ipc::{Event, Mutex, Part, shared_struct};
/// shared_struct! {
///     struct Job {
///         progress: Mutex<u64>,
///         done: Event,
///     }
/// }
/// let job = Job::anonymous((0, ()))?;
/// *job.progress.lock().expect("nobody dies") += 1;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The value is one of plain bytes:
/// ```compile_fail
/// skep_ipc::Mutex::new(String::new());
/// ```
pub struct Mutex<T: Pod>(pub(super) Robust<T, Checking>);

impl<T: Pod> Mutex<T> {
    // --- create and open -----------------------------------------------------------------------------------------

    /// Makes an anonymous mutex, which lives as long as somebody has it.
    ///
    /// # Errors
    /// [`Error::NoMemory`], [`Error::Os`].
    pub fn new(value: T) -> Result<Self, Error> {
        Robust::anonymous(value).map(Mutex)
    }

    /// Makes a named mutex, which stays until it is [unlinked](Self::unlink).
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Name`], and as [`new`](Self::new).
    pub fn create(name: &str, value: T) -> Result<Self, Error> {
        Robust::create(name, value).map(Mutex)
    }

    /// Opens the mutex of that name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Name`], [`Error::Mismatch`] (it holds something else), [`Error::Os`].
    pub fn open(name: &str) -> Result<Self, Error> {
        Robust::open(name).map(Mutex)
    }

    /// Opens the mutex of that name, or makes it with this value if there is none.
    ///
    /// `value` is what a new one starts with: one that exists keeps its own.
    ///
    /// # Errors
    /// As [`create`](Self::create) and [`open`](Self::open).
    pub fn open_or_create(name: &str, value: T) -> Result<Self, Error> {
        Robust::open_or_create(name, value).map(Mutex)
    }

    /// Opens the mutex behind a descriptor that another process passed on ([`AsFd`]).
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::Os`].
    pub fn from_fd(file: OwnedFd) -> Result<Self, Error> {
        Robust::from_fd(file).map(Mutex)
    }

    /// Removes a mutex's name. Whoever has it open goes on; the memory is freed with the last of them.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Name`], [`Error::Os`].
    pub fn unlink(name: &str) -> Result<(), Error> {
        Segment::unlink(name)
    }

    // --- lock ----------------------------------------------------------------------------------------------------

    /// Takes the lock, as soon as it is free or its holder dies.
    ///
    /// # Errors
    /// [`LockError::OwnerDied`] with the guard; without it [`LockError::WouldDeadlock`], [`LockError::Unrecoverable`],
    /// [`LockError::Forked`], [`LockError::Corrupt`].
    #[inline]
    pub fn lock(&self) -> Result<MutexGuard<'_, T>, LockError<MutexGuard<'_, T>>> {
        self.guard(self.0.lock(|| Until::Forever))
    }

    /// Takes the lock if it is free, or its holder is dead.
    ///
    /// # Errors
    /// [`LockError::WouldBlock`], and as [`lock`](Self::lock).
    #[inline]
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T>, LockError<MutexGuard<'_, T>>> {
        self.guard(self.0.try_lock())
    }

    /// Takes the lock, if it gets free or its holder dies before `timeout` is over.
    ///
    /// # Errors
    /// [`LockError::Timeout`], and as [`lock`](Self::lock).
    pub fn lock_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_, T>, LockError<MutexGuard<'_, T>>> {
        self.guard(self.0.lock(|| Until::after(timeout)))
    }

    /// Whether its holder has died, and nobody has locked it since.
    pub(super) fn is_a_dead_ones(&self) -> bool {
        self.0.control().raw.is_a_dead_ones()
    }

    /// L4.
    #[inline]
    fn guard(
        &self,
        locked: Result<(), LockError<Infallible>>,
    ) -> Result<MutexGuard<'_, T>, LockError<MutexGuard<'_, T>>> {
        locked.map_err(LockError::of_another_guard)?;
        let guard = MutexGuard::new(self);
        if guard.is_suspect() { Err(LockError::OwnerDied(guard)) } else { Ok(guard) }
    }
}

// SAFETY: the same values are taken from a place each time, and the item names their type.
unsafe impl<T: Pod> Part for Mutex<T> {
    type Setup = T;
    const KIND: Kind = Checking::KIND;

    fn item() -> Item {
        Item::of::<T>()
    }

    fn bytes(_peers: usize) -> usize {
        Robust::<T, Checking>::bytes()
    }

    fn init(place: &mut Place, value: T) -> Result<(), Error> {
        Robust::<T, Checking>::init_at(place, value)
    }

    fn attach(place: &mut Place, seat: &Arc<Seat>) -> Result<Self, Error> {
        Robust::attach(place, seat).map(Mutex)
    }

    fn mend(place: &mut Place, _peer: usize) {
        Robust::<T, Checking>::skip(place);
    }

    fn seat(&self) -> &Arc<Seat> {
        self.0.seat()
    }

    // Those of the lock itself: with fewer bytes, and no participants.

    fn anonymous(value: T) -> Result<Self, Error> {
        Mutex::new(value)
    }

    fn create(name: &str, value: T) -> Result<Self, Error> {
        Mutex::create(name, value)
    }

    fn open(name: &str) -> Result<Self, Error> {
        Mutex::open(name)
    }

    fn from_fd(file: OwnedFd) -> Result<Self, Error> {
        Mutex::from_fd(file)
    }

    fn try_clone(&self) -> Result<Self, Error> {
        self.0.try_clone().map_or_else(|| self.seat().another(), |clone| clone.map(Mutex))
    }
}

impl<T: Pod> AsFd for Mutex<T> {
    /// The descriptor to pass to another process, which opens the mutex with [`from_fd`](Mutex::from_fd).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.segment().as_fd()
    }
}

impl<T: Pod> std::fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mutex").field("suspect", &self.0.is_suspect()).finish_non_exhaustive()
    }
}

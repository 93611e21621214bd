//! `Mutex`: a value in shared memory and a robust lock around it. The guard is in `guard.rs`.
//!
//! The lock is the C library's (`pthread.rs`): the kernel knows who holds it, and passes it on when the holder ends. Its own way of telling
//! that is a trap: whoever gets the lock from a dead holder and unlocks it without a word makes it useless for everybody, for ever. So the
//! mutex is always made consistent at once, and that the *data* may not be in order stands in a word of our own, `suspect`, until somebody
//! says that they are.
//!
//! # States
//! | mutex | `suspect` | state | the next `lock` gives |
//! | --- | --- | --- | --- |
//! | free | 0 | in order | the guard |
//! | free | 1 | suspect: a holder died, and nobody has called `mark_consistent` since | `OwnerDied(guard)` |
//! | held by a living thread | any | that thread decides | waits |
//! | `OWNER_DIED` (written by the kernel) | any | the holder died just now | `OwnerDied(guard)`, after L2 and L3 |
//!
//! # Steps
//! | who | step | |
//! | --- | --- | --- |
//! | `lock` | L1 | lock the mutex: free, go to L4; held, wait; `OWNER_DIED`, go to L2 |
//! | | L2 | `suspect := 1` |
//! | | L3 | make the mutex consistent |
//! | | L4 | read `suspect`: 0, the guard; else `OwnerDied(guard)` |
//! | `mark_consistent` | M1 | `suspect := 0` |
//! | guard's drop | D1 | during a panic that began under the guard: `suspect := 1` |
//! | | D2 | unlock the mutex |
//!
//! # Invariants
//! 1. `suspect` is written by the holder of the mutex alone, so it needs no order of its own: lock and unlock give it.
//! 2. Between the death of a holder and the next M1, whoever gets the lock is told.
//! 3. A mutex that is used through this file alone is never unlocked inconsistent, so it never becomes unrecoverable.
//! 4. The memory stays mapped while a thread of this process holds the lock, or the C library has noted that it is about to: the guard borrows
//!    the `Mutex`, a `Mutex` whose guard was forgotten never unmaps (`held`), and no call returns with the note still there (`lock_for`).
//!
//! # A kill at each step
//! - in L1, before the lock is taken: nothing has happened. After: the kernel sees the mutex in the dead thread's list, or as the pending
//!   one, and writes `OWNER_DIED`; nothing in the data has changed, and the next holder is told nevertheless.
//! - after L1 with `OWNER_DIED`, before or after L2: the kernel writes `OWNER_DIED` again. The next one starts at L2.
//! - after L3, anywhere up to D2: likewise; `suspect` is 1 already.
//! - while the user writes to the data: `OWNER_DIED`, so L2. This is what invariant 2 is about.
//! - after M1: `OWNER_DIED`, and the next one sets `suspect` again: told once more than needed, never once less.
//! - in D2, before the word is released: `OWNER_DIED`, as before. After, before a waiter is woken: the kernel wakes one for the pending entry;
//!   besides, no waiter sleeps for longer than a slice without another attempt.
//!
//! A thread that ends with its guard forgotten, and a process whose first thread executes another program, count as dead holders: the kernel
//! treats them so. Another thread that executes a program takes the first one's id before the kernel looks: what it holds stays locked.

use super::guard::MutexGuard;
use super::pthread::{Attempt, RawMutex};
use crate::error::{Error, LockError, Mismatch};
use crate::header::{Blueprint, Item, Kind};
use crate::segment::{Segment, open_or_create};
use crate::sync::{AtomicU32, AtomicU64, Relaxed, spin_loop};
use crate::sys;
use crate::wait::{SLICE, Until};
use bytemuck::Pod;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// How often a lock that is held is tried before the thread sleeps, with a pause that doubles up to 64: some microseconds.
const TRIES: u32 = 10;

/// The words before the value, on a line of their own.
#[repr(C, align(64))]
pub(super) struct Control {
    pub(super) raw: RawMutex,
    /// Not zero: the data may not be in order. Changed under the lock alone.
    pub(super) suspect: AtomicU32,
    /// Where the thread ids in `raw` count; written once, before the segment is published.
    pid_namespace: AtomicU64,
}

const _: () = assert!(size_of::<Control>() == 64);

/// Where the value starts, counted from the control words.
pub(super) const fn value_offset<T>() -> usize {
    assert!(align_of::<T>() <= 4096, "a value in shared memory is aligned to a page at most");
    size_of::<Control>().next_multiple_of(align_of::<T>())
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
/// fits a `T`. The lock itself is the C library's, which follows addresses that it keeps in the shared memory: of all of skep's objects, a mutex alone
/// trusts the processes that share it with its own memory's safety. The lock names its holder by thread id, so the processes must be in the pid
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
/// The value is one of plain bytes:
/// ```compile_fail
/// skep_ipc::Mutex::new(String::new());
/// ```
pub struct Mutex<T: Pod> {
    /// Never unmapped while `held`: invariant 4.
    segment: ManuallyDrop<Segment>,
    /// Whether a guard of this handle exists, or was forgotten.
    held: AtomicBool,
    _value: PhantomData<T>,
}

// SAFETY: the value moves to the thread that locks, hence `T: Send`; everything else is a segment and an atomic.
unsafe impl<T: Pod + Send> Send for Mutex<T> {}
// SAFETY: as above; one thread at a time has access to the value.
unsafe impl<T: Pod + Send> Sync for Mutex<T> {}

impl<T: Pod> Mutex<T> {
    // --- create and open -----------------------------------------------------------------------------------------

    /// Makes an anonymous mutex, which lives as long as somebody has it.
    ///
    /// # Errors
    /// [`Error::NoMemory`], [`Error::Os`].
    pub fn new(value: T) -> Result<Self, Error> {
        Segment::build_anonymous(&blueprint::<T>(), 1, 1, |body| init(body, value)).map(Mutex::over)
    }

    /// Makes a named mutex, which stays until it is [unlinked](Self::unlink).
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Name`], and as [`new`](Self::new).
    pub fn create(name: &str, value: T) -> Result<Self, Error> {
        Segment::build_named(name, &blueprint::<T>(), 1, 1, |body| init(body, value)).map(Mutex::over)
    }

    /// Opens the mutex of that name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Name`], [`Error::Mismatch`] (it holds something else), [`Error::Os`].
    pub fn open(name: &str) -> Result<Self, Error> {
        Mutex::attach(Segment::open(name, &blueprint::<T>())?)
    }

    /// Opens the mutex of that name, or makes it with this value if there is none.
    ///
    /// # Errors
    /// As [`create`](Self::create) and [`open`](Self::open).
    pub fn open_or_create(name: &str, value: T) -> Result<Self, Error> {
        open_or_create(|| Mutex::open(name), || Mutex::create(name, value))
    }

    /// Opens the mutex behind a descriptor that another process passed on ([`AsFd`]).
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::Os`].
    pub fn from_fd(file: OwnedFd) -> Result<Self, Error> {
        Mutex::attach(Segment::from_fd(file, &blueprint::<T>())?)
    }

    /// Removes a mutex's name. Whoever has it open goes on; the memory is freed with the last of them.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Name`], [`Error::Os`].
    pub fn unlink(name: &str) -> Result<(), Error> {
        Segment::unlink(name)
    }

    /// A handle of the mutex in a segment that was checked against the blueprint, unless its thread ids mean others here.
    fn attach(segment: Segment) -> Result<Self, Error> {
        let mutex = Mutex::over(segment);
        let (found, expected) = (mutex.control().pid_namespace.load(Relaxed), sys::pid_namespace()?);
        if found == expected { Ok(mutex) } else { Err(Mismatch::PidNamespace { found, expected }.into()) }
    }

    /// A handle of the mutex in a segment of this process's making, or that was checked.
    fn over(segment: Segment) -> Self {
        Mutex { segment: ManuallyDrop::new(segment), held: AtomicBool::new(false), _value: PhantomData }
    }

    // --- lock ----------------------------------------------------------------------------------------------------

    /// Takes the lock, as soon as it is free or its holder dies.
    ///
    /// # Errors
    /// [`LockError::OwnerDied`] with the guard; without it [`LockError::WouldDeadlock`], [`LockError::Unrecoverable`],
    /// [`LockError::Forked`], [`LockError::Corrupt`].
    #[inline]
    pub fn lock(&self) -> Result<MutexGuard<'_, T>, LockError<MutexGuard<'_, T>>> {
        match self.attempt()? {
            Attempt::Busy => self.lock_until(Until::Forever),
            attempt => self.guard(attempt),
        }
    }

    /// Takes the lock if it is free, or its holder is dead.
    ///
    /// # Errors
    /// [`LockError::WouldBlock`], and as [`lock`](Self::lock).
    #[inline]
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T>, LockError<MutexGuard<'_, T>>> {
        let attempt = self.attempt()?;
        self.guard(attempt)
    }

    /// Takes the lock, if it gets free or its holder dies before `timeout` is over.
    ///
    /// # Errors
    /// [`LockError::Timeout`], and as [`lock`](Self::lock).
    pub fn lock_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_, T>, LockError<MutexGuard<'_, T>>> {
        match self.attempt()? {
            Attempt::Busy => self.lock_until(Until::after(timeout)),
            attempt => self.guard(attempt),
        }
    }

    #[inline]
    fn attempt(&self) -> Result<Attempt, LockError<MutexGuard<'_, T>>> {
        if self.segment.is_own() { Ok(self.control().raw.try_lock()) } else { Err(LockError::Forked) }
    }

    #[cold]
    fn lock_until(&self, until: Until) -> Result<MutexGuard<'_, T>, LockError<MutexGuard<'_, T>>> {
        let raw = &self.control().raw;
        for round in 0..TRIES {
            (0..1 << round.min(6)).for_each(|_| spin_loop());
            match raw.try_lock() {
                Attempt::Busy => {}
                attempt => return self.guard(attempt),
            }
        }
        loop {
            let left = until.remaining().unwrap_or(SLICE);
            if left.is_zero() {
                return Err(LockError::Timeout);
            }
            match raw.lock_for(left.min(SLICE)) {
                Attempt::Busy | Attempt::TimedOut => {}
                attempt => return self.guard(attempt),
            }
        }
    }

    /// L2 to L4.
    #[inline]
    fn guard(&self, attempt: Attempt) -> Result<MutexGuard<'_, T>, LockError<MutexGuard<'_, T>>> {
        let control = self.control();
        match attempt {
            Attempt::Locked => {}
            Attempt::OwnerDied => {
                control.suspect.store(1, Relaxed); // L2
                control.raw.make_consistent(); // L3
            }
            Attempt::Busy => return Err(LockError::WouldBlock),
            Attempt::TimedOut => return Err(LockError::Timeout),
            Attempt::WouldDeadlock => return Err(LockError::WouldDeadlock),
            Attempt::Unrecoverable => return Err(LockError::Unrecoverable),
            Attempt::Invalid => return Err(LockError::Corrupt),
        }
        self.held.store(true, Relaxed);
        let guard = MutexGuard::new(self);
        if guard.is_suspect() { Err(LockError::OwnerDied(guard)) } else { Ok(guard) }
    }

    /// D2, unless this is a forked child's copy: then the lock is the parent's. During a panic that began under the guard, D1 first.
    #[inline]
    pub(super) fn release(&self, panicked: bool) {
        if !self.segment.is_own() {
            return;
        }
        let control = self.control();
        if panicked {
            control.suspect.store(1, Relaxed); // D1
        }
        self.held.store(false, Relaxed);
        control.raw.unlock(); // D2
    }

    // --- words ---------------------------------------------------------------------------------------------------

    #[inline]
    pub(super) fn control(&self) -> &Control {
        // SAFETY: the blueprint's `body_len` has room for the control words, which are initialised before the segment is published, and
        // consist of atomics and a cell.
        unsafe { self.segment.body().cast().as_ref() }
    }

    #[inline]
    pub(super) fn value(&self) -> NonNull<T> {
        // SAFETY: the body has room for the control words and the value behind them.
        unsafe { self.segment.body().byte_add(value_offset::<T>()).cast() }
    }
}

impl<T: Pod> AsFd for Mutex<T> {
    /// The descriptor to pass to another process, which opens the mutex with [`from_fd`](Mutex::from_fd).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.segment.as_fd()
    }
}

impl<T: Pod> std::fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mutex")
            .field("suspect", &(self.control().suspect.load(Relaxed) != 0))
            .finish_non_exhaustive()
    }
}

impl<T: Pod> Drop for Mutex<T> {
    fn drop(&mut self) {
        // No guard borrows the mutex any more. One that was forgotten has left the lock held: invariant 4.
        if !*self.held.get_mut() {
            // SAFETY: dropped once, here, and not used again.
            unsafe { ManuallyDrop::drop(&mut self.segment) };
        }
    }
}

/// What a program expects of a segment that holds a mutex around a `T`.
pub(super) fn blueprint<T: Pod>() -> Blueprint {
    Blueprint { kind: Kind::new(*b"mutex\0\0\0"), item: Item::of::<T>(), body_len: body_len::<T> }
}

/// The bytes of the only possible capacity, one.
fn body_len<T>(capacity: u64) -> Option<u64> {
    if capacity == 1 { Some((value_offset::<T>() + size_of::<T>()) as u64) } else { None }
}

/// Fills the body of a new mutex.
fn init<T: Pod>(body: NonNull<u8>, value: T) -> Result<(), Error> {
    // SAFETY: called by `Segment::build_*` with a zeroed body of `body_len` bytes, which nobody else sees yet.
    unsafe { body.byte_add(value_offset::<T>()).cast().write(value) };
    // SAFETY: as above; the control words are atomics and a cell, for which zeroes are valid.
    let control: &Control = unsafe { body.cast().as_ref() };
    control.pid_namespace.store(sys::pid_namespace()?, Relaxed);
    control.raw.init()
}

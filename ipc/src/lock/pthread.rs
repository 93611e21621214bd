//! The C library's mutex, process-shared, robust, and error-checking or recursive, as typed calls.
//!
//! "Robust": each thread keeps a list of the mutexes that it holds, and registers it with the kernel, which walks it when the thread ends,
//! however it ends, marks each mutex `OWNER_DIED` and wakes a waiter. Two things follow for whoever calls:
//!
//! 1. The list links the mutexes by their mapped addresses. The memory must stay mapped as long as the mutex is locked by a thread of this
//!    process, or the next lock or unlock of that thread writes through a dangling link.
//! 2. A lock belongs to a thread: another one cannot unlock it.
//!
//! The mutex is never destroyed: it has no resources but its bytes.

use crate::error::Error;
use crate::sync::{AtomicU32, Relaxed, Release};
use crate::sys;
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::time::Duration;

/// A mutex in shared memory.
#[repr(transparent)]
pub(crate) struct RawMutex(UnsafeCell<libc::pthread_mutex_t>);

/// What becomes of a holder who locks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relock {
    /// It is told that it would wait for itself.
    Refuse = libc::PTHREAD_MUTEX_ERRORCHECK as isize,
    /// He holds it once more, and unlocks it once more.
    Count = libc::PTHREAD_MUTEX_RECURSIVE as isize,
}

/// What came of an attempt to lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// This thread holds the lock.
    Locked,
    /// This thread holds the lock, whose last holder ended with it. It must call `make_consistent` before it unlocks.
    OwnerDied,
    /// Another thread holds it.
    Busy,
    /// Another thread held it all the time.
    TimedOut,
    /// This thread holds it already.
    WouldDeadlock,
    /// Somebody unlocked it after `OwnerDied` without `make_consistent`.
    Unrecoverable,
    /// The C library does not recognise it as a mutex.
    Invalid,
}

impl Attempt {
    fn from_code(code: i32) -> Self {
        match code {
            0 => Attempt::Locked,
            libc::EOWNERDEAD => Attempt::OwnerDied,
            libc::EBUSY => Attempt::Busy,
            libc::ETIMEDOUT => Attempt::TimedOut,
            libc::EDEADLK => Attempt::WouldDeadlock,
            libc::ENOTRECOVERABLE => Attempt::Unrecoverable,
            _ => Attempt::Invalid,
        }
    }
}

impl RawMutex {
    /// Makes a mutex, unlocked, in memory that nobody else uses yet.
    pub(crate) fn init(&self, relock: Relock) -> Result<(), Error> {
        let attributes = Attributes::new(relock)?;
        // SAFETY: the memory is valid and aligned, as `self` is, and holds no mutex in use; the attributes are initialised.
        let code = unsafe { libc::pthread_mutex_init(self.0.get(), attributes.0.as_ptr()) };
        succeeded("pthread_mutex_init", code)
    }

    /// Takes the lock if it is free.
    #[inline]
    pub(crate) fn try_lock(&self) -> Attempt {
        // SAFETY: an initialised mutex, as creation and attach have checked; mapped as long as `self` is borrowed.
        let attempt = Attempt::from_code(unsafe { libc::pthread_mutex_trylock(self.0.get()) });
        if attempt == Attempt::Unrecoverable {
            self.finish_refusal();
        }
        attempt
    }

    /// glibc's `pthread_mutex_trylock` takes the lock, finds the mutex unrecoverable, and forgets to release it, so that everybody after it
    /// would wait for ever instead of being told (seen in 2.36; its other calls do release). The word that it leaves locked is the first one
    /// of the mutex; the futex interface of the kernel fixes what is in it. A thread that is killed in between leaves the mutex, which is
    /// good for nothing already, locked.
    #[cold]
    fn finish_refusal(&self) {
        if cfg!(target_env = "gnu") {
            let word = self.word();
            if word.load(Relaxed) & libc::FUTEX_TID_MASK == sys::thread_id() {
                word.store(0, Release); // this thread's: others change it only to say that they wait
                sys::futex_wake(word, u32::MAX);
            }
        }
    }

    /// Marks the lock as a dead holder's if there is no thread of its holder's id, and the kernel has not marked it: a thread that was not its process's first one
    /// and has executed another program took the first one's id before the kernel looked at what it holds.
    ///
    /// The first word is the one that the kernel would have changed, and the futex interface fixes what is in it. A holder that just ends the kernel has marked before its id is
    /// free; so a word that is unmarked after its holder's id was seen to be nobody's, and still is, is a vanished one's. (Unless the caller is stopped before the exchange, for so long that the
    /// id comes round again, and its new owner has this very lock: the exchange would give it to a second holder. And a thread that gets the vanished one's id before anybody
    /// has looked passes for the holder. Ids come round after tens of thousands of threads at the earliest.)
    ///
    /// Says whether it did.
    pub(crate) fn pass_on_from_the_vanished(&self) -> bool {
        if !cfg!(target_env = "gnu") {
            return false;
        }
        let word = self.word();
        let vanished = || {
            let seen = word.load(Relaxed);
            let holder = seen & libc::FUTEX_TID_MASK;
            let is_held = seen & libc::FUTEX_OWNER_DIED == 0 && holder != 0;
            (is_held && !sys::is_thread(holder)).then_some(seen)
        };
        let Some(seen) = vanished() else { return false };
        let passed_on = seen & libc::FUTEX_WAITERS | libc::FUTEX_OWNER_DIED;
        let passes =
            vanished() == Some(seen) && word.compare_exchange(seen, passed_on, Release, Relaxed).is_ok();
        if passes {
            sys::futex_wake(word, 1);
        }
        passes
    }

    /// Whether somebody who lives, as far as the kernel has told, has the lock at this moment. A look, which shares the line with the holder, where an attempt takes it away.
    pub(crate) fn is_held(&self) -> bool {
        let word = self.word().load(Relaxed);
        cfg!(target_env = "gnu") && word & libc::FUTEX_TID_MASK != 0 && word & libc::FUTEX_OWNER_DIED == 0
    }

    /// Whether the holder died or vanished, and nobody has the lock since.
    pub(crate) fn is_a_dead_ones(&self) -> bool {
        if !cfg!(target_env = "gnu") {
            return false;
        }
        self.pass_on_from_the_vanished() || self.word().load(Relaxed) & libc::FUTEX_OWNER_DIED != 0
    }

    /// Takes the lock; sleeps for up to `slice` if it is not free.
    ///
    /// With `pthread_mutex_clocklock` (glibc 2.30 and later) the slice is measured on the monotonic clock. Elsewhere on the only clock that
    /// the C library offers, the time of day: should that be set back during the slice, the call returns late, or as the lock is unlocked.
    pub(crate) fn lock_for(&self, slice: Duration) -> Attempt {
        let code = match clock_lock() {
            Some(lock) => {
                let deadline = from_now(libc::CLOCK_MONOTONIC, slice);
                // SAFETY: as in `try_lock`; the function is of this type, and `deadline` a valid time.
                unsafe { lock(self.0.get(), libc::CLOCK_MONOTONIC, &deadline) }
            }
            None => {
                let deadline = from_now(libc::CLOCK_REALTIME, slice);
                // SAFETY: as in `try_lock`; `deadline` is a valid time.
                unsafe { libc::pthread_mutex_timedlock(self.0.get(), &deadline) }
            }
        };
        match Attempt::from_code(code) {
            // A call of glibc's that times out leaves the mutex noted as the one that this thread is about to lock, and the kernel would look
            // at that memory when the thread ends, whatever it holds by then. Any other call clears the note; this one is a last attempt, too.
            Attempt::TimedOut => match self.try_lock() {
                Attempt::Busy => Attempt::TimedOut,
                attempt => attempt,
            },
            attempt => attempt,
        }
    }

    /// The word that the kernel knows, in glibc: the first one of the mutex.
    fn word(&self) -> &AtomicU32 {
        // SAFETY: within the mutex, which is aligned to more than a word; the C library treats it as an atomic.
        unsafe { &*self.0.get().cast::<AtomicU32>() }
    }

    /// After [`Attempt::OwnerDied`]: makes the mutex an ordinary locked one again.
    pub(crate) fn make_consistent(&self) {
        // SAFETY: as in `try_lock`. An error would say that it is consistent already, which is as well.
        unsafe { libc::pthread_mutex_consistent(self.0.get()) };
    }

    /// Unlocks; by the thread that locked.
    #[inline]
    pub(crate) fn unlock(&self) {
        // SAFETY: as in `try_lock`. The mutex checks that the caller holds it; if it does not, some process wrote where it may not, and there
        // is nothing to unlock.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) };
    }
}

/// Attributes of a new mutex, freed when dropped.
struct Attributes(MaybeUninit<libc::pthread_mutexattr_t>);

impl Attributes {
    fn new(relock: Relock) -> Result<Self, Error> {
        let mut memory = MaybeUninit::uninit();
        // SAFETY: the memory is valid for the attributes, which the call initialises.
        succeeded("pthread_mutexattr_init", unsafe { libc::pthread_mutexattr_init(memory.as_mut_ptr()) })?;
        let mut attributes = Attributes(memory);
        let it = attributes.0.as_mut_ptr();
        // SAFETY: initialised above.
        let code = unsafe { libc::pthread_mutexattr_setpshared(it, libc::PTHREAD_PROCESS_SHARED) };
        succeeded("pthread_mutexattr_setpshared", code)?;
        // SAFETY: as above.
        let code = unsafe { libc::pthread_mutexattr_setrobust(it, libc::PTHREAD_MUTEX_ROBUST) };
        succeeded("pthread_mutexattr_setrobust", code)?;
        // SAFETY: as above.
        let code = unsafe { libc::pthread_mutexattr_settype(it, relock as i32) };
        succeeded("pthread_mutexattr_settype", code)?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, and not used again.
        unsafe { libc::pthread_mutexattr_destroy(self.0.as_mut_ptr()) };
    }
}

fn succeeded(call: &'static str, code: i32) -> Result<(), Error> {
    if code == 0 { Ok(()) } else { Err(Error::os(call, std::io::Error::from_raw_os_error(code))) }
}

/// The time on `clock` after `slice`, which is short.
fn from_now(clock: libc::clockid_t, slice: Duration) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid to write. The call cannot fail for these clocks.
    unsafe { libc::clock_gettime(clock, &mut time) };
    let nanos = Duration::new(0, time.tv_nsec as u32) + slice;
    time.tv_sec += nanos.as_secs() as libc::time_t;
    time.tv_nsec = nanos.subsec_nanos().into();
    time
}

type ClockLock =
    unsafe extern "C" fn(*mut libc::pthread_mutex_t, libc::clockid_t, *const libc::timespec) -> libc::c_int;

/// `pthread_mutex_clocklock`, which is younger than the oldest C library that Rust supports.
fn clock_lock() -> Option<ClockLock> {
    static FOUND: OnceLock<Option<ClockLock>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // SAFETY: the name ends with NUL.
        let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"pthread_mutex_clocklock".as_ptr()) };
        // SAFETY: null, which is `None`, or the address of the function of that name, whose type POSIX gives.
        unsafe { std::mem::transmute::<*mut libc::c_void, Option<ClockLock>>(address) }
    })
}

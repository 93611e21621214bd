//! What outlives a killed process: memory that all share, and each one's journal in it.
//!
//! Plain memory of the kernel's, made before the first fork, and nothing of skep's: the auditor must not depend on what it audits.
//! A participant writes down what it is about to do, does it, and writes down that it is done, each with a release store; so when it
//! is dead its journal says which operation was cut short, and of every other whether it took effect.

use std::ffi::c_void;
use std::io;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Release};

/// Consists of atomics, and is valid when all its bytes are zero.
///
/// # Safety
/// As it says.
pub unsafe trait Words {}

// SAFETY: an atomic.
unsafe impl Words for AtomicU8 {}
// SAFETY: an atomic.
unsafe impl Words for AtomicU32 {}
// SAFETY: an atomic.
unsafe impl Words for AtomicU64 {}
// SAFETY: atomics.
unsafe impl Words for Journal {}

/// A zeroed slice that this process shares with those it forks from now on. Pages that nobody touches cost nothing.
pub struct Shared<T: Words> {
    base: NonNull<T>,
    count: usize,
}

impl<T: Words> Shared<T> {
    pub fn new(count: usize) -> io::Result<Self> {
        let (access, kind) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        );
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let base = unsafe { libc::mmap(ptr::null_mut(), count * size_of::<T>(), access, kind, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(base.cast()).map(|base| Shared { base, count }).ok_or_else(io::Error::last_os_error)
    }
}

impl<T: Words> Deref for Shared<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `count` values are mapped, aligned to a page, zeroed, which `Words` says is valid; they are atomics, so others may write.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.count) }
    }
}

impl<T: Words> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`; no reference outlives this. Should it fail, the mapping stays.
        unsafe { libc::munmap(self.base.as_ptr().cast::<c_void>(), self.count * size_of::<T>()) };
    }
}

/// One participant's, from its start to its end; the auditor clears it for the next one. Only `leave` is written by the auditor meanwhile.
#[repr(C, align(128))]
#[derive(Default)]
pub struct Journal {
    /// Operations that were begun; those beyond `done` were cut short, if their process is dead.
    begun: AtomicU64,
    /// Operations that returned.
    done: AtomicU64,
    /// `{ what it has in its hands } + 1`; zero: nothing.
    holding: AtomicU64,
    /// Not zero: it waits for its turn to take part, which another's death gives it. No progress is expected.
    resting: AtomicU64,
    /// Not zero: it shall leave in good order after its current operation.
    leave: AtomicU64,
    seen: [AtomicU64; 4],
}

/// What must not happen, as a participant sees it.
#[derive(Clone, Copy, Debug)]
pub enum Wrong {
    /// Something between two things received is missing.
    Lost,
    /// Something came once more.
    Duplicated,
    /// Something is not what was sent, or not in order inside.
    Torn,
    /// Something came before what went before it.
    Reordered,
}

impl Journal {
    // --- the participant ---------------------------------------------------------------------------------------

    /// Is about to do `n` more operations, or one that may do up to `n` at once.
    pub fn begin(&self, n: u64) {
        self.begun.store(self.done.load(Acquire) + n, Release);
    }

    /// `n` operations have returned; nothing is under way.
    pub fn finish(&self, n: u64) {
        let done = self.done.load(Acquire) + n;
        self.done.store(done, Release);
        self.begun.store(done, Release);
    }

    /// Has this in its hands.
    pub fn hold(&self, id: u64) {
        self.holding.store(id + 1, Release);
    }

    pub fn hold_nothing(&self) {
        self.holding.store(0, Release);
    }

    pub fn rest(&self, resting: bool) {
        self.resting.store(resting.into(), Release);
    }

    pub fn shall_leave(&self) -> bool {
        self.leave.load(Acquire) != 0
    }

    pub fn saw(&self, wrong: Wrong) {
        self.seen[wrong as usize].fetch_add(1, Release);
    }

    // --- the auditor -------------------------------------------------------------------------------------------

    pub fn begun(&self) -> u64 {
        self.begun.load(Acquire)
    }

    pub fn done(&self) -> u64 {
        self.done.load(Acquire)
    }

    /// Operations begun that have not returned: in a dead one's journal, those cut short.
    pub fn under_way(&self) -> u64 {
        // A kill between the two stores of `finish` leaves `begun` above by what returned in one batch, or below.
        self.begun().saturating_sub(self.done())
    }

    /// What it had in its hands.
    pub fn held(&self) -> Option<u64> {
        self.holding.load(Acquire).checked_sub(1)
    }

    pub fn is_resting(&self) -> bool {
        self.resting.load(Acquire) != 0
    }

    pub fn ask_to_leave(&self) {
        self.leave.store(1, Release);
    }

    pub fn has_seen(&self, wrong: Wrong) -> u64 {
        self.seen[wrong as usize].load(Acquire)
    }

    /// For the next participant.
    pub fn clear(&self) {
        for word in [&self.begun, &self.done, &self.holding, &self.resting, &self.leave] {
            word.store(0, Release);
        }
        self.seen.iter().for_each(|word| word.store(0, Release));
    }
}

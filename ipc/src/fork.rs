//! The fork guard: a child of `fork()` inherits handles and descriptors that it must not use.
//!
//! - **Using a handle** in the child is refused: each handle remembers the [`Epoch`] of the process that made it, and
//!   an operation compares it with a word on a page that the kernel wipes in a forked child (`MADV_WIPEONFORK`): one
//!   load of a line that nobody writes.
//! - **Liveness** is an OFD lock on an open file description that the child shares. If the child kept it, the parent
//!   would look alive after its death. A `pthread_atfork` handler closes those descriptors in the child. (A child made
//!   by the bare system call, past libc, keeps them until it ends or executes another program.)
//!
//! The handlers are registered before `main`. Were they on first use, a fork that is under way in another thread by then, past the handlers
//! that it found registered, would give its child a descriptor that nobody closes.

mod notes;

use crate::error::Error;
use crate::sync;
use crate::sys;
use notes::{GATE, Place};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

/// One process, from its fork to its end, as its own handles know it.
#[derive(Clone, Copy)]
pub(crate) struct Epoch {
    word: NonNull<AtomicU32>,
    value: u32,
}

// SAFETY: the word is an atomic on a page that is never unmapped.
unsafe impl Send for Epoch {}
// SAFETY: as above.
unsafe impl Sync for Epoch {}

static PAGE: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());
/// Counts forks along a line of descent: a child's first epoch differs from each that it inherited.
static LAST: AtomicU32 = AtomicU32::new(0);

impl Epoch {
    /// The epoch of this process.
    pub(crate) fn current() -> Result<Epoch, Error> {
        let word = page()?;
        // SAFETY: the page is never unmapped.
        let here = unsafe { word.as_ref() };
        if here.load(Ordering::Acquire) == 0 {
            sync::prepare();
            let next = LAST.fetch_add(1, Ordering::Relaxed) + 1;
            // Of two threads that arrive here, one wins; both use its value.
            let _ = here.compare_exchange(0, next, Ordering::AcqRel, Ordering::Relaxed);
        }
        Ok(Epoch { word, value: here.load(Ordering::Acquire) })
    }

    /// Differs from those of the processes that this one descends from by forks; never 0.
    pub(crate) fn number(self) -> u32 {
        self.value
    }

    /// Whether this still is the process that asked for the epoch.
    #[inline]
    pub(crate) fn is_current(self) -> bool {
        // SAFETY: the page is never unmapped.
        unsafe { self.word.as_ref() }.load(Ordering::Relaxed) == self.value
    }
}

/// The guard's page, made on first use.
///
/// Without a lock, which a fork at this moment would leave locked in the child. Of two threads that arrive here, one's page is used.
fn page() -> Result<NonNull<AtomicU32>, Error> {
    if let Some(page) = NonNull::new(PAGE.load(Ordering::Acquire)) {
        return Ok(page);
    }
    let page = sys::page_wiped_on_fork()?;
    if !IS_REGISTERED.load(Ordering::Acquire) {
        register()?; // before `main` there was no memory for it, or a linker has dropped the call
    }
    match PAGE.compare_exchange(ptr::null_mut(), page.as_ptr(), Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Ok(page),
        // The loser's page stays mapped: one page, once.
        Err(other) => Ok(NonNull::new(other).unwrap_or(page)),
    }
}

static IS_REGISTERED: AtomicBool = AtomicBool::new(false);

/// Registers the fork handlers. Two threads may both arrive here, and the handlers run twice at each fork then.
fn register() -> Result<(), Error> {
    sys::at_fork(before_fork, after_fork_parent, after_fork_child)?;
    IS_REGISTERED.store(true, Ordering::Release);
    Ok(())
}

extern "C" fn before_main() {
    let _ = register(); // should it fail, the first use tries again, and tells
}

// SAFETY: the loader calls what stands in this section once, before `main` and before there are other threads; the function needs nothing that
// is set up later.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

/// Opens a descriptor that a forked child closes at once, and whose offset becomes `mark`: no fork comes
/// between the opening and the note of it. `open` neither allocates nor frees.
pub(crate) fn open_closed_on_fork(
    mark: i64,
    open: impl FnOnce() -> Result<OwnedFd, Error>,
) -> Result<OwnedFd, Error> {
    let place = Unused(Place::take());
    GATE.with(|| {
        let fd = open()?;
        place.0.note(fd.as_raw_fd(), mark);
        std::mem::forget(place);
        Ok(fd)
    })
}

/// A place in which nothing is noted, unless it is forgotten: also where `open` panics it is given up.
struct Unused(&'static Place);

impl Drop for Unused {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

/// Closes such a descriptor, unless the number leads elsewhere by now.
pub(crate) fn close(fd: RawFd, mark: i64) {
    GATE.with(|| notes::forget(fd, mark));
}

extern "C" fn before_fork() {
    GATE.close();
}

extern "C" fn after_fork_parent() {
    GATE.open();
}

extern "C" fn after_fork_child() {
    notes::close_all();
    GATE.open();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn an_opening_that_panics_or_fails_holds_up_nobody() {
        let panics = || open_closed_on_fork(1, || panic!("in the middle"));
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        let fails = open_closed_on_fork(1, || Err(Error::Corrupt));
        assert!(fails.is_err());
        // Another thread, for which the gate is not its own.
        let opened = std::thread::spawn(|| open_closed_on_fork(1, || sys::anonymous_file(c"test")).unwrap());
        let fd = opened.join().unwrap();
        // What is not under its mark any more is somebody else's.
        close(fd.as_raw_fd(), 1);
        assert!(sys::offset_of_number(fd.as_raw_fd()).is_some(), "its offset was never moved to the mark");
    }

    #[test]
    fn there_is_a_place_for_each_of_many() {
        let places: Vec<_> = (0..200).map(|_| Place::take()).collect();
        let mut addresses: Vec<_> = places.iter().map(|&place| ptr::from_ref(place)).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 200);
        places.iter().for_each(|place| place.give_up());
    }
}

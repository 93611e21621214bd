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

use crate::error::Error;
use crate::sync;
use crate::sys;
use std::cell::{Cell, UnsafeCell};
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

/// Registers the fork handlers, which count how often they are called: two threads may both arrive here.
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

/// The descriptors that carry this process's locks, under a lock that also holds across a fork. Each with the offset by which it is
/// known, should the program close it and open another file under its number.
struct LockFds {
    busy: AtomicBool,
    fds: UnsafeCell<Vec<(RawFd, i64)>>,
}

// SAFETY: `fds` is touched only between `acquire` and `release`.
unsafe impl Sync for LockFds {}

static LOCK_FDS: LockFds = LockFds { busy: AtomicBool::new(false), fds: UnsafeCell::new(Vec::new()) };

impl LockFds {
    fn acquire(&self) {
        while self.busy.swap(true, Ordering::Acquire) {
            std::thread::yield_now();
        }
    }

    fn release(&self) {
        self.busy.store(false, Ordering::Release);
    }

    fn with<R>(&self, f: impl FnOnce(&mut Vec<(RawFd, i64)>) -> R) -> R {
        self.acquire();
        // SAFETY: between `acquire` and `release` nobody else touches `fds`.
        let result = f(unsafe { &mut *self.fds.get() });
        self.release();
        result
    }
}

/// Opens a descriptor that a forked child closes at once, and whose offset becomes `mark`: no fork comes between the opening and the note
/// of it.
pub(crate) fn open_closed_on_fork(
    mark: i64,
    open: impl FnOnce() -> Result<OwnedFd, Error>,
) -> Result<OwnedFd, Error> {
    LOCK_FDS.with(|fds| {
        fds.reserve(1);
        let fd = open()?;
        fds.push((fd.as_raw_fd(), mark));
        Ok(fd)
    })
}

/// Closes such a descriptor, unless the number leads elsewhere by now.
pub(crate) fn close(fd: RawFd, mark: i64) {
    LOCK_FDS.with(|fds| {
        fds.retain(|&other| other != (fd, mark));
        close_if_marked(fd, mark);
    });
}

fn close_if_marked(fd: RawFd, mark: i64) {
    if sys::offset_of_number(fd) == Some(mark) {
        sys::close_number(fd);
    }
}

thread_local! {
    /// How many of the handlers below this thread's fork has entered: they may be registered more than once.
    static HANDLERS: Cell<u32> = const { Cell::new(0) };
}

/// Enters a handler; whether it is the first.
fn enter() -> bool {
    HANDLERS.set(HANDLERS.get() + 1);
    HANDLERS.get() == 1
}

/// Leaves a handler; whether it is the last.
fn leave() -> bool {
    HANDLERS.set(HANDLERS.get() - 1);
    HANDLERS.get() == 0
}

extern "C" fn before_fork() {
    if enter() {
        LOCK_FDS.acquire();
    }
}

extern "C" fn after_fork_parent() {
    if leave() {
        LOCK_FDS.release();
    }
}

extern "C" fn after_fork_child() {
    if leave() {
        // SAFETY: `before_fork` acquired, and this thread is the only one of the child. Nothing here allocates.
        let fds = unsafe { &mut *LOCK_FDS.fds.get() };
        for (fd, mark) in fds.drain(..) {
            close_if_marked(fd, mark);
        }
        LOCK_FDS.release();
    }
}

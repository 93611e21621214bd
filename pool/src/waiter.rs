//! How a thread that waits for the pool sleeps, and how another one wakes it.
//!
//! The token of [`std::thread::park`] belongs to the host program. A pool that parked with it would
//! swallow an `unpark` that the program has sent to one of its own threads, and that thread would
//! then sleep for ever. So each thread has a parker that serves pools alone.

use parking::{Parker, Unparker};
use std::rc::Rc;
use std::time::Instant;

/// The calling thread, as one that waits.
pub(crate) struct Waiter {
    parker: Parker,
    waker: Waker,
}

/// Wakes the thread that it was taken from.
#[derive(Clone)]
pub(crate) struct Waker(Unparker);

thread_local!(static THIS: Rc<Waiter> = Rc::new(Waiter::new()));

impl Waiter {
    fn new() -> Waiter {
        let parker = Parker::new();
        let waker = Waker(parker.unparker());
        Waiter { parker, waker }
    }

    /// Calls `wait` with the calling thread's waiter. A thread has one, and allocates it once.
    pub(crate) fn with<R>(wait: impl FnOnce(&Waiter) -> R) -> R {
        // Where the thread is at its end, its own waiter may be gone already.
        let this = THIS.try_with(Rc::clone).unwrap_or_else(|_| Rc::new(Waiter::new()));
        wait(&this)
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Waits until the thread is woken, or until the deadline. A wake-up that came before counts.
    pub(crate) fn sleep(&self, deadline: Option<Instant>) {
        match deadline {
            None => self.parker.park(),
            Some(deadline) => drop(self.parker.park_deadline(deadline)),
        }
    }
}

impl Waker {
    pub(crate) fn wake(&self) {
        self.0.unpark();
    }
}

impl PartialEq for Waker {
    fn eq(&self, other: &Waker) -> bool {
        self.0.same_parker(&other.0)
    }
}

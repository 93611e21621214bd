//! The C library's mutex for the threads of one process.

use crate::measure::locks;
use crate::part::Part;
use crate::row::Outcome;
use std::cell::UnsafeCell;

/// A default mutex and the counter beside it.
struct Counter {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    count: UnsafeCell<u64>,
}

// SAFETY: the counter is touched under the mutex alone, or when the threads are gone.
unsafe impl Sync for Counter {}

impl Counter {
    fn new() -> Box<Counter> {
        Box::new(Counter {
            mutex: UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER),
            count: UnsafeCell::new(0),
        })
    }

    fn add(&self, times: u32) {
        for _ in 0..times {
            // SAFETY: an initialised mutex that is not moved; the counter is touched under it.
            unsafe {
                libc::pthread_mutex_lock(self.mutex.get());
                *self.count.get() += 1;
                libc::pthread_mutex_unlock(self.mutex.get());
            }
        }
    }

    fn total(&self) -> u64 {
        // SAFETY: nobody adds any more.
        unsafe { *self.count.get() }
    }
}

/// By one thread.
pub fn uncontended(part: &Part) -> Outcome {
    let counter = Counter::new();
    locks::uncontended(part, |times| counter.add(times), || counter.total())
}

/// By two threads.
pub fn contended(part: &Part) -> Outcome {
    let counter = Counter::new();
    locks::threads(part, |times| counter.add(times), || counter.total())
}

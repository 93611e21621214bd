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

/// A process-shared, robust mutex: the least that a lock costs which the kernel passes on from the dead.
pub fn robust(part: &Part) -> Outcome {
    let counter = Counter::new();
    // SAFETY: the attributes are initialised before they are used, and the mutex is nobody else's yet.
    let code = unsafe {
        let mut attributes = std::mem::zeroed();
        libc::pthread_mutexattr_init(&mut attributes);
        libc::pthread_mutexattr_setpshared(&mut attributes, libc::PTHREAD_PROCESS_SHARED);
        libc::pthread_mutexattr_setrobust(&mut attributes, libc::PTHREAD_MUTEX_ROBUST);
        libc::pthread_mutex_init(counter.mutex.get(), &attributes)
    };
    if code != 0 {
        return Err(std::io::Error::from_raw_os_error(code).into());
    }
    locks::uncontended(part, |times| counter.add(times), || counter.total())
}

/// By one thread of a process that has no other one: the C library sees that, and takes the lock without an atomic instruction.
pub fn alone(part: &Part) -> Outcome {
    let counter = Counter::new();
    locks::uncontended(part, |times| counter.add(times), || counter.total())
}

/// By one thread of a process that has another one, as every process has that needs a mutex.
pub fn uncontended(part: &Part) -> Outcome {
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || ended.recv().is_ok());
    let outcome = alone(part);
    drop(end);
    other.join().map_err(|_| "the other thread panicked")?;
    outcome
}

/// By two threads.
pub fn contended(part: &Part) -> Outcome {
    let counter = Counter::new();
    locks::threads(part, |times| counter.add(times), || counter.total())
}

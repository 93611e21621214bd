//! boost::interprocess: its message queue, tried until it succeeds, and its mutex. `cpp/boost.cpp` is the other half.

use crate::measure::crowd::{self, Crowd};
use crate::measure::locks;
use crate::part::Part;
use crate::peers::skep::queue::QUEUE;
use crate::row::Outcome;
use std::ffi::{CString, c_char, c_void};

unsafe extern "C" {
    fn skep_bench_boost_queue(name: *const c_char, depth: usize, create: bool) -> *mut c_void;
    fn skep_bench_boost_unlink(name: *const c_char);
    fn skep_bench_boost_try_send(queue: *mut c_void, item: u64) -> bool;
    fn skep_bench_boost_try_receive(queue: *mut c_void, item: *mut u64) -> bool;
    fn skep_bench_boost_mutex_size() -> usize;
    fn skep_bench_boost_mutex_init(place: *mut c_void);
    fn skep_bench_boost_mutex_add(mutex: *mut c_void, counter: *mut u64, times: u32);
}

/// Half of the parts send, the others receive, item by item.
pub fn one_by_one(part: &Part) -> Outcome {
    let name = CString::new(part.object("boost"))?;
    if part.number > 0 {
        part.meet(0);
    }
    // SAFETY: a C string; part 0 creates before the others open.
    let queue = unsafe { skep_bench_boost_queue(name.as_ptr(), QUEUE, part.number == 0) };
    if part.number == 0 {
        part.meet(0);
    }
    part.meet(1);
    if part.number == 0 {
        // SAFETY: a C string.
        unsafe { skep_bench_boost_unlink(name.as_ptr()) };
    }
    if queue.is_null() {
        return Err("boost: no queue".into());
    }
    crowd::processes(
        part,
        |crowd: Crowd<'_>| {
            // SAFETY: the queue lives as long as this process.
            crowd.produce::<u64, 1>(part.number, |items| {
                usize::from(unsafe { skep_bench_boost_try_send(queue, items[0]) })
            });
            Ok(())
        },
        // SAFETY: as above, and a place for the item.
        |crowd| {
            crowd.consume::<u64, 1>(|into| {
                usize::from(unsafe { skep_bench_boost_try_receive(queue, &mut into[0]) })
            })
        },
    )
}

/// A mutex and a counter on the stage; part 0 makes the mutex.
struct Counter {
    mutex: *mut c_void,
    count: *mut u64,
}

impl Counter {
    fn of(part: &Part) -> Counter {
        let place = part.stage.scratch(0, 256);
        // SAFETY: page-aligned memory that lasts as long as the stage, which nobody else uses; part 0 makes the mutex before the others go on.
        unsafe {
            assert!(skep_bench_boost_mutex_size() <= 128);
            if part.number == 0 {
                skep_bench_boost_mutex_init(place.cast());
            }
            part.meet(0);
            Counter { mutex: place.cast(), count: place.add(128).cast() }
        }
    }

    fn add(&self, times: u32) {
        // SAFETY: made by `of`; the counter is touched under the lock alone.
        unsafe { skep_bench_boost_mutex_add(self.mutex, self.count, times) };
    }

    fn total(&self) -> u64 {
        // SAFETY: as above, and all are done.
        unsafe { self.count.read_volatile() }
    }
}

/// The mutex, by one process.
pub fn uncontended(part: &Part) -> Outcome {
    let counter = Counter::of(part);
    locks::uncontended(part, |times| counter.add(times), || counter.total())
}

/// The mutex, by as many processes as there are parts.
pub fn contended(part: &Part) -> Outcome {
    let counter = Counter::of(part);
    locks::contended(part, |times| counter.add(times), || counter.total())
}

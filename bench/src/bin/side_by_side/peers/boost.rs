//! boost::interprocess: its message queue, tried until it succeeds, and its mutex. `cpp/boost.cpp` is the other half.

use super::skep::QUEUE;
use crate::measure::crowd::{self, Crowd};
use crate::part::Part;
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
pub fn queue_one_by_one(part: &Part) -> Outcome {
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

/// A mutex in memory that may be shared.
pub struct Mutex(*mut c_void);

impl Mutex {
    /// In `place`, which is aligned to a line and long enough; made there if `make`.
    ///
    /// # Safety
    /// The place is nobody else's, and lasts; it is made once, and before it is used.
    pub unsafe fn at(place: *mut u8, make: bool) -> Mutex {
        // SAFETY: the caller's promise.
        unsafe {
            assert!(skep_bench_boost_mutex_size() <= 128);
            if make {
                skep_bench_boost_mutex_init(place.cast());
            }
        }
        Mutex(place.cast())
    }

    /// Adds one to the counter so many times, each under the lock.
    pub fn add(&self, counter: *mut u64, times: u32) {
        // SAFETY: made by `at`; the counter is touched under the lock alone.
        unsafe { skep_bench_boost_mutex_add(self.0, counter, times) };
    }
}

//! A death under steady traffic.

use crate::common::is_asleep;
use crate::paused::stopped_in_a_put;
use crate::scene::HANG;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// More wake-ups than a sleeper can be given between two looks for the dead.
const WAKE_UPS: usize = 1 << 17;

/// The dead one's slot is the first; whatever is published behind it wakes the sleeper, who cannot take it.
#[test]
fn a_sleeper_that_is_woken_all_the_time_notices_a_death() {
    let (mut traffic, dead) = stopped_in_a_put(WAKE_UPS, 3);
    let mut queue = traffic.try_clone().unwrap();
    dead.kill();
    let (sleeper, done) = (AtomicI32::new(0), AtomicBool::new(false));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            // SAFETY: asks for this thread's number.
            sleeper.store(unsafe { libc::gettid() }, Ordering::Release);
            let got = queue.get_timeout(HANG);
            done.store(true, Ordering::Release);
            assert_eq!(got, Ok(1));
        });
        let mut put = 0;
        while !done.load(Ordering::Acquire) {
            if is_asleep(sleeper.load(Ordering::Acquire)) {
                put += 1;
                let more = traffic.try_put(put);
                more.expect(
                    "the sleeper was woken for each of these, and found no time to look for the dead",
                );
            }
        }
    });
}

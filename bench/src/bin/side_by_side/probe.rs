//! How far apart the two cores are right now: one cache line, bounced between them.
//!
//! On a virtual machine the host moves cores about, and everything that shares memory is several times slower when they do not share a cache; so each run is measured beside this.

use crate::part::pin;
use crate::stage::Line;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Instant;

/// Bounces in a sample, and samples.
const BOUNCES: u64 = 50;
const SAMPLES: usize = 41;

/// Nanoseconds that a line takes from one core to the other: a median, so that a core that was taken away for a moment does not count.
pub fn probe(cores: [usize; 2]) -> f64 {
    let (there, back) = (Line(AtomicU64::new(0)), Line(AtomicU64::new(0)));
    let last = BOUNCES * SAMPLES as u64;
    std::thread::scope(|threads| {
        threads.spawn(|| {
            pin(&cores[1..]);
            for n in 1..=last {
                wait_for(&there.0, n);
                back.0.store(n, Release);
            }
        });
        let asker = threads.spawn(|| {
            pin(&cores[..1]);
            let mut samples = Vec::with_capacity(SAMPLES);
            for sample in 0..SAMPLES as u64 {
                let start = Instant::now();
                for n in 1..=BOUNCES {
                    there.0.store(sample * BOUNCES + n, Release);
                    wait_for(&back.0, sample * BOUNCES + n);
                }
                samples.push(start.elapsed().as_nanos() as f64 / (2 * BOUNCES) as f64);
            }
            samples
        });
        skep_bench::rounds::spread(&asker.join().expect("it only counts"))[1]
    })
}

fn wait_for(word: &AtomicU64, n: u64) {
    let mut tries = 0_u32;
    while word.load(Acquire) != n {
        tries = tries.wrapping_add(1);
        // Both may be on one core for a while.
        if tries.is_multiple_of(1 << 14) { std::thread::yield_now() } else { std::hint::spin_loop() }
    }
}

//! Side by side: what is compared runs in turns, round by round, so that a machine that changes its speed changes it for all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

/// Keeps this thread on one core, counted round; without effect where that is not permitted.
pub fn pin(thread: usize) {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    // SAFETY: a set of the right size, on the stack.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(thread % cores, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

/// How much a side moves in a round.
pub struct Load {
    /// Messages in all.
    pub messages: u64,
    /// How many send, each on a thread of its own; as many receive.
    pub pairs: u64,
}

/// Times one round: each sender sends its part, each receiver receives its part; all that was sent is received, or this panics.
///
/// `send(n)` sends the number n as soon as there is room, `receive()` receives one.
pub fn time<S: FnMut(u64), R: FnMut() -> u64>(
    load: &Load,
    sender: impl Fn() -> S + Sync,
    receiver: impl Fn() -> R + Sync,
) -> Duration {
    let start = Barrier::new(2 * load.pairs as usize);
    // From the first to begin to the last to end, each by itself: whoever watched them would need a core of his own.
    let spans = Mutex::new(vec![]);
    let spent = |begun: Instant| spans.lock().map(|mut spans| spans.push((begun, Instant::now())));
    let sum = AtomicU64::new(0);
    let each = load.messages / load.pairs;
    std::thread::scope(|threads| {
        for pair in 0..load.pairs {
            let (start, sum, sender, receiver, spent) = (&start, &sum, &sender, &receiver, &spent);
            threads.spawn(move || {
                pin(2 * pair as usize);
                let mut send = sender();
                start.wait();
                let begun = Instant::now();
                (0..each).for_each(&mut send);
                let _ = spent(begun);
            });
            threads.spawn(move || {
                pin(2 * pair as usize + 1);
                let mut receive = receiver();
                start.wait();
                let begun = Instant::now();
                let mut received = 0_u64;
                for _ in 0..each {
                    received = received.wrapping_add(receive());
                }
                let _ = spent(begun);
                sum.fetch_add(received, Ordering::Relaxed);
            });
        }
    });
    assert_eq!(sum.into_inner(), load.pairs * (each * (each - 1) / 2), "a message was lost or changed");
    let spans = spans.into_inner().unwrap_or_default();
    let (begun, ended) = (spans.iter().map(|span| span.0).min(), spans.iter().map(|span| span.1).max());
    begun.zip(ended).map_or(Duration::ZERO, |(begun, ended)| ended - begun)
}

/// Lowest, median and highest of some figures.
pub fn spread(figures: &[f64]) -> [f64; 3] {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len() - 1;
    [sorted[0], (sorted[last / 2] + sorted[last.div_ceil(2)]) / 2.0, sorted[last]]
}

/// Tries until it succeeds: pauses at first, then gives the core away.
#[inline]
pub fn insist<R>(mut attempt: impl FnMut() -> Option<R>) -> R {
    let mut tries = 0_u32;
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        tries += 1;
        if tries < 64 {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}

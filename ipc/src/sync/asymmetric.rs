//! A pair of fences of which the frequent one costs nothing, since the seldom one makes up for it.
//!
//! Two parties that each store to a word and then load the other's must not both miss the other's store (Dekker). Each puts a fence between its two
//! steps. A waker does so for each item, a sleeper once a sleep; so the waker's fence is one for the compiler alone ([`light_fence`]), and the sleeper's has the
//! kernel run a fence on every processor that runs a thread of a process that takes part ([`heavy_fence`], `membarrier(2)` with
//! `GLOBAL_EXPEDITED`; the idea is folly's `asymmetricLightBarrier`). A waker that does not run at that moment has had its fence when it was switched out.
//!
//! A process takes part by registering ([`prepare`]), at its first attachment: microseconds while it has one thread, otherwise up to some tens of
//! milliseconds, once. Where the kernel or a sandbox forbids it, its light fences are full ones, and its heavy ones cover nobody else's: it
//! says so to whoever it waits for (`FENCED` in `wait.rs`).

use super::SeqCst;
use crate::sys;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicU8, compiler_fence, fence};

const UNASKED: u8 = 0;
const REGISTERED: u8 = 1;
const REFUSED: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(UNASKED);

/// Registers this process; to be called once in each process, a forked child included, before it uses a fence of either kind.
pub(crate) fn prepare() {
    STATE.store(if sys::register_membarrier() { REGISTERED } else { REFUSED }, Release);
}

/// Orders what comes before it and after it against another party's [`heavy_fence`].
#[inline]
pub(crate) fn light_fence() {
    if STATE.load(Acquire) == REGISTERED {
        compiler_fence(SeqCst);
    } else {
        fence(SeqCst);
    }
}

/// Orders what comes before it and after it against every other fence, and says whether that includes the light ones of other processes.
pub(crate) fn heavy_fence() -> bool {
    fence(SeqCst);
    STATE.load(Acquire) == REGISTERED && sys::membarrier()
}

/// The same, for the light fences of this process alone; says whether that includes all of them. It does not if the kernel refuses now what it has granted before.
pub(crate) fn heavy_fence_here() -> bool {
    heavy_fence() || STATE.load(Acquire) != REGISTERED
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering::Relaxed;

    const ROUNDS: u32 = 100_000;

    /// Both parties' words, and the start of each round; on lines of their own.
    #[derive(Default)]
    struct Table([Line; 4]);

    #[derive(Default)]
    #[repr(align(128))]
    struct Line(AtomicU32);

    impl Table {
        /// Runs party `me`: for each round, what it saw of the other's word after it had stored to its own.
        fn play(&self, me: usize, between: impl Fn()) -> Vec<u32> {
            let round = |n| {
                self.0[2 + me].0.store(n, Release);
                while self.0[3 - me].0.load(Acquire) < n {
                    std::hint::spin_loop();
                }
                // One party is ahead of the other by the time that a line takes to cross, so each waits now and then.
                (0..(n % 64) * ((n / 64 % 2) ^ me as u32)).for_each(|_| std::hint::black_box(()));
                self.0[me].0.store(n, Relaxed);
                between();
                self.0[1 - me].0.load(Relaxed)
            };
            (1..=ROUNDS).map(round).collect()
        }
    }

    /// Of two threads that each store and then load the other's word, one sees the other's store.
    #[test]
    fn a_light_and_a_heavy_fence_are_ordered() {
        if std::thread::available_parallelism().map_or(1, |n| n.get()) < 2 {
            eprintln!("skipped: this needs two processors");
            return;
        }
        prepare();
        let table = Table::default();
        let (light, heavy) = std::thread::scope(|threads| {
            let light = threads.spawn(|| table.play(0, light_fence));
            let heavy = table.play(1, || {
                heavy_fence();
            });
            (light.join().unwrap(), heavy)
        });
        let missed = (1..).zip(light.iter().zip(&heavy)).filter(|&(n, (&a, &b))| a < n && b < n);
        assert_eq!(missed.count(), 0);
    }
}

//! What workers run under torture. A task says in its mark that it began, and that it ended.

use crate::random::mix;
use serde::{Deserialize, Serialize};
use skep::{AtomicArray, ShmVec};
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// How often a task that may be retried is run again.
pub const RETRIES: u64 = 3;

/// Which mark is a task's, and what it computes.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Order {
    /// The name of the marks.
    pub marks: String,
    pub mark: usize,
    /// The caller's life. A worker that outlives its caller marks nothing of the next one's.
    pub life: u32,
    pub seed: u64,
    /// Travels with it.
    pub load: Vec<u8>,
}

/// The result of a task.
pub fn expected(order: &Order) -> u64 {
    order.load.iter().fold(mix(order.seed), |sum, byte| mix(sum ^ u64::from(*byte)))
}

/// `{ life: 32, began: 16, ended: 16 }`
pub struct Mark<'a>(pub &'a AtomicU64);

impl Mark<'_> {
    /// For the next task of this life.
    pub fn reset(&self, life: u32) {
        self.0.store(u64::from(life) << 32, SeqCst);
    }

    pub fn began(&self) -> u64 {
        self.0.load(SeqCst) >> 16 & 0xffff
    }

    pub fn ended(&self) -> u64 {
        self.0.load(SeqCst) & 0xffff
    }

    fn add(&self, life: u32, n: u64) {
        let of_life = |word: u64| (word >> 32 == u64::from(life)).then_some(word + n);
        let _ = self.0.fetch_update(SeqCst, SeqCst, of_life);
    }
}

thread_local!(static MARKS: RefCell<Option<(String, AtomicArray<u64>)>> = const { RefCell::new(None) });

fn with_mark<R>(order: &Order, run: impl FnOnce() -> R) -> R {
    let count = |n| {
        MARKS.with_borrow_mut(|marks| {
            if marks.as_ref().is_none_or(|(name, _)| *name != order.marks) {
                *marks = AtomicArray::open(&order.marks).ok().map(|array| (order.marks.clone(), array));
            }
            // They are gone only when nobody looks any more.
            if let Some((_, marks)) = marks {
                Mark(&marks[order.mark]).add(order.life, n);
            }
        });
    };
    count(1 << 16);
    let result = run();
    count(1);
    result
}

#[skep::task]
pub fn compute(order: Order) -> u64 {
    with_mark(&order, || expected(&order))
}

#[skep::task(retry = 3)]
pub fn compute_again(order: Order) -> u64 {
    with_mark(&order, || expected(&order))
}

/// Gives back what it was sent, as long.
#[skep::task]
pub fn echo(order: Order) -> Vec<u8> {
    with_mark(&order, || order.load.clone())
}

/// Adds the seed to each number, in place.
#[skep::task]
pub fn add(order: Order, mut numbers: ShmVec<u64>) -> ShmVec<u64> {
    with_mark(&order, || numbers.iter_mut().for_each(|n| *n = n.wrapping_add(order.seed)));
    numbers
}

#[skep::task]
pub fn fail(order: Order) -> u64 {
    with_mark(&order, || panic!("{}", order.seed))
}

/// Ends its worker, in one of the ways there are.
#[skep::task]
pub fn die(order: Order) -> u64 {
    with_mark(&order, || match order.seed % 3 {
        0 => std::process::exit(3),
        1 => std::process::abort(),
        // SAFETY: sends a signal to this process.
        _ => unsafe { libc::kill(libc::getpid(), libc::SIGKILL) },
    });
    0
}

/// Chunks of numbers to their squares.
#[skep::task]
pub fn squares(input: &[u64], output: &mut [u64]) {
    input.iter().zip(output).for_each(|(n, square)| *square = n.wrapping_mul(*n));
}

//! What one operation takes, repeated for a while.

use crate::row::Outcome;
use skep_bench::rounds::spread;
use std::error::Error;
use std::time::{Duration, Instant};

/// Nanoseconds an operation, the median of many batches; `batch` does so many of them.
pub fn nanoseconds(time: Duration, operations: u32, mut batch: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut batches = vec![];
    while start.elapsed() < time || batches.is_empty() {
        let begun = Instant::now();
        batch();
        if start.elapsed() > time / 5 {
            batches.push(begun.elapsed().as_nanos() as f64 / f64::from(operations));
        }
    }
    spread(&batches)[1]
}

/// Microseconds of each call, with a pause before it: the one that so many in a hundred are below.
pub fn percentile(time: Duration, pause: Duration, percent: usize, mut call: impl FnMut()) -> f64 {
    for _ in 0..10 {
        call();
    }
    let start = Instant::now();
    let mut calls = vec![];
    while start.elapsed() < time || calls.len() < 20 {
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        let begun = Instant::now();
        call();
        calls.push(begun.elapsed().as_nanos() as f64 / 1e3);
    }
    calls.sort_by(f64::total_cmp);
    calls[(calls.len() - 1) * percent / 100]
}

/// Milliseconds of each call, the median; the first ones are not counted.
///
/// # Errors
/// Those of the call.
pub fn milliseconds(time: Duration, mut call: impl FnMut() -> Outcome) -> Result<f64, Box<dyn Error>> {
    for _ in 0..2 {
        call()?;
    }
    let start = Instant::now();
    let mut calls = vec![];
    while calls.len() < 3 || start.elapsed() < time {
        let begun = Instant::now();
        call()?;
        calls.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(spread(&calls)[1])
}

//! rayon: what tasks cost where they stay in the process.

use crate::measure::repeat::percentile;
use crate::measure::tasks;
use crate::part::Part;
use crate::row::Outcome;
use ::rayon::prelude::*;
use ::rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use std::hint::black_box;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

fn pool(part: &Part, threads: usize) -> Result<ThreadPool, ThreadPoolBuildError> {
    part.confine();
    ThreadPoolBuilder::new().num_threads(threads).build()
}

/// Each task spawned by itself, its result put into its place.
fn spawned(pool: &ThreadPool, results: &mut [u64], task: impl Fn(u64) -> u64 + Sync, first: u64) -> u64 {
    let task = &task;
    pool.in_place_scope(|scope| {
        for (n, place) in (first..).zip(results.iter_mut()) {
            scope.spawn(move |_| *place = black_box(task(black_box(n))));
        }
    });
    results.iter().fold(0, |sum, result| sum.wrapping_add(*result))
}

/// No-op tasks, each spawned by itself.
pub fn noop_spawned<const WORKERS: usize>(part: &Part) -> Outcome {
    let pool = pool(part, WORKERS)?;
    let mut results = vec![0; 10_000];
    tasks::rate(part, 10_000, |numbers| {
        let results = &mut results[..(numbers.end - numbers.start) as usize];
        Ok(spawned(&pool, results, tasks::noop, numbers.start))
    })
}

/// No-op tasks by `par_iter`, in as many chunks as skep's `map` makes.
pub fn noop_map(part: &Part) -> Outcome {
    let pool = pool(part, 2)?;
    tasks::rate(part, tasks::many(part), |numbers| {
        let chunk = ((numbers.end - numbers.start) as usize).div_ceil(8);
        let inputs: Vec<u64> = numbers.collect();
        let work = inputs.par_iter().with_min_len(chunk).with_max_len(chunk);
        let results: Vec<u64> =
            pool.install(|| work.map(|&n| black_box(tasks::noop(black_box(n)))).collect());
        Ok(results.into_iter().fold(0, u64::wrapping_add))
    })
}

/// Tasks of so many microseconds, each spawned by itself.
pub fn efficiency<const MICROSECONDS: u64>(part: &Part) -> Outcome {
    let pool = pool(part, 2)?;
    tasks::efficiency(part, MICROSECONDS, |loops, count| {
        let mut results = vec![0; count as usize];
        Ok(spawned(&pool, &mut results, |_| tasks::burn(loops), 0))
    })
}

/// There and back of one task.
fn call(part: &Part, percent: usize) -> Outcome {
    let pool = pool(part, 1)?;
    let sum = AtomicU64::new(0);
    let figure = percentile(part.time, Duration::ZERO, percent, || {
        pool.install(|| sum.fetch_add(1, Relaxed));
    });
    part.stage.set_figure(figure);
    Ok(())
}

/// The median call.
pub fn call_median(part: &Part) -> Outcome {
    call(part, 50)
}

/// The 99th of a hundred calls.
pub fn call_slowest(part: &Part) -> Outcome {
    call(part, 99)
}

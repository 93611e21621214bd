//! The pool.

use crate::measure::repeat::percentile;
use crate::measure::{processes, tasks, wake};
use crate::part::{Part, pin};
use crate::row::Outcome;
use skep::{Pool, Task};
use std::collections::VecDeque;
use std::error::Error;
use std::hint::black_box;
use std::time::Duration;

#[skep::task]
fn noop(n: u64) -> u64 {
    tasks::noop(n)
}

#[skep::task]
fn noops(inputs: &[u64], results: &mut [u64]) {
    for (result, input) in results.iter_mut().zip(inputs) {
        *result = black_box(tasks::noop(black_box(*input)));
    }
}

#[skep::task]
fn burn(loops: u64) -> u64 {
    tasks::burn(loops)
}

#[skep::task]
fn who() -> u32 {
    tasks::who()
}

#[skep::task]
fn die() {
    // SAFETY: a plain system call.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

type Number = Task<u64, u64, fn(u64) -> u64>;
type Words = Box<dyn Error>;

/// Calls that are submitted ahead of the results, well below the records of a pool.
const AHEAD: usize = 256;

fn pool(part: &Part, workers: usize) -> Result<Pool, skep::PoolError> {
    part.confine();
    Pool::builder().workers(workers).build()
}

/// One call for each input, results in their order.
fn one_by_one(pool: &Pool, task: Number, inputs: impl Iterator<Item = u64>) -> Result<u64, Words> {
    let (mut ahead, mut sum) = (VecDeque::with_capacity(AHEAD), 0_u64);
    for input in inputs {
        if ahead.len() == AHEAD {
            let first: Option<skep::Future<u64>> = ahead.pop_front();
            sum = sum.wrapping_add(first.ok_or("no call")?.get()?);
        }
        ahead.push_back(pool.apply_async(task, input));
    }
    for call in ahead {
        sum = sum.wrapping_add(call.get()?);
    }
    Ok(sum)
}

/// No-op tasks, submitted one by one and got in their order.
pub fn noop_calls<const WORKERS: usize>(part: &Part) -> Outcome {
    let pool = pool(part, WORKERS)?;
    tasks::rate(part, 10_000, |numbers| one_by_one(&pool, noop, numbers))
}

/// No-op tasks, one by one, results as they come.
pub fn noop_unordered(part: &Part) -> Outcome {
    let pool = pool(part, 2)?;
    tasks::rate(part, 10_000, |numbers| {
        let mut sum = 0_u64;
        for result in pool.imap_unordered(noop, numbers) {
            sum = sum.wrapping_add(result?);
        }
        Ok(sum)
    })
}

/// No-op tasks by `map`.
pub fn noop_map(part: &Part) -> Outcome {
    let pool = pool(part, 2)?;
    tasks::rate(part, tasks::many(part), |numbers| {
        Ok(pool.map(noop, numbers)?.into_iter().fold(0, u64::wrapping_add))
    })
}

/// No-op tasks on numbers in the arena, by `map_slice_into`.
pub fn noop_in_place(part: &Part) -> Outcome {
    part.confine();
    let pool = Pool::builder().workers(2).arena(1 << 30).build()?;
    tasks::rate(part, tasks::many(part), |numbers| {
        let count = (numbers.end - numbers.start) as usize;
        let inputs = pool.arena().slice_with(count, |n| numbers.start + n as u64)?;
        let mut results = pool.arena().slice_zeroed(count)?;
        pool.map_slice_into(noops, &inputs, &mut results, count.div_ceil(8))?;
        Ok(results.iter().copied().fold(0, u64::wrapping_add))
    })
}

/// Tasks of so many microseconds, one by one.
pub fn efficiency<const MICROSECONDS: u64>(part: &Part) -> Outcome {
    let pool = pool(part, 2)?;
    tasks::efficiency(part, MICROSECONDS, |loops, count| one_by_one(&pool, burn, (0..count).map(|_| loops)))
}

/// The same, results as they come.
pub fn efficiency_unordered<const MICROSECONDS: u64>(part: &Part) -> Outcome {
    let pool = pool(part, 2)?;
    tasks::efficiency(part, MICROSECONDS, |loops, count| {
        let mut sum = 0_u64;
        for result in pool.imap_unordered(burn, (0..count).map(|_| loops)) {
            sum = sum.wrapping_add(result?);
        }
        Ok(sum)
    })
}

/// There and back of one task, this process on one core and its worker on the other.
fn call(part: &Part, percent: usize, pause: Duration) -> Outcome {
    pin(&part.cores[1..]);
    let pool = Pool::builder().workers(1).build()?;
    part.pin(0);
    let mut sum = 0_u64;
    let mut calls = 0;
    let figure = percentile(part.time, pause, percent, || {
        sum += pool.apply(noop, 1).unwrap_or_default();
        calls += 1;
    });
    if sum != calls {
        return Err("a call failed".into());
    }
    part.stage.set_figure(figure);
    Ok(())
}

/// The median call, the worker having just done another one.
pub fn call_median(part: &Part) -> Outcome {
    call(part, 50, Duration::ZERO)
}

/// The 99th of a hundred calls.
pub fn call_slowest(part: &Part) -> Outcome {
    call(part, 99, Duration::ZERO)
}

/// The median call, the worker being asleep.
pub fn call_asleep(part: &Part) -> Outcome {
    call(part, 50, wake::PAUSE)
}

fn start(part: &Part, workers: usize) -> Result<f64, Words> {
    part.confine();
    processes::start(
        part.time,
        workers,
        |workers| Ok(Pool::builder().workers(workers).build()?),
        |pool| {
            let calls: Vec<_> = (0..workers).map(|_| pool.apply_async(who, ())).collect();
            Ok(calls.into_iter().map(|call| call.get()).collect::<Result<_, _>>()?)
        },
    )
}

/// Until two workers have answered.
pub fn start_two(part: &Part) -> Outcome {
    part.stage.set_figure(start(part, 2)?);
    Ok(())
}

/// What each of four further workers adds.
pub fn start_further(part: &Part) -> Outcome {
    let further = (start(part, 6)? - start(part, 2)?) / 4.0;
    part.stage.set_figure(further.max(0.0));
    Ok(())
}

/// As [`start_two`], by a process with a GiB of memory.
pub fn start_from_large(part: &Part) -> Outcome {
    let memory = vec![1_u8; 1 << 30];
    part.stage.set_figure(start(part, 2)?);
    std::hint::black_box(memory);
    Ok(())
}

/// Until a dead worker's successor has run a task.
pub fn replace(part: &Part) -> Outcome {
    let pool = pool(part, 1)?;
    processes::replace(part, || pool.apply(die, ()).is_err(), || Ok(pool.apply(who, ())?))
}

/// Microseconds that a task takes when so many are queued before the first result is asked for.
pub fn queued<const TASKS: u64>(part: &Part) -> Outcome {
    let pool = pool(part, 2)?;
    let run = |numbers: std::ops::Range<u64>| -> Result<u64, Words> {
        let calls: Vec<_> = numbers.map(|n| pool.apply_async(noop, n)).collect();
        calls.into_iter().try_fold(0_u64, |sum, call| Ok(sum.wrapping_add(call.get()?)))
    };
    tasks::rate(part, TASKS, run)?;
    part.stage.set_figure(1.0 / part.stage.figure());
    Ok(())
}

/// Workers without anything to do, and the process whose pool they are.
pub fn idle<const WORKERS: usize>(part: &Part) -> Outcome {
    let pool = pool(part, WORKERS)?;
    pool.map(noop, 0..1000)?;
    let mut pids = pool.stats().worker_pids;
    pids.push(std::process::id());
    processes::idle(part, &pids)
}

/// The memory that a worker has for itself.
pub fn memory(part: &Part) -> Outcome {
    let pool = pool(part, 2)?;
    pool.map(noop, 0..1000)?;
    let pids = pool.stats().worker_pids;
    let pid = pids.first().ok_or("no worker")?;
    part.stage.set_figure(processes::private_kib(*pid)?);
    Ok(())
}

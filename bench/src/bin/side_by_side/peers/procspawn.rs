//! procspawn: its pool, with as many calls ahead as it does best with.

use crate::measure::arrays::{self, NUMBERS};
use crate::measure::repeat::percentile;
use crate::measure::{processes, tasks, wake};
use crate::part::{Part, pin};
use crate::row::Outcome;
use ::procspawn::{JoinHandle, Pool};
use ipc_channel::ipc::IpcSharedMemory;
use std::collections::VecDeque;
use std::error::Error;
use std::time::Duration;

type Words = Box<dyn Error>;

/// Calls ahead of the results: more make it slower, and a thousand or so run out of descriptors.
const AHEAD: usize = 4;

/// Kills its workers in the end, as it does by itself, and waits until they are gone.
struct Workers(Pool);

impl Drop for Workers {
    fn drop(&mut self) {
        self.0.kill();
    }
}

fn pool(part: &Part, workers: usize) -> Result<Workers, Words> {
    part.confine();
    Ok(Workers(Pool::new(workers)?))
}

fn one_by_one(pool: &Pool, task: fn(u64) -> u64, inputs: impl Iterator<Item = u64>) -> Result<u64, Words> {
    let (mut ahead, mut sum) = (VecDeque::new(), 0_u64);
    for input in inputs {
        if ahead.len() == AHEAD {
            let first: Option<JoinHandle<u64>> = ahead.pop_front();
            sum = sum.wrapping_add(first.ok_or("no call")?.join()?);
        }
        ahead.push_back(pool.spawn(input, task));
    }
    for call in ahead {
        sum = sum.wrapping_add(call.join()?);
    }
    Ok(sum)
}

/// No-op tasks, one by one.
pub fn noop<const WORKERS: usize>(part: &Part) -> Outcome {
    let pool = pool(part, WORKERS)?;
    tasks::rate(part, 200, |numbers| one_by_one(&pool.0, tasks::noop, numbers))
}

/// Tasks of so many microseconds, one by one.
pub fn efficiency<const MICROSECONDS: u64>(part: &Part) -> Outcome {
    let pool = pool(part, 2)?;
    tasks::efficiency(part, MICROSECONDS, |loops, count| {
        one_by_one(&pool.0, tasks::burn, (0..count).map(|_| loops))
    })
}

fn call(part: &Part, percent: usize, pause: Duration) -> Outcome {
    pin(&part.cores[1..]);
    let pool = Workers(Pool::new(1)?);
    part.pin(0);
    let mut failed = false;
    let figure = percentile(part.time, pause, percent, || {
        failed |= pool.0.spawn(1, tasks::noop).join().ok() != Some(1);
    });
    if failed {
        return Err("a call failed".into());
    }
    part.stage.set_figure(figure);
    Ok(())
}

/// The median call.
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

/// Until two workers have answered.
pub fn start_two(part: &Part) -> Outcome {
    part.confine();
    let figure = processes::start(
        part.time,
        2,
        |workers| Ok(Workers(Pool::new(workers)?)),
        |pool| {
            let calls: Vec<_> = (0..2).map(|_| pool.0.spawn((), |()| tasks::who())).collect();
            Ok(calls.into_iter().map(|call| call.join()).collect::<Result<_, _>>()?)
        },
    )?;
    part.stage.set_figure(figure);
    Ok(())
}

/// Until a dead worker's successor has run a task.
pub fn replace(part: &Part) -> Outcome {
    let pool = pool(part, 1)?;
    let kill = || {
        // SAFETY: a plain system call.
        let call = pool.0.spawn((), |()| unsafe {
            libc::kill(libc::getpid(), libc::SIGKILL);
        });
        call.join().is_err()
    };
    processes::replace(part, kill, || Ok(pool.0.spawn((), |()| tasks::who()).join()?))
}

/// The memory that a worker has for itself.
pub fn memory(part: &Part) -> Outcome {
    let pool = pool(part, 1)?;
    let pid = pool.0.spawn((), |()| tasks::who()).join()?;
    part.stage.set_figure(processes::private_kib(pid)?);
    Ok(())
}

fn numbers(memory: &IpcSharedMemory) -> &[f64] {
    bytemuck::try_cast_slice(memory).expect("a mapping is aligned")
}

/// Numbers in its transport's shared memory, added up by a worker.
pub fn sums(part: &Part) -> Outcome {
    let pool = pool(part, 1)?;
    let values: Vec<f64> = (0..NUMBERS).map(arrays::number).collect();
    arrays::sums(part, || {
        let memory = IpcSharedMemory::from_bytes(bytemuck::cast_slice(&values));
        Ok(pool.0.spawn(memory, |memory| arrays::sum(numbers(&memory))).join()?)
    })
}

/// The same, doubled, and back the same way.
pub fn doubles(part: &Part) -> Outcome {
    let pool = pool(part, 1)?;
    let values: Vec<f64> = (0..NUMBERS).map(arrays::number).collect();
    arrays::doubles(part, |take| {
        let memory = IpcSharedMemory::from_bytes(bytemuck::cast_slice(&values));
        let double = |memory: IpcSharedMemory| {
            let doubled: Vec<f64> = numbers(&memory).iter().map(|value| 2.0 * value).collect();
            IpcSharedMemory::from_bytes(bytemuck::cast_slice(&doubled))
        };
        take(numbers(&pool.0.spawn(memory, double).join()?));
        Ok(())
    })
}

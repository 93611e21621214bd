//! What a pool's processes cost: to start, to replace, to keep.

use crate::part::Part;
use crate::row::Outcome;
use skep_bench::rounds::spread;
use std::collections::HashSet;
use std::error::Error;
use std::fs;
use std::time::{Duration, Instant};

type Words = Box<dyn Error>;

/// Milliseconds until each of so many new workers has answered, the median of several pools; `ask` runs tasks and says by which processes.
///
/// # Errors
/// Those of the two.
pub fn start<P>(
    time: Duration,
    workers: usize,
    mut make: impl FnMut(usize) -> Result<P, Words>,
    mut ask: impl FnMut(&P) -> Result<Vec<u32>, Words>,
) -> Result<f64, Words> {
    let (begun, mut starts) = (Instant::now(), vec![]);
    while starts.len() < 3 || begun.elapsed() < time {
        let start = Instant::now();
        let pool = make(workers)?;
        let mut pids = HashSet::new();
        while pids.len() < workers {
            pids.extend(ask(&pool)?);
        }
        starts.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(spread(&starts)[1])
}

/// Milliseconds from handing over a task that kills its worker until the only worker's successor has run a task.
///
/// # Errors
/// Those of `next`, and a worker that is still the same.
pub fn replace(
    part: &Part,
    mut kill: impl FnMut() -> bool,
    mut next: impl FnMut() -> Result<u32, Words>,
) -> Outcome {
    let (begun, mut times) = (Instant::now(), vec![]);
    let mut last = next()?;
    while times.len() < 3 || begun.elapsed() < part.time {
        let start = Instant::now();
        if !kill() {
            return Err("the task that kills its worker came back".into());
        }
        let pid = next()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        if std::mem::replace(&mut last, pid) == pid {
            return Err("the worker lives still".into());
        }
    }
    part.stage.set_figure(spread(&times)[1]);
    Ok(())
}

/// Percent of one core that these processes burn.
///
/// # Errors
/// The kernel does not say.
pub fn idle(part: &Part, pids: &[u32]) -> Outcome {
    // Whatever they look at before they sleep is over by then.
    std::thread::sleep(Duration::from_millis(50));
    let burnt = || pids.iter().map(|&pid| nanoseconds(pid)).sum::<Result<u64, Words>>();
    let (start, before) = (Instant::now(), burnt()?);
    std::thread::sleep((5 * part.time).max(Duration::from_secs(1)));
    let elapsed = start.elapsed();
    part.stage.set_figure((burnt()? - before) as f64 * 100.0 / elapsed.as_nanos() as f64);
    Ok(())
}

/// What all threads of a process have had of the cores, except the one that asks.
fn nanoseconds(pid: u32) -> Result<u64, Words> {
    // SAFETY: a plain system call.
    let asker = unsafe { libc::gettid() }.to_string();
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = thread?;
        if *thread.file_name() == *asker {
            continue;
        }
        let words = fs::read_to_string(thread.path().join("schedstat"))?;
        sum += words.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(sum)
}

/// KiB of memory that this process has for itself.
///
/// # Errors
/// The kernel does not say.
pub fn private_kib(pid: u32) -> Result<f64, Words> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    let kib = private.map(|line| line.split_whitespace().nth(1).unwrap_or_default().parse::<f64>());
    Ok(kib.sum::<Result<f64, _>>()?)
}

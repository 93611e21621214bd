//! crossmist: processes that are started for a function, and a channel in each direction. It has no pool.

use crate::measure::repeat::percentile;
use crate::measure::{processes, tasks};
use crate::part::{Part, pin};
use crate::row::Outcome;
use ::crossmist::{Child, Duplex, duplex};
use std::time::Duration;

/// Answers with what it is asked until nobody asks any more.
#[::crossmist::func]
fn echo(mut channel: Duplex<u64, u64>) {
    while let Ok(Some(n)) = channel.recv() {
        if channel.send(&tasks::noop(n)).is_err() {
            return;
        }
    }
}

#[::crossmist::func]
fn who() -> u32 {
    tasks::who()
}

fn call(part: &Part, percent: usize) -> Outcome {
    let (mut ours, theirs) = duplex()?;
    pin(&part.cores[1..]);
    let child: Child<()> = echo.spawn(theirs)?;
    part.pin(0);
    let mut failed = false;
    let figure = percentile(part.time, Duration::ZERO, percent, || {
        failed |= ours.request(&1).ok() != Some(1);
    });
    drop(ours);
    child.join()?;
    if failed {
        return Err("a call failed".into());
    }
    part.stage.set_figure(figure);
    Ok(())
}

/// The median call to a process that waits for it.
pub fn call_median(part: &Part) -> Outcome {
    call(part, 50)
}

/// The 99th of a hundred calls.
pub fn call_slowest(part: &Part) -> Outcome {
    call(part, 99)
}

/// Until two processes have answered.
pub fn start_two(part: &Part) -> Outcome {
    part.confine();
    let figure = processes::start(
        part.time,
        2,
        |_| Ok(()),
        |()| {
            let children = [who.spawn()?, who.spawn()?];
            Ok(children.into_iter().map(|child| child.join()).collect::<Result<_, _>>()?)
        },
    )?;
    part.stage.set_figure(figure);
    Ok(())
}

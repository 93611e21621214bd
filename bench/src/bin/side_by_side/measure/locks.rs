//! What a lock costs around the least that it can guard: a counter that goes up by one.

use super::repeat;
use crate::part::Part;
use crate::row::Outcome;
use crate::stage::{Stage, now};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Nanoseconds that one process takes; `add(n)` adds one so many times, each under the lock.
///
/// # Errors
/// The counter is not what it should be.
pub fn uncontended(part: &Part, add: impl Fn(u32), total: impl Fn() -> u64) -> Outcome {
    let count = Cell::new(0);
    let figure = repeat::nanoseconds(part.time, 1000, || {
        add(1000);
        count.set(count.get() + 1000);
    });
    check(count.get(), total())?;
    part.stage.set_figure(figure);
    Ok(())
}

/// Nanoseconds from one taking to the next while all parts take it in turns as they can.
///
/// # Errors
/// As [`uncontended`].
pub fn contended(part: &Part, add: impl Fn(u32), total: impl Fn() -> u64) -> Outcome {
    compete(&part.stage, part.time, part.parties, &add);
    part.meet(4);
    if part.number == 0 { settle(&part.stage, total()) } else { Ok(()) }
}

/// The same in two threads.
///
/// # Errors
/// As [`uncontended`].
pub fn threads(part: &Part, add: impl Fn(u32) + Sync, total: impl Fn() -> u64) -> Outcome {
    std::thread::scope(|threads| {
        for side in 0..2 {
            let add = &add;
            threads.spawn(move || {
                part.pin(side);
                compete(&part.stage, part.time, 2, add);
            });
        }
    });
    settle(&part.stage, total())
}

fn compete(stage: &Stage, time: Duration, parties: u32, add: &impl Fn(u32)) {
    stage.meet(3, parties);
    stage.began(now());
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < time {
        add(100);
        count += 100;
    }
    stage.ended(now());
    stage.finish_sending(count, 0);
}

fn settle(stage: &Stage, total: u64) -> Outcome {
    check(stage.sent(), total)?;
    stage.set_figure(stage.nanoseconds() / total as f64);
    Ok(())
}

fn check(added: u64, total: u64) -> Outcome {
    if added == total {
        Ok(())
    } else {
        Err(format!("{added} were added, and the counter says {total}").into())
    }
}

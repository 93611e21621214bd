//! What pools are given to do.

use crate::part::Part;
use crate::row::Outcome;
use std::error::Error;
use std::hint::black_box;
use std::ops::Range;
use std::time::{Duration, Instant};

/// The least that a task can do, with its argument as the result.
pub fn noop(n: u64) -> u64 {
    n
}

/// Work of a given length.
#[inline(never)]
pub fn burn(loops: u64) -> u64 {
    (0..loops).fold(loops, |x, n| black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(n)))
}

/// Says which process it is run by; long enough for another worker to take the next one.
pub fn who() -> u32 {
    std::thread::sleep(Duration::from_micros(100));
    std::process::id()
}

/// No-op tasks in millions a second; `run` runs one for each of these numbers and returns the sum of the results.
///
/// # Errors
/// Those of `run`, and results that are not those of the tasks.
pub fn rate(
    part: &Part,
    batch: u64,
    mut run: impl FnMut(Range<u64>) -> Result<u64, Box<dyn Error>>,
) -> Outcome {
    checked(0..batch.min(1000), &mut run)?;
    let (start, mut done) = (Instant::now(), 0);
    while done == 0 || start.elapsed() < part.time {
        checked(done..done + batch, &mut run)?;
        done += batch;
    }
    part.stage.set_figure(done as f64 / start.elapsed().as_secs_f64() / 1e6);
    Ok(())
}

/// The inputs of one `map`: ten million of them, unless the measurement is a short one.
pub fn many(part: &Part) -> u64 {
    (part.time.as_millis() as u64 * 50_000).min(10_000_000)
}

fn checked(
    numbers: Range<u64>,
    run: &mut impl FnMut(Range<u64>) -> Result<u64, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let expected = numbers.clone().fold(0, u64::wrapping_add);
    let sum = run(numbers)?;
    if sum == expected { Ok(()) } else { Err("a result was lost or changed".into()) }
}

/// How much of two workers' time goes into tasks of so many microseconds; `run` runs so many of `burn(loops)` and returns the sum of the results.
///
/// What a task takes by itself is measured before and after.
///
/// # Errors
/// As [`rate`].
pub fn efficiency(
    part: &Part,
    microseconds: u64,
    mut run: impl FnMut(u64, u64) -> Result<u64, Box<dyn Error>>,
) -> Outcome {
    let loop_time = (0..5).map(|_| alone(100_000, 1)).fold(f64::INFINITY, f64::min) / 1e5;
    let loops = (microseconds as f64 * 1e3 / loop_time) as u64;
    let tasks = (2 * part.time.as_micros() as u64 / microseconds).max(20);
    run(loops, 20)?;
    let before = alone(loops, tasks / 4);
    let start = Instant::now();
    let sum = run(loops, tasks)?;
    let wall = start.elapsed().as_nanos() as f64;
    if sum != burn(loops).wrapping_mul(tasks) {
        return Err("a result was lost or changed".into());
    }
    let one = (before + alone(loops, tasks / 4)) / 2.0;
    part.stage.set_figure(one * tasks as f64 / (2.0 * wall));
    Ok(())
}

/// Nanoseconds that a task takes by itself, so many in a row.
fn alone(loops: u64, tasks: u64) -> f64 {
    let start = Instant::now();
    for _ in 0..tasks {
        black_box(burn(black_box(loops)));
    }
    start.elapsed().as_nanos() as f64 / tasks as f64
}

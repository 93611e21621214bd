//! One way between two processes, as half of there and back.
//!
//! Round trips are timed by the burst, so that the clock costs nothing, and the figure is the median burst, so that a core that was taken away for a moment does not count.

use super::item::END;
use crate::part::Part;
use crate::row::Outcome;
use skep_bench::rounds::spread;
use std::time::Instant;

/// Sends numbers and waits for each to come back, in nanoseconds: `send` and `receive` try once.
pub fn ask(
    part: &Part,
    burst: u32,
    mut send: impl FnMut(u64) -> bool,
    mut receive: impl FnMut() -> Option<u64>,
) -> Outcome {
    part.meet(2);
    let start = Instant::now();
    let warm = part.time / 5;
    let (mut n, mut bursts) = (0, vec![]);
    while start.elapsed() < part.time || bursts.is_empty() {
        let begun = Instant::now();
        for _ in 0..burst {
            insist(part, || send(n).then_some(()));
            let back = insist(part, &mut receive);
            if back != n {
                return Err(format!("{n} was sent and {back} came back").into());
            }
            n += 1;
        }
        if start.elapsed() > warm {
            bursts.push(begun.elapsed().as_nanos() as f64 / f64::from(2 * burst));
        }
    }
    insist(part, || send(END).then_some(()));
    part.stage.set_figure(spread(&bursts)[1]);
    Ok(())
}

/// Sends back what comes.
pub fn answer(
    part: &Part,
    mut send: impl FnMut(u64) -> bool,
    mut receive: impl FnMut() -> Option<u64>,
) -> Outcome {
    part.meet(2);
    loop {
        let n = insist(part, &mut receive);
        if n == END {
            return Ok(());
        }
        insist(part, || send(n).then_some(()));
    }
}

/// Tries until it succeeds, on a core of its own.
#[inline]
pub fn insist<R>(part: &Part, mut attempt: impl FnMut() -> Option<R>) -> R {
    let mut tries = 0_u32;
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        tries = tries.wrapping_add(1);
        if tries.is_multiple_of(1 << 16) {
            part.stage.check();
        }
        std::hint::spin_loop();
    }
}

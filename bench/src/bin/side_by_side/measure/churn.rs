//! Blocks of 64 B to 1 MiB, allocated and freed in no order.

use crate::row::Outcome;
use crate::stage::{Stage, now};
use std::time::{Duration, Instant};

/// Blocks that one party holds at a time.
const LIVE: usize = 64;

/// Allocates and frees until the time is over, together with the other parties; each block's first word is written, and read before it is freed.
///
/// # Errors
/// No block, or one that was changed by somebody else.
pub fn churn<B>(
    stage: &Stage,
    time: Duration,
    [number, parties]: [u32; 2],
    allocate: impl Fn(usize, u64) -> Option<B>,
    read: impl Fn(&B) -> u64,
) -> Outcome {
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ u64::from(number + 1));
    let mut live: Vec<Option<(B, u64)>> = (0..LIVE).map(|_| None).collect();
    let mut turn = || {
        let draw = random.next();
        let bytes = 64_usize << (draw % 15);
        let place = &mut live[(draw >> 32) as usize % LIVE];
        if let Some((block, word)) = place.take()
            && read(&block) != word
        {
            return Err("a block was changed by somebody else");
        }
        let block = allocate(bytes, draw).ok_or("no block")?;
        *place = Some((block, draw));
        Ok(())
    };
    // The first blocks take new memory of the machine, which is not what is measured.
    let start = Instant::now();
    while start.elapsed() < time / 4 {
        (0..64).try_for_each(|_| turn())?;
    }
    stage.meet(3, parties);
    stage.began(now());
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < time {
        (0..64).try_for_each(|_| turn())?;
        count += 64;
    }
    stage.ended(now());
    stage.finish_sending(count, 0);
    Ok(())
}

/// Once all have ended: the figure, in millions a second.
pub fn settle(stage: &Stage) {
    stage.set_figure(stage.sent() as f64 * 1e3 / stage.nanoseconds());
}

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

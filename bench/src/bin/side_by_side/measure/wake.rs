//! How long a sleeping receiver takes to have a message.
//!
//! The sender lets the receiver fall asleep before each message, and sleeps meanwhile itself. The message says when it was sent; the machine's clock is the same for both.

use super::item::END;
use crate::part::Part;
use crate::row::Outcome;
use crate::stage::now;
use skep_bench::rounds::spread;
use std::time::{Duration, Instant};

/// Longer than any of the contenders looks around before it sleeps.
pub const PAUSE: Duration = Duration::from_micros(400);

pub fn send(part: &Part, mut send: impl FnMut(u64)) -> Outcome {
    part.meet(2);
    let start = Instant::now();
    for message in 0.. {
        if message >= 20 && start.elapsed() > part.time {
            break;
        }
        std::thread::sleep(PAUSE);
        send(now());
    }
    std::thread::sleep(PAUSE);
    send(END);
    part.meet(3);
    Ok(())
}

pub fn receive(part: &Part, mut receive: impl FnMut() -> u64) -> Outcome {
    part.meet(2);
    let mut latencies = vec![];
    loop {
        let sent = receive();
        let arrived = now();
        if sent == END {
            break;
        }
        if sent > arrived {
            return Err("a message from the future: it was changed".into());
        }
        latencies.push((arrived - sent) as f64 / 1e3);
    }
    part.stage.set_figure(spread(&latencies)[1]);
    part.meet(3);
    Ok(())
}

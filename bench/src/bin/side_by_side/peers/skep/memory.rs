//! What queues keep, and burn while somebody waits for them.

use super::queue::{QUEUE, queue};
use crate::measure::processes;
use crate::part::Part;
use crate::row::Outcome;
use skep::{QueueOptions, SimpleQueue};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering::{Acquire, Release};

/// KiB of a queue of a million numbers, once it was full.
pub fn million(part: &Part) -> Outcome {
    let mut queue: SimpleQueue<u64> = QueueOptions::new(1_000_000).anonymous()?;
    for n in 0..1_000_000 {
        queue.try_put(n)?;
    }
    let file = File::from(queue.as_fd().try_clone_to_owned()?);
    part.stage.set_figure(file.metadata()?.blocks() as f64 / 2.0);
    Ok(())
}

/// A process that waits in `get`.
pub fn idle_get(part: &Part) -> Outcome {
    let mut queue = queue(part, QUEUE)?;
    if part.number == 1 {
        part.stage.note(0).store(u64::from(std::process::id()), Release);
        part.meet(2);
        return match queue.get()? {
            7 => Ok(()),
            _ => Err("an item was changed".into()),
        };
    }
    part.meet(2);
    processes::idle(part, &[part.stage.note(0).load(Acquire) as u32])?;
    queue.put(7)?;
    Ok(())
}

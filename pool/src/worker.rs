//! A worker: takes tasks one at a time, runs them, and announces their results, until the ring of tasks is closed.
//!
//! Invariant W1: at every instruction a task is in the ring, or its record names the worker that has it. The id is taken with
//! `get_with`, which keeps it in the ring until the record is claimed.
//!
//! Invariant W2: a process that a task has forked writes no record, though it returns from the task: it ends there.

use crate::arena;
use crate::frame;
use crate::panics;
use crate::record::Table;
use crate::state::Id;
use crate::sys;
use crate::task;
use crate::wire::{self, REASON_BYTES, Reply};
use crate::zygote::Setup;
use rustix::process::{Pid, PidfdFlags};
use skep_ipc::{Arena, SimpleQueue};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

/// The exit status of a worker that could not attach.
const UNFIT: i32 = 70;
/// The exit status of a worker that found shared memory corrupt.
const CORRUPT: i32 = 71;

/// Buffers keep so much between two tasks.
const KEPT_BYTES: usize = 1 << 20;

pub(crate) struct Worker {
    number: u32,
    tasks: SimpleQueue<u64>,
    done: SimpleQueue<u64>,
    table: Table,
    arena: Arena,
    /// The encoded arguments of the record at hand.
    arguments: Vec<u8>,
    /// The encoded result of the item at hand.
    frame: Vec<u8>,
}

/// The zygote, and its thread that has forked this process, unless it was executed.
pub(crate) struct Parent {
    pub(crate) pid: Pid,
    pub(crate) forker: Option<Pid>,
}

/// In a process just started by the zygote; `socket` is a copy of the zygote's end.
pub(crate) fn main(number: u32, parent: Parent, setup: Setup, socket: OwnedFd) -> ! {
    // Should the zygote be killed, it cannot kill us.
    if !sys::die_with(parent.pid, parent.forker) {
        std::process::exit(0);
    }
    panics::keep_this_threads();
    let status = match Worker::attach(number, &setup) {
        Ok((mut worker, pidfd)) => {
            let pid = std::process::id();
            arena::keep(&worker.arena);
            // From here on tasks may be taken, because whoever settles our death knows us by this message.
            match wire::send(&socket, &Reply::Fit { worker: number, pid }, &[pidfd.as_fd()]) {
                Ok(()) => {
                    // Whoever waits for this socket's end waits for workers that are not known yet.
                    drop((socket, setup));
                    worker.work()
                }
                Err(_) => 0, // nobody is there any more
            }
        }
        Err(mut reason) => {
            while reason.len() > REASON_BYTES {
                reason.pop();
            }
            let _ = wire::send(&socket, &Reply::Unfit { worker: number, reason }, &[]);
            UNFIT
        }
    };
    std::process::exit(status)
}

impl Worker {
    pub(crate) fn attach(number: u32, setup: &Setup) -> Result<(Worker, OwnedFd), String> {
        let copy = |fd: &OwnedFd| fd.try_clone().map_err(|e| format!("dup: {e}"));
        let queue = |fd: &OwnedFd| SimpleQueue::from_fd(copy(fd)?).map_err(|e| e.to_string());
        let table = Table::attach(copy(&setup.records)?, copy(&setup.spill)?).map_err(|e| e.to_string())?;
        let worker = Worker {
            number,
            tasks: queue(&setup.tasks)?,
            done: queue(&setup.done)?,
            table,
            arena: arena::join(copy(&setup.arena)?).map_err(|e| e.to_string())?,
            arguments: Vec::new(),
            frame: Vec::new(),
        };
        let pidfd = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
            .map_err(|e| format!("pidfd_open: {e}"))?;
        Ok((worker, pidfd))
    }

    /// Returns the exit status.
    fn work(&mut self) -> i32 {
        loop {
            let (table, number) = (&self.table, self.number);
            let claimed = self.tasks.get_with(|word| {
                let id = Id::unpack(word);
                let record = table.record(id.index)?;
                record.state.claim(id.generation, number).then_some(id)
            });
            match claimed {
                Ok(None) => continue, // a stale id
                Ok(Some(id)) => {
                    if self.run(id).is_none() {
                        return CORRUPT;
                    }
                    if self.done.put(id.pack()).is_err() {
                        return CORRUPT; // nobody closes this ring
                    }
                }
                Err(skep_ipc::GetError::Closed) => return 0,
                Err(_) => return CORRUPT,
            }
        }
    }

    /// Runs the items of a claimed record that are not done yet. `None`: the record makes no sense.
    pub(crate) fn run(&mut self, id: Id) -> Option<()> {
        let record = self.table.record(id.index)?;
        let work = self.table.read_task(id.index, &mut self.arguments).ok()?;
        let entry = task::find(work.task);
        let done = record.progress().items;
        let mut arguments = &self.arguments[..];
        for _ in 0..done {
            frame::next(&mut arguments)?;
        }
        let mut results = self.table.append_results(id.index, work.count > 1)?;
        for _ in done..work.count {
            let argument = frame::next(&mut arguments)?;
            let arena = &self.arena;
            let mut kept = None;
            let freight = frame::write_result(&mut self.frame, |result| match &entry {
                Ok(entry) => {
                    let ran = entry.run(&argument, result, arena);
                    kept = Some(ran.argument);
                    ran.result
                }
                Err(error) => {
                    // SAFETY: the table is that of the record that this worker has claimed.
                    kept = Some(unsafe { arena.lading(argument.entries()) });
                    Err(error.clone().into())
                }
            });
            if !self.table.is_own() {
                // The task has forked, and returned here as well: the record is the other one's.
                sys::vanish();
            }
            match results.append(&self.frame, !freight.is_empty()) {
                // SAFETY: `frame::encode` has surrendered the value. Counted, its blocks are the record's.
                Ok(()) => unsafe { freight.let_go() },
                Err(error) => {
                    drop(freight);
                    // If not even this fits, the parent reports the items that are missing.
                    if results.append(&frame::error_frame(error), false).is_err() {
                        break;
                    }
                }
            }
            drop(kept); // counted, what is left of the argument is the record's no more
        }
        // Workers are killed in the end, so what a task has printed without a newline would never come out.
        let _ = std::io::stdout().flush();
        record.state.finish(id.generation, self.number);
        // What a large task needed is given back; of a small one's buffers this is nothing.
        self.arguments.clear();
        self.arguments.shrink_to(KEPT_BYTES);
        self.frame.clear();
        self.frame.shrink_to(KEPT_BYTES);
        Some(())
    }
}

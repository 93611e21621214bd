//! A worker's steps: it takes tasks one at a time, runs them, and announces their results, until the ring of tasks is
//! closed.
//!
//! Invariant W1: at every instruction a task is in the ring, or its record names the worker that has it. The id is taken with
//! `get_with`, which keeps it in the ring until the record is claimed.
//!
//! Invariant W2: a process that a task has forked writes no record, though it returns from the task: it ends there.

use crate::frame;
use crate::record::Table;
use crate::state::Id;
use crate::sync::{Arena, GetError, SimpleQueue};
use crate::sys;
use crate::task;
use std::io::Write;

/// The exit status of a worker that found shared memory corrupt.
const CORRUPT: i32 = 71;

/// The exit status of a worker whose tasks have closed its descriptors, so that it cannot take further ones.
const BEREFT: i32 = 72;

/// Buffers keep so much between two tasks.
const KEPT_BYTES: usize = 1 << 20;

/// Why a worker ends in the middle of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The record makes no sense.
    Corrupt,
    /// A task has closed the descriptor that the record's bytes lie behind, and no other way leads there.
    Bereft,
}

impl Stop {
    fn status(self) -> i32 {
        match self {
            Stop::Corrupt => CORRUPT,
            Stop::Bereft => BEREFT,
        }
    }
}

pub(crate) struct Worker {
    pub(crate) number: u32,
    /// Whether a task has run here, which may have closed descriptors.
    pub(crate) has_run: bool,
    pub(crate) tasks: SimpleQueue<u64>,
    pub(crate) done: SimpleQueue<u64>,
    pub(crate) table: Table,
    pub(crate) arena: Arena,
    /// The encoded arguments of the record at hand.
    pub(crate) arguments: Vec<u8>,
    /// The encoded result of the item at hand.
    pub(crate) frame: Vec<u8>,
}

impl Worker {
    /// Returns the exit status.
    pub(crate) fn work(&mut self) -> i32 {
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
                    if let Err(stop) = self.run(id) {
                        return stop.status();
                    }
                    if self.done.put(id.pack()).is_err() {
                        return CORRUPT; // nobody closes this ring
                    }
                }
                Err(GetError::Closed) => return 0,
                Err(_) => return CORRUPT,
            }
        }
    }

    /// Runs the items of a claimed record that are not done yet.
    pub(crate) fn run(&mut self, id: Id) -> Result<(), Stop> {
        let record = self.table.record(id.index).ok_or(Stop::Corrupt)?;
        let (table, has_run) = (&self.table, std::mem::replace(&mut self.has_run, true));
        let unreadable = || {
            if !(has_run && table.has_lost_spill()) {
                return Stop::Corrupt;
            }
            record.hand_back(); // it is an earlier task's doing, and another worker runs this one
            Stop::Bereft
        };
        let work = table.read_task(id.index, &mut self.arguments).map_err(|_| unreadable())?;
        let entry = task::find(work.task);
        let done = record.progress().items;
        let mut arguments = &self.arguments[..];
        for _ in 0..done {
            frame::next(&mut arguments).ok_or(Stop::Corrupt)?;
        }
        let mut results = self.table.append_results(id.index, work.count > 1).ok_or_else(unreadable)?;
        for _ in done..work.count {
            let argument = frame::next(&mut arguments).ok_or(Stop::Corrupt)?;
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
                    let is_told = results.append(&frame::error_frame(error), false).is_ok();
                    if self.table.has_lost_spill() {
                        if is_told {
                            record.hand_back(); // the items behind it, if there are
                        }
                        return Err(Stop::Bereft);
                    }
                    if !is_told {
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
        Ok(())
    }
}

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

/// Buffers keep so much between two tasks.
const KEPT_BYTES: usize = 1 << 20;

pub(crate) struct Worker {
    pub(crate) number: u32,
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
                    if self.run(id).is_none() {
                        return CORRUPT;
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

//! `map_slice`: a slice in the arena, cut into chunks that workers claim by themselves, read in place and write in place.
//!
//! The call submits a *runner* for each worker: an ordinary task whose argument says where things are. A runner claims chunk after chunk until it finds none; no message
//! is sent for one. Runners are numbered, and no number comes twice in a call. The call's control block lies in the arena (`slices/chunks.rs`): a word a chunk.
//!
//! | word | meaning | who changes it |
//! | --- | --- | --- |
//! | `Free` | nobody runs it | whichever runner claims it, by one CAS (K1) |
//! | `Claimed { runner }` | that runner runs it | the runner, to `Done` (K2); the caller, to `Free`, when the runner's worker is dead (K4) |
//! | `Done` | its result is written | nobody |
//!
//! # A chunk is not run by two at once
//! Only the runner that a word names runs its chunk. A word comes to name one by a CAS from `Free` alone, and ceases to by that runner's own change after it has run, or by the caller's.
//! The caller makes its change only after that runner's record says `WorkerDied`, which the supervisor writes when the process is dead (V2): no store of the dead one, to the word or into
//! the output, comes later. A runner claims its next chunk after the one before is done, so a dead one has left one claim at most.
//!
//! # None is skipped
//! The call succeeds only when no runner is left and it has seen every word `Done` (K3). That it comes to this: a runner that ends in order has, after the cursor had passed the last chunk, looked at every
//! word once and claimed what was `Free`. What it found claimed is done by that runner, or made free by the caller, which then submits another runner, whose look comes later.
//!
//! The cursor is a hint of where to begin. Whatever it says, the last lap looks at every word.
//!
//! # What is lent
//! Input and output stay the caller's, who has borrowed them; workers are told where they lie. So the call returns, or unwinds, only when no worker can touch them any more: when every
//! runner's record has its outcome, whatever that is. A worker that is stopped is waited for. If the pool ends meanwhile, outcomes come before the workers are
//! gone: then the call has them killed, and waits until the supervisor says that no process is left.

mod chunks;
mod ledger;
mod runner;

use crate::core::{Batch, Core, OpenCall, corrupt};
use crate::error::{MapError, TaskError};
use crate::frame;
use crate::job::Job;
use crate::task::TaskRef;
use chunks::Chunks;
use ledger::Ledger;
use runner::Assignment;
pub use runner::{run_slice, run_slice_into};
use skep_ipc::{Pod, ShmSlice};
use std::sync::Arc;
use std::time::Instant;

/// Into how many chunks a worker a slice is cut, if the caller leaves it to the pool.
const CHUNKS: usize = 16;

/// Stands for the slice that a task on slices reads, which does not travel.
#[derive(Debug)]
pub struct Slice<A>(std::marker::PhantomData<fn() -> A>);

/// Stands for the slice that a task on slices writes.
#[derive(Debug)]
pub struct SliceMut<B>(std::marker::PhantomData<fn() -> B>);

/// A task from a slice to a plain value, for [`Pool::map_slice`](crate::Pool::map_slice): `#[skep::task] fn sum(values: &[f64]) -> f64`.
pub type SliceTask<A, R, F = fn(&[A]) -> R> = crate::Task<Slice<A>, R, F>;

/// A task from a slice into a slice, for [`Pool::map_slice_into`](crate::Pool::map_slice_into): `#[skep::task] fn double(input: &[f64], output: &mut [f64])`.
pub type SliceMapTask<A, B, F = fn(&[A], &mut [B])> = crate::Task<Slice<A>, SliceMut<B>, F>;

/// Whose workers run a call.
pub(crate) struct Caller<'a> {
    pub(crate) core: &'a Core,
    pub(crate) workers: usize,
    /// Has all workers killed.
    pub(crate) kill: &'a dyn Fn(),
    /// When the call begins to give up.
    pub(crate) deadline: Option<Instant>,
}

impl Caller<'_> {
    /// One result a chunk.
    pub(crate) fn map<A: Pod, R: Pod>(
        &self,
        task: TaskRef,
        input: &[A],
        chunk: usize,
    ) -> Result<Vec<R>, MapError> {
        let chunk = self.chunk(input.len(), chunk);
        let results = self.core.arena().slice_unfilled::<R>(input.len().div_ceil(chunk));
        let results = results.map_err(TaskError::no_memory)?;
        self.run(task, input, chunk, &raw const results[..])?;
        Ok(results.to_vec())
    }

    /// One result an item.
    pub(crate) fn map_into<A: Pod, B: Pod>(
        &self,
        task: TaskRef,
        input: &[A],
        output: &mut [B],
        chunk: usize,
    ) -> Result<(), MapError> {
        if input.len() != output.len() {
            let (input, output) = (input.len() as u64, output.len() as u64);
            return Err(TaskError::Lengths { input, output }.into());
        }
        self.run(task, input, self.chunk(input.len(), chunk), &raw const *output)
    }

    fn chunk(&self, length: usize, asked: usize) -> usize {
        if asked > 0 { asked } else { length.div_ceil(CHUNKS * self.workers).max(1) }
    }

    fn run<A, B>(
        &self,
        task: TaskRef,
        input: &[A],
        chunk: usize,
        output: *const [B],
    ) -> Result<(), MapError> {
        let open = self.core.open_call()?;
        let arena = self.core.arena();
        let input_at = arena.offset_of(input).ok_or(TaskError::NotInArena)?;
        let output_at = arena.offset_of(output).ok_or(TaskError::NotInArena)?;
        let count = input.len().div_ceil(chunk);
        let control = arena.slice_zeroed::<u64>(chunks::HEAD.saturating_add(count));
        let control = control.map_err(TaskError::no_memory)?;
        let control_at = arena.offset_of(&raw const control[..]).ok_or_else(corrupt)?;
        let call = SliceCall {
            caller: self,
            task,
            assignment: Assignment {
                runner: 0,
                control: control_at,
                input: input_at,
                length: input.len() as u64,
                chunk: chunk as u64,
                output: output_at,
            },
            ledger: Ledger::new(Chunks::at(arena, control_at, count).ok_or_else(corrupt)?, task.retries),
            job: Arc::default(),
            _control: control,
            deadline: self.deadline,
            _open: open,
        };
        call.run(self.workers.min(count))
    }
}

/// A call under way. Dropping it waits until no worker has anything to do with it.
struct SliceCall<'a> {
    caller: &'a Caller<'a>,
    task: TaskRef,
    /// A runner's, but for its number.
    assignment: Assignment,
    ledger: Ledger<'a>,
    job: Arc<Job>,
    _control: ShmSlice<u64>,
    /// Until when outcomes are waited for without giving up.
    deadline: Option<Instant>,
    _open: OpenCall<'a>,
}

impl SliceCall<'_> {
    fn run(mut self, runners: usize) -> Result<(), MapError> {
        for _ in 0..runners {
            self.start_runner();
        }
        while self.ledger.is_running() {
            self.hear();
        }
        if self.ledger.verdict()? { Ok(()) } else { Err(corrupt().into()) }
    }

    fn start_runner(&mut self) {
        let (core, job, task) = (self.caller.core, &self.job, TaskRef { retries: 0, ..self.task });
        let (assignment, deadline) = (self.assignment, self.deadline);
        self.ledger.start(|runner| {
            let (mut arguments, assignment) = (Vec::new(), Assignment { runner, ..assignment });
            frame::put_argument(&mut arguments, assignment, core.arena()).map_err(|error| *error)?;
            let freight = &mut Vec::new();
            let mut batch = Batch { task, count: 1, arguments: &arguments, freight, is_continued: true };
            core.submit(&mut batch, job, runner, deadline)
        });
    }

    /// Waits for the outcome of a runner. When the time is over, runners stop after the chunk that they
    /// are at; they are waited for, since the memory is lent to them.
    fn hear(&mut self) {
        if !self.caller.core.wait(&self.job, 1, self.deadline) && self.deadline.take().is_some() {
            return self.ledger.fail(TaskError::TimedOut.into());
        }
        let Some((runner, result)) = self.job.take_single::<()>() else { return };
        if self.ledger.hear(runner, result) {
            self.start_runner();
        }
    }
}

impl Drop for SliceCall<'_> {
    fn drop(&mut self) {
        let core = self.caller.core;
        if !core.is_own() {
            return; // the call is the parent's
        }
        let mut running = self.ledger.give_up();
        while running > 0 {
            core.wait(&self.job, 1, None);
            while self.job.take().is_some() {
                running -= 1;
            }
        }
        if core.has_ended() {
            (self.caller.kill)();
            core.wait_until_alone(None);
        }
    }
}

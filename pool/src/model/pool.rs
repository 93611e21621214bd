//! A pool for models: its parent's core, and its workers.

use super::kernel::Kernel;
use crate::bell::Bell;
use crate::core::{Batch, Core};
use crate::error::{Cause, TaskError};
use crate::frame;
use crate::job::Job as Inner;
use crate::record::Table;
use crate::state::Id;
use crate::sync::{Arena, SimpleQueue};
use crate::task::{STEP, TaskRef};
use crate::worker::steps::Worker as Steps;
use std::sync::Arc;

/// A pool of simulated processes. Clones are the same pool, in its parent.
#[derive(Clone)]
pub struct Pool(Arc<Memory>);

struct Memory {
    core: Arc<Core>,
    kernel: Arc<Kernel>,
    table: Table,
    arena: Arena,
    tasks: SimpleQueue<u64>,
    done: SimpleQueue<u64>,
}

/// What is submitted: calls of one task in one record.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    /// The arguments; the result of each is 100 more.
    pub arguments: Vec<u8>,
    /// How many workers an item may cost before it is given up.
    pub retries: u8,
    /// Whether each argument has a block, and so each result.
    pub with_blocks: bool,
    /// Whether they belong to a call that was opened.
    pub is_continued: bool,
}

/// What an item came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Came {
    /// The result was right.
    Result,
    /// The worker of that number died of it.
    Died(u8),
    /// The pool has ended.
    Ended,
}

/// What its submitter waits for.
pub struct Job {
    job: Arc<Inner>,
    arguments: Vec<u8>,
}

impl Pool {
    /// A pool of so many records, whose ring of tasks has room for so many ids.
    pub fn new(records: u32, ids: usize, blocks: usize) -> Self {
        let kernel = Arc::new(Kernel::default());
        let table = Table::create(records);
        let arena = Arena::new(blocks, &kernel);
        let tasks = SimpleQueue::new(ids, &kernel);
        let done = SimpleQueue::new(2 * records as usize + 2, &kernel);
        let ends = [done.attach(0), done.attach(0)];
        let core = Arc::new(Core::over(table.attach(), arena.clone(), tasks.attach(0), ends, Bell));
        arena.hook(Arc::downgrade(&core));
        Pool(Arc::new(Memory { core, kernel, table, arena, tasks, done }))
    }

    /// A worker's process, numbered from 1.
    pub fn worker(&self, number: u32) -> Worker {
        let memory = &self.0;
        Worker(Steps {
            number,
            has_run: false,
            tasks: memory.tasks.attach(number.into()),
            done: memory.done.attach(number.into()),
            table: memory.table.attach(),
            arena: memory.arena.attach(number.into()),
            arguments: Vec::new(),
            frame: Vec::new(),
        })
    }

    /// Submits calls if there is a free record.
    pub fn try_submit(&self, calls: &Calls) -> Result<Option<Job>, Came> {
        self.put_in(calls, |batch, job| self.0.core.try_submit(batch, job, 0))
    }

    /// Submits calls; waits for a free record.
    pub fn submit(&self, calls: &Calls) -> Result<Job, Came> {
        let submitted =
            self.put_in(calls, |batch, job| self.0.core.submit(batch, job, 0, None).map(|()| true));
        submitted.map(|job| job.expect("it has waited"))
    }

    fn put_in(
        &self,
        calls: &Calls,
        submit: impl FnOnce(&mut Batch<'_>, &Arc<Inner>) -> Result<bool, TaskError>,
    ) -> Result<Option<Job>, Came> {
        let (mut stream, mut freight) = (Vec::new(), Vec::new());
        for (item, &argument) in (0..).zip(&calls.arguments) {
            let block = calls.with_blocks.then(|| self.0.arena.send(argument.into()));
            stream.extend(frame::frame(argument, block.as_ref().and_then(|sent| sent.entries().next())));
            freight.extend(block.map(|sent| (item, sent)));
        }
        let task = TaskRef { name: "the task", id: u64::from(calls.retries > 0), retries: calls.retries };
        let count = calls.arguments.len() as u32;
        let mut batch = Batch {
            task,
            count,
            arguments: &stream,
            freight: &mut freight,
            is_continued: calls.is_continued,
        };
        let job = Job { job: Arc::default(), arguments: calls.arguments.clone() };
        match submit(&mut batch, &job.job) {
            Ok(submitted) => Ok(submitted.then_some(job)),
            Err(_) => {
                assert!(job.job.take().is_none(), "who is refused is told once");
                Err(Came::Ended)
            }
        }
    }

    /// Waits for a job's outcome: what each item came to. Panics if a result is wrong, or the outcome comes twice.
    pub fn wait(&self, job: &Job) -> Vec<Came> {
        assert!(self.0.core.wait(&job.job, 1, None), "it waits for ever");
        job.outcome().expect("it was waited for")
    }

    /// Delivers what is there.
    pub fn collect(&self) {
        self.0.core.collect();
    }

    /// Waits until every task has its outcome.
    pub fn wait_for_all(&self) {
        assert!(self.0.core.wait_for_all(None), "it waits for ever");
    }

    /// The supervisor learns that a worker is dead, and settles it.
    pub fn settle(&self, worker: u32) {
        self.died(worker);
        self.0.core.settle(worker, worker, Cause::Unknown);
    }

    /// The kernel learns that a worker is dead.
    pub fn died(&self, worker: u32) {
        self.0.kernel.died(worker.into());
    }

    /// The supervisor puts what found the rings full; whether all is put.
    pub fn flush(&self) -> bool {
        self.0.core.flush()
    }

    /// Begins a call that submits more than once, unless the pool is closed.
    pub fn open_call(&self) -> Option<impl Drop> {
        self.0.core.open_call().ok()
    }

    /// No more calls from now on.
    pub fn close(&self) {
        self.0.core.close();
    }

    /// The workers exit when they have run what is queued.
    pub fn close_ring(&self) {
        self.0.core.close_ring();
    }

    /// Ends the pool.
    pub fn end(&self) {
        self.0.core.end(TaskError::Terminated);
    }

    /// No process is left.
    pub fn bury_all(&self) {
        self.0.core.bury_all();
    }

    /// Puts an id of the record and generation into the ring of tasks, as a doubled or a stale one is there.
    pub fn hint_at(&self, index: u32, generation: u32) {
        let id = Id { generation, index }.pack();
        self.0.tasks.attach(0).try_put(id).expect("the model has room enough");
    }

    /// The same in the ring of results.
    pub fn announce(&self, index: u32, generation: u32) {
        let id = Id { generation, index }.pack();
        self.0.done.attach(0).try_put(id).expect("the model has room enough");
    }

    /// How many items of a record are counted.
    pub fn counted(&self, index: u32) -> u32 {
        self.0.table.record(index).expect("there is such a record").progress().items
    }

    /// How many blocks are not free.
    pub fn blocks_in_use(&self) -> usize {
        self.0.arena.in_use()
    }

    /// How many tasks have had an outcome.
    pub fn tasks_done(&self) -> u64 {
        self.0.core.tasks_done()
    }
}

impl Job {
    /// What each item came to, if that is there.
    pub fn outcome(&self) -> Option<Vec<Came>> {
        let arrival = self.job.take()?;
        assert!(self.job.take().is_none(), "each job gets each part once");
        let ended = vec![Came::Ended; self.arguments.len()];
        let Ok(mut outcome) = arrival.outcome else { return Some(ended) };
        let came = |argument: &u8| match outcome.next::<u8>() {
            Ok(result) => {
                assert_eq!(result, argument + STEP, "each item's result is its own");
                Came::Result
            }
            Err(TaskError::WorkerDied { pid, .. }) => Came::Died(pid as u8),
            Err(error) => panic!("{error}"),
        };
        Some(self.arguments.iter().map(came).collect())
    }
}

/// A worker's process.
pub struct Worker(Steps);

impl Worker {
    /// Runs tasks until the ring of tasks is closed.
    pub fn work(&mut self) {
        assert_eq!(self.0.work(), 0, "a worker found shared memory corrupt");
    }
}

//! The pool's heart in the parent: takes tasks in, lays them into records, and brings outcomes to their jobs. Every handle of a pool
//! shares it, and so does its supervisor.
//!
//! # Invariants
//! - C1. A record that is not free has a ticket, which says to whom its outcome goes; whoever takes the ticket delivers, so each job
//!   gets each part once.
//! - C2. Once `ending` is set, no ticket stays: [`end`](Core::end) sets it and then takes all, a submitter looks at it after
//!   leaving its ticket. Both go through the ticket's mutex, so one of them sees the other.
//! - C3. A forked child's copy touches neither the shared memory, nor the bell, nor a mutex, which some thread may have held that the
//!   child lacks: whatever a user can call asks [`is_own`](Core::is_own) first.

#[cfg(not(loom))]
mod assembly;
mod freight;
mod settle;
mod submit;

use crate::bell::Bell;
use crate::collector::{Collector, Deliver};
use crate::error::TaskError;
use crate::job::{Arrival, Job};
use crate::outbox::Outbox;
use crate::outcome::Outcome;
use crate::record::Table;
use crate::state::{Id, Phase};
use crate::sync::{Arena, AtomicBool, GetError, Mutex, OnceLock, PutError, SimpleQueue, lock};
use crate::waiter::Waker;
use freight::Estate;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use submit::Free;
pub(crate) use submit::{Batch, OpenCall};

pub(crate) struct Core {
    table: Table,
    arena: Arena,
    estate: Estate,
    tickets: Box<[Mutex<Option<Ticket>>]>,
    free: Mutex<Free>,
    /// Jobs of one part whose outcomes were taken, to be used again.
    jobs: Mutex<Vec<Arc<Job>>>,
    tasks: Mutex<Outbox>,
    collector: Collector,
    /// A second handle on the ring of results, to put what no worker puts.
    announce: Mutex<Outbox>,
    /// Wakes the supervisor.
    bell: Bell,
    closed: AtomicBool,
    ending: OnceLock<TaskError>,
    tasks_done: AtomicU64,
    /// The process that made the pool.
    owner: u32,
}

/// To whom a record's outcome goes, and how often it was tried.
struct Ticket {
    job: Arc<Job>,
    part: u32,
    /// The task's name.
    task: &'static str,
    count: u32,
    retries: u8,
    /// The blocks in the arguments, each with the item that it belongs to.
    arguments: Vec<(u32, u64)>,
    /// How many workers have died of this item.
    deaths: (u32, u8),
    /// Whether any worker has died of this record.
    has_killed: bool,
}

impl Core {
    /// A core over its parts: `done` has two handles, as the leader waits in one of them.
    pub(crate) fn over(
        table: Table,
        arena: Arena,
        tasks: SimpleQueue<u64>,
        done: [SimpleQueue<u64>; 2],
        bell: Bell,
    ) -> Core {
        let depth = table.len();
        let [collected, announced] = done;
        Core {
            tickets: (0..depth).map(|_| Mutex::new(None)).collect(),
            // Popped from the end: the first records first, so that few of them are warm.
            free: Mutex::new(Free { indices: (0..depth).rev().collect(), ..Free::default() }),
            tasks: Mutex::new(Outbox::new(tasks)),
            announce: Mutex::new(Outbox::new(announced)),
            collector: Collector::new(collected),
            bell,
            jobs: Mutex::default(),
            table,
            arena,
            estate: Estate::default(),
            closed: AtomicBool::new(false),
            ending: OnceLock::new(),
            tasks_done: AtomicU64::new(0),
            owner: std::process::id(),
        }
    }

    /// Whether this process is the one that made the pool (C3).
    pub(crate) fn is_own(&self) -> bool {
        self.table.is_own()
    }

    /// The process that made the pool.
    pub(crate) fn owner(&self) -> u32 {
        self.owner
    }

    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    pub(crate) fn depth(&self) -> usize {
        self.tickets.len()
    }

    pub(crate) fn tasks_done(&self) -> u64 {
        self.tasks_done.load(Ordering::Relaxed)
    }

    /// A job for one part. In a forked child a new one, which is refused when it is submitted (C3).
    pub(crate) fn job(&self) -> Arc<Job> {
        if self.is_own() { lock(&self.jobs).pop().unwrap_or_default() } else { Arc::default() }
    }

    /// A job of one part whose outcome was taken: by C1 nobody will deliver to it any more.
    pub(crate) fn reuse(&self, job: Arc<Job>) {
        let mut jobs = lock(&self.jobs);
        if jobs.len() < self.depth() {
            jobs.push(job);
        }
    }

    // --- collecting ----------------------------------------------------------------------------------------------

    /// Waits until `need` outcomes have arrived at `job`, or for the deadline; tells which. In a forked child none ever arrive.
    pub(crate) fn wait(&self, job: &Job, need: usize, deadline: Option<Instant>) -> bool {
        self.is_own() && self.collector.wait(self, deadline, |this| job.has(need, this))
    }

    /// Delivers what is there.
    pub(crate) fn collect(&self) {
        if self.is_own() {
            self.collector.collect(self);
        }
    }

    /// Waits until every task that was submitted has its outcome, or for the deadline; tells which.
    pub(crate) fn wait_for_all(&self, deadline: Option<Instant>) -> bool {
        let is_idle = |free: &Free| free.indices.len() == self.depth() && free.calls == 0;
        self.collector.wait(self, deadline, |this| self.free_is(is_idle, this))
    }

    fn deliver_id(&self, id: Id) {
        let Some(record) = self.table.record(id.index) else { return };
        let is_done = record
            .state
            .load()
            .is_some_and(|state| state.generation == id.generation && state.phase == Phase::Done);
        if !is_done {
            return;
        }
        let mut slot = lock(&self.tickets[id.index as usize]);
        let Some(ticket) = slot.take() else { return };
        let mut results = ticket.job.buffer();
        let read = self.table.read_results(id.index, &mut results);
        let begun = read.map_or(ticket.count, |(items, _)| items);
        let outcome = match read {
            Ok((items, has_handles)) => {
                let mut outcome = Outcome::take(ticket.task, results, has_handles.then_some(&self.arena));
                // A worker stops early when there is no room even for the error of an item.
                let no_room = || TaskError::no_memory("the worker had none, not even for an error");
                (items..ticket.count).for_each(|_| outcome.push_error(no_room()));
                Ok(outcome)
            }
            Err(e) => Err(TaskError::ResultNotDecoded { reason: format!("reading the spill file: {e}") }),
        };
        self.table.release(id.index, ticket.has_killed);
        // Until here the record's blocks are the record's: repair, which comes by the ticket's mutex, finds them there or in this process's hands.
        record.state.free(id.generation.wrapping_add(1));
        drop(slot);
        self.dispose(&ticket.arguments_from(begun).collect::<Vec<_>>());
        self.tasks_done.fetch_add(u64::from(ticket.count), Ordering::Relaxed);
        self.give_back(id.index);
        ticket.job.deliver(Arrival { part: ticket.part, outcome });
    }

    // --- hints ---------------------------------------------------------------------------------------------------

    /// Puts an id into the ring of tasks.
    fn put_task(&self, id: Id) {
        let put = lock(&self.tasks).put(id.pack());
        if !self.is_put(put, "tasks") {
            self.ring_bell();
        }
    }

    /// Puts an id into the ring of results.
    fn announce(&self, id: Id) {
        let put = lock(&self.announce).put(id.pack());
        if !self.is_put(put, "results") {
            self.ring_bell();
        }
    }

    /// False: the supervisor must come back to it.
    fn is_put(&self, put: Result<bool, PutError<()>>, ring: &str) -> bool {
        put.unwrap_or_else(|error| {
            self.end(TaskError::PoolBroken { reason: format!("the ring of {ring}: {error}") });
            true
        })
    }

    /// Wakes the supervisor.
    pub(crate) fn ring_bell(&self) {
        self.bell.ring();
    }

    /// Readable when the supervisor shall look around.
    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Supervisor: puts what found the rings full; tells whether all is put.
    pub(crate) fn flush(&self) -> bool {
        let (tasks, results) = (lock(&self.tasks).flush(), lock(&self.announce).flush());
        if let Ok(false) = results {
            self.collect(); // perhaps nobody else does
        }
        self.is_put(tasks, "tasks") & self.is_put(results, "results")
    }

    // --- ending --------------------------------------------------------------------------------------------------

    /// No more tasks from now on.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed) || self.has_ended()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ending.get().is_some()
    }

    /// Lets the workers exit when they have run what is queued.
    pub(crate) fn close_ring(&self) {
        lock(&self.tasks).ring.close();
    }

    /// Ends the pool: whatever has no outcome yet gets this one. Only the first ending counts.
    pub(crate) fn end(&self, why: TaskError) {
        if self.ending.set(why.clone()).is_err() {
            return;
        }
        for slot in &self.tickets {
            let ticket = lock(slot).take();
            if let Some(ticket) = ticket {
                self.leave(&ticket);
                ticket.job.deliver(Arrival { part: ticket.part, outcome: Err(why.clone()) });
            }
        }
        let waiters = std::mem::take(&mut lock(&self.free).waiters);
        waiters.iter().for_each(Waker::wake);
        self.nudge();
    }

    /// Lets the leader look around, if there is one; a full ring wakes it as well.
    fn nudge(&self) {
        let _ = lock(&self.announce).ring.try_put(Id::NUDGE.pack());
    }
}

impl Deliver for Core {
    fn deliver(&self, id: u64) {
        self.deliver_id(Id::unpack(id));
    }

    fn backlog(&self) -> usize {
        lock(&self.tasks).ring.len()
    }

    fn ring_failed(&self, error: GetError) {
        self.end(TaskError::PoolBroken { reason: format!("the ring of results: {error}") });
    }
}

pub(crate) fn corrupt() -> TaskError {
    TaskError::PoolBroken {
        reason: "the shared memory is corrupt: some process wrote where it may not".into(),
    }
}

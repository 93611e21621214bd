//! The pool, as its users see it.

use crate::arena;
use crate::core::{Batch, Core};
use crate::entry;
use crate::error::{MapError, PoolError, TaskError};
use crate::frame;
use crate::future::{Future, resolve};
use crate::job::{Arrival, Job};
use crate::map::{self, Imap};
use crate::origin::{Origin, Start};
use crate::patience::PATIENCE;
use crate::signals;
use crate::slices::{Caller, SliceMapTask, SliceTask};
use crate::spill::MAX_RECORDS;
use crate::supervisor::{Board, Order, Supervisor};
use crate::sync::lock;
use crate::task::Task;
use skep_ipc::{Arena, Message, Pod};
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The largest number of workers: a ring has entries for so many participants.
const MAX_WORKERS: usize = 2000;
/// Records of a pool, unless asked otherwise.
const QUEUE_DEPTH: usize = 1024;

/// Worker processes that run tasks.
///
/// A pool can be shared by threads. Whoever waits for a result does the collecting; there is no thread in between, and a thread
/// that waits burns no core. A worker that dies costs the task that it was running, and is replaced.
///
/// Dropping a pool [terminates](Self::terminate) it and leaves no process, thread or descriptor behind.
///
/// Workers have the directory, the environment, the user, the limits and the standard output that the program had when it made the
/// pool. They have no terminal, and no descriptors that the program has opened; signals such as SIGTERM that others send them do
/// nothing, so that the program decides whether tasks shall finish. No thread of a pool takes a signal of the program. The table
/// "What the pool does to its host, and what the host may do to it" in `PROTOCOL.md` has the rest.
///
/// In a forked child the copy of a pool, and of its futures, answers [`TaskError::Forked`], and ends nothing: the pool stays the parent's.
///
/// ```no_run
/// # mod skep { pub use skep_pool::*; }
/// # fn square() -> skep::Task<u64, u64, fn(u64) -> u64> { unimplemented!() }
/// skep::init(); // first in main
/// // #[skep::task] fn square(n: u64) -> u64 { n * n }
/// # let square = square();
/// let pool = skep::Pool::new()?;
/// assert_eq!(pool.apply(square, 12)?, 144);
/// assert_eq!(pool.map(square, 1..4)?, [1, 4, 9]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Pool {
    core: Arc<Core>,
    board: Arc<Board>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
    workers: usize,
}

/// How a pool shall be; [`Pool::builder`] gives it.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Builder {
    workers: Option<usize>,
    queue_depth: Option<usize>,
    arena: Option<u64>,
    start: Start,
    patience: Option<Duration>,
}

/// A pool's numbers at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// How many workers the pool keeps.
    pub workers: usize,
    /// The processes that are workers now, oldest first.
    pub worker_pids: Vec<u32>,
    /// How many workers have died unasked.
    pub workers_lost: u64,
    /// How many tasks have their outcome, good or bad.
    pub tasks_done: u64,
}

impl Builder {
    /// How many workers; by default as many as the cores that this process may use (affinity and cgroup quota).
    pub fn workers(self, workers: usize) -> Self {
        Builder { workers: Some(workers), ..self }
    }

    /// How many records, which is how many tasks (or chunks, or outcomes that nobody has collected) can be with the workers at
    /// once; 1024 by default. Submitting beyond that waits, and collects meanwhile.
    pub fn queue_depth(self, records: usize) -> Self {
        Builder { queue_depth: Some(records), ..self }
    }

    /// To how many bytes the pool's [arena](Pool::arena) may grow; 1 GiB by default. Memory is used as it grows, addresses are reserved at once.
    pub fn arena(self, bytes: u64) -> Self {
        Builder { arena: Some(bytes), ..self }
    }

    /// How workers are started; by default they are [forked](Start::Fork).
    pub fn start_by(self, start: Start) -> Self {
        Builder { start, ..self }
    }

    /// How long the pool goes on trying while no worker can be started, because processes, descriptors or memory are short or because each dies at once; 10 s by default.
    ///
    /// After that [`build`](Self::build) fails with [`PoolError::Start`], and a pool whose last worker has died is broken: its tasks get [`TaskError::PoolBroken`]. Both say
    /// what is short, and what to do. As long as one worker lives, the pool works and goes on trying to replace the others.
    pub fn patience(self, patience: Duration) -> Self {
        Builder { patience: Some(patience), ..self }
    }

    /// Starts the pool.
    ///
    /// Blocks until its workers are there.
    ///
    /// # Errors
    /// [`PoolError`] says what is missing; nothing is left running then.
    pub fn build(self) -> Result<Pool, PoolError> {
        let entry = entry::entry(self.start)?;
        let workers = self.workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, |n| n.get()));
        if !(1..=MAX_WORKERS).contains(&workers) {
            return Err(PoolError::Workers { workers, max: MAX_WORKERS });
        }
        let depth = self.queue_depth.unwrap_or(QUEUE_DEPTH);
        if !(1..=MAX_RECORDS as usize).contains(&depth) {
            return Err(PoolError::QueueDepth { depth, max: MAX_RECORDS as usize });
        }
        let patience = self.patience.unwrap_or(PATIENCE);
        let core = Core::new(depth as u32, workers, self.arena.unwrap_or(arena::LIMIT))?;
        let board = Arc::new(Board::new());
        let origin = Origin::capture(entry, self.start);
        let supervisor = Supervisor::start(core.clone(), board.clone(), origin, workers, patience)?;
        let thread = thread::Builder::new().name("skep-supervisor".into());
        let supervisor = signals::deaf(|| thread.spawn(|| supervisor.run()))
            .map_err(|source| PoolError::Os { call: "starting the supervisor thread", source })?;
        Ok(Pool { core, board, supervisor: Mutex::new(Some(supervisor)), workers })
    }
}

impl Pool {
    /// A pool with as many workers as this process may use cores.
    ///
    /// # Errors
    /// See [`Builder::build`].
    pub fn new() -> Result<Pool, PoolError> {
        Pool::builder().build()
    }

    /// For a pool with other than the default numbers.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Runs one call of a task, and returns its result. Several parameters are passed as a tuple.
    ///
    /// Blocks until the result is there.
    ///
    /// # Errors
    /// [`TaskError`] says why there is none. If the worker dies, that is [`TaskError::WorkerDied`] (or the task is run again, if it was
    /// declared `retry`).
    pub fn apply<A, R, F>(&self, task: Task<A, R, F>, arguments: A) -> Result<R, TaskError>
    where
        A: Message,
        R: Message,
    {
        self.apply_until(&task, arguments, None)
    }

    /// Runs one call of a task, as [`apply`](Self::apply) does, but waits at most as long as `timeout`.
    ///
    /// # Errors
    /// If the time is over, [`TaskError::TimedOut`] when the task was submitted: it goes on, and its
    /// result is dropped. [`TaskError::Full`] when no record was free, so that it was not. Otherwise
    /// those of [`apply`](Self::apply).
    pub fn apply_timeout<A, R, F>(
        &self,
        task: Task<A, R, F>,
        arguments: A,
        timeout: Duration,
    ) -> Result<R, TaskError>
    where
        A: Message,
        R: Message,
    {
        self.apply_until(&task, arguments, Instant::now().checked_add(timeout))
    }

    fn apply_until<A: Message, R: Message, F>(
        &self,
        task: &Task<A, R, F>,
        arguments: A,
        deadline: Option<Instant>,
    ) -> Result<R, TaskError> {
        let job = self.submit(task, arguments, deadline)?;
        if self.core.wait(&job, 1, deadline) {
            return resolve(job, Some(&self.core));
        }
        // `Serialize` may fork, and return here as well.
        Err(if self.core.is_own() { TaskError::TimedOut } else { TaskError::Forked })
    }

    /// Submits one call of a task, and returns a handle to the pending result.
    ///
    /// Blocks only while all records are in use; [`apply_async_timeout`](Self::apply_async_timeout)
    /// limits that. Errors are reported by [`Future::get`].
    pub fn apply_async<A, R, F>(&self, task: Task<A, R, F>, arguments: A) -> Future<R>
    where
        A: Message,
        R: Message,
    {
        let job = self.submit(&task, arguments, None).unwrap_or_else(|error| {
            let job = Job::default();
            job.deliver(Arrival { part: 0, outcome: Err(error) });
            Arc::new(job)
        });
        Future::new(job, &self.core)
    }

    /// Submits one call of a task, and returns a handle to the pending result. Waits at most as long as
    /// `timeout` for a free record.
    ///
    /// # Errors
    /// [`TaskError::Full`] if there was none until then, or another reason why the task was not
    /// submitted. The errors of the task itself are reported by [`Future::get`].
    pub fn apply_async_timeout<A, R, F>(
        &self,
        task: Task<A, R, F>,
        arguments: A,
        timeout: Duration,
    ) -> Result<Future<R>, TaskError>
    where
        A: Message,
        R: Message,
    {
        let deadline = Instant::now().checked_add(timeout);
        Ok(Future::new(self.submit(&task, arguments, deadline)?, &self.core))
    }

    fn submit<A: Message, R, F>(
        &self,
        task: &Task<A, R, F>,
        arguments: A,
        deadline: Option<Instant>,
    ) -> Result<Arc<Job>, TaskError> {
        let job = self.core.job();
        let mut encoded = job.buffer();
        let freight =
            frame::put_argument(&mut encoded, arguments, self.core.arena()).map_err(|error| *error)?;
        let mut freight = if freight.is_empty() { Vec::new() } else { vec![(0, freight)] };
        let (task, freight) = (task.untyped(), &mut freight);
        let mut batch = Batch { task, count: 1, arguments: &encoded, freight, is_continued: false };
        self.core.submit(&mut batch, &job, 0, deadline)?;
        job.keep(encoded);
        Ok(job)
    }

    /// Runs a task on each input, and returns the results in the order of the inputs.
    ///
    /// The inputs are cut into four chunks a worker, so that calls of a microsecond pay off too. Blocks until all are done, also if
    /// one fails. A worker that dies costs the input that it was running; the rest of its chunk goes on elsewhere.
    ///
    /// # Errors
    /// That of the first input that has one, with the input's number. If an input cannot be encoded, no
    /// task is run at all. The results of a chunk can come to 4 GiB together, and those beyond are
    /// [`TaskError::TooLarge`]; [`imap_unordered`](Self::imap_unordered) has no chunks.
    pub fn map<A, R, F, I>(&self, task: Task<A, R, F>, inputs: I) -> Result<Vec<R>, MapError>
    where
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
    {
        map::map(&self.core, task.untyped(), self.workers, inputs.into_iter(), None)
    }

    /// Runs a task on each input, as [`map`](Self::map) does, but waits at most as long as `timeout` for
    /// the results. The inputs' iterator takes as long as it takes.
    ///
    /// # Errors
    /// [`TaskError::TimedOut`] with the number of the first input without a result, or
    /// [`TaskError::Full`] with that of the first one that was not submitted. What was submitted goes
    /// on, and its results are dropped. Otherwise those of [`map`](Self::map).
    pub fn map_timeout<A, R, F, I>(
        &self,
        task: Task<A, R, F>,
        inputs: I,
        timeout: Duration,
    ) -> Result<Vec<R>, MapError>
    where
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
    {
        let deadline = Instant::now().checked_add(timeout);
        map::map(&self.core, task.untyped(), self.workers, inputs.into_iter(), deadline)
    }

    /// Runs a task on each input, and returns the results as they come, in any order.
    ///
    /// Inputs are taken one at a time as workers get free, at most eight a worker ahead
    /// ([`Imap::in_flight`] changes that), so there may be infinitely many. A result that is there is
    /// given before the next input is taken. Nothing of the pool is held while the inputs' iterator
    /// runs. The iterator blocks until the next result is there.
    pub fn imap_unordered<A, R, F, I>(&self, task: Task<A, R, F>, inputs: I) -> Imap<'_, I::IntoIter, A, R>
    where
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
    {
        Imap::new(&self.core, &task, self.workers, inputs.into_iter())
    }

    /// Runs a task on each chunk of a slice that lies in the pool's [arena](Self::arena), and returns a result a chunk, in order.
    ///
    /// Chunks have `chunk` items, the last one fewer; for 0 the pool chooses. Workers take them one by one, as they get free, read them in place and write their results in place: nothing is copied,
    /// and no message is sent for a chunk. Blocks until all are done; tasks that others submit wait meanwhile.
    ///
    /// A worker that dies costs nothing but time: another one runs its chunk again, whether the task is declared `retry` or not. The task must not fork, but to execute another program: nobody
    /// would wait for what its child does to the slices.
    ///
    /// # Errors
    /// [`TaskError::NotInArena`]; [`TaskError::NoMemory`] if the arena has no room for the results and a word a chunk; [`TaskError::WorkerDied`] if one chunk has killed three workers (or one more than
    /// the task's `retry` says, if that is more); otherwise the first error of a chunk, such as [`TaskError::Panicked`]. No worker touches the slice any more when this returns.
    ///
    /// ```
    /// # mod skep { pub use skep_pool::*; pub use skep_ipc::*; }
    /// # fn demo(sum: skep::SliceTask<f64, f64>, pool: &skep::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// // #[skep::task] fn sum(values: &[f64]) -> f64 { values.iter().sum() }
    /// let values = pool.arena().slice_with(1_000_000, |n| n as f64)?;
    /// let total: f64 = pool.map_slice(sum, &values, 10_000)?.iter().sum();
    /// # Ok(()) }
    /// ```
    pub fn map_slice<A: Pod, R: Pod, F>(
        &self,
        task: SliceTask<A, R, F>,
        input: &[A],
        chunk: usize,
    ) -> Result<Vec<R>, MapError> {
        self.caller(None, |caller| caller.map(task.untyped(), input, chunk))
    }

    /// Runs a task on each chunk of a slice, as [`map_slice`](Self::map_slice) does, but gives up after
    /// `timeout`.
    ///
    /// The slice is lent to the workers. So when the time is over, the call still waits for the chunks
    /// that workers are at, and no others are begun.
    ///
    /// # Errors
    /// [`TaskError::TimedOut`], or [`TaskError::Full`] if no record was free. Otherwise those of
    /// [`map_slice`](Self::map_slice).
    pub fn map_slice_timeout<A: Pod, R: Pod, F>(
        &self,
        task: SliceTask<A, R, F>,
        input: &[A],
        chunk: usize,
        timeout: Duration,
    ) -> Result<Vec<R>, MapError> {
        self.caller(Some(timeout), |caller| caller.map(task.untyped(), input, chunk))
    }

    /// Runs a task on each chunk of a slice, with the same chunk of another one to write to. Both lie in the pool's [arena](Self::arena) and are of one length.
    ///
    /// As [`map_slice`](Self::map_slice). A chunk of the output that is run again may have in it what a dead worker has written. After an error each chunk of the output is done, or as it was, or
    /// something of both.
    ///
    /// # Errors
    /// [`TaskError::Lengths`], and as [`map_slice`](Self::map_slice).
    ///
    /// ```
    /// # mod skep { pub use skep_pool::*; pub use skep_ipc::*; }
    /// # fn demo(roots: skep::SliceMapTask<u32, f64>, pool: &skep::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// // #[skep::task] fn roots(input: &[u32], output: &mut [f64]) { … }
    /// let input = pool.arena().slice_with(1_000_000, |n| n as u32)?;
    /// let mut output = pool.arena().slice_zeroed(1_000_000)?;
    /// pool.map_slice_into(roots, &input, &mut output, 0)?;
    /// # Ok(()) }
    /// ```
    pub fn map_slice_into<A: Pod, B: Pod, F>(
        &self,
        task: SliceMapTask<A, B, F>,
        input: &[A],
        output: &mut [B],
        chunk: usize,
    ) -> Result<(), MapError> {
        self.caller(None, |caller| caller.map_into(task.untyped(), input, output, chunk))
    }

    /// Runs a task on each chunk of a slice, as [`map_slice_into`](Self::map_slice_into) does, but gives
    /// up after `timeout`, as [`map_slice_timeout`](Self::map_slice_timeout) does.
    ///
    /// # Errors
    /// Those of both.
    pub fn map_slice_into_timeout<A: Pod, B: Pod, F>(
        &self,
        task: SliceMapTask<A, B, F>,
        input: &[A],
        output: &mut [B],
        chunk: usize,
        timeout: Duration,
    ) -> Result<(), MapError> {
        self.caller(Some(timeout), |caller| caller.map_into(task.untyped(), input, output, chunk))
    }

    fn caller<R>(&self, timeout: Option<Duration>, call: impl FnOnce(Caller<'_>) -> R) -> R {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let kill = &|| self.order(Order::Kill);
        call(Caller { core: &self.core, workers: self.workers, kill, deadline })
    }

    /// The memory that the pool shares with its workers. What is allocated here may be anywhere in an argument, what a task has allocated ([`arena`](crate::arena()))
    /// anywhere in its result: it moves, whatever its size, and nothing of it is copied.
    ///
    /// # When a worker dies
    /// what it held is freed, its counted results stay. The argument of the item that it was running is lost with that item. Where the task is declared `retry`, it is
    /// given to the next worker as the dead one has left it: shared handles as they were, owned blocks with what was written there, also if the task had dropped them already
    /// (which is why they are freed when it has ended, and not before). What it had moved elsewhere, such as into its result or to another thread, makes the retry fail with
    /// [`TaskError::ArgumentNotDecoded`].
    ///
    /// ```
    /// # mod skep { pub use skep_pool::*; pub use skep_ipc::*; }
    /// # fn demo(sum: skep::Task<skep::ShmSlice<f64>, f64, fn(skep::ShmSlice<f64>) -> f64>, pool: &skep::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// // #[skep::task] fn sum(values: ShmSlice<f64>) -> f64 { values.iter().sum() }
    /// let values = pool.arena().slice_with(1_000_000, |n| n as f64)?;
    /// println!("{}", pool.apply(sum, values)?);
    /// # Ok(()) }
    /// ```
    pub fn arena(&self) -> &Arena {
        self.core.arena()
    }

    /// Takes no more tasks: submitting is an error from now on ([`TaskError::Closed`]). What was submitted is still run.
    pub fn close(&self) {
        self.core.close();
    }

    /// Waits until all tasks have their outcome and all processes of the pool are gone.
    ///
    /// # Errors
    /// [`PoolError::StillOpen`] if neither [`close`](Self::close) nor [`terminate`](Self::terminate) was called before;
    /// [`PoolError::Forked`] in a forked child.
    pub fn join(&self) -> Result<(), PoolError> {
        self.join_until(None)
    }

    /// Waits until all tasks have their outcome and all processes of the pool are gone, but at most as
    /// long as `timeout`.
    ///
    /// # Errors
    /// [`PoolError::TimedOut`] if the time is over. The pool goes on with what it has, and can be joined
    /// again. Otherwise those of [`join`](Self::join).
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), PoolError> {
        self.join_until(Instant::now().checked_add(timeout))
    }

    fn join_until(&self, deadline: Option<Instant>) -> Result<(), PoolError> {
        if !self.core.is_own() {
            return Err(PoolError::Forked);
        }
        if !self.core.is_closed() {
            return Err(PoolError::StillOpen);
        }
        if !self.core.wait_for_all(deadline) {
            return Err(PoolError::TimedOut);
        }
        // In this order: the supervisor shall know why the workers exit.
        self.order(Order::Drain);
        self.core.close_ring();
        if !self.core.wait_until_alone(deadline) {
            return Err(PoolError::TimedOut);
        }
        self.join_supervisor();
        self.core.collect(); // what was submitted beside the closing, and run
        // Whatever is submitted through a handle that outlives the processes has nobody to run it.
        self.core.end(TaskError::Closed);
        Ok(())
    }

    /// Kills the workers now. Tasks that have no outcome yet get [`TaskError::Terminated`].
    ///
    /// Does not block; [`join`](Self::join) waits until the processes are gone.
    pub fn terminate(&self) {
        if !self.core.is_own() {
            return;
        }
        self.core.collect(); // what is finished is delivered
        self.core.end(TaskError::Terminated);
        self.order(Order::Kill);
    }

    /// The pool's numbers now. In a forked child there are no workers.
    pub fn stats(&self) -> Stats {
        let worker_pids = || lock(&self.board.pids).values().copied().collect();
        Stats {
            workers: self.workers,
            worker_pids: if self.core.is_own() { worker_pids() } else { Vec::new() },
            workers_lost: self.board.lost.load(Ordering::Relaxed),
            tasks_done: self.core.tasks_done(),
        }
    }

    fn order(&self, order: Order) {
        self.board.give(order);
        self.core.ring_bell();
    }

    fn join_supervisor(&self) {
        // Held meanwhile, so that a second joiner waits as well.
        let mut supervisor = lock(&self.supervisor);
        if let Some(thread) = supervisor.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.terminate();
        if self.core.is_own() {
            self.join_supervisor();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

//! The supervisor: the one thread of a pool. It sleeps until a process ends or the pool does.
//!
//! # Invariants
//! - V1. A worker that may have taken a task is in `workers`: it says `Fit` before it takes any. What is only in `starting` has
//!   touched nothing.
//! - V2. A death is settled after the process is dead: after the zygote has reaped it, or its pidfd has told.
//! - V3. Nobody else waits for these processes, and no lock is shared with them.

use crate::core::Core;
use crate::error::{Cause, PoolError, TaskError};
use crate::launch::{PATIENCE, Zygote};
use crate::numbers::Numbers;
use crate::origin::Origin;
use crate::sync::lock;
use crate::sys;
use crate::wire::{self, Reply, Request};
use rustix::io::Errno;
use rustix::process::Signal;
use std::collections::{BTreeMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often to look whether a ring, or the socket, that was full has room.
const FULL: Duration = Duration::from_millis(2);
/// How long processes that were killed may take to die.
const DYING: Duration = Duration::from_secs(5);
/// How long the zygote may take to reap them, before it is killed as well.
const REAPING: Duration = Duration::from_secs(1);
/// So many zygotes in a row may die without one worker having started.
const ZYGOTES: u32 = 3;
/// So many times in a row workers may be asked for of which one dies before it takes tasks.
const BARREN: u32 = 8;
/// The longest pause before workers that died like that are replaced.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What the pool wants of its supervisor, and what it may know of it.
pub(crate) struct Board {
    order: AtomicU8,
    /// Worker number to process.
    pub(crate) pids: Mutex<BTreeMap<u32, u32>>,
    pub(crate) lost: AtomicU64,
}

/// In ascending severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Order {
    Run,
    /// The ring of tasks is about to be closed: wait until the workers have exited.
    Drain,
    Kill,
}

impl Board {
    pub(crate) fn new() -> Board {
        Board { order: AtomicU8::new(0), pids: Mutex::default(), lost: AtomicU64::new(0) }
    }

    /// The core's bell must be rung afterwards.
    pub(crate) fn give(&self, order: Order) {
        // Relaxed: the bell is a system call, and the supervisor looks after it has heard it.
        self.order.fetch_max(order as u8, Ordering::Relaxed);
    }

    fn order(&self) -> Order {
        match self.order.load(Ordering::Relaxed) {
            0 => Order::Run,
            1 => Order::Drain,
            _ => Order::Kill,
        }
    }
}

/// Says at the end of the thread, however it comes, that no process is left.
struct Alone(Arc<Core>);

impl Drop for Alone {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end(TaskError::PoolBroken { reason: "its supervisor panicked".into() });
        }
        self.0.bury_all();
    }
}

struct Worker {
    pid: u32,
    /// Missing if there was no free descriptor for it. Its zygote watches it nevertheless.
    pidfd: Option<OwnedFd>,
}

pub(crate) struct Supervisor {
    core: Arc<Core>,
    board: Arc<Board>,
    origin: Origin,
    zygote: Zygote,
    wanted: usize,
    numbers: Numbers,
    starting: HashSet<u32>,
    workers: BTreeMap<u32, Worker>,
    /// Whether all were there once.
    is_started: bool,
    /// How many requests for workers in a row failed since one took tasks, and why the last one did.
    barren: u32,
    barren_reason: String,
    /// Whether the latest request is counted in that.
    is_counted: bool,
    not_before: Option<Instant>,
    /// Zygotes that died in a row before one of their workers took tasks.
    zygotes: u32,
}

impl Supervisor {
    /// Starts the processes.
    ///
    /// Blocks until all workers take tasks, or for [`PATIENCE`] none more does.
    pub(crate) fn start(
        core: Arc<Core>,
        board: Arc<Board>,
        origin: Origin,
        wanted: usize,
    ) -> Result<Supervisor, PoolError> {
        let zygote = Zygote::start(&origin, &core)?;
        let mut this = Supervisor {
            core,
            board,
            origin,
            zygote,
            wanted,
            numbers: Numbers::new(),
            starting: HashSet::new(),
            workers: BTreeMap::new(),
            is_started: false,
            barren: 0,
            barren_reason: String::new(),
            is_counted: false,
            not_before: None,
            zygotes: 0,
        };
        let (mut most, mut since) = (0, Instant::now());
        while this.workers.len() < wanted {
            if this.workers.len() > most {
                (most, since) = (this.workers.len(), Instant::now());
            }
            let left = PATIENCE.saturating_sub(since.elapsed());
            let step = if left.is_zero() {
                Err(format!("{most} of {wanted} were ready, and for {} s no other", PATIENCE.as_secs()))
            } else {
                this.step(Some(left))
            };
            if let Err(reason) = step {
                this.end_processes();
                return Err(PoolError::Start { reason });
            }
        }
        this.is_started = true;
        Ok(this)
    }

    /// The thread's life.
    pub(crate) fn run(self) {
        let _at_last = Alone(self.core.clone());
        let mut this = self; // which goes first, and its processes with it
        loop {
            let is_over = match this.board.order() {
                Order::Run => false,
                Order::Drain => this.workers.is_empty() && this.starting.is_empty(),
                Order::Kill => true,
            };
            if is_over {
                break;
            }
            if let Err(reason) = this.step(None) {
                this.core.end(TaskError::PoolBroken { reason });
                break;
            }
        }
        this.end_processes();
    }

    /// Refills, waits for something to happen, but at most as long as `limit`, and sees to it. An error is the pool's end.
    fn step(&mut self, limit: Option<Duration>) -> Result<(), String> {
        let mut pause = self.refill().or(limit);
        if !self.core.flush() {
            pause = Some(FULL);
        }
        let fds = [self.zygote.socket.as_fd(), self.zygote.pidfd.as_fd(), self.core.bell()];
        let [said, zygote_ended, rung] = sys::readable(fds, pause).map_err(|e| format!("poll: {e}"))?;
        if rung {
            self.core.silence_bell(); // heard before the next look at what it may have meant
        }
        if said && self.listen() {
            return self.check_breaker();
        }
        if zygote_ended || said {
            return self.replace_zygote();
        }
        Ok(())
    }

    /// Asks for the workers that are missing, or tells how long to wait before that.
    fn refill(&mut self) -> Option<Duration> {
        let missing = self.wanted.saturating_sub(self.workers.len() + self.starting.len());
        if missing == 0 || self.board.order() != Order::Run {
            return None;
        }
        let pause = self.not_before.map(|t| t.saturating_duration_since(Instant::now()));
        if let Some(pause) = pause.filter(|p| !p.is_zero()) {
            return Some(pause);
        }
        self.not_before = None;
        self.ask_for(missing)
    }

    /// Never blocks: the zygote may be blocked itself, because many deaths that it has told are still to be heard here.
    fn ask_for(&mut self, mut missing: usize) -> Option<Duration> {
        while missing > 0 {
            let is_used = |number| self.workers.contains_key(&number) || self.starting.contains(&number);
            let run = self.numbers.run(missing as u32, is_used);
            let request = Request::Spawn { first: run.start, count: run.len() as u32 };
            match wire::try_send(&self.zygote.socket, &request) {
                Ok(()) => {}
                Err(Errno::AGAIN) => return Some(FULL),
                Err(_) => return None, // the zygote is gone, which is seen next
            }
            self.numbers.take(&run);
            self.is_counted = false;
            missing -= run.len();
            self.starting.extend(run);
        }
        None
    }

    /// Hears one message. False: the conversation is over.
    fn listen(&mut self) -> bool {
        match wire::receive::<Reply>(&self.zygote.socket) {
            Ok(Some((reply, fds))) => self.hear(reply, fds),
            Ok(None) => return false,
            Err(Errno::BADMSG | Errno::MSGSIZE) => {}
            Err(_) => return false,
        }
        true
    }

    fn hear(&mut self, reply: Reply, mut fds: Vec<OwnedFd>) {
        match reply {
            Reply::Fit { worker, pid } => {
                if !self.starting.remove(&worker) {
                    return;
                }
                (self.barren, self.zygotes, self.not_before) = (0, 0, None);
                lock(&self.board.pids).insert(worker, pid);
                self.workers.insert(worker, Worker { pid, pidfd: fds.pop() });
            }
            Reply::Exited { worker, cause } => self.bury(worker, cause),
            Reply::NotForked { worker, errno } => {
                self.starting.remove(&worker);
                self.count_barren(format!("fork: {}", Errno::from_raw_os_error(errno)));
            }
            Reply::Unfit { worker, reason } => {
                self.starting.remove(&worker);
                self.count_barren(reason);
            }
            Reply::Ready | Reply::Refused { .. } => {}
        }
    }

    /// A worker is dead (V2).
    fn bury(&mut self, number: u32, cause: Cause) {
        if let Some(worker) = self.workers.remove(&number) {
            lock(&self.board.pids).remove(&number);
            if (self.board.order(), cause) != (Order::Drain, Cause::Exited(0)) {
                self.board.lost.fetch_add(1, Ordering::Relaxed);
            }
            self.core.settle(number, worker.pid, cause);
            if self.workers.is_empty() {
                self.barren = 0; // as long as others lived, failed requests were no reason to give up
            }
        } else if self.starting.remove(&number) {
            self.core.mend_arena(); // it may have joined
            self.count_barren(format!("the last one {cause}"));
        }
    }

    fn count_barren(&mut self, reason: String) {
        self.barren_reason = reason;
        if std::mem::replace(&mut self.is_counted, true) {
            return;
        }
        self.barren = self.barren.saturating_add(1);
        let pause = Duration::from_millis(1 << self.barren.min(16)).min(LONGEST_PAUSE);
        self.not_before = Some(Instant::now() + pause);
    }

    fn check_breaker(&self) -> Result<(), String> {
        let is_usable = self.is_started && !self.workers.is_empty();
        if self.barren < BARREN || is_usable {
            return Ok(());
        }
        Err(format!(
            "{} times in a row a worker died before it took a task: {}",
            self.barren, self.barren_reason
        ))
    }

    /// The zygote is gone, and its workers with it.
    fn replace_zygote(&mut self) -> Result<(), String> {
        let cause = self.zygote.end();
        // A worker closes its copy of the socket when it has said that it is fit, so at the socket's end all that are are known.
        while sys::has_ended(&self.zygote.socket, DYING) && self.listen() {}
        self.starting.clear();
        self.kill_workers();
        for number in self.workers.keys().copied().collect::<Vec<_>>() {
            let Worker { pid, pidfd } = &self.workers[&number];
            let Some(pidfd) = pidfd else {
                return Err(format!(
                    "the zygote {cause}, and no descriptor was free to see whether worker {pid} did, too: raise the limit"
                ));
            };
            if !sys::has_ended(pidfd, DYING) {
                return Err(format!("worker {pid} cannot be killed"));
            }
            self.bury(number, Cause::Unknown);
        }
        self.core.mend_arena(); // those that were starting may have joined
        if self.board.order() != Order::Run {
            return Ok(());
        }
        self.zygotes += 1;
        if self.zygotes > ZYGOTES {
            return Err(format!("{} zygotes in a row died, the last one {cause}", self.zygotes));
        }
        self.zygote = Zygote::start(&self.origin, &self.core).map_err(|e| e.to_string())?;
        Ok(())
    }

    fn pidfds(&self) -> impl Iterator<Item = &OwnedFd> {
        self.workers.values().filter_map(|worker| worker.pidfd.as_ref())
    }

    fn kill_workers(&self) {
        for pidfd in self.pidfds() {
            let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
        }
    }

    /// Kills what is left, and returns when it is gone. The zygote reaps its workers before it is killed itself, so that no dead
    /// process is left to an init that does not reap.
    fn end_processes(&mut self) {
        self.kill_workers();
        // Hearing the end, the zygote kills its workers, also those that have no pidfd here.
        let _ = rustix::net::shutdown(&self.zygote.socket, rustix::net::Shutdown::Write);
        let deadline = Instant::now() + REAPING;
        while !(self.workers.is_empty() && self.starting.is_empty()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if !sys::has_ended(&self.zygote.socket, left) || !self.listen() {
                break;
            }
            self.kill_workers(); // some may have started just now
        }
        self.zygote.end();
        // One that was starting may have said at the last moment that it is there; after the zygote's end nobody says more.
        while sys::has_ended(&self.zygote.socket, DYING) && self.listen() {}
        self.kill_workers();
        for pidfd in self.pidfds() {
            // What is lent to a worker by an open call is not given back before it is gone, however long the kernel keeps it.
            while !sys::has_ended(pidfd, DYING) && self.core.has_open_calls() {}
        }
        lock(&self.board.pids).clear();
    }
}

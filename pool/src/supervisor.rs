//! The supervisor: the one thread of a pool. It sleeps until a process ends or the pool does, and looks around once a second.
//!
//! A worker's number is in `workers` from the request for it to its end: first *asked for*, then, when it has said `Fit`, *fit*. Whatever else is said of a number that
//! is there is its end, and how it ends depends on how far it has come, not on the words: a fit one is settled, one that was asked for counts as a try that has failed.
//!
//! # Invariants
//! - V1. A worker that may have taken a task is known to be fit: it says `Fit` before it takes any, and what is said is heard to its end, in order, or the pool is
//!   broken. One that is not fit has touched nothing but its place in the arena.
//! - V2. A death is settled after the process is dead: after the zygote has reaped it, or its pidfd has told.
//! - V3. Nobody else waits for these processes, and no lock is shared with them.
//! - V4. A system call that fails is made again, or its step is (`sys::insist`, [`Patience`]), or it ends the pool, which gives each task its outcome. None is ignored on
//!   which a death, a request or an outcome depends.

use crate::core::Core;
use crate::error::{Cause, PoolError, TaskError};
use crate::launch::Zygote;
use crate::numbers::Numbers;
use crate::origin::Origin;
use crate::patience::{self, Patience};
use crate::sync::lock;
use crate::sys;
use crate::wire::{self, Reply, Request};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use skep_ipc::KeptFd;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often to look whether a ring, or the socket, that was full has room.
const FULL: Duration = Duration::from_millis(2);
/// How often to look around though nothing has happened: the program may have closed the bell, and with it what else would tell.
const LOOK: Duration = Duration::from_secs(1);
/// How long processes that were killed may take to die.
const DYING: Duration = Duration::from_secs(5);
/// How long the zygote may take to reap them, before it is killed as well.
const REAPING: Duration = Duration::from_secs(1);

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

/// How far a worker has come.
enum Worker {
    /// The zygote shall fork it, or has. With why it says that it is unfit, if it does.
    Asked(Option<String>),
    Fit(Process),
}

struct Process {
    pid: u32,
    /// Missing if there was no free descriptor for it.
    pidfd: Option<KeptFd>,
}

pub(crate) struct Supervisor {
    core: Arc<Core>,
    board: Arc<Board>,
    origin: Origin,
    /// None from one's end to the next one's start.
    zygote: Option<Zygote>,
    /// Whether a worker of this zygote has been fit.
    has_served: bool,
    wanted: usize,
    numbers: Numbers,
    workers: BTreeMap<u32, Worker>,
    /// Whether all were there once.
    is_started: bool,
    patience: Patience,
}

impl Supervisor {
    /// Starts the processes.
    ///
    /// Blocks until all workers take tasks, or for the time of `patience` none more does.
    pub(crate) fn start(
        core: Arc<Core>,
        board: Arc<Board>,
        origin: Origin,
        wanted: usize,
        patience: Duration,
    ) -> Result<Supervisor, PoolError> {
        let zygote = Some(Zygote::start(&origin, &core)?);
        let mut this = Supervisor {
            core,
            board,
            origin,
            zygote,
            has_served: false,
            wanted,
            numbers: Numbers::new(),
            workers: BTreeMap::new(),
            is_started: false,
            patience: Patience::new(patience),
        };
        let (mut most, mut since) = (0, Instant::now());
        loop {
            let fit = this.fit().count();
            if fit == wanted {
                break;
            }
            if fit > most {
                (most, since) = (fit, Instant::now());
            }
            let left = this.patience.limit().saturating_sub(since.elapsed());
            let step = if left.is_zero() {
                let why = this.patience.reason().map_or(String::new(), |reason| format!(": {reason}"));
                Err(format!("{most} of {wanted} were ready, and for {patience:?} no other{why}"))
            } else {
                this.step(Some(left))
            };
            // Dropped, it ends its processes.
            step.map_err(|reason| PoolError::Start { reason })?;
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
                Order::Drain => this.workers.is_empty(),
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
    }

    /// Those that may have taken tasks.
    fn fit(&self) -> impl Iterator<Item = &Process> {
        self.workers.values().filter_map(|worker| match worker {
            Worker::Fit(process) => Some(process),
            Worker::Asked(_) => None,
        })
    }

    /// Refills, waits for something to happen, but at most as long as `limit`, and sees to it. An error is the pool's end.
    fn step(&mut self, limit: Option<Duration>) -> Result<(), String> {
        let is_usable = self.is_started && self.fit().next().is_some();
        if !is_usable {
            self.patience.check()?;
        }
        let mut pause = self.refill().or(limit);
        if !self.core.flush() {
            pause = Some(FULL);
        }
        let (said, has_ended, rung) = self.wait(pause).map_err(|e| patience::shortage("poll", e))?;
        if rung {
            self.core.bell().silence(); // heard before the next look at what it may have meant
        }
        if said && self.listen()? || !said && !has_ended {
            return Ok(());
        }
        self.bury_zygote()
    }

    /// Whether the zygote has said something, whether it has ended, and whether the bell was rung.
    fn wait(&self, pause: Option<Duration>) -> Result<(bool, bool, bool), Errno> {
        let bell = self.core.bell().fd().ok_or(Errno::BADF)?.as_fd();
        let pause = Some(pause.unwrap_or(LOOK).min(LOOK));
        match &self.zygote {
            Some(zygote) => {
                let [socket, pidfd] = [sys::kept(&zygote.socket)?.as_fd(), sys::kept(&zygote.pidfd)?.as_fd()];
                sys::readable([socket, pidfd, bell], pause)
                    .map(|[said, has_ended, rung]| (said, has_ended, rung))
            }
            None => sys::readable([bell], pause).map(|[rung]| (false, false, rung)),
        }
    }

    /// Sees to it that workers come which are missing, or tells how long to wait before that.
    fn refill(&mut self) -> Option<Duration> {
        let missing = self.wanted.saturating_sub(self.workers.len());
        if missing == 0 || self.board.order() != Order::Run {
            return None;
        }
        if let Some(pause) = self.patience.pause() {
            return Some(pause);
        }
        self.patience.begin();
        if self.zygote.is_none() {
            match Zygote::start(&self.origin, &self.core) {
                Ok(zygote) => (self.zygote, self.has_served) = (Some(zygote), false),
                Err(error) => {
                    self.patience.fail(patience::shortage_of(&error));
                    return Some(self.patience.pause().unwrap_or_default());
                }
            }
        }
        self.ask_for(missing)
    }

    /// Never blocks: the zygote may be blocked itself, because many deaths that it has told are still to be heard here.
    fn ask_for(&mut self, mut missing: usize) -> Option<Duration> {
        let zygote = self.zygote.as_ref()?;
        while missing > 0 {
            let run = self.numbers.run(missing as u32, |number| self.workers.contains_key(&number));
            let request = Request::Spawn { first: run.start, count: run.len() as u32 };
            match sys::kept(&zygote.socket).and_then(|socket| wire::try_send(socket, &request)) {
                Ok(()) => {}
                Err(Errno::AGAIN) => return Some(FULL),
                Err(Errno::PIPE | Errno::CONNRESET) => return None, // the zygote is gone, which is seen next
                Err(error) => {
                    self.patience.fail(patience::shortage("sendmsg", error));
                    return Some(self.patience.pause().unwrap_or_default());
                }
            }
            self.numbers.take(&run);
            missing -= run.len();
            self.workers.extend(run.map(|number| (number, Worker::Asked(None))));
        }
        None
    }

    /// Hears one message. False: the conversation is over. Without what cannot be heard nobody knows who has taken a task.
    fn listen(&mut self) -> Result<bool, String> {
        let Some(zygote) = &self.zygote else { return Ok(false) };
        let heard = sys::kept(&zygote.socket).and_then(wire::receive::<Reply>);
        let heard = heard.map_err(|e| patience::shortage("hearing the zygote", e))?;
        Ok(heard.map(|(reply, fds)| self.hear(reply, fds)).is_some())
    }

    fn hear(&mut self, reply: Reply, mut fds: Vec<OwnedFd>) {
        match reply {
            Reply::Fit { worker, pid } => {
                let Some(stage @ Worker::Asked(_)) = self.workers.get_mut(&worker) else { return };
                *stage = Worker::Fit(Process { pid, pidfd: fds.pop().and_then(|fd| KeptFd::new(fd).ok()) });
                lock(&self.board.pids).insert(worker, pid);
                self.patience.renew();
                self.has_served = true;
            }
            Reply::Unfit { worker, reason } => {
                if let Some(Worker::Asked(said)) = self.workers.get_mut(&worker) {
                    *said = Some(reason);
                }
            }
            Reply::Exited { worker, cause } => self.bury(worker, cause, None),
            Reply::NotForked { worker, errno } => {
                let error = Errno::from_raw_os_error(errno);
                self.bury(worker, Cause::Unknown, Some(patience::shortage("fork", error)));
            }
            Reply::Ready | Reply::Refused { .. } | Reply::Failed { .. } => {}
        }
    }

    /// A worker is dead (V2), or there never was one.
    fn bury(&mut self, number: u32, cause: Cause, reason: Option<String>) {
        match self.workers.remove(&number) {
            Some(Worker::Fit(Process { pid, .. })) => {
                lock(&self.board.pids).remove(&number);
                if (self.board.order(), cause) != (Order::Drain, Cause::Exited(0)) {
                    self.board.lost.fetch_add(1, Ordering::Relaxed);
                }
                self.core.settle(number, pid, cause);
                if self.fit().next().is_none() {
                    self.patience.renew(); // as long as others lived, failures were no reason to give up
                }
            }
            Some(Worker::Asked(said)) => {
                self.core.mend_arena(); // it may have joined
                self.patience.fail(said.or(reason).unwrap_or_else(|| format!("the last one {cause}")));
            }
            None => {}
        }
    }

    /// The zygote is gone, and its workers with it.
    fn bury_zygote(&mut self) -> Result<(), String> {
        let Some(zygote) = &mut self.zygote else { return Ok(()) };
        let cause = zygote.end();
        self.hear_all()?;
        self.kill_workers();
        self.zygote = None; // whose descriptors may be all that are free
        while let Some((&number, worker)) = self.workers.first_key_value() {
            if let Worker::Fit(process) = worker {
                let is_dead = process.is_dead(DYING).map_err(|e| {
                    let reason = patience::shortage("pidfd_open", e);
                    format!(
                        "nobody can see whether worker {} has died with the zygote, which {cause}: {reason}",
                        process.pid
                    )
                })?;
                if !is_dead {
                    return Err(format!("worker {} cannot be killed", process.pid));
                }
                process.reap();
            }
            self.bury(number, Cause::Unknown, Some(format!("the zygote {cause}")));
        }
        self.core.mend_arena(); // also for workers of which nothing was heard
        if self.board.order() == Order::Run {
            self.origin.check()?;
        }
        match self.has_served {
            true => self.patience.renew(),
            false => self.patience.fail(format!("the zygote {cause}")),
        }
        Ok(())
    }

    /// Hears what the zygote and its workers have said before they ended. A worker closes its copy of the socket when it has said that it is fit: so at the end all that
    /// are are known. One that the kernel keeps for longer than [`DYING`] is killed, and takes no step any more.
    fn hear_all(&mut self) -> Result<(), String> {
        while let Some(zygote) = &self.zygote
            && sys::kept(&zygote.socket)
                .and_then(|socket| sys::has_ended(socket, DYING))
                .map_err(|e| patience::shortage("poll", e))?
            && self.listen()?
        {}
        Ok(())
    }

    fn kill_workers(&self) {
        self.fit().for_each(Process::kill);
    }

    /// Kills what is left, and returns when it is gone. The zygote reaps its workers before it is killed itself, so that no dead
    /// process is left to an init that does not reap.
    fn end_processes(&mut self) {
        self.kill_workers();
        if let Some(socket) = self.zygote.as_ref().and_then(|zygote| zygote.socket.get()) {
            // Hearing the end, the zygote kills its workers, also those that have no pidfd here.
            let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
        }
        let deadline = Instant::now() + REAPING;
        while let Some(zygote) = &self.zygote
            && !self.workers.is_empty()
        {
            let left = deadline.saturating_duration_since(Instant::now());
            let has_said = sys::kept(&zygote.socket).and_then(|socket| sys::has_ended(socket, left));
            if has_said != Ok(true) || self.listen() != Ok(true) {
                break;
            }
            self.kill_workers(); // some may have started just now
        }
        if let Some(zygote) = &mut self.zygote {
            zygote.end();
        }
        // One that was starting may have said at the last moment that it is there; after the zygote's end nobody says more.
        let _ = self.hear_all();
        self.kill_workers();
        self.zygote = None;
        for process in self.fit() {
            // What is lent to a worker by an open call is not given back before it is gone, however long the kernel keeps it.
            while process.is_dead(DYING) != Ok(true) && self.core.has_open_calls() {}
            process.reap();
        }
        lock(&self.board.pids).clear();
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.end_processes();
    }
}

impl Process {
    /// Also missing once the program has closed it.
    fn pidfd(&self) -> Option<&OwnedFd> {
        self.pidfd.as_ref().and_then(KeptFd::get)
    }

    /// Kills it and its group, in which is what its task has started.
    fn kill(&self) {
        if let (Some(pidfd), Some(group)) = (self.pidfd(), Pid::from_raw(self.pid as i32)) {
            sys::kill_group(pidfd, group);
            let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL); // before Linux 6.9
        }
    }

    /// Reaps it and its group, once it is dead. Where this process takes in orphans, as the first one of a container does, they are
    /// its children when their zygote has died before them; elsewhere they are not.
    fn reap(&self) {
        if let Some(group) = Pid::from_raw(self.pid as i32) {
            sys::reap_dying(group, REAPING);
        }
    }

    /// Whether it has ended, waiting for that as long as `timeout`.
    ///
    /// Where its pidfd is missing, its zygote must have ended. Then its number may have become another's: that one is waited for, in vain, but no living worker is taken
    /// for dead.
    fn is_dead(&self, timeout: Duration) -> Result<bool, Errno> {
        if let Some(pidfd) = self.pidfd() {
            return sys::has_ended(pidfd, timeout);
        }
        let Some(pid) = Pid::from_raw(self.pid as i32) else { return Ok(true) };
        match sys::insist(|| rustix::process::pidfd_open(pid, PidfdFlags::empty())) {
            Ok(pidfd) => sys::has_ended(&pidfd, timeout),
            Err(Errno::SRCH) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

//! The zygote: a small process, without other threads, that workers are forked from. This is its whole life.
//!
//! The pool's process executes itself once more, and the new process comes here from `init()`. It starts workers as it is told,
//! reaps them, and reports each death. It forks them, or lets each execute the program and come here too
//! ([`Start`](crate::Start)). Each worker leads a process group, so that whatever its task has started is killed with it. When the
//! conversation ends or the parent dies, however it dies, the zygote takes its workers and their groups with it; when it is killed
//! itself, the kernel does that (`lifeline.rs`).
//!
//! # Invariants
//! - Z1. Where it forks, nobody else runs here: this is the only thread but for the one that forks, which it waits for, holding nothing; or there
//!   is a test harness's main thread as well, which sleeps until its test ends, holding nothing.
//! - Z2. A worker is forked by a thread that has done nothing else: none of this process's thread-local values is a worker's.
//! - Z3. A worker is reaped here alone, and its pidfd was opened before that: it is never another process's. Its group is killed
//!   before it is reaped: so that number is never another group's.

use crate::entry::{self, MARKER, Role};
use crate::error::Cause;
use crate::inherited;
use crate::lifeline::Lifeline;
use crate::origin::{self, Start};
use crate::patience;
use crate::signals;
use crate::sys;
use crate::title::{self, Titles};
use crate::wire::{self, Reply, Request};
use crate::worker::{self, Parent};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// What the parent sends for the workers to attach to.
pub(crate) struct Setup {
    pub(crate) tasks: OwnedFd,
    pub(crate) done: OwnedFd,
    pub(crate) records: OwnedFd,
    pub(crate) spill: OwnedFd,
    pub(crate) arena: OwnedFd,
}

struct Zygote {
    socket: OwnedFd,
    parent: OwnedFd,
    setup: Setup,
    workers: BTreeMap<u32, Child>,
    start: Start,
    /// For workers that are executed.
    output: OwnedFd,
    titles: Titles,
    lifeline: Lifeline,
}

/// A worker that is not reaped.
struct Child {
    pid: Pid,
    pidfd: OwnedFd,
}

/// Never returns: neither in the zygote nor in its workers.
pub(crate) fn main(allowed_threads: usize) -> ! {
    signals::leave_messages();
    let socket = match take_socket() {
        Ok(socket) => socket,
        Err(e) => {
            // There is nobody else to tell.
            let reason = patience::shortage("its process cannot take its end of the socket", e);
            let _ = wire::send(rustix::stdio::stdin(), &Reply::Failed { reason }, &[]);
            std::process::exit(1)
        }
    };
    let marker = std::env::var(MARKER).unwrap_or_default();
    let Some((role, list)) = Role::of(&marker) else { std::process::exit(1) };
    inherited::close(list);
    inherited::remember();
    if role == Role::Zygote(Start::Fork)
        && let Err(mut others) = settle_down(allowed_threads)
    {
        others.truncate(wire::NAMES);
        let _ = wire::send(&socket, &Reply::Refused { others }, &[]);
        std::process::exit(1);
    }
    sys::forget_variable(MARKER);
    sys::leave_terminal();
    entry::admit();
    match role {
        Role::Worker => match hear_work(&socket) {
            Ok(work) => work.begin(),
            Err(_) => std::process::exit(1),
        },
        Role::Zygote(start) => {
            sys::set_name(title::ZYGOTE);
            // If it is stopped when the parent dies, it shall go on and see to its end. This comes with the end of the thread that
            // has started this process, and again with the end of that thread's process; to one that is not stopped it is nothing.
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::CONT));
            // If that fails, the parent sees the socket's end.
            if let Ok(zygote) = greet(socket, start) {
                zygote.serve().end_workers();
            }
            end_group()
        }
    }
}

/// The socket came as standard input; tasks shall not read from it.
fn take_socket() -> Result<OwnedFd, Errno> {
    let socket = sys::insist(|| rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3))?;
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let null = sys::insist(|| rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty()))?;
    sys::insist(|| rustix::stdio::dup2_stdin(&null))?;
    Ok(socket)
}

/// Waits until Z1 holds.
fn settle_down(allowed_threads: usize) -> Result<(), Vec<String>> {
    let start = Instant::now();
    loop {
        let others = sys::other_threads();
        if others.is_empty() || others.len() < allowed_threads && sys::others_sleep() {
            return Ok(());
        }
        if others.len() >= allowed_threads || start.elapsed() > Duration::from_secs(5) {
            return Err(others);
        }
        std::thread::yield_now();
    }
}

/// The first words of the conversation.
fn greet(socket: OwnedFd, start: Start) -> Result<Zygote, Errno> {
    wire::send(&socket, &Reply::Ready, &[])?;
    let Some((Request::Setup(manners), fds)) = wire::receive(&socket)? else { return Err(Errno::PROTO) };
    let [parent, tasks, done, records, spill, arena, stdout] =
        <[OwnedFd; wire::SETUP_FDS]>::try_from(fds).map_err(|_| Errno::PROTO)?;
    print_to(&stdout)?;
    manners.adopt();
    let titles = Titles::new();
    titles.show("zygote", parent_pid());
    let setup = Setup { tasks, done, records, spill, arena };
    let (workers, lifeline) = (BTreeMap::new(), Lifeline::new()?);
    Ok(Zygote { socket, parent, setup, workers, start, output: stdout, titles, lifeline })
}

/// Lets standard output be this. What constructors and a test harness have said so far went to /dev/null, and what they have not
/// flushed shall, too: else each worker would say it.
fn print_to(output: &OwnedFd) -> Result<(), Errno> {
    let _ = std::io::stdout().flush();
    sys::flush_streams();
    sys::insist(|| rustix::stdio::dup2_stdout(output))
}

/// What a worker that was executed is told.
struct Work {
    worker: u32,
    pool: u32,
    setup: Setup,
    socket: OwnedFd,
    lifeline: OwnedFd,
}

fn hear_work(from: &OwnedFd) -> Result<Work, Errno> {
    let Some((Request::Work { worker, pool }, fds)) = wire::receive(from)? else { return Err(Errno::PROTO) };
    let [tasks, done, records, spill, arena, output, socket, lifeline] =
        <[OwnedFd; wire::WORK_FDS]>::try_from(fds).map_err(|_| Errno::PROTO)?;
    print_to(&output)?;
    Ok(Work { worker, pool, setup: Setup { tasks, done, records, spill, arena }, socket, lifeline })
}

impl Work {
    fn begin(self) -> ! {
        sys::set_name(&title::worker(self.worker));
        Titles::new().show(&format!("worker {}", self.worker), self.pool);
        let Some(pid) = rustix::process::getppid() else { std::process::exit(1) };
        let parent = Parent { pid, forker: None };
        worker::main(self.worker, parent, self.setup, self.socket, self.lifeline)
    }
}

impl Zygote {
    /// Serves until the conversation ends or the parent dies.
    fn serve(mut self) -> Zygote {
        while let Ok(Some(wanted)) = self.step() {
            for worker in wanted {
                let (zygote, told) = self.spawn(worker);
                self = zygote;
                if told.is_err() {
                    return self;
                }
            }
        }
        self
    }

    /// Waits until something happens, and sees to it; gives the workers that shall be forked. `None`: it is over.
    fn step(&mut self) -> Result<Option<Range<u32>>, Errno> {
        let mut fds =
            vec![PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.parent, PollFlags::IN)];
        fds.extend(self.workers.values().map(|child| PollFd::new(&child.pidfd, PollFlags::IN)));
        sys::poll(&mut fds, None)?;
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready[1] {
            return Ok(None);
        }
        if ready[2..].contains(&true) {
            self.reap()?;
        }
        if !ready[0] {
            return Ok(Some(0..0));
        }
        match wire::receive(&self.socket)? {
            Some((Request::Spawn { first, count }, _)) => Ok(Some(first..first.saturating_add(count))),
            Some(_) => Err(Errno::PROTO),
            None => Ok(None),
        }
    }

    /// Starts a worker, and tells if it cannot.
    fn spawn(self, worker: u32) -> (Zygote, Result<(), Errno>) {
        let (mut zygote, started) = match self.start {
            Start::Fork => self.fork(worker),
            Start::Execute => {
                let started = self.execute(worker);
                (self, started)
            }
        };
        let child = started.and_then(|pid| {
            let pidfd = sys::insist(|| rustix::process::pidfd_open(pid, PidfdFlags::empty()));
            pidfd.map(|pidfd| Child { pid, pidfd }).inspect_err(|_| {
                end(pid);
            })
        });
        let told = match child {
            Ok(child) => {
                zygote.workers.insert(worker, child);
                Ok(())
            }
            Err(e) => wire::send(&zygote.socket, &Reply::NotForked { worker, errno: e.raw_os_error() }, &[]),
        };
        (zygote, told)
    }

    /// To the child goes a copy of all that is here.
    fn fork(self, worker: u32) -> (Zygote, Result<Pid, Errno>) {
        let (pid, pool) = (rustix::process::getpid(), parent_pid());
        signals::deaf(|| {
            sys::fork(self, title::worker(worker), |zygote, forker| {
                zygote.become_worker(worker, Parent { pid, forker: Some(forker) }, pool)
            })
        })
    }

    fn execute(&self, worker: u32) -> Result<Pid, Errno> {
        let (here, there) = wire::pair()?;
        let mut command = origin::this_program(std::env::args_os().skip(1));
        command.env(MARKER, Role::Worker.marker("")).stdin(Stdio::from(there)).stdout(Stdio::null());
        let child = signals::deaf(|| command.spawn()).map_err(|e| sys::errno(&e))?;
        let Setup { tasks, done, records, spill, arena } = &self.setup;
        let (output, socket, lifeline) = (&self.output, &self.socket, &self.lifeline.reading);
        let fds = [tasks, done, records, spill, arena, output, socket, lifeline].map(|fd| fd.as_fd());
        // If it has died already, that is seen by its pidfd.
        let _ = wire::send(&here, &Request::Work { worker, pool: parent_pid() }, &fds);
        Ok(Pid::from_child(&child))
    }

    /// In a forked child: it keeps nothing of the zygote's but what it is given.
    fn become_worker(self, worker: u32, parent: Parent, pool: u32) -> ! {
        signals::leave_messages_here();
        let Zygote { socket, parent: pool_pidfd, setup, workers, titles, output, lifeline, .. } = self;
        let Lifeline { reading, writing } = lifeline;
        drop((pool_pidfd, workers, output, writing));
        titles.show(&format!("worker {worker}"), pool);
        worker::main(worker, parent, setup, socket, reading)
    }

    /// Reaps and reports the workers that have ended.
    fn reap(&mut self) -> Result<(), Errno> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let has_ended = |child: &Child| {
            let ended = sys::insist(|| rustix::process::waitid(WaitId::PidFd(child.pidfd.as_fd()), look));
            !matches!(ended, Ok(None))
        };
        let ended: Vec<u32> =
            self.workers.iter().filter_map(|(worker, child)| has_ended(child).then_some(*worker)).collect();
        for worker in ended {
            let Some(child) = self.workers.remove(&worker) else { continue };
            let cause = end(child.pid);
            wire::send(&self.socket, &Reply::Exited { worker, cause }, &[])?;
        }
        Ok(())
    }

    /// Kills and reaps what is left, so that no dead worker is left to a parent that does not reap.
    fn end_workers(&mut self) {
        self.workers.values().for_each(|child| kill(child.pid));
        for child in self.workers.values() {
            end(child.pid);
        }
    }
}

/// The process that has the pool, as it is called here; 0 from another namespace.
fn parent_pid() -> u32 {
    rustix::process::getppid().map_or(0, |pid| pid.as_raw_pid() as u32)
}

/// Kills a worker that is not reaped, and its group.
fn kill(worker: Pid) {
    let _ = rustix::process::kill_process_group(worker, Signal::KILL);
    let _ = rustix::process::kill_process(worker, Signal::KILL); // also one that leads no group yet
}

/// Kills them, and reaps the worker.
fn end(worker: Pid) -> Cause {
    kill(worker);
    match sys::insist(|| rustix::process::waitid(WaitId::Pid(worker), WaitIdOptions::EXITED)) {
        Ok(Some(status)) => sys::cause(&status),
        _ => Cause::Unknown,
    }
}

/// Ends what is left in this process's group, where workers begin, and the process itself.
fn end_group() -> ! {
    if rustix::process::getpgrp() == rustix::process::getpid() {
        let _ = rustix::process::kill_current_process_group(Signal::KILL);
    }
    std::process::exit(0)
}

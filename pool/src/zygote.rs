//! The zygote: a small process, without other threads, that workers are forked from. This is its whole life.
//!
//! The pool's process executes itself once more, and the new process comes here from `init()`. It forks workers as it is told,
//! reaps them, and reports each death. When the conversation ends or the parent dies, however it dies, it takes its workers and whatever
//! they have started with it: it kills its process group.
//!
//! # Invariants
//! - Z1. Nobody else runs here: this is the only thread, or the other one is a test harness's main thread that sleeps until its test
//!   ends, holding nothing.
//! - Z2. A worker is reaped here alone, and its pidfd was opened before that: it is never another process's.

use crate::entry::{self, MARKER};
use crate::error::Cause;
use crate::sys;
use crate::wire::{self, Reply, Request};
use crate::worker;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use std::collections::HashMap;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
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
    /// Worker number to pidfd.
    workers: HashMap<u32, OwnedFd>,
}

/// On which side of a fork.
#[derive(PartialEq, Eq)]
enum Side {
    Zygote,
    Worker,
}

/// Never returns: neither in the zygote nor in its workers.
pub(crate) fn main(allowed_threads: usize) -> ! {
    // Whatever goes wrong here, the parent sees the socket's end; there is nobody else to tell.
    let Ok(socket) = take_socket() else { std::process::exit(1) };
    sys::close_inherited();
    if let Err(threads) = settle_down(allowed_threads) {
        let _ = wire::send(&socket, &Reply::Refused { threads }, &[]);
        std::process::exit(1);
    }
    sys::forget_variable(MARKER);
    sys::default_signals();
    let _ = rustix::thread::set_name(c"skep-zygote");
    entry::admit();
    let zygote_pid = rustix::process::getpid();
    if let Ok(mut zygote) = greet(socket) {
        if let Ok(Some(worker)) = zygote.serve() {
            // A forked child: it keeps nothing of the zygote's but what it is given.
            let Zygote { socket, setup, parent, workers } = zygote;
            drop((parent, workers));
            worker::main(worker, zygote_pid, setup, socket);
        }
        zygote.end_workers();
    }
    end_group()
}

/// The socket came as standard input; tasks shall not read from it.
fn take_socket() -> Result<OwnedFd, Errno> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(socket)
}

/// Waits until Z1 holds.
fn settle_down(allowed_threads: usize) -> Result<(), usize> {
    let start = Instant::now();
    loop {
        let threads = sys::threads();
        if threads <= 1 || threads <= allowed_threads && sys::others_sleep() {
            return Ok(());
        }
        if threads > allowed_threads || start.elapsed() > Duration::from_secs(5) {
            return Err(threads);
        }
        std::thread::yield_now();
    }
}

/// The first words of the conversation.
fn greet(socket: OwnedFd) -> Result<Zygote, Errno> {
    wire::send(&socket, &Reply::Ready, &[])?;
    let Some((Request::Setup, fds)) = wire::receive(&socket)? else { return Err(Errno::PROTO) };
    let [parent, tasks, done, records, spill, arena, stdout] =
        <[OwnedFd; wire::SETUP_FDS]>::try_from(fds).map_err(|_| Errno::PROTO)?;
    // What a test harness has said so far went to /dev/null, and what it has not flushed shall, too.
    let _ = std::io::stdout().flush();
    rustix::stdio::dup2_stdout(&stdout)?;
    let setup = Setup { tasks, done, records, spill, arena };
    Ok(Zygote { socket, parent, setup, workers: HashMap::new() })
}

impl Zygote {
    /// Until the conversation ends or the parent dies; in a forked worker it returns its number.
    fn serve(&mut self) -> Result<Option<u32>, Errno> {
        loop {
            let mut fds =
                vec![PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.parent, PollFlags::IN)];
            fds.extend(self.workers.values().map(|pidfd| PollFd::new(pidfd, PollFlags::IN)));
            sys::poll(&mut fds, None)?;
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            if ready[1] {
                return Ok(None);
            }
            if ready[2..].contains(&true) {
                self.reap()?;
            }
            if ready[0] {
                match wire::receive(&self.socket)? {
                    Some((Request::Spawn { first, count }, _)) => {
                        for worker in first..first.saturating_add(count) {
                            if self.spawn(worker)? == Side::Worker {
                                return Ok(Some(worker));
                            }
                        }
                    }
                    Some((Request::Setup, _)) => return Err(Errno::PROTO),
                    None => return Ok(None),
                }
            }
        }
    }

    fn spawn(&mut self, worker: u32) -> Result<Side, Errno> {
        let forked = match sys::fork() {
            Ok(None) => return Ok(Side::Worker),
            Ok(Some(pid)) => {
                rustix::process::pidfd_open(pid, PidfdFlags::empty()).inspect_err(|_| reap_now(pid))
            }
            Err(e) => Err(e),
        };
        match forked {
            Ok(pidfd) => {
                self.workers.insert(worker, pidfd);
            }
            Err(e) => {
                wire::send(&self.socket, &Reply::NotForked { worker, errno: e.raw_os_error() }, &[])?;
            }
        }
        Ok(Side::Zygote)
    }

    /// Reaps and reports the workers that have ended.
    fn reap(&mut self) -> Result<(), Errno> {
        let mut ended = Vec::new();
        for (&worker, pidfd) in &self.workers {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            match rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options) {
                Ok(None) | Err(Errno::INTR) => {}
                Ok(Some(status)) => ended.push((worker, sys::cause(&status))),
                Err(_) => ended.push((worker, Cause::Unknown)),
            }
        }
        for (worker, cause) in ended {
            self.workers.remove(&worker);
            wire::send(&self.socket, &Reply::Exited { worker, cause }, &[])?;
        }
        Ok(())
    }

    /// Kills and reaps what is left, so that no dead worker is left to a parent that does not reap.
    fn end_workers(&mut self) {
        for pidfd in self.workers.values() {
            let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
        }
        for pidfd in self.workers.values() {
            let _ = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
        }
    }
}

fn reap_now(pid: Pid) {
    let _ = rustix::process::kill_process(pid, Signal::KILL);
    let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
}

/// Ends everything that descends from this process and has stayed in its group, and the process itself.
fn end_group() -> ! {
    if rustix::process::getpgrp() == rustix::process::getpid() {
        let _ = rustix::process::kill_current_process_group(Signal::KILL);
    }
    std::process::exit(0)
}

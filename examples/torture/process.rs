//! Processes by the hundred a second: forked from this one, which has no threads, and stopped, continued, killed and reaped by number.

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getppid};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a process ended by itself.
const LEFT: i32 = 0;
const IN_TROUBLE: i32 = 3;
const PANICKED: i32 = 101;

/// A started process that is not reaped yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Process(Pid);

/// What has become of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// It is stopped, whoever did it.
    Stopped,
    /// It has returned without trouble.
    Left,
    /// `SIGKILL`, whoever sent it.
    Killed,
    /// It returned an error, panicked or crashed.
    Failed,
}

/// Runs `play` in a new process, which ends with it, and with this one.
pub fn start(play: impl FnOnce() -> Result<(), String>) -> io::Result<Process> {
    let parent = nix::unistd::getpid();
    // SAFETY: this process has one thread, so the child is in no other's lock.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(Process(child)),
        ForkResult::Child => {
            // SAFETY: asks for a signal to this process alone. The parent may have died before: then there is nobody to play for.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let code = if getppid() == parent { run(play) } else { LEFT };
            // SAFETY: ends this process at once; the parent's handles are not dropped here.
            unsafe { libc::_exit(code) }
        }
    }
}

fn run(play: impl FnOnce() -> Result<(), String>) -> i32 {
    match catch_unwind(AssertUnwindSafe(play)) {
        Ok(Ok(())) => LEFT,
        Ok(Err(trouble)) => {
            eprintln!("torture: process {}: {trouble}", std::process::id());
            IN_TROUBLE
        }
        Err(_) => PANICKED,
    }
}

impl Process {
    pub fn kill(self) {
        self.signal(Signal::SIGKILL);
    }

    pub fn stop(self) {
        self.signal(Signal::SIGSTOP);
    }

    pub fn go_on(self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(self, signal: Signal) {
        // Its number is not given away before it is reaped, so this can hit nobody else; a dead one takes it without notice.
        let _ = kill(self.0, signal);
    }
}

/// Lets a process go on that another one has stopped.
pub fn go_on(pid: u64) {
    let _ = kill(Pid::from_raw(pid as i32), Signal::SIGCONT);
}

/// A process that has ended or was stopped, if there is one; each is told once.
pub fn news() -> Option<(Process, News)> {
    match waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)) {
        Ok(WaitStatus::Exited(pid, code)) => {
            Some((Process(pid), if code == LEFT { News::Left } else { News::Failed }))
        }
        Ok(WaitStatus::Signaled(pid, Signal::SIGKILL, _)) => Some((Process(pid), News::Killed)),
        Ok(WaitStatus::Signaled(pid, signal, _)) => {
            eprintln!("torture: process {pid} died of {signal}");
            Some((Process(pid), News::Failed))
        }
        Ok(WaitStatus::Stopped(pid, _)) => Some((Process(pid), News::Stopped)),
        _ => None,
    }
}

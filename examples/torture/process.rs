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

/// How a process came to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// It returned without trouble.
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

/// A process that has ended, if there is one.
pub fn reap() -> Option<(Process, Exit)> {
    match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(pid, code)) => {
            Some((Process(pid), if code == LEFT { Exit::Left } else { Exit::Failed }))
        }
        Ok(WaitStatus::Signaled(pid, Signal::SIGKILL, _)) => Some((Process(pid), Exit::Killed)),
        Ok(WaitStatus::Signaled(pid, signal, _)) => {
            eprintln!("torture: process {pid} died of {signal}");
            Some((Process(pid), Exit::Failed))
        }
        _ => None,
    }
}

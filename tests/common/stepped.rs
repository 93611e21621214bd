//! A process that a debugger leads step by step, and kills where it likes.
#![allow(dead_code, reason = "each test file uses what it needs")]

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// A traced process, stopped before the first instruction of its work.
pub struct Stepped(libc::pid_t);

/// How a stepped process is doing.
#[derive(Debug, PartialEq, Eq)]
pub enum Now {
    Stopped,
    Over,
}

/// How far a step goes.
#[derive(Clone, Copy)]
pub enum Step {
    /// One machine instruction.
    Instruction = libc::PTRACE_SINGLESTEP as isize,
    /// To the next entry to a system call, or return from one.
    SystemCall = libc::PTRACE_SYSCALL as isize,
}

impl Stepped {
    /// Forks a process that runs `prepare`, and stops before `work`.
    pub fn start<P>(prepare: impl FnOnce() -> P, work: impl FnOnce(P)) -> Stepped {
        // SAFETY: the child runs what follows and ends by `_exit`; glibc keeps malloc usable in a forked child.
        match unsafe { libc::fork() } {
            0 => {
                let prepared = prepare();
                // SAFETY: makes the parent this process's tracer, then stops.
                unsafe {
                    assert_eq!(libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0), 0);
                    libc::raise(libc::SIGSTOP);
                }
                work(prepared);
                // SAFETY: ends this process at once.
                unsafe { libc::_exit(0) }
            }
            -1 => panic!("fork: {}", std::io::Error::last_os_error()),
            pid => {
                let stepped = Stepped(pid);
                assert_eq!(stepped.wait(), Now::Stopped);
                stepped
            }
        }
    }

    fn wait(&self) -> Now {
        if libc::WIFSTOPPED(self.status(0)) { Now::Stopped } else { Now::Over }
    }

    fn status(&self, options: i32) -> i32 {
        let mut status = 0;
        // SAFETY: waits for the child, which is not reaped before it is over.
        assert_eq!(unsafe { libc::waitpid(self.0, &raw mut status, options) }, self.0);
        status
    }

    pub fn pid(&self) -> libc::pid_t {
        self.0
    }

    /// Lets it go one step.
    pub fn step(&self, step: Step) -> Now {
        // SAFETY: the child is stopped and traced by this thread.
        assert_eq!(unsafe { libc::ptrace(step as _, self.0, 0, 0) }, 0);
        self.wait()
    }

    pub fn kill(self) {
        // SAFETY: the child is not reaped yet.
        assert_eq!(unsafe { libc::kill(self.0, libc::SIGKILL) }, 0);
        assert_eq!(self.wait(), Now::Over);
    }

    /// Ends the debugging; the process goes on by itself. Returns how it ended.
    pub fn let_go(self) -> ExitStatus {
        self.detach(0);
        ExitStatus::from_raw(self.status(0))
    }

    /// Ends the debugging and leaves the process stopped, as by `SIGSTOP`.
    pub fn leave_stopped(self) -> Left {
        self.detach(libc::SIGSTOP);
        assert!(libc::WIFSTOPPED(self.status(libc::WUNTRACED)));
        Left(self)
    }

    fn detach(&self, signal: i32) {
        // SAFETY: the child is stopped and traced by this thread.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, 0, signal) }, 0);
    }
}

/// A process that was left stopped.
pub struct Left(Stepped);

impl Left {
    /// Lets it go on (`SIGCONT`). Returns how it ended.
    pub fn go_on(self) -> ExitStatus {
        // SAFETY: the child is not reaped yet.
        assert_eq!(unsafe { libc::kill(self.0.0, libc::SIGCONT) }, 0);
        ExitStatus::from_raw(self.0.status(0))
    }
}

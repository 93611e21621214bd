//! Other processes for tests: this test binary, started once more to play a role.
//!
//! A test file that uses it has one test named `the_other_process`, which does nothing unless a role is given.
#![allow(dead_code, reason = "each test file uses what it needs")]

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};

const ROLE: &str = "SKEP_TEST_ROLE";
const ARGUMENT: &str = "SKEP_TEST_ARGUMENT";

/// Which role this process plays, and its argument; `None` in the test runner itself.
pub fn role() -> Option<(String, String)> {
    Some((std::env::var(ROLE).ok()?, std::env::var(ARGUMENT).unwrap_or_default()))
}

/// A process that is killed when the test lets go of it, passed or failed.
pub struct Other(Child);

impl Other {
    /// Starts a process in a role.
    pub fn start(role: &str, argument: &str) -> Other {
        Other::spawn(role, argument, Stdio::null())
    }

    /// The same; it finds a descriptor as its standard input.
    pub fn start_with_fd(role: &str, argument: &str, fd: impl AsFd) -> Other {
        let fd: OwnedFd = fd.as_fd().try_clone_to_owned().unwrap();
        Other::spawn(role, argument, fd.into())
    }

    fn spawn(role: &str, argument: &str, stdin: Stdio) -> Other {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_other_process", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(ARGUMENT, argument)
            .stdin(stdin)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Other(child)
    }

    pub fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: a plain system call on a process of our own that is not reaped yet.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }

    /// `kill -9`, and the kernel's word that it is over.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        let status = self.0.wait().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGKILL), "it ended by itself: {status}");
    }

    /// Waits for its end.
    pub fn wait(mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }

    /// Waits for its end, which must be a success.
    pub fn finish(self) {
        let status = self.wait();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a thread of this process sleeps on a futex. A thread that has ended does not.
pub fn is_asleep(thread: libc::pid_t) -> bool {
    std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall"))
        .is_ok_and(|call| call.split(' ').next() == Some(&libc::SYS_futex.to_string()))
}

/// Returns once a thread of this process sleeps on a futex.
pub fn until_asleep(thread: libc::pid_t) {
    while !is_asleep(thread) {
        std::thread::yield_now();
    }
}

/// The descriptor that a process was [started with](Other::start_with_fd).
pub fn given_fd() -> OwnedFd {
    std::io::stdin().as_fd().try_clone_to_owned().unwrap()
}

/// A segment name of this test's own.
pub fn fresh_name(test: &str) -> String {
    format!("skep-test-{}-{test}", std::process::id())
}

/// Removes a named segment at the end of a test, passed or failed.
pub struct Unlink(pub String);

impl Drop for Unlink {
    fn drop(&mut self) {
        let _ = skep::Segment::unlink(&self.0);
    }
}

/// Ends this test binary should it still run `limit` from now on: for calls without a timeout that a fault would make hang.
pub fn end_after(limit: std::time::Duration) {
    // SAFETY: asks the kernel for a signal; the last call counts.
    unsafe { libc::alarm(limit.as_secs() as u32) };
}

/// A source of numbers that are the same in every run with the same seed (xorshift, Marsaglia 2003).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Runs `child` in a forked process; returns how it ended. `child` returns its exit code.
pub fn in_forked_child(child: impl FnOnce() -> i32) -> ExitStatus {
    // SAFETY: the child runs only `child` and ends by `_exit`; glibc keeps malloc usable in a forked child.
    match unsafe { libc::fork() } {
        0 => {
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(101);
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(code) }
        }
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        pid => {
            let mut status = 0;
            // SAFETY: waits for the child just made.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            ExitStatus::from_raw(status)
        }
    }
}

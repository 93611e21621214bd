//! Sequences of operations with kills in between, against a plain model: what a killed operation has done, and what it has not, and that nobody else noticed.
//!
//! The living participants are handles in this process. A participant that is killed is a forked process that attaches anew, arms a fault, does one
//! operation and dies of `SIGKILL` at the armed place. Where the faults are not compiled in it dies inside `get_with`, or after its operation.
//!
//! An input is `{ object: 1 }`, then steps: `{ code: 1, decisions }`.

#[path = "operations/pipe.rs"]
mod pipe;
#[path = "operations/queue.rs"]
mod queue;

use super::input::Input;

/// Each may be a fork; more find nothing that fewer do not.
const STEPS: usize = 60;

/// Whether a process can be killed between any two steps of a protocol.
#[allow(dead_code, reason = "for whoever replays")]
pub const HAS_FAULTS: bool = cfg!(skep_faults);

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.below(3) {
        0 => pipe::run(&mut input),
        _ => queue::run(&mut input),
    }
}

/// How a forked participant came to its end.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// `SIGKILL`, at the place it had armed.
    Killed,
    /// By itself, behind its operation, still joined.
    Done,
}

/// Kills this process when it passes a label for the `countdown`-th time, counted from 1.
#[allow(unused_variables, reason = "without faults there are no labels")]
fn arm(label: &str, countdown: u32) {
    #[cfg(skep_faults)]
    skep_ipc::faults::arm(label, countdown);
}

/// Dies as if of `kill -9`.
fn die() -> ! {
    // SAFETY: ends this process, which is a child made for that.
    unsafe { libc::raise(libc::SIGKILL) };
    std::process::abort()
}

/// Runs `life` in a forked process, which dies in it or leaves without a word behind it.
fn in_mortal(life: impl FnOnce()) -> End {
    // SAFETY: the child runs `life` alone and ends by `_exit`; glibc keeps malloc usable in a forked child.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(life));
        // SAFETY: ends this process at once, no destructor runs.
        unsafe { libc::_exit(if lived.is_ok() { 0 } else { 101 }) }
    }
    assert!(pid > 0, "fork: {}", std::io::Error::last_os_error());
    let mut status = 0;
    // SAFETY: waits for the child just made.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {
        let error = std::io::Error::last_os_error(); // the fuzzer's clock is a signal
        assert_eq!(error.kind(), std::io::ErrorKind::Interrupted, "waitpid: {error}");
    }
    if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL {
        return End::Killed;
    }
    assert_eq!(status, 0, "a forked participant met something that the model does not know");
    End::Done
}

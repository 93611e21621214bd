//! System calls that need more than a line: what of them is `unsafe` is here alone.

use crate::error::Cause;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, WaitIdStatus};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Names of this process's threads' directories, which are their ids.
fn thread_ids() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect()
}

/// How many threads this process has; 0 if that cannot be told.
pub(crate) fn threads() -> usize {
    thread_ids().len()
}

/// Whether every other thread of this process sleeps.
pub(crate) fn others_sleep() -> bool {
    let this = rustix::thread::gettid().as_raw_nonzero().to_string();
    thread_ids().iter().filter(|id| **id != this).all(|id| {
        // "tid (name) S …": the name may hold anything, so look behind its last parenthesis.
        let stat = fs::read_to_string(format!("/proc/self/task/{id}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
    })
}

/// Forks; `None` in the child.
///
/// For the zygote alone: no other thread of this process may hold a lock that the child could want.
pub(crate) fn fork() -> Result<Option<Pid>, Errno> {
    // SAFETY: the zygote's other threads, if a test harness made one, sleep for good and hold nothing (`zygote.rs`, Z1).
    match unsafe { libc::fork() } {
        -1 => Err(last_error()),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// Ends this process, and nothing else: what its parent has not flushed yet is not written here too.
pub(crate) fn vanish() -> ! {
    // SAFETY: runs no code of ours or anybody's.
    unsafe { libc::_exit(0) }
}

fn last_error() -> Errno {
    std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}

/// Removes a variable from the environment.
pub(crate) fn forget_variable(name: &str) {
    // SAFETY: as for `fork`: nobody else reads or writes the environment now.
    unsafe { std::env::remove_var(name) };
}

/// Lets every signal do what it does by default, where the parent had it ignored or blocked. Handlers do not survive `exec`, and
/// those that are there are Rust's own; it also ignores SIGPIPE, as in every Rust program.
pub(crate) fn default_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        if signal == libc::SIGPIPE {
            continue;
        }
        // SAFETY: zeroes are a valid sigaction; both calls get valid pointers, and setting SIG_DFL runs no code of ours.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, std::ptr::null(), &mut action) == 0
                && action.sa_sigaction == libc::SIG_IGN
            {
                action.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &action, std::ptr::null_mut());
            }
        }
    }
    // SAFETY: an empty set is valid for sigprocmask.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Closes what was inherited through `exec` by accident: descriptors above 2 that are not marked close-on-exec. (What this process
/// has opened since is.)
pub(crate) fn close_inherited() {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return };
    let numbers: Vec<RawFd> =
        entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).filter(|fd| *fd > 2).collect();
    for number in numbers {
        // SAFETY: only looks; a number that is closed by now (that of the directory itself) gives an error.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        if flags >= 0 && flags & libc::FD_CLOEXEC == 0 {
            // SAFETY: it is open, and nobody in this young process owns it.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
}

/// How a waited-for process ended.
pub(crate) fn cause(status: &WaitIdStatus) -> Cause {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Cause::Exited(code),
        (_, Some(signal)) => Cause::Signal(signal),
        _ => Cause::Unknown,
    }
}

/// Which of `fds` can be read (or are at their end), waiting until one can, or for `timeout`.
pub(crate) fn readable<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    timeout: Option<Duration>,
) -> Result<[bool; N], Errno> {
    let mut polled = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    poll(&mut polled, timeout)?;
    Ok(std::array::from_fn(|n| !polled[n].revents().is_empty()))
}

/// `poll` that goes on after a signal.
pub(crate) fn poll(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> Result<(), Errno> {
    let deadline = timeout.map(|t| Instant::now() + t);
    loop {
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let left = left.map(|t| Timespec { tv_sec: t.as_secs() as _, tv_nsec: t.subsec_nanos() as _ });
        match rustix::event::poll(fds, left.as_ref()) {
            Err(Errno::INTR) => {}
            result => return result.map(drop),
        }
    }
}

/// Whether the process behind a pidfd has ended; waits for it as long as `timeout`.
pub(crate) fn has_ended(pidfd: impl AsFd, timeout: Duration) -> bool {
    readable([pidfd.as_fd()], Some(timeout)).is_ok_and(|[ended]| ended)
}

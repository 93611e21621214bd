//! A lifeline: by it the kernel kills a worker, and whatever its task has started, when the zygote ends, however it ends.
//!
//! It is a pipe through which nothing is ever sent. The zygote alone has its writing end. Each worker leads a process group of its
//! own, opens the reading end anew, and asks for a signal to that group when something happens there (`O_ASYNC`); the signal is
//! SIGKILL. What happens is that the writing end is closed, which the kernel does for a process that ends, before it tells its
//! children. For that no process has to be awake, nor alive: neither the parent nor anybody else.

use crate::sys;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

/// As the zygote has it.
pub(crate) struct Lifeline {
    /// For workers.
    pub(crate) reading: OwnedFd,
    /// Open as long as the zygote lives.
    pub(crate) writing: OwnedFd,
}

impl Lifeline {
    pub(crate) fn new() -> Result<Lifeline, Errno> {
        let (reading, writing) = sys::insist(|| pipe_with(PipeFlags::CLOEXEC))?;
        Ok(Lifeline { reading, writing })
    }
}

/// Makes this process, a worker, the leader of a group that dies when the zygote ends, for as long as tasks leave its descriptors
/// open. The reading end is a copy; this process has none of the writing end.
pub(crate) fn hang(reading: OwnedFd) -> Result<(), Errno> {
    rustix::process::setpgid(None, None)?;
    // To whom signals go belongs to the open file, so each worker has one of its own.
    let path = format!("/proc/self/fd/{}", reading.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let own = sys::insist(|| rustix::fs::open(&path, flags, Mode::empty()))?;
    sys::kill_group_at_event(own.as_fd())?;
    // The zygote may have ended before: then nothing happens there any more.
    if sys::has_ended(&own, Duration::ZERO)? {
        return Err(Errno::PIPE);
    }
    // Open to this process's end. A task may close it, and behind that nobody may: for an `OwnedFd` it is fatal, and the number may
    // be the task's own file by then.
    let _ = own.into_raw_fd();
    Ok(())
}

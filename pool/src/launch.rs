//! Starting a zygote: the parent's side of the first words.

use crate::core::Core;
use crate::entry;
use crate::error::{Cause, PoolError};
use crate::origin::Origin;
use crate::signals;
use crate::sys;
use crate::wire::{self, Reply, Request};
use rustix::net::Shutdown;
use rustix::process::{Pid, PidfdFlags};
use skep_ipc::KeptFd;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// So long a new process may take to reach the worker entry.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running zygote, as its parent sees it. Whoever has it ends it: dropping it does.
pub(crate) struct Zygote {
    /// It leads this process group, in which workers begin.
    group: Pid,
    ended: Option<Cause>,
    /// The conversation.
    pub(crate) socket: KeptFd,
    /// Readable when the zygote has ended.
    pub(crate) pidfd: KeptFd,
}

impl Zygote {
    /// Starts the executable of this process once more, and sends the new process what workers attach to.
    ///
    /// Blocks until it is ready, at most for [`PATIENCE`].
    pub(crate) fn start(origin: &Origin, core: &Core) -> Result<Zygote, PoolError> {
        let os = PoolError::os;
        let (here, there) = wire::pair().map_err(os("socketpair"))?;
        let socket = KeptFd::new(here).map_err(|source| PoolError::Os { call: "fstat", source })?;
        let mut command = origin.command()?;
        command.process_group(0).stdin(Stdio::from(there)).stdout(Stdio::null());
        // Until it comes to its entry, signals that are sent to the whole program wait.
        let mut child = signals::deaf(|| command.spawn())
            .map_err(|source| PoolError::Os { call: "starting /proc/self/exe", source })?;
        drop(command); // and with it the child's end of the socket
        // The child is not reaped yet, so this is its pidfd.
        let group = Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(group, PidfdFlags::empty()).map_err(std::io::Error::from);
        let pidfd = pidfd.and_then(KeptFd::new).map_err(|source| {
            let _ = child.kill();
            let _ = child.wait();
            PoolError::Os { call: "pidfd_open", source }
        })?;
        let mut zygote = Zygote { group, ended: None, socket, pidfd };
        zygote.await_ready()?;
        zygote.set_up(origin, core)?;
        Ok(zygote)
    }

    fn await_ready(&mut self) -> Result<(), PoolError> {
        let start = Instant::now();
        let timeout = || Some(PATIENCE.saturating_sub(start.elapsed()));
        let socket = sys::kept(&self.socket).map_err(PoolError::os("poll"))?;
        let pidfd = sys::kept(&self.pidfd).map_err(PoolError::os("poll"))?;
        let [said, ended] =
            sys::readable([socket.as_fd(), pidfd.as_fd()], timeout()).map_err(PoolError::os("poll"))?;
        if !said && !ended {
            return Err(PoolError::EntryTimeout { seconds: PATIENCE.as_secs() });
        }
        match wire::receive::<Reply>(socket).map_err(PoolError::os("recvmsg"))? {
            Some((Reply::Ready, _)) => Ok(()),
            Some((Reply::Refused { others }, _)) => Err(PoolError::InitAfterThreads { others }),
            Some((Reply::Failed { reason }, _)) => Err(PoolError::Start { reason }),
            _ => {
                // It has closed its standard input, most likely by exiting; give it the time to.
                let _ = sys::has_ended(pidfd, timeout().unwrap_or_default());
                match self.end() {
                    Cause::Exited(entry::REFUSED) if sys::is_privileged() => Err(PoolError::Privileged),
                    cause => Err(PoolError::EntryNotReached { cause }),
                }
            }
        }
    }

    fn set_up(&self, origin: &Origin, core: &Core) -> Result<(), PoolError> {
        let parent = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
            .map_err(PoolError::os("pidfd_open"))?;
        let shared = core.fds().map_err(|source| PoolError::Os { call: "dup", source })?;
        let [tasks, done, records, spill, arena] = shared.each_ref().map(|fd| fd.as_fd());
        let fds = [parent.as_fd(), tasks, done, records, spill, arena, origin.output()];
        let socket = sys::kept(&self.socket).map_err(PoolError::os("sendmsg"))?;
        wire::send(socket, &Request::Setup(origin.manners.clone()), &fds).map_err(PoolError::os("sendmsg"))
    }

    /// Kills it, with which the kernel kills its workers and what they have started, and reaps it. Once: afterwards its number may
    /// be another's.
    pub(crate) fn end(&mut self) -> Cause {
        *self.ended.get_or_insert_with(|| {
            // It ends at that by itself, also where this process may not kill it.
            if let Some(socket) = self.socket.get() {
                let _ = rustix::net::shutdown(socket, Shutdown::Write);
            }
            match self.pidfd.get() {
                Some(pidfd) => sys::kill_group(pidfd, self.group),
                None => sys::kill_group_of_child(self.group),
            }
            sys::reap_group(self.group)
        })
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        self.end();
    }
}

//! Starting a zygote: the parent's side of the first words.

use crate::core::Core;
use crate::entry::{Entry, MARKER};
use crate::error::{Cause, PoolError};
use crate::sys;
use crate::wire::{self, Reply, Request};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, Signal};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// So long a new process may take to reach the worker entry, and then each further worker to be ready.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A running zygote, as its parent sees it. Whoever has it ends it: dropping it does.
pub(crate) struct Zygote {
    child: Child,
    ended: Option<Cause>,
    /// The conversation.
    pub(crate) socket: OwnedFd,
    /// Readable when the zygote has ended.
    pub(crate) pidfd: OwnedFd,
}

impl Zygote {
    /// Starts the executable of this process once more, and sends the new process what workers attach to.
    ///
    /// Blocks until it is ready, at most for [`PATIENCE`].
    pub(crate) fn start(entry: Entry, core: &Core) -> Result<Zygote, PoolError> {
        let os = PoolError::os;
        let (here, there) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(os("socketpair"))?;
        // No pre_exec: so this is a vfork, whose cost does not grow with this process.
        let mut command = Command::new("/proc/self/exe");
        match entry {
            Entry::Main => command.args(std::env::args_os().skip(1)),
            Entry::Test(path) => command.args([path, "--exact", "--test-threads=1", "--nocapture"]),
        };
        let child = command
            .arg0("skep-zygote")
            .env(MARKER, "1")
            .process_group(0)
            .stdin(Stdio::from(there))
            .stdout(Stdio::null())
            .spawn()
            .map_err(|source| PoolError::Os { call: "starting /proc/self/exe", source })?;
        drop(command); // and with it the child's end of the socket
        // The child is not reaped yet, so this is its pidfd.
        let pidfd = rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
            .map_err(os("pidfd_open"));
        let mut zygote = match pidfd {
            Ok(pidfd) => Zygote { child, ended: None, socket: here, pidfd },
            Err(error) => {
                end(child);
                return Err(error);
            }
        };
        zygote.await_ready()?;
        zygote.set_up(core)?;
        Ok(zygote)
    }

    fn await_ready(&mut self) -> Result<(), PoolError> {
        let start = Instant::now();
        let timeout = || Some(PATIENCE.saturating_sub(start.elapsed()));
        let [said, ended] = sys::readable([self.socket.as_fd(), self.pidfd.as_fd()], timeout())
            .map_err(PoolError::os("poll"))?;
        if !said && !ended {
            return Err(PoolError::EntryTimeout { seconds: PATIENCE.as_secs() });
        }
        match wire::receive::<Reply>(&self.socket).map_err(PoolError::os("recvmsg"))? {
            Some((Reply::Ready, _)) => Ok(()),
            Some((Reply::Refused { threads }, _)) => Err(PoolError::InitAfterThreads { threads }),
            _ => {
                // It has closed its standard input, most likely by exiting; give it the time to.
                sys::has_ended(&self.pidfd, timeout().unwrap_or_default());
                Err(PoolError::EntryNotReached { cause: self.end() })
            }
        }
    }

    fn set_up(&self, core: &Core) -> Result<(), PoolError> {
        let parent = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
            .map_err(PoolError::os("pidfd_open"))?;
        let shared = core.fds().map_err(|source| PoolError::Os { call: "dup", source })?;
        let [tasks, done, records, spill, arena] = shared.each_ref().map(|fd| fd.as_fd());
        let fds = [parent.as_fd(), tasks, done, records, spill, arena, rustix::stdio::stdout()];
        wire::send(&self.socket, &Request::Setup, &fds).map_err(PoolError::os("sendmsg"))
    }

    /// Kills it with its group, which holds its workers and what they have started, and reaps it. Once: afterwards these numbers
    /// may be another's.
    pub(crate) fn end(&mut self) -> Cause {
        let child = &mut self.child;
        *self.ended.get_or_insert_with(|| {
            let _ = rustix::process::kill_process_group(Pid::from_child(child), Signal::KILL);
            reap(child)
        })
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        self.end();
    }
}

fn end(mut child: Child) {
    let _ = child.kill();
    reap(&mut child);
}

/// Unknown if somebody else has reaped it.
fn reap(child: &mut Child) -> Cause {
    match child.wait() {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => Cause::Exited(code),
            (_, Some(signal)) => Cause::Signal(signal),
            _ => Cause::Unknown,
        },
        Err(_) => Cause::Unknown,
    }
}

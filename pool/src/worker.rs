//! A worker's process: it attaches, says so, and works (`worker/steps.rs`) until the ring of tasks is closed.

mod steps;

use crate::arena;
use crate::lifeline;
use crate::panics;
use crate::patience;
use crate::record::Table;
use crate::sys;
use crate::wire::{self, REASON_BYTES, Reply};
use crate::zygote::Setup;
use rustix::process::{Pid, PidfdFlags};
use skep_ipc::SimpleQueue;
use std::os::fd::{AsFd, OwnedFd};
pub(crate) use steps::Worker;

/// The exit status of a worker that could not attach.
const UNFIT: i32 = 70;

/// The zygote, and its thread that has forked this process, unless it was executed.
pub(crate) struct Parent {
    pub(crate) pid: Pid,
    pub(crate) forker: Option<Pid>,
}

/// In a process just started by the zygote; `socket` and `lifeline` are copies of the zygote's.
pub(crate) fn main(number: u32, parent: Parent, setup: Setup, socket: OwnedFd, lifeline: OwnedFd) -> ! {
    // Should the zygote be killed, it cannot kill us: the kernel shall. What tasks have started goes by the lifeline, and this
    // process also where a task has closed that.
    let lifeline = lifeline::hang(lifeline).map_err(|e| patience::shortage("the lifeline", e));
    if !sys::die_with(parent.pid, parent.forker) {
        std::process::exit(0);
    }
    panics::keep_this_threads();
    let attached = lifeline.and_then(|()| Worker::attach(number, &setup));
    let status = match attached {
        Ok((mut worker, pidfd)) => {
            let pid = std::process::id();
            arena::keep(&worker.arena);
            // From here on tasks may be taken, because whoever settles our death knows us by this message.
            match wire::send(&socket, &Reply::Fit { worker: number, pid }, &[pidfd.as_fd()]) {
                Ok(()) => {
                    // Whoever waits for this socket's end waits for workers that are not known yet. And what a task may close
                    // must not be dropped behind it: for an `OwnedFd` that is fatal.
                    drop((socket, setup, pidfd));
                    worker.work()
                }
                Err(_) => 0, // nobody is there any more
            }
        }
        Err(mut reason) => {
            while reason.len() > REASON_BYTES {
                reason.pop();
            }
            let _ = wire::send(&socket, &Reply::Unfit { worker: number, reason }, &[]);
            UNFIT
        }
    };
    std::process::exit(status)
}

impl Worker {
    pub(crate) fn attach(number: u32, setup: &Setup) -> Result<(Worker, OwnedFd), String> {
        let copy = |fd: &OwnedFd| fd.try_clone().map_err(|e| format!("dup: {e}"));
        let queue = |fd: &OwnedFd| SimpleQueue::from_fd(copy(fd)?).map_err(|e| e.to_string());
        let table = Table::attach(copy(&setup.records)?, copy(&setup.spill)?).map_err(|e| e.to_string())?;
        let worker = Worker {
            number,
            has_run: false,
            tasks: queue(&setup.tasks)?,
            done: queue(&setup.done)?,
            table,
            arena: arena::join(copy(&setup.arena)?).map_err(|e| e.to_string())?,
            arguments: Vec::new(),
            frame: Vec::new(),
        };
        let this = rustix::process::getpid();
        let pidfd = sys::insist(|| rustix::process::pidfd_open(this, PidfdFlags::empty()))
            .map_err(|e| patience::shortage("pidfd_open", e))?;
        Ok((worker, pidfd))
    }
}

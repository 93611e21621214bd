//! The thread of a caller that kills and stops the processes of its pool.

use crate::living;
use crate::random::Random;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use skep::{Cause, Pool};
use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
use std::time::Duration;

/// One blow in so many is a pause.
const PAUSE_ONE_IN: u64 = 8;
/// One kill in so many is the fork server's.
const FORK_SERVER_ONE_IN: u64 = 16;
/// Up to two to the power of this many microseconds lie between two blows.
const BETWEEN_BITS: u64 = 12;
/// The same for a pause.
const PAUSE_BITS: u64 = 13;

/// What deaths are explained by.
#[derive(Default)]
pub struct Blows {
    killed: Mutex<HashSet<u32>>,
    has_killed_fork_server: AtomicBool,
}

impl Blows {
    /// Whether somebody has killed this worker.
    pub fn explain(&self, pid: u32, cause: Cause) -> bool {
        let has_been_killed = self.killed.lock().is_ok_and(|killed| killed.contains(&pid));
        match cause {
            Cause::Signal(libc::SIGKILL) => has_been_killed,
            // Nobody is left to see how the workers of a fork server ended.
            Cause::Unknown => has_been_killed || self.has_killed_fork_server.load(Acquire),
            _ => false,
        }
    }

    fn note(&self, pid: u32) {
        if let Ok(mut killed) = self.killed.lock() {
            killed.insert(pid);
        }
    }
}

/// A process that cannot be mistaken for a later one with its number.
struct Target(OwnedFd);

impl Target {
    /// `None` if it is no child of `parent` any more.
    fn child_of(parent: u32, pid: u32) -> Option<Target> {
        let fd = pidfd_open(Pid::from_raw(pid as i32)?, PidfdFlags::empty()).ok()?;
        (living::parent(pid.into()) == Some(parent)).then_some(Target(fd))
    }

    fn signal(&self, signal: Signal) -> bool {
        pidfd_send_signal(&self.0, signal).is_ok()
    }
}

/// Strikes until it is told to stop, and keeps the list of the pool's processes.
pub fn rage(
    pool: &Pool,
    blows: &Blows,
    stop: &AtomicBool,
    mut random: Random,
    watched: &[AtomicU64],
    kills: &AtomicU64,
) {
    let mut fork_server = None;
    while !stop.load(Acquire) {
        let workers = pool.stats().worker_pids;
        let parent = workers.first().and_then(|pid| living::parent(u64::from(*pid)));
        let parent = parent.filter(|parent| living::parent(u64::from(*parent)) == Some(std::process::id()));
        let all = parent.iter().chain(&workers).map(|pid| u64::from(*pid));
        let words = all.chain(std::iter::repeat(0));
        watched.iter().zip(words).for_each(|(word, pid)| word.store(pid, Release));
        if let (Some(parent), Some(&worker)) = (parent, random.pick(&workers)) {
            // The next one only when it has workers: a pool gives up fork servers that never had any.
            let is_new = fork_server != Some(parent);
            let (is_pause, is_parent) =
                (random.one_in(PAUSE_ONE_IN), is_new && random.one_in(FORK_SERVER_ONE_IN));
            let target = if is_parent {
                Target::child_of(std::process::id(), parent)
            } else {
                Target::child_of(parent, worker)
            };
            match target {
                Some(target) if is_pause => {
                    target.signal(Signal::STOP);
                    std::thread::sleep(Duration::from_micros(random.skewed(PAUSE_BITS)));
                    target.signal(Signal::CONT);
                }
                Some(target) => {
                    if is_parent {
                        fork_server = Some(parent);
                        blows.has_killed_fork_server.store(true, Release);
                    } else {
                        blows.note(worker);
                    }
                    if target.signal(Signal::KILL) {
                        kills.fetch_add(1, AcqRel);
                    }
                }
                None => {}
            }
        }
        std::thread::sleep(Duration::from_micros(random.skewed(BETWEEN_BITS)));
    }
}

//! What a program has left behind that has executed itself, or another one, while it had a pool.
//!
//! Its threads and handles are gone, so the pool's processes have ended by themselves. Their zygote
//! was a child of this process, and is still: a dead one that nobody would reap, since the program
//! that has begun here does not know of it.

use crate::{sys, title};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};
use std::fs;
use std::os::fd::AsFd;
use std::sync::Once;
use std::time::Duration;

/// So long a zygote may take that is about to end.
const ENDING: Duration = Duration::from_secs(2);

/// Reaps the zygotes of an earlier program in this process, once. Before this one has any of its
/// own.
pub(crate) fn bury() {
    static ONCE: Once = Once::new();
    ONCE.call_once(bury_all);
}

fn bury_all() {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    if let Err(Errno::CHILD) = rustix::process::waitid(WaitId::All, look) {
        return; // it has no children at all
    }
    let children = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    let pids = children.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
    for zygote in pids.filter(|pid| is_zygote(*pid)) {
        let Ok(pidfd) = rustix::process::pidfd_open(zygote, PidfdFlags::empty()) else { continue };
        if sys::has_ended(&pidfd, ENDING) == Ok(true) {
            let _ = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
        }
    }
}

fn is_zygote(pid: Pid) -> bool {
    let name = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_pid())).unwrap_or_default();
    name.trim_end() == title::ZYGOTE
}

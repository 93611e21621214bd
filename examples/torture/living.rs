//! What the kernel says of another participant at this moment. The dead cannot say themselves that they are, and the auditor hears of it late.

use std::fs;

/// A process that has begun to exit (`PF_EXITING` in the kernel's `sched.h`).
const EXITING: u64 = 4;

/// Whether the process lives: it is not a zombie, nor on its way to become one, so no one may take it for dead.
pub fn lives(pid: u64) -> bool {
    look(pid).is_some_and(|(state, flags)| !matches!(state, 'Z' | 'X') && flags & EXITING == 0)
}

/// Whether it sleeps in a system call that waits for another one. It is not stopped, and does not wait for a disk.
pub fn sleeps(pid: u64) -> bool {
    look(pid).is_some_and(|(state, flags)| state == 'S' && flags & EXITING == 0)
}

/// When the process started, in ticks since the machine did.
pub fn started(pid: u64) -> Option<u64> {
    facts(pid)?.get(19)?.parse().ok()
}

/// The parent of a process, as long as the process lives.
pub fn parent(pid: u64) -> Option<u32> {
    let facts = facts(pid)?;
    if matches!(&**facts.first()?, "Z" | "X") { None } else { facts.get(1)?.parse().ok() }
}

/// The process's state and flags, as `proc(5)` tells them.
fn look(pid: u64) -> Option<(char, u64)> {
    let facts = facts(pid)?;
    Some((facts.first()?.chars().next()?, facts.get(6)?.parse().ok()?))
}

/// What `/proc` says of a process behind its name, which may contain anything.
fn facts(pid: u64) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

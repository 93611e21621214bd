//! Who a participant is to the kernel, and whether it still can touch a segment.
//!
//! A participant's lock shows that it lives; the lock's absence shows nothing: the program may have closed the
//! descriptor that the lock hangs on. So each participant writes down which process it is, and who finds the lock
//! free asks the kernel once more: does a process of this pid and this start live, and does it have the segment
//! mapped? A process that has not cannot touch the segment any more, and never will in this participant's name: it
//! is dead, or has executed another program, or has unmapped the segment itself.
//!
//! What answers for it:
//! - The kernel frees a dying process's addresses before its descriptors, and those of a program that executes
//!   another one likewise. So once a death or an `exec` has freed the lock, the process has nothing mapped.
//! - A pid may be another process's by now, but then that one has started later. Until the clock ticks (10 ms) the
//!   kernel would have to give out all other pids.
//! - The program that a process executes may map the same segment. It keeps pid and start, but not the *image*, a
//!   number that each program draws when it begins. It alone can tell, so at each attachment it crosses out what
//!   it was before ([`Process::was`]).
//! - What cannot be told now, for want of a descriptor or of memory, counts as alive: repairing for the living
//!   would break the protocols, waiting does not.
//!
//! Where the kernel does not tell, the lock alone decides: in another pid or time namespace, without `/proc`, and
//! about a process that this one may not look at (another user's, or one that is not dumpable).

use crate::fork::Epoch;
use crate::sys::{self, FileId};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

/// A process, from the beginning of a program to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// When it was started; 0 if that is not known.
    pub(crate) started: u64,
    pub(crate) namespace: u64,
    pub(crate) image: u64,
}

/// Drawn at the first use; a forked child has it too, and another pid.
static IMAGE: AtomicU64 = AtomicU64::new(0);

/// What the kernel has said of this process: to ask it takes longer than to attach a segment. In a forked child it is the parent's,
/// which shows in the epoch. Threads that ask at the same time hear the same, so no lock is needed, which a fork could leave locked.
static STARTED: AtomicU64 = AtomicU64::new(0);
static NAMESPACE: AtomicU64 = AtomicU64::new(0);
/// Stored when the two above are; 0: they are not.
static KNOWN_IN: AtomicU32 = AtomicU32::new(0);

impl Process {
    /// This one, whose epoch that is.
    pub(crate) fn this(epoch: Epoch) -> Process {
        let drawn = sys::nanoseconds() | 1;
        let image = IMAGE.compare_exchange(0, drawn, Relaxed, Relaxed);
        let (started, namespace) = Process::facts(epoch);
        Process { pid: std::process::id(), started, namespace, image: image.err().unwrap_or(drawn) }
    }

    /// When this one was started, and where.
    fn facts(epoch: Epoch) -> (u64, u64) {
        if KNOWN_IN.load(Acquire) == epoch.number() {
            return (STARTED.load(Relaxed), NAMESPACE.load(Relaxed));
        }
        let (started, namespace) = (sys::started(None), sys::pid_namespace());
        if let (Ok(started), Ok(namespace)) = (&started, &namespace) {
            STARTED.store(*started, Relaxed);
            NAMESPACE.store(*namespace, Relaxed);
            KNOWN_IN.store(epoch.number(), Release);
        }
        (started.unwrap_or(0), namespace.unwrap_or(0))
    }

    /// Whether this one was it, before it executed the program that runs now.
    pub(crate) fn was(&self, before: &Process) -> bool {
        let is_known = self.started != 0;
        let same = (self.pid, self.started, self.namespace) == (before.pid, before.started, before.namespace);
        is_known && same && self.image != before.image
    }

    /// Whether the kernel says that it lives and has the file mapped. `this` asks, and has it mapped.
    pub(crate) fn has(&self, file: FileId, this: &Process) -> bool {
        if self.started == 0 || self.namespace != this.namespace {
            return false;
        }
        if (self.pid, self.started) == (this.pid, this.started) {
            return self.image == this.image;
        }
        let answer = sys::started(Some(self.pid))
            .and_then(|started| Ok(started == self.started && sys::has_mapped(self.pid, file)?));
        answer.unwrap_or_else(|error| !sys::is_gone(&error) && !sys::is_forbidden(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a forked child has in its memory is its parent's.
    #[test]
    fn a_forked_child_is_another_process() {
        let here = Process::this(Epoch::current().unwrap());
        let again = Process::this(Epoch::current().unwrap());
        assert_eq!(here, again);
        std::thread::sleep(std::time::Duration::from_millis(30)); // ticks of the clock, that the starts differ
        // SAFETY: the child reads two files, and leaves at once.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let this = Epoch::current().map(Process::this);
            let is_right = this.is_ok_and(|this| {
                this.pid == std::process::id()
                    && Ok(this.started) == sys::started(None).map_err(drop)
                    && this.started != here.started
                    && (this.namespace, this.image) == (here.namespace, here.image)
            });
            // SAFETY: runs nothing of this process's.
            unsafe { libc::_exit(i32::from(!is_right)) }
        }
        let mut status = 0;
        // SAFETY: our own child, into a valid place.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
    }
}

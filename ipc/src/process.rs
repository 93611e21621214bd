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

use crate::sys::{self, FileId};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

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

impl Process {
    /// This one.
    pub(crate) fn this() -> Process {
        let drawn = sys::nanoseconds() | 1;
        let image = IMAGE.compare_exchange(0, drawn, Relaxed, Relaxed);
        Process {
            pid: std::process::id(),
            started: sys::started(None).unwrap_or(0),
            namespace: sys::pid_namespace().unwrap_or(0),
            image: image.err().unwrap_or(drawn),
        }
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

//! When a call that does not block looks for the dead.

use crate::sys;
use crate::wait::SLICE;
use std::cell::Cell;

/// When a handle's calls that do not block last looked for the dead.
///
/// A call that waits notices by itself that another participant is dead. Whoever only tries, again and again, must notice it too, and as soon; but not pay
/// for a look each time, which asks the kernel. So a refusal looks if the last look was a slice ago, however many refusals there were since: one that
/// comes later than that after a death sees it. The cell makes a handle that has one a single thread's at a time.
#[derive(Default)]
pub(crate) struct Refusals {
    /// In nanoseconds; 0: never.
    last_look: Cell<u64>,
}

impl Refusals {
    /// Whether it is time to look for the dead. Reads a clock, without a system call.
    pub(crate) fn is_time_to_look(&self) -> bool {
        let (now, last) = (sys::coarse_nanoseconds(), self.last_look.get());
        let is_time = last == 0 || now.saturating_sub(last) >= SLICE.as_nanos() as u64;
        if is_time {
            self.last_look.set(now);
        }
        is_time
    }
}

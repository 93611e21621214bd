//! When a call that does not block looks for the dead.

use std::cell::Cell;

/// One look in so many refusals: it asks the kernel, which takes as long as some of them.
const REFUSALS_BEFORE_LOOK: u32 = 1024;

/// How often a handle's calls that do not block were refused.
///
/// A call that waits notices by itself that another participant is dead. Whoever only tries, again and again, must notice it too, but not pay for a
/// look each time. The cell makes a handle that has one a single thread's at a time.
#[derive(Default)]
pub(crate) struct Refusals(Cell<u32>);

impl Refusals {
    /// Counts one more. Whether it is time to look for the dead.
    pub(crate) fn is_time_to_look(&self) -> bool {
        self.0.set((self.0.get() + 1) % REFUSALS_BEFORE_LOOK);
        self.0.get() == 0
    }
}

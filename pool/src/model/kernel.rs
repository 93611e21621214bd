//! What the kernel knows: which of a model's processes are dead.

use std::sync::atomic::{AtomicU64, Ordering};

/// A bit a process. The kernel's own words are no part of the protocol, so no step and no object of loom's.
#[derive(Default)]
pub(crate) struct Kernel(AtomicU64);

impl Kernel {
    pub(crate) fn died(&self, process: u64) {
        self.0.fetch_or(1 << process, Ordering::SeqCst);
    }

    pub(crate) fn is_dead(&self, process: u64) -> bool {
        self.0.load(Ordering::SeqCst) >> process & 1 == 1
    }
}

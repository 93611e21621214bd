//! `SimpleQueue`: a bounded first-in-first-out queue between any number of processes.

pub(crate) mod layout;
pub(crate) mod ring;
mod waiting;

#[cfg(not(loom))]
pub(crate) mod handle;
#[cfg(not(loom))]
pub use handle::{QueueOptions, SimpleQueue};

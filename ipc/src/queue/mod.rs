//! `SimpleQueue`: a bounded first-in-first-out queue between any number of processes.

mod intent;
pub(crate) mod layout;
mod repair;
pub(crate) mod ring;
mod waiting;

#[cfg(not(loom))]
pub(crate) mod handle;
#[cfg(not(loom))]
mod options;
#[cfg(not(loom))]
pub use {handle::SimpleQueue, options::QueueOptions};

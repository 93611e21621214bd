//! `SimpleQueue`: a bounded first-in-first-out queue between any number of processes.

mod batch;
mod intent;
mod joining;
pub(crate) mod layout;
pub(crate) mod leasing;
mod orphans;
mod repair;
pub(crate) mod ring;
mod waiting;

#[cfg(loom)]
pub(crate) mod model;

#[cfg(not(loom))]
pub(crate) mod handle;
#[cfg(not(loom))]
mod lease;
#[cfg(not(loom))]
mod options;
#[cfg(not(loom))]
mod peek;
#[cfg(not(loom))]
pub(crate) mod port;
#[cfg(not(loom))]
pub use {handle::SimpleQueue, lease::Lease, options::QueueOptions};

//! `Semaphore`: permits that processes take and give back.

pub(crate) mod protocol;

#[cfg(loom)]
pub(crate) mod model;

#[cfg(not(loom))]
mod handle;
#[cfg(not(loom))]
pub use handle::{Permit, Semaphore, SemaphoreSetup};

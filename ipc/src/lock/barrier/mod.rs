//! `Barrier`: processes that wait for each other.

pub(crate) mod protocol;

#[cfg(loom)]
pub(crate) mod model;

#[cfg(not(loom))]
mod handle;
#[cfg(not(loom))]
pub use handle::{Barrier, BarrierWait};

//! `Condvar`: a condition on a mutex's value that processes wait for.

pub(crate) mod protocol;

#[cfg(loom)]
pub(crate) mod model;

#[cfg(not(loom))]
mod handle;
#[cfg(not(loom))]
pub use handle::{Condvar, Wakeup};

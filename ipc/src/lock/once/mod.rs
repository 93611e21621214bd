//! `Once`: what one participant does for all, once.

pub(crate) mod protocol;

#[cfg(loom)]
pub(crate) mod model;

#[cfg(not(loom))]
mod handle;
#[cfg(not(loom))]
pub use handle::{Once, OnceState};

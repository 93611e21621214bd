//! `RwLock`: a value that many read at a time, or one writes.

pub(crate) mod protocol;

#[cfg(loom)]
pub(crate) mod model;

#[cfg(not(loom))]
mod guard;
#[cfg(not(loom))]
mod handle;
#[cfg(not(loom))]
pub use {
    guard::{RwLockReadGuard, RwLockWriteGuard},
    handle::RwLock,
};

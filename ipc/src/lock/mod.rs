//! Locks and what waits, between processes; the death of a holder or waiter wedges none of them.
//!
//! The mutex is the C library's:
//! - `pthread.rs`: the robust mutex, as typed calls
//! - `mutex.rs`: [`Mutex`]; which deaths leave what
//! - `guard.rs`: [`MutexGuard`]
//! - `raw_sync.rs`: where users of the `raw_sync` crate find its words
//!
//! The others have no robust form there. Each is a folder: `protocol.rs` (the words, their steps, a kill at each), `handle.rs`, and `model.rs` for models.

pub(crate) mod barrier;
pub(crate) mod condvar;
pub(crate) mod event;

#[cfg(not(loom))]
mod guard;
#[cfg(not(loom))]
mod mutex;
#[cfg(not(loom))]
mod pthread;
#[cfg(all(feature = "raw_sync", not(loom)))]
mod raw_sync;

#[cfg(all(feature = "raw_sync", not(loom)))]
pub use raw_sync::RawParts;
#[cfg(not(loom))]
pub use {
    barrier::{Barrier, BarrierWait},
    condvar::{Condvar, Wakeup},
    event::Event,
    guard::MutexGuard,
    mutex::Mutex,
};

//! Locks and what waits, between processes; the death of a holder or waiter wedges none of them.
//!
//! The mutex is the C library's:
//! - `pthread.rs`: the robust mutex, as typed calls
//! - `contents.rs`: what such a mutex is around, and where that lies
//! - `robust.rs`: both together; which deaths leave what
//! - `mutex.rs`: [`Mutex`]
//! - `guard.rs`: [`MutexGuard`]
//! - `rlock.rs`: [`RLock`]; the same for a holder who locks again
//! - `raw_sync.rs`: where users of the `raw_sync` crate find its words
//!
//! The others have no robust form there. Each is a folder: `protocol.rs` (the words, their steps, a kill at each), `handle.rs`, and `model.rs` for models.
//! `owned.rs` is what their control words share that name an owner.

pub(crate) mod barrier;
pub(crate) mod condvar;
pub(crate) mod event;
pub(crate) mod once;
mod owned;
pub(crate) mod rwlock;
pub(crate) mod semaphore;

#[cfg(not(loom))]
mod contents;
#[cfg(not(loom))]
mod guard;
#[cfg(not(loom))]
mod mutex;
#[cfg(not(loom))]
mod pthread;
#[cfg(all(feature = "raw_sync", not(loom)))]
mod raw_sync;
#[cfg(not(loom))]
mod rlock;
#[cfg(not(loom))]
mod robust;

#[cfg(not(loom))]
pub(crate) use {
    contents::row_bytes,
    pthread::Relock,
    robust::{Lock, Robust},
};

#[cfg(all(feature = "raw_sync", not(loom)))]
pub use raw_sync::RawParts;
#[cfg(not(loom))]
pub use {
    barrier::{Barrier, BarrierWait},
    condvar::{Condvar, Wakeup},
    event::Event,
    guard::MutexGuard,
    mutex::Mutex,
    once::{Once, OnceState},
    rlock::{RLock, RLockGuard},
    rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard},
    semaphore::{Permit, Semaphore, SemaphoreSetup},
};

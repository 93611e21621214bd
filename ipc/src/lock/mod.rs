//! Locks between processes, which the death of a holder does not wedge.
//!
//! - `pthread.rs`: the C library's robust mutex, as typed calls
//! - `mutex.rs`: [`Mutex`]; which deaths leave what
//! - `guard.rs`: [`MutexGuard`]
//! - `raw_sync.rs`: where users of the `raw_sync` crate find its words

mod guard;
mod mutex;
mod pthread;
#[cfg(feature = "raw_sync")]
mod raw_sync;

pub use guard::MutexGuard;
pub use mutex::Mutex;
#[cfg(feature = "raw_sync")]
pub use raw_sync::RawParts;

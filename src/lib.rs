//! Python's `multiprocessing` for Rust over lock-free shared memory.

pub use skep_ipc::*;
#[cfg(not(loom))]
pub use {skep_macros::task, skep_pool::*};

//! Python's `multiprocessing` for Rust over lock-free shared memory.
pub use skep_ipc::*;
#[cfg(not(loom))]
#[allow(unused_imports)]
pub use skep_pool::*;

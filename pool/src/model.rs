//! The pool's own protocol for models, under `--cfg loom`: the same source as in production, over loom's memory.
//!
//! Processes, descriptors, the rings and the arena are not the protocol's; what stands in for them is in the files beside
//! this one. `PROTOCOL.md` says which model checks which of its sentences.

pub(crate) mod arena;
mod kernel;
mod pool;
pub(crate) mod ring;
mod slices;

pub use pool::{Calls, Came, Job, Pool, Worker};
pub use slices::{Runner, SliceCall, Slices};

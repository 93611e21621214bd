//! The pool's own protocol for models, under `--cfg loom`: the same source as in production, over loom's memory.
//!
//! Processes, descriptors, the ring and the arena are not the protocol's; what stands in for them is in the files beside
//! this one. `PROTOCOL.md` says which model checks which of its sentences.

mod slices;

pub use slices::{Runner, SliceCall, Slices};

//! The arena: allocation in shared memory, by blocks whose owners may die at any instruction.

#![allow(dead_code, reason = "its handles come next")]

pub(crate) mod blocks;
pub(crate) mod extent;
mod mend;
#[cfg(loom)]
pub(crate) mod model;
pub(crate) mod sharing;
pub(crate) mod word;

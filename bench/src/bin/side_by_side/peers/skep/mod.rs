//! skep.

pub mod arena;
pub mod array;
pub mod lock;
pub mod memory;
pub mod pipe;
pub mod pool;
pub mod queue;

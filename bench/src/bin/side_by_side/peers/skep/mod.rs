//! skep.

pub mod arena;
pub mod lock;
pub mod memory;
pub mod pipe;
pub mod pool;
pub mod queue;

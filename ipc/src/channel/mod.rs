//! `Queue<T>`: any values, on a ring in an arena.

mod batch;
mod checked;
mod joinable;
mod lease;
mod options;
mod queue;

pub use joinable::{JoinableQueue, Work};
pub use lease::ValueLease;
pub use queue::Queue;

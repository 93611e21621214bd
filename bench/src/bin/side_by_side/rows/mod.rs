//! What is measured, and what is aimed at.

mod arena;
mod calls;
mod latency;
mod lock;
mod memory;
mod queue;
mod start;
mod stream;
mod tasks;

use crate::row::Row;

/// All rows, in the order of the report.
pub fn all() -> Vec<Row> {
    let kinds = [
        latency::rows(),
        stream::rows(),
        queue::rows(),
        lock::rows(),
        arena::rows(),
        tasks::rows(),
        calls::rows(),
        start::rows(),
        memory::rows(),
    ];
    kinds.into_iter().flatten().collect()
}

//! What is measured, and what is aimed at.

mod arena;
mod array;
mod calls;
mod growth;
mod latency;
mod lock;
mod memory;
mod queue;
mod start;
mod stream;
mod tasks;

use crate::row::Row;

/// Why nobody can be measured beside crossmist.
const CROSSMIST: &str = "version 1.1.2 tells plain data from other by how arrays of it are cloned, which this compiler does otherwise: it panics when it sends a number";

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
        array::rows(),
        start::rows(),
        memory::rows(),
        growth::rows(),
    ];
    kinds.into_iter().flatten().collect()
}

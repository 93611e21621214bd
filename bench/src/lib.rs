//! What the benchmarks share.

pub mod operations;
pub mod plain;
pub mod rounds;

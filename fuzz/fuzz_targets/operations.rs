//! `cargo fuzz run -s none operations`: see `cases/operations.rs`.
#![no_main]

#[path = "../cases/input.rs"]
mod input;
#[path = "../cases/operations.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::run(data));

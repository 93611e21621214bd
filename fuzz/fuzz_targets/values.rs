//! `cargo fuzz run -s none values`: see `cases/values.rs`.
#![no_main]

#[path = "../cases/input.rs"]
mod input;
#[path = "../cases/values.rs"]
mod values;

libfuzzer_sys::fuzz_target!(|data: &[u8]| values::run(data));

//! `cargo fuzz run -s none attach`: see `cases/attach.rs`.
#![no_main]

#[path = "../cases/attach.rs"]
mod attach;

libfuzzer_sys::fuzz_target!(|data: &[u8]| attach::run(data));

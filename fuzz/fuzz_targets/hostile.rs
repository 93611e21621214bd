//! `cargo fuzz run -s none hostile`: see `cases/hostile.rs`.
#![no_main]

#[path = "../cases/hostile.rs"]
mod hostile;
#[path = "../cases/input.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile::run(data));

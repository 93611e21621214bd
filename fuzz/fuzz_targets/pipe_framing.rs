//! `cargo fuzz run -s none pipe_framing`: see `cases/pipe_framing.rs`.
#![no_main]

#[path = "../cases/input.rs"]
mod input;
#[path = "../cases/pipe_framing.rs"]
mod pipe_framing;

libfuzzer_sys::fuzz_target!(|data: &[u8]| pipe_framing::run(data));

//! `cargo fuzz run -s none message_decoding`: see `cases/message_decoding.rs`.
#![no_main]

#[path = "../cases/input.rs"]
mod input;
#[path = "../cases/message_decoding.rs"]
mod message_decoding;

libfuzzer_sys::fuzz_target!(|data: &[u8]| message_decoding::run(data));

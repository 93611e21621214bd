//! What a pool decodes: arguments and results from shared memory, packets between parent and zygote, and whole records as a worker and a collector read them.
//! Any bytes give a value or an error, never a panic, a hang, or more memory than the bytes account for, also for lists of values of no size.
//!
//! An input is `{ what: 1 }`, then the bytes.

use super::input::Input;
use serde::{Deserialize, Serialize};
use skep_ipc::{Arena, ShmArc, ShmBox};
use skep_pool::fuzzing::{Words, message, record, results, run_each};
use skep_pool::{Cause, TaskError};
use std::collections::HashMap;

/// A value of each kind that serde tells apart.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(dead_code, reason = "made and printed by serde alone")]
enum Value {
    Numbers(u8, i64, u128, f32, bool, char),
    Text(String, Box<str>),
    Many(Vec<Value>, Vec<u64>, HashMap<u16, String>),
    Perhaps(Option<Box<Value>>, Result<[u8; 3], ()>),
    Ended { cause: Cause, error: TaskError },
}

/// Handles of shared memory as a value may have them.
#[derive(Debug, Serialize, Deserialize)]
#[allow(dead_code, reason = "made and printed by serde alone")]
enum Shared {
    Number(ShmBox<u64>),
    Bytes(ShmBox<[u8]>),
    Counted(ShmArc<[u8]>),
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.below(4) {
        0 => check_arguments(input.0),
        1 => check_results(input.0),
        2 => check_packets(input.0),
        _ => check_record(&mut input),
    }
}

/// Packets, each behind its length in two bytes.
fn check_packets(mut rest: &[u8]) {
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let (packet, behind) = behind.split_at(behind.len().min(u16::from_le_bytes(*length).into()));
        message(packet).expect("two sockets");
        rest = behind;
    }
}

/// Each argument, as a task of several types takes it.
fn check_arguments(stream: &[u8]) {
    let arena = some_arena();
    let free = arena.free_bytes();
    run_each(stream, &arena, false, |(_, text): (u8, String)| text.len());
    run_each(stream, &arena, true, |shared: Vec<Shared>| shared.len());
    run_each(stream, &arena, false, |nothing: Vec<()>| assert!(nothing.len() <= stream.len()));
    let runs = run_each(stream, &arena, false, |value: Value| value);
    assert!(runs.len() * 5 <= stream.len());
    assert!(!runs.iter().any(|run| matches!(run, Err(TaskError::Panicked { .. }))), "{runs:?}");
    assert!(arena.free_bytes() >= free, "what is taken is freed");
}

fn check_results(stream: &[u8]) {
    let arena = some_arena();
    let values = [
        results::<Value>(stream, &arena).len(),
        results::<Vec<String>>(stream, &arena).len(),
        results::<Vec<Shared>>(stream, &arena).len(),
    ];
    assert!(values.iter().all(|count| count * 5 <= stream.len()));
}

/// A small arena with blocks that were sent, and that an input may name: the first few indices, in generation 1.
fn some_arena() -> Arena {
    let arena = Arena::new(1 << 12).expect("memory");
    for n in 0..8_u64 {
        if let Ok(block) = arena.boxed(n) {
            let _ = block.into_descriptor();
        }
    }
    if let Some(reference) = arena.slice(&[1_u8; 64]).ok().and_then(|slice| slice.share().ok()) {
        let _ = reference.into_descriptor();
    }
    arena
}

/// A record that may say anything of its streams: near the truth, or anywhere.
fn check_record(input: &mut Input<'_>) {
    let mut number = |truth: usize| match input.below(4) {
        0 => truth as u32,
        1 => (truth as u32).wrapping_add(input.below(16) as u32).wrapping_sub(8),
        2 => input.up_to(5000) as u32,
        _ => input.word() as u32,
    };
    let rest = 64;
    let mut words = Words {
        task: 1,
        argument_bytes: number(rest),
        count: number(1),
        items: number(0),
        result_bytes: number(0),
    };
    // An unforced length is the stream's own.
    if words.argument_bytes == rest as u32 {
        words.argument_bytes = input.0.len() as u32;
    }
    if let Some(stream) = record(words, input.0).expect("memory for a few pages") {
        // What a stream is said to hold is there: its own bytes, what they are made longer by, and the page they lie in.
        assert!(
            stream.len() <= input.0.len() + 64 * 1024 + 4096,
            "{} bytes of {}",
            stream.len(),
            input.0.len()
        );
        check_results(&stream);
    }
}

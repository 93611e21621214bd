//! A model's frames: `[ tag, value ]`, or `[ HANDLES, value, block ]`.

use crate::error::{Cause, TaskError};

pub(crate) const STREAM_LIMIT: u64 = 8;

const VALUE: u8 = 1;
const ERROR: u8 = 2;
const HANDLES: u8 = 3;

/// What a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) value: Result<u8, u8>,
    pub(crate) block: Option<u64>,
}

/// A value's frame.
pub(crate) fn frame(value: u8, block: Option<u64>) -> Vec<u8> {
    match block {
        None => vec![VALUE, value],
        Some(block) => vec![HANDLES, value, block as u8],
    }
}

/// An error's frame, which says of whose death.
pub(crate) fn error_frame(error: TaskError) -> Vec<u8> {
    let of = if let TaskError::WorkerDied { pid, .. } = error { pid as u8 } else { 0 };
    vec![ERROR, of]
}

/// Takes the first frame off a stream.
pub(crate) fn next(stream: &mut &[u8]) -> Option<Payload> {
    let (payload, rest) = match **stream {
        [VALUE, value, ref rest @ ..] => (Payload { value: Ok(value), block: None }, rest),
        [ERROR, of, ref rest @ ..] => (Payload { value: Err(of), block: None }, rest),
        [HANDLES, value, block, ref rest @ ..] => {
            (Payload { value: Ok(value), block: Some(block.into()) }, rest)
        }
        _ => return None,
    };
    *stream = rest;
    Some(payload)
}

/// Tells the blocks in the frames of a stream.
pub(crate) fn each_entry(end: u64, mut read: impl FnMut(u64, &mut [u8]) -> bool, told: &mut dyn FnMut(u64)) {
    let mut bytes = vec![0; end as usize];
    assert!(read(0, &mut bytes), "what is counted is there");
    let mut stream = &bytes[..];
    while let Some(payload) = next(&mut stream) {
        payload.block.into_iter().for_each(&mut *told);
    }
    assert!(stream.is_empty(), "what is counted is whole");
}

/// The error that an error's frame says.
pub(crate) fn died(of: u8) -> TaskError {
    match of {
        0 => TaskError::NoMemory,
        of => TaskError::WorkerDied { task: String::new(), pid: of.into(), cause: Cause::Unknown },
    }
}

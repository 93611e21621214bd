//! A model's frames: `[ tag, value ]`, or `[ HANDLES, value, block ]`.

use crate::error::{Cause, TaskError};
use crate::sync::{Freight, Taken};
use serde::de::value::{Error, U8Deserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};

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

impl Payload {
    pub(crate) fn entries(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.block.into_iter()
    }

    /// The result, which is a number. Its block says the same.
    pub(crate) fn result<R: DeserializeOwned>(&self, taken: Option<&mut Taken>) -> Result<R, TaskError> {
        let value = self.value.map_err(died)?;
        if self.block.is_some() {
            let says = taken.and_then(Taken::next);
            assert_eq!(says, Some(value.into()), "a counted result's block is its record's");
        }
        let number: U8Deserializer<Error> = value.into_deserializer();
        Ok(R::deserialize(number).expect("a model's results are numbers"))
    }
}

/// A value's frame.
pub(crate) fn frame(value: u8, block: Option<u64>) -> Vec<u8> {
    let mut frame = vec![if block.is_some() { HANDLES } else { VALUE }];
    put(&mut frame, value, block);
    frame
}

/// Appends a value's frame, but for its tag.
pub(crate) fn put(to: &mut Vec<u8>, value: u8, block: Option<u64>) {
    to.push(value);
    to.extend(block.map(|block| block as u8));
}

/// Makes `frame` the frame of what `run` gives.
pub(crate) fn write_result(
    frame: &mut Vec<u8>,
    run: impl FnOnce(&mut Vec<u8>) -> Result<Freight, Box<TaskError>>,
) -> Freight {
    frame.clear();
    frame.push(VALUE);
    let freight = run(frame).expect("a model's tasks have results");
    if !freight.is_empty() {
        frame[0] = HANDLES;
    }
    freight
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
        0 => TaskError::no_memory("a model has none"),
        of => TaskError::WorkerDied { task: String::new(), pid: of.into(), cause: Cause::Unknown },
    }
}

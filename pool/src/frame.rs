//! How arguments and results lie in a record's two byte streams: one frame each, in order.
//!
//! ```text
//! argument  [ length: u32 ][ postcard bytes ]
//! result    [ tag: u8 ][ length: u32 ][ postcard bytes: of the value (VALUE) or of a TaskError (ERROR) ]
//! ```
//!
//! Streams come out of shared memory, so every length is checked against what is there.

use crate::error::TaskError;
use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The bytes of one record's arguments, and of its results, are fewer than this.
pub(crate) const STREAM_LIMIT: u64 = u32::MAX as u64;

const VALUE: u8 = 0;
const ERROR: u8 = 1;
const LENGTH: usize = 4;
/// The bytes before a result's payload.
pub(crate) const RESULT_HEAD: usize = 1 + LENGTH;

/// Encodes to the end of a vector, which is left as it was if that fails.
pub(crate) struct Append<'a>(&'a mut Vec<u8>);

impl Append<'_> {
    pub(crate) fn encode(to: &mut Vec<u8>, value: &impl Serialize) -> postcard::Result<()> {
        let before = to.len();
        postcard::serialize_with_flavor(value, Append(to)).inspect_err(|_| to.truncate(before))
    }
}

impl Flavor for Append<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Appends an argument's frame. On an error nothing is appended.
pub(crate) fn put_argument(to: &mut Vec<u8>, value: &impl Serialize) -> Result<(), TaskError> {
    let start = to.len();
    to.extend([0; LENGTH]);
    let encoded =
        Append::encode(to, value).map_err(|e| TaskError::ArgumentNotEncoded { reason: e.to_string() });
    let bytes = (to.len() - start) as u64;
    let result = encoded.and_then(|()| within_limit(bytes));
    match result {
        Ok(()) => {
            let length = (bytes as u32 - LENGTH as u32).to_le_bytes();
            to[start..start + LENGTH].copy_from_slice(&length);
        }
        Err(_) => to.truncate(start),
    }
    result
}

pub(crate) fn within_limit(bytes: u64) -> Result<(), TaskError> {
    if bytes <= STREAM_LIMIT {
        return Ok(());
    }
    Err(TaskError::TooLarge { bytes, limit: STREAM_LIMIT })
}

/// Takes the first argument off a stream.
pub(crate) fn next_argument<'a>(stream: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = stream.split_first_chunk::<LENGTH>()?;
    let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *stream = rest;
    Some(bytes)
}

/// Makes `frame` the frame of what `run` gives: the value that it appended, or its error.
pub(crate) fn write_result(frame: &mut Vec<u8>, run: impl FnOnce(&mut Vec<u8>) -> Result<(), TaskError>) {
    frame.clear();
    frame.extend([VALUE; RESULT_HEAD]);
    let result = run(frame).and_then(|()| within_limit(frame.len() as u64));
    if let Err(error) = result {
        frame.truncate(RESULT_HEAD);
        frame[0] = ERROR;
        // A TaskError is strings and numbers: nothing in it can fail to encode.
        let _ = Append::encode(frame, &error);
    }
    let length = (frame.len() - RESULT_HEAD) as u32;
    frame[1..RESULT_HEAD].copy_from_slice(&length.to_le_bytes());
}

/// The frame of an error.
pub(crate) fn error_frame(error: TaskError) -> Vec<u8> {
    let mut frame = Vec::new();
    write_result(&mut frame, |_| Err(error));
    frame
}

/// Takes the first result off a stream; `None` if the stream is at its end, or breaks off.
pub(crate) fn next_result<R: DeserializeOwned>(stream: &mut &[u8]) -> Option<Result<R, TaskError>> {
    let (head, rest) = stream.split_first_chunk::<RESULT_HEAD>()?;
    let [tag, length @ ..] = *head;
    let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(length) as usize)?;
    *stream = rest;
    let not_decoded = |e: postcard::Error| TaskError::ResultNotDecoded { reason: e.to_string() };
    Some(match tag {
        VALUE => postcard::from_bytes(bytes).map_err(not_decoded),
        ERROR => Err(postcard::from_bytes(bytes).unwrap_or_else(not_decoded)),
        _ => Err(TaskError::ResultNotDecoded { reason: format!("unknown tag {tag}") }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_breaks_off_ends_there() {
        let mut stream = Vec::new();
        put_argument(&mut stream, &"text").expect("it can be encoded");
        for length in 0..stream.len() {
            assert_eq!(next_argument(&mut &stream[..length]), None);
        }
        assert!(next_argument(&mut &[255, 255, 255, 255, 0][..]).is_none());
        assert!(next_result::<u8>(&mut &[VALUE, 2, 0, 0, 0, 7][..]).is_none());
    }

    #[test]
    fn a_result_that_makes_no_sense_is_an_error() {
        let not_decoded = |stream: &[u8]| {
            matches!(next_result::<u8>(&mut &stream[..]), Some(Err(TaskError::ResultNotDecoded { .. })))
        };
        assert!(not_decoded(&[9, 0, 0, 0, 0])); // no such tag
        assert!(not_decoded(&[VALUE, 0, 0, 0, 0])); // no value
        assert!(not_decoded(&[ERROR, 1, 0, 0, 0, 200])); // no such error
    }

    #[test]
    fn errors_travel_whole() {
        let error = TaskError::Panicked { message: "m".into(), location: "l".into() };
        assert_eq!(next_result::<u8>(&mut &error_frame(error.clone())[..]), Some(Err(error)));
    }
}

//! How arguments and results lie in a record's two byte streams: one frame each, in order.
//!
//! ```text
//! [ tag: u8 ][ length: u32 ][ payload ]
//!
//! VALUE    the value's bytes, as `skep_ipc::codec` has it
//! HANDLES  the same | table of its handles of shared memory: { generation: 32, index: 32 }, … | how many: u32
//! ERROR    those of a TaskError
//! ```
//! The table lies beside the bytes so that whoever settles a record finds its blocks without knowing types. Streams come out of shared memory, so every length is
//! checked against what is there.

use crate::error::TaskError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use skep_ipc::{Arena, Freight, Taken, codec};

/// The bytes of one record's arguments, and of its results, are fewer than this.
pub(crate) const STREAM_LIMIT: u64 = u32::MAX as u64;

const VALUE: u8 = 0;
const ERROR: u8 = 1;
const HANDLES: u8 = 2;
const LENGTH: usize = 4;
const ENTRY: usize = 8;
/// The bytes before a payload.
const HEAD: usize = 1 + LENGTH;

/// Encodes to the end of a vector, which is left as it was if that fails.
#[inline]
fn append(to: &mut Vec<u8>, value: &impl Serialize) -> Result<(), codec::Error> {
    let before = to.len();
    codec::encode(to, value).map(drop).inspect_err(|_| to.truncate(before))
}

/// Appends a value, whose handles are of that arena, and behind it their table. The value is dropped, so that none of its blocks can be reached here any more. After
/// an error what was appended makes no sense, and nothing is sent.
///
/// The error is boxed here and wherever it may be an item's, so that an item's outcome is two words: it is moved several times.
pub(crate) fn encode<T: Serialize>(
    to: &mut Vec<u8>,
    value: T,
    arena: &Arena,
    not_encoded: impl FnOnce(String) -> TaskError,
) -> Result<Freight, Box<TaskError>> {
    let packed = arena.pack(|| append(to, &value).map_err(|e| e.to_string()));
    let ((), mut freight) = packed.map_err(not_encoded)?;
    if !freight.surrender(value) {
        return Err(TaskError::HandleKept.into());
    }
    if !freight.is_empty() {
        to.extend(freight.entries().flat_map(u64::to_le_bytes));
        to.extend((freight.entries().len() as u32).to_le_bytes());
    }
    Ok(freight)
}

/// Appends an argument's frame; gives what its handles have sent. On an error nothing is appended, and nothing sent.
pub(crate) fn put_argument(
    to: &mut Vec<u8>,
    value: impl Serialize,
    arena: &Arena,
) -> Result<Freight, Box<TaskError>> {
    let start = to.len();
    to.extend([VALUE; HEAD]);
    let encoded = encode(to, value, arena, |reason| TaskError::ArgumentNotEncoded { reason });
    let checked = encoded.and_then(|freight| {
        within_limit((to.len() - start) as u64)?;
        Ok(freight)
    });
    let freight = match checked {
        Ok(freight) => freight,
        Err(error) => {
            to.truncate(start);
            return Err(error);
        }
    };
    close(&mut to[start..], tag_of(&freight));
    Ok(freight)
}

#[inline]
fn tag_of(freight: &Freight) -> u8 {
    if freight.is_empty() { VALUE } else { HANDLES }
}

/// Writes the head of a frame.
#[inline]
fn close(frame: &mut [u8], tag: u8) {
    let length = (frame.len() - HEAD) as u32;
    frame[0] = tag;
    frame[1..HEAD].copy_from_slice(&length.to_le_bytes());
}

#[inline]
pub(crate) fn within_limit(bytes: u64) -> Result<(), TaskError> {
    if bytes <= STREAM_LIMIT {
        return Ok(());
    }
    Err(TaskError::TooLarge { bytes, limit: STREAM_LIMIT })
}

/// Makes `frame` the frame of what `run` gives: the value that it appended, with what that has sent; or its error.
pub(crate) fn write_result(
    frame: &mut Vec<u8>,
    run: impl FnOnce(&mut Vec<u8>) -> Result<Freight, Box<TaskError>>,
) -> Freight {
    frame.clear();
    frame.extend([VALUE; HEAD]);
    let result = run(frame).and_then(|freight| {
        within_limit(frame.len() as u64)?;
        Ok(freight)
    });
    let (tag, freight) = match result {
        Ok(freight) => (tag_of(&freight), freight),
        Err(error) => {
            frame.truncate(HEAD);
            // A TaskError is strings and numbers: nothing in it can fail to encode.
            let _ = append(frame, &*error);
            (ERROR, Freight::default())
        }
    };
    close(frame, tag);
    freight
}

/// The frame of an error.
pub(crate) fn error_frame(error: TaskError) -> Vec<u8> {
    let mut frame = Vec::new();
    write_result(&mut frame, |_| Err(error.into()));
    frame
}

/// A frame's payload as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Payload<'a> {
    tag: u8,
    bytes: &'a [u8],
    /// Whole entries.
    table: &'a [u8],
}

/// How many bytes a frame's payload has, by its head; and whether it ends in a table.
#[inline]
fn read_head(head: [u8; HEAD]) -> (u32, bool) {
    let [tag, length @ ..] = head;
    (u32::from_le_bytes(length), tag == HANDLES)
}

/// How many bytes at the end of a payload its table takes, without the number of entries that ends it. `None`: more than there are.
fn table_bytes(payload: usize, count: [u8; LENGTH]) -> Option<usize> {
    let bytes = (u32::from_le_bytes(count) as usize).checked_mul(ENTRY)?;
    (bytes <= payload.checked_sub(LENGTH)?).then_some(bytes)
}

/// Takes the first frame off a stream; `None` if the stream is at its end, or breaks off.
#[inline]
pub(crate) fn next<'a>(stream: &mut &'a [u8]) -> Option<Payload<'a>> {
    let (head, rest) = stream.split_first_chunk::<HEAD>()?;
    let (length, has_table) = read_head(*head);
    let (payload, rest) = rest.split_at_checked(length as usize)?;
    *stream = rest;
    let mut next = Payload { tag: head[0], bytes: payload, table: &[] };
    if has_table {
        let parts = payload.split_last_chunk::<LENGTH>().and_then(|(before, count)| {
            let bytes = table_bytes(payload.len(), *count)?;
            Some(before.split_at(before.len() - bytes))
        });
        match parts {
            Some((bytes, table)) => (next.bytes, next.table) = (bytes, table),
            None => next.tag = u8::MAX, // it makes no sense: no such tag
        }
    }
    Some(next)
}

/// Tells the entries in the tables of the frames that a stream of `end` bytes holds, whose bytes `read` gives; false: it cannot.
pub(crate) fn each_entry(end: u64, mut read: impl FnMut(u64, &mut [u8]) -> bool, told: &mut dyn FnMut(u64)) {
    let (mut at, mut head, mut count) = (0, [0; HEAD], [0; LENGTH]);
    while at + HEAD as u64 <= end && read(at, &mut head) {
        let (length, has_table) = read_head(head);
        at += HEAD as u64 + u64::from(length);
        if at > end {
            return;
        }
        if has_table && length as usize >= LENGTH && read(at - LENGTH as u64, &mut count) {
            let mut table = vec![0; table_bytes(length as usize, count).unwrap_or(0)];
            if read(at - (LENGTH + table.len()) as u64, &mut table) {
                entries(&table).for_each(&mut *told);
            }
        }
    }
}

/// The numbers in a table of handles.
#[inline]
fn entries(table: &[u8]) -> impl ExactSizeIterator<Item = u64> + '_ {
    table.chunks_exact(ENTRY).map(|entry| u64::from_le_bytes(entry.try_into().unwrap_or_default()))
}

impl Payload<'_> {
    /// The blocks that the value's handles have.
    #[inline]
    pub(crate) fn entries(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        entries(self.table)
    }

    /// The argument, whose handles the caller knows to find.
    pub(crate) fn argument<A: DeserializeOwned>(&self) -> Result<A, String> {
        match self.tag {
            VALUE | HANDLES => self.value(),
            tag => Err(format!("unknown tag {tag}")),
        }
    }

    /// The result, whose blocks are the next of those that were taken.
    pub(crate) fn result<R: DeserializeOwned>(&self, taken: Option<&mut Taken>) -> Result<R, TaskError> {
        let not_decoded = |reason| TaskError::ResultNotDecoded { reason };
        match (self.tag, taken) {
            (VALUE, _) | (HANDLES, None) => self.value().map_err(not_decoded),
            (HANDLES, Some(taken)) => {
                taken.decode(self.entries().len(), || self.value()).map_err(not_decoded)
            }
            (ERROR, _) => Err(codec::decode(self.bytes).unwrap_or_else(|e| not_decoded(e.to_string()))),
            (tag, _) => Err(not_decoded(format!("unknown tag {tag}"))),
        }
    }

    #[inline]
    fn value<T: DeserializeOwned>(&self) -> Result<T, String> {
        codec::decode(self.bytes).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(mut stream: &[u8]) -> Option<Result<u8, TaskError>> {
        Some(next(&mut stream)?.result(None))
    }

    #[test]
    fn a_stream_that_breaks_off_ends_there() {
        let arena = Arena::new(1 << 16).expect("memory");
        let mut stream = Vec::new();
        put_argument(&mut stream, "text", &arena).expect("it can be encoded");
        assert!(next(&mut &stream[..]).is_some());
        for length in 0..stream.len() {
            assert_eq!(next(&mut &stream[..length]), None);
        }
        assert!(next(&mut &[VALUE, 255, 255, 255, 255, 0][..]).is_none());
        assert!(result(&[VALUE, 2, 0, 0, 0, 7]).is_none());
    }

    #[test]
    fn a_result_that_makes_no_sense_is_an_error() {
        let not_decoded =
            |stream: &[u8]| matches!(result(stream), Some(Err(TaskError::ResultNotDecoded { .. })));
        assert!(not_decoded(&[9, 0, 0, 0, 0])); // no such tag
        assert!(not_decoded(&[VALUE, 0, 0, 0, 0])); // no value
        assert!(not_decoded(&[ERROR, 1, 0, 0, 0, 200])); // no such error
        assert!(not_decoded(&[HANDLES, 3, 0, 0, 0, 0, 0, 0])); // no room for the number of handles
        assert!(not_decoded(&[HANDLES, 5, 0, 0, 0, 7, 1, 0, 0, 0])); // nor for one handle
        assert_eq!(result(&[HANDLES, 6, 0, 0, 0, 5, 7, 0, 0, 0, 0]), Some(Ok(7)));
    }

    #[test]
    fn errors_travel_whole() {
        let error = TaskError::Panicked { message: "m".into(), location: "l".into() };
        assert_eq!(result(&error_frame(error.clone())), Some(Err(error)));
    }

    #[test]
    fn what_a_value_holds_is_in_its_frames_table() {
        let arena = Arena::new(1 << 16).expect("memory");
        let handles = [1_u64, 2].map(|n| arena.boxed(n).expect("room"));
        let mut stream = Vec::new();
        let freight = put_argument(&mut stream, handles, &arena).expect("it can be encoded");
        let payload = next(&mut &stream[..]).expect("a frame");
        assert!(payload.entries().eq(freight.entries()));
        // SAFETY: `put_argument` has surrendered the value.
        unsafe { freight.let_go() };
        let decode = || {
            // SAFETY: the table is that of the freight just let go, and this is its one reader.
            let mut lading = unsafe { arena.lading(payload.entries()) };
            lading.within(|| payload.argument::<[skep_ipc::ShmBox<u64>; 2]>())
        };
        let got = decode().expect("they are there");
        assert_eq!([*got[0], *got[1]], [1, 2]);
        assert!(decode().is_err()); // they were taken
        drop(got);
        assert_eq!(arena.free_bytes(), arena.size());
    }
}

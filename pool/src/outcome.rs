//! What came of a record: its results, as the parent has taken them out.

use crate::error::TaskError;
use crate::frame;
use crate::sync::{Arena, Taken};
use serde::de::DeserializeOwned;

/// The stream of a record's results, and the blocks of their handles, which are this process's. Those of results that nobody looks at are freed when this is
/// dropped.
pub(crate) struct Outcome {
    /// The task's name.
    task: &'static str,
    stream: Vec<u8>,
    at: usize,
    taken: Option<Taken>,
}

impl Outcome {
    /// Takes the blocks of all results if they may have some. The record is still this process's.
    pub(crate) fn take(task: &'static str, stream: Vec<u8>, arena: Option<&Arena>) -> Outcome {
        let taken = arena.map(|arena| {
            let mut rest = &stream[..];
            let payloads: Vec<_> = std::iter::from_fn(|| frame::next(&mut rest)).collect();
            let entries = payloads.iter().flat_map(|payload| payload.entries());
            // SAFETY: the entries are those of the results' tables, which their worker has let go; the record is
            // this process's, and is freed after this, so nobody else takes by them.
            unsafe { arena.take_sent(entries) }
        });
        Outcome { task, stream, at: 0, taken }
    }

    /// Adds what became of an item that has no result.
    pub(crate) fn push_error(&mut self, error: TaskError) {
        self.stream.extend(frame::error_frame(error));
    }

    /// Its buffer, for another; what was not looked at is freed.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.stream
    }

    /// The next result.
    pub(crate) fn next<R: DeserializeOwned>(&mut self) -> Result<R, TaskError> {
        let mut rest = &self.stream[self.at..];
        let payload = frame::next(&mut rest).ok_or_else(missing)?;
        self.at = self.stream.len() - rest.len();
        payload.result(self.taken.as_mut()).map_err(|error| match error {
            // The worker knows the number alone.
            TaskError::UnknownTask { .. } => TaskError::UnknownTask { name: self.task.into() },
            error => error,
        })
    }
}

fn missing() -> TaskError {
    TaskError::ResultNotDecoded { reason: "it is missing from its record".into() }
}

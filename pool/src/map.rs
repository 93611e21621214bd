//! Many calls of one task: `map` in chunks and in order, `imap_unordered` one by one and lazily.

use crate::core::{Batch, Core};
use crate::error::TaskError;
use crate::frame;
use crate::future::{missing, single};
use crate::job::Job;
use crate::task::{Task, TaskRef};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::sync::Arc;

/// A chunk ends when its arguments come to so many bytes.
const CHUNK_BYTES: usize = 16 << 20;

/// Arguments in their frames, one after the other, and where chunks of them end.
#[derive(Default)]
struct Encoded {
    stream: Vec<u8>,
    ends: Vec<usize>,
}

impl Encoded {
    fn new<A: Serialize>(inputs: impl Iterator<Item = A>) -> Result<Encoded, TaskError> {
        let mut encoded = Encoded::default();
        for input in inputs {
            frame::put_argument(&mut encoded.stream, &input)?;
            encoded.ends.push(encoded.stream.len());
        }
        Ok(encoded)
    }

    /// Chunks of at most `length` arguments: how many there are, and their stream.
    fn chunks(&self, length: usize) -> impl Iterator<Item = (u32, &[u8])> {
        let mut first = 0;
        std::iter::from_fn(move || {
            let start = if first == 0 { 0 } else { self.ends[first - 1] };
            let ends = self.ends.get(first..).filter(|ends| !ends.is_empty())?;
            let fits = |end: &&usize| **end - start <= CHUNK_BYTES;
            let count = ends.iter().take(length).take_while(fits).count().max(1);
            first += count;
            Some((count as u32, &self.stream[start..ends[count - 1]]))
        })
    }
}

pub(crate) fn map<A: Serialize, R: DeserializeOwned>(
    core: &Core,
    task: TaskRef,
    workers: usize,
    inputs: impl Iterator<Item = A>,
) -> Result<Vec<R>, TaskError> {
    let encoded = Encoded::new(inputs)?;
    let length = encoded.ends.len().div_ceil(4 * workers).clamp(1, u32::MAX as usize);
    let job = Arc::new(Job::default());
    let mut counts = Vec::new();
    let mut refused = None;
    for (count, arguments) in encoded.chunks(length) {
        let batch = Batch { task, count, arguments };
        if let Err(error) = core.submit(&batch, &job, counts.len() as u32) {
            refused = Some(error);
            break;
        }
        counts.push(count);
    }
    core.wait(&job, counts.len(), None);
    let mut outcomes: Vec<_> = std::iter::from_fn(|| job.take()).collect();
    outcomes.sort_unstable_by_key(|arrival| arrival.part);

    let mut results = Vec::with_capacity(encoded.ends.len());
    for arrival in outcomes {
        let stream = arrival.outcome?;
        let mut stream = &stream[..];
        for _ in 0..counts[arrival.part as usize] {
            results.push(frame::next_result(&mut stream).unwrap_or_else(|| Err(missing()))?);
        }
    }
    refused.map_or(Ok(results), Err)
}

/// Results in the order in which they come; [`Pool::imap_unordered`](crate::Pool::imap_unordered) gives it.
///
/// Dropping it leaves what is in flight to the workers, and forgets the results.
pub struct Imap<'p, I, A, R> {
    core: &'p Core,
    task: TaskRef,
    inputs: Option<I>,
    /// The frame of an input that waits for a record; empty if none does.
    pending: Vec<u8>,
    job: Arc<Job>,
    in_flight: usize,
    window: usize,
    types: PhantomData<fn(A) -> R>,
}

impl<'p, I, A, R> Imap<'p, I, A, R> {
    pub(crate) fn new<F>(core: &'p Core, task: &Task<A, R, F>, workers: usize, inputs: I) -> Self {
        Imap {
            core,
            task: task.untyped(),
            inputs: Some(inputs),
            pending: Vec::new(),
            job: Arc::new(Job::default()),
            in_flight: 0,
            window: (8 * workers).min(core.depth()),
            types: PhantomData,
        }
    }
}

impl<I: Iterator<Item = A>, A: Serialize, R> Imap<'_, I, A, R> {
    /// Submits inputs until the window is full, the table is, or there are no more.
    fn refill(&mut self) -> Result<(), TaskError> {
        while self.in_flight < self.window {
            if self.pending.is_empty() {
                let Some(inputs) = &mut self.inputs else { break };
                let Some(input) = inputs.next() else {
                    self.inputs = None;
                    break;
                };
                frame::put_argument(&mut self.pending, &input)?;
            }
            let batch = Batch { task: self.task, count: 1, arguments: &self.pending };
            let submitted = if self.in_flight == 0 {
                self.core.submit(&batch, &self.job, 0).map(|()| true)
            } else {
                self.core.try_submit(&batch, &self.job, 0)
            };
            match submitted {
                Ok(true) => self.in_flight += 1,
                Ok(false) => break,
                Err(error) => {
                    self.pending.clear();
                    if self.core.is_closed() {
                        self.inputs = None; // all others would be refused as well
                    }
                    return Err(error);
                }
            }
            self.pending.clear();
        }
        Ok(())
    }
}

impl<I: Iterator<Item = A>, A: Serialize, R: DeserializeOwned> Iterator for Imap<'_, I, A, R> {
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.core.is_own() {
            let has_more = self.inputs.take().is_some() | (std::mem::take(&mut self.in_flight) > 0);
            return has_more.then_some(Err(TaskError::Forked));
        }
        if let Err(error) = self.refill() {
            return Some(Err(error));
        }
        if self.in_flight == 0 {
            return None;
        }
        self.core.wait(&self.job, 1, None);
        self.in_flight -= 1;
        self.job.take().map(single)
    }
}

impl<I: Iterator<Item = A>, A: Serialize, R: DeserializeOwned> FusedIterator for Imap<'_, I, A, R> {}

impl<I, A, R> fmt::Debug for Imap<'_, I, A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

//! Many calls of one task: `map` in chunks and in order, `imap_unordered` one by one and lazily.

use crate::core::{Batch, Core};
use crate::error::{MapError, TaskError};
use crate::frame;
use crate::job::{Arrival, Job};
use crate::outcome::Outcome;
use crate::task::{Task, TaskRef};
use serde::Serialize;
use serde::de::DeserializeOwned;
use skep_ipc::{Arena, Freight};
use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A chunk ends when its arguments come to so many bytes.
const CHUNK_BYTES: usize = 16 << 20;

/// What one argument of a batch has sent, and which that is.
type Sent = (u32, Freight);

/// Arguments in their frames, one after the other, and where they end.
#[derive(Default)]
struct Encoded {
    stream: Vec<u8>,
    ends: Vec<usize>,
    /// What some of them have sent.
    freight: VecDeque<(usize, Freight)>,
}

impl Encoded {
    fn new<A: Serialize>(inputs: impl Iterator<Item = A>, arena: &Arena) -> Result<Encoded, MapError> {
        let mut encoded = Encoded::default();
        for input in inputs {
            let freight = frame::put_argument(&mut encoded.stream, input, arena)
                .map_err(|error| MapError::at(encoded.ends.len())(*error))?;
            if !freight.is_empty() {
                encoded.freight.push_back((encoded.ends.len(), freight));
            }
            encoded.ends.push(encoded.stream.len());
        }
        Ok(encoded)
    }

    /// The next chunk of at most `length` arguments, from `first` on: how many there are, their stream, and what they have sent.
    fn chunk(&mut self, first: usize, length: usize) -> Option<(u32, &[u8], Vec<Sent>)> {
        let start = if first == 0 { 0 } else { self.ends[first - 1] };
        let ends = self.ends.get(first..).filter(|ends| !ends.is_empty())?;
        let fits = |end: &&usize| **end - start <= CHUNK_BYTES;
        let count = ends.iter().take(length).take_while(fits).count().max(1);
        let sent = self.freight.partition_point(|(item, _)| *item < first + count);
        let sent = self.freight.drain(..sent).map(|(item, freight)| ((item - first) as u32, freight));
        Some((count as u32, &self.stream[start..ends[count - 1]], sent.collect()))
    }
}

pub(crate) fn map<A: Serialize, R: DeserializeOwned>(
    core: &Core,
    task: TaskRef,
    workers: usize,
    inputs: impl Iterator<Item = A>,
    deadline: Option<Instant>,
) -> Result<Vec<R>, MapError> {
    let mut encoded = Encoded::new(inputs, core.arena())?;
    let length = encoded.ends.len().div_ceil(4 * workers).clamp(1, u32::MAX as usize);
    let job = Arc::new(Job::default());
    let mut counts = Vec::new();
    let mut refused = None;
    let mut first = 0;
    while let Some((count, arguments, mut freight)) = encoded.chunk(first, length) {
        let mut batch = Batch { task, count, arguments, freight: &mut freight, is_continued: false };
        if let Err(error) = core.submit(&mut batch, &job, counts.len() as u32, deadline) {
            refused = Some(MapError { input: Some(first), error });
            break;
        }
        counts.push(count);
        first += count as usize;
    }
    let mut results = Ok(Vec::with_capacity(encoded.ends.len()));
    drop(encoded);
    let mut arrived: Vec<_> = counts.iter().map(|_| None).collect();
    // The next chunk in order, and how many inputs are before it.
    let (mut next, mut done) = (0, 0);
    while next < counts.len() {
        if !core.wait(&job, 1, deadline) {
            // What decodes may fork, and return here as well.
            let error = if core.is_own() { TaskError::TimedOut } else { TaskError::Forked };
            return results.and(Err(MapError { input: Some(done), error }));
        }
        let Some(Arrival { part, outcome }) = job.take() else {
            return Err(MapError { input: Some(done), error: TaskError::Terminated });
        };
        // One whose submission was refused may have been told, too.
        let Some(place) = arrived.get_mut(part as usize) else { continue };
        *place = Some(outcome);
        // What comes in order is decoded while the workers are at the rest.
        while let Some(outcome) = arrived.get_mut(next).and_then(Option::take) {
            results = results.and_then(|results| decode(outcome, counts[next], results));
            done += counts[next] as usize;
            next += 1;
        }
    }
    results.and_then(|results| refused.map_or(Ok(results), Err))
}

/// The results of a chunk, behind those before.
fn decode<R: DeserializeOwned>(
    outcome: Result<Outcome, TaskError>,
    count: u32,
    mut results: Vec<R>,
) -> Result<Vec<R>, MapError> {
    let mut outcome = outcome.map_err(MapError::at(results.len()))?;
    for _ in 0..count {
        results.push(outcome.next().map_err(MapError::at(results.len()))?);
    }
    Ok(results)
}

/// An iterator over results in the order in which they arrive. Created by
/// [`Pool::imap_unordered`](crate::Pool::imap_unordered).
///
/// Dropping it leaves what is in flight to the workers, and forgets the results.
pub struct Imap<'p, I, A, R> {
    core: &'p Core,
    task: TaskRef,
    inputs: Option<I>,
    /// The frame of an input that waits for a record; empty if none does.
    pending: Vec<u8>,
    /// What that input has sent.
    freight: Vec<Sent>,
    job: Arc<Job>,
    /// How many inputs were submitted. A part's number is its input's, as far as 32 bits go.
    submitted: usize,
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
            freight: Vec::new(),
            job: Arc::new(Job::default()),
            submitted: 0,
            in_flight: 0,
            window: (8 * workers).min(core.depth()),
            types: PhantomData,
        }
    }
}

impl<I, A, R> Imap<'_, I, A, R> {
    /// Sets how many inputs may be in flight: taken, and their results not given yet. The default is
    /// eight for each worker; 0 counts as 1.
    ///
    /// An input that depends on a result cannot be taken before that result has been given. Where
    /// the inputs wait for results, let no more be in flight than there are without waiting.
    ///
    /// ```
    /// # mod skep { pub use skep_pool::*; }
    /// # fn demo(halve: skep::Task<u64, u64, fn(u64) -> u64>, pool: &skep::Pool)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// let (sender, inputs) = std::sync::mpsc::channel();
    /// sender.send(1000)?;
    /// let mut results = pool.imap_unordered(halve, inputs).in_flight(1);
    /// while let Some(result) = results.next() {
    ///     match result? {
    ///         0 => break,
    ///         half => sender.send(half)?,
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn in_flight(mut self, inputs: usize) -> Self {
        self.window = inputs.clamp(1, self.core.depth());
        self
    }

    /// Whether a result is there, so that it can be given without waiting.
    fn has_result(&self) -> bool {
        let is_there = self.job.peek(1);
        if !is_there && self.in_flight > 0 {
            self.core.collect();
            return self.job.peek(1);
        }
        is_there
    }
}

impl<I: Iterator<Item = A>, A: Serialize, R> Imap<'_, I, A, R> {
    /// Submits inputs until a result is there, the window is full, the table is, or there are no
    /// more. A result comes before the next input, which may wait for it.
    fn refill(&mut self, deadline: Option<Instant>) -> Result<(), MapError> {
        while self.in_flight < self.window && !self.has_result() {
            if self.pending.is_empty() {
                let Some(inputs) = &mut self.inputs else { break };
                let Some(input) = inputs.next() else {
                    self.inputs = None;
                    break;
                };
                // Taken, so that nothing is left of it if user code panics.
                let mut frame = std::mem::take(&mut self.pending);
                let freight = frame::put_argument(&mut frame, input, self.core.arena());
                self.pending = frame;
                let freight = freight.map_err(|error| {
                    self.submitted += 1; // it has its number
                    MapError::at(self.submitted - 1)(*error)
                })?;
                if !freight.is_empty() {
                    self.freight.push((0, freight));
                }
            }
            let freight = &mut self.freight;
            let arguments = &self.pending;
            let mut batch = Batch { task: self.task, count: 1, arguments, freight, is_continued: false };
            let part = self.submitted as u32;
            let submitted = if self.in_flight == 0 {
                self.core.submit(&mut batch, &self.job, part, deadline).map(|()| true)
            } else {
                self.core.try_submit(&mut batch, &self.job, part)
            };
            match submitted {
                Ok(true) => self.in_flight += 1,
                Ok(false) => break,
                // It stays, for the next attempt.
                Err(TaskError::Full) => return Err(MapError::at(self.submitted)(TaskError::TimedOut)),
                Err(error) => {
                    self.pending.clear();
                    self.freight.clear();
                    if self.core.is_closed() {
                        self.inputs = None; // all others would be refused as well
                    }
                    self.submitted += 1;
                    return Err(MapError::at(self.submitted - 1)(error));
                }
            }
            self.submitted += 1;
            self.pending.clear();
        }
        Ok(())
    }
}

impl<I: Iterator<Item = A>, A: Serialize, R: DeserializeOwned> Imap<'_, I, A, R> {
    /// Returns the next result, or `None` if there are no more inputs and no more results.
    ///
    /// Waits for a result at most as long as `timeout`. The inputs' iterator is asked for inputs
    /// meanwhile, and takes as long as it takes.
    ///
    /// # Errors
    /// [`TaskError::TimedOut`] if the time is over; nothing is lost, and the result comes with a later
    /// call. Otherwise the task's own error, as [`next`](Iterator::next) gives it.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Result<R, MapError>> {
        self.next_until(Instant::now().checked_add(timeout))
    }

    fn next_until(&mut self, deadline: Option<Instant>) -> Option<Result<R, MapError>> {
        if !self.core.is_own() {
            let has_more = self.inputs.take().is_some() | (std::mem::take(&mut self.in_flight) > 0);
            return has_more.then_some(Err(TaskError::Forked.into()));
        }
        if let Err(error) = self.refill(deadline) {
            return Some(Err(error));
        }
        if self.in_flight == 0 {
            return None;
        }
        if !self.core.wait(&self.job, 1, deadline) {
            return Some(Err(TaskError::TimedOut.into()));
        }
        self.in_flight -= 1;
        let (part, result) = self.job.take_single()?;
        let behind = (self.submitted as u32).wrapping_sub(part);
        Some(result.map_err(MapError::at(self.submitted.wrapping_sub(behind as usize))))
    }
}

impl<I: Iterator<Item = A>, A: Serialize, R: DeserializeOwned> Iterator for Imap<'_, I, A, R> {
    type Item = Result<R, MapError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_until(None)
    }
}

impl<I: Iterator<Item = A>, A: Serialize, R: DeserializeOwned> FusedIterator for Imap<'_, I, A, R> {}

impl<I, A, R> fmt::Debug for Imap<'_, I, A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

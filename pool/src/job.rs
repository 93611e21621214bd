//! A job: what one caller waits for. A future is a job of one part, a `map` one of a part per chunk, an `imap_unordered` one whose
//! parts come and go.
//!
//! A job keeps the buffers in which arguments left and results came, for the next ones; jobs of one part are kept by the pool for the next call. So a pool that has
//! run for a while allocates nothing for a task whose arguments and results are small.

use crate::error::TaskError;
use crate::outcome::Outcome;
use crate::sync::{Mutex, lock};
use crate::waiter::Waker;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;

/// A buffer that has grown beyond is not kept.
const KEPT_BYTES: usize = 64 << 10;

/// The outcome of one record.
pub(crate) struct Arrival {
    /// Which part of the job it is.
    pub(crate) part: u32,
    /// The results, or why there are none.
    pub(crate) outcome: Result<Outcome, TaskError>,
}

/// Outcomes go in, in any order, and one waiting thread takes them out.
#[derive(Default)]
pub(crate) struct Job(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    arrived: VecDeque<Arrival>,
    /// Who sleeps until how many have arrived.
    waiter: Option<(Waker, usize)>,
    /// Empty ones: as many as were ever in use at a time.
    buffers: Vec<Vec<u8>>,
}

impl Job {
    pub(crate) fn deliver(&self, arrival: Arrival) {
        let mut inner = lock(&self.0);
        inner.arrived.push_back(arrival);
        if inner.waiter.as_ref().is_some_and(|(_, need)| inner.arrived.len() >= *need)
            && let Some((waker, _)) = inner.waiter.take()
        {
            drop(inner);
            waker.wake();
        }
    }

    /// Returns whether `need` outcomes have arrived. If not, `this` is woken as soon as they have.
    pub(crate) fn has(&self, need: usize, this: &Waker) -> bool {
        let mut inner = lock(&self.0);
        let has = inner.arrived.len() >= need;
        if !has {
            inner.waiter = Some((this.clone(), need));
        }
        has
    }

    /// Whether `need` outcomes have arrived, without waiting for them.
    pub(crate) fn peek(&self, need: usize) -> bool {
        lock(&self.0).arrived.len() >= need
    }

    pub(crate) fn take(&self) -> Option<Arrival> {
        let mut inner = lock(&self.0);
        inner.waiter = None;
        inner.arrived.pop_front()
    }

    /// A part of one item, and its result.
    pub(crate) fn take_single<R: DeserializeOwned>(&self) -> Option<(u32, Result<R, TaskError>)> {
        let Arrival { part, outcome } = self.take()?;
        let result = outcome.and_then(|mut outcome| {
            let result = outcome.next();
            self.keep(outcome.into_buffer());
            result
        });
        Some((part, result))
    }

    /// An empty buffer.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        lock(&self.0).buffers.pop().unwrap_or_default()
    }

    /// A buffer that is not needed any more.
    pub(crate) fn keep(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= KEPT_BYTES {
            buffer.clear();
            lock(&self.0).buffers.push(buffer);
        }
    }
}

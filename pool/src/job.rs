//! A job: what one caller waits for. A future is a job of one part, a `map` one of a part per chunk, an `imap_unordered` one whose
//! parts come and go.

use crate::error::TaskError;
use crate::outcome::Outcome;
use crate::sync::lock;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::thread::Thread;

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
    waiter: Option<(Thread, usize)>,
}

impl Job {
    pub(crate) fn deliver(&self, arrival: Arrival) {
        let mut inner = lock(&self.0);
        inner.arrived.push_back(arrival);
        if inner.waiter.as_ref().is_some_and(|(_, need)| inner.arrived.len() >= *need)
            && let Some((thread, _)) = inner.waiter.take()
        {
            drop(inner);
            thread.unpark();
        }
    }

    /// Whether `need` outcomes have arrived. If not, the calling thread is unparked as soon as they have.
    pub(crate) fn has(&self, need: usize) -> bool {
        let mut inner = lock(&self.0);
        let has = inner.arrived.len() >= need;
        if !has {
            inner.waiter = Some((std::thread::current(), need));
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
}

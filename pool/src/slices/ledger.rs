//! What a call on a slice knows of its runners and of its chunks: which runner is replaced, and what the call
//! comes to.

use super::chunks::Chunks;
use crate::error::{MapError, TaskError};
use std::collections::HashMap;

/// How many workers a chunk may kill and be run again, where its task does not say that it may kill more.
const DEATHS: u8 = 2;

/// A call's accounts.
pub(crate) struct Ledger<'a> {
    pub(crate) chunks: Chunks<'a>,
    /// The next runner's number: none comes twice.
    next: u32,
    /// How many runners have no outcome yet.
    running: usize,
    /// How many workers each chunk has killed.
    deaths: HashMap<usize, u8>,
    /// How many a chunk may.
    most: u8,
    error: Option<MapError>,
}

impl<'a> Ledger<'a> {
    /// The accounts of a call whose task may be retried so often.
    pub(crate) fn new(chunks: Chunks<'a>, retries: u8) -> Self {
        let most = retries.max(DEATHS);
        Ledger { chunks, next: 0, running: 0, deaths: HashMap::new(), most, error: None }
    }

    /// Starts the next runner by `submit`, which is told its number.
    pub(crate) fn start(&mut self, submit: impl FnOnce(u32) -> Result<(), TaskError>) {
        let runner = self.next;
        self.next += 1;
        match submit(runner) {
            Ok(()) => self.running += 1,
            Err(error) => self.fail(error.into()),
        }
    }

    /// Hears the outcome of a runner. True: another one is to take its place.
    #[must_use]
    pub(crate) fn hear(&mut self, runner: u32, outcome: Result<(), TaskError>) -> bool {
        self.running -= 1;
        match outcome {
            Ok(()) => false,
            Err(died @ TaskError::WorkerDied { .. }) => self.replaces(runner, died),
            Err(error) => {
                let is_of_chunk = matches!(error, TaskError::Panicked { .. });
                let input = if is_of_chunk { self.chunks.claim_of(runner) } else { None };
                self.fail(MapError { input, error });
                false
            }
        }
    }

    /// K4: what a dead runner had claimed is free. Says whether another runner is to take its place.
    fn replaces(&mut self, runner: u32, died: TaskError) -> bool {
        for chunk in self.chunks.free_claims_of(runner) {
            let deaths = self.deaths.entry(chunk).or_insert(0);
            if *deaths >= self.most {
                self.fail(MapError { input: Some(chunk), error: died });
                return false;
            }
            *deaths += 1;
        }
        self.error.is_none() && !self.chunks.are_done()
    }

    /// The first error is the call's. Runners stop after the chunk that they are at.
    pub(crate) fn fail(&mut self, error: MapError) {
        self.chunks.stop();
        self.error.get_or_insert(error);
    }

    /// The call is given up: says how many runners have no outcome yet.
    pub(crate) fn give_up(&mut self) -> usize {
        self.chunks.stop();
        std::mem::take(&mut self.running)
    }

    /// Whether runners are at it.
    pub(crate) fn is_running(&self) -> bool {
        self.running > 0
    }

    /// No runner is left: the call's error, or whether all chunks are done (K3).
    pub(crate) fn verdict(&mut self) -> Result<bool, MapError> {
        self.error.take().map_or_else(|| Ok(self.chunks.are_done()), Err)
    }
}

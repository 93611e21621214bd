//! A call on a slice, for models: its control block and its output on loom's heap.

use crate::error::{Cause, MapError, TaskError};
use crate::slices::chunks::{Chunks, HEAD};
use crate::slices::ledger::Ledger;
use crate::sync::AtomicU64;
use skep_ipc::model::Cell;
use std::sync::Arc;

/// What a call lends to its runners: a control block, and an output of one word a chunk.
#[derive(Clone)]
pub struct Slices(Arc<Lent>);

struct Lent {
    control: Box<[AtomicU64]>,
    output: Box<[Cell<u64>]>,
}

// SAFETY: the control words are loom's atomics; the outputs are loom's cells, which check that the protocol keeps accesses apart.
unsafe impl Sync for Lent {}
// SAFETY: as above.
unsafe impl Send for Lent {}

impl Slices {
    /// Of so many chunks.
    pub fn new(chunks: usize) -> Self {
        let control = (0..HEAD + chunks).map(|_| AtomicU64::new(0)).collect();
        Slices(Arc::new(Lent { control, output: (0..chunks).map(|_| Cell::new(0)).collect() }))
    }

    fn chunks(&self) -> Chunks<'_> {
        Chunks::over(&self.0.control)
    }

    /// A runner's whole life in its worker: it writes `result` into the output of each chunk that it claims. Says which those were. Panics if a chunk is taken from
    /// it while it runs it.
    pub fn run(&self, runner: u32, result: u64) -> Vec<usize> {
        let mut ran = Vec::new();
        let end = self.chunks().run_all(runner, |chunk| {
            self.0.output[chunk].write(result);
            ran.push(chunk);
        });
        assert!(end.is_some(), "a living runner's chunk is its own");
        ran
    }

    /// Whether all chunks are done.
    pub fn is_done(&self) -> bool {
        self.chunks().are_done()
    }

    /// The caller's side.
    pub fn call(&self, retries: u8) -> SliceCall<'_> {
        SliceCall { ledger: Ledger::new(self.chunks(), retries), lent: &self.0 }
    }
}

/// What a runner came to, as its record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Runner {
    /// It saw no chunk free.
    Ended,
    /// Its worker is dead.
    Died,
    /// It could not be run.
    Failed,
}

/// A call's caller.
pub struct SliceCall<'a> {
    ledger: Ledger<'a>,
    lent: &'a Lent,
}

impl SliceCall<'_> {
    /// The number of the next runner, which is submitted.
    pub fn start(&mut self) -> u32 {
        let mut number = 0;
        self.ledger.start(|runner| {
            number = runner;
            Ok(())
        });
        number
    }

    /// Hears what a runner came to; whether another one is to take its place.
    pub fn hear(&mut self, runner: u32, came: Runner) -> bool {
        self.ledger.hear(
            runner,
            match came {
                Runner::Ended => Ok(()),
                Runner::Died => {
                    Err(TaskError::WorkerDied { task: String::new(), pid: runner, cause: Cause::Unknown })
                }
                Runner::Failed => Err(TaskError::no_memory("a model has none")),
            },
        )
    }

    /// Whether runners are at it.
    pub fn is_running(&self) -> bool {
        self.ledger.is_running()
    }

    /// What the call comes to: the outputs, or why there are none. Panics if a chunk was skipped.
    pub fn verdict(mut self) -> Result<Vec<u64>, Runner> {
        match self.ledger.verdict() {
            Ok(done) => {
                assert!(done, "no runner is left, and a chunk was skipped");
                Ok(self.lent.output.iter().map(Cell::read).collect())
            }
            Err(MapError { error: TaskError::WorkerDied { .. }, .. }) => Err(Runner::Died),
            Err(_) => Err(Runner::Failed),
        }
    }
}

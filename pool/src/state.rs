//! The word that tells the truth about a record, and the ids that hint at it.
//!
//! ```text
//! state word  { generation: 32, worker: 24, phase: 8 }
//! id          { generation: 32, index: 32 }
//!
//!          parent                 worker w                worker w                collector
//!   FREE{g} ------> QUEUED{g} ------------> RUNNING{g,w} -----------> DONE{g,w} -------------> FREE{g+1}
//!                       ^                        |
//!                       +------------------------+ supervisor, when w has died and tasks are left
//!                                                +------> DONE{g,w}, when none is left
//! ```
//!
//! An id in a ring says "look at that record". It may be stale or doubled: then the state word does not match, and it is skipped.

use crate::sync::AtomicU64;
use std::sync::atomic::Ordering;

/// What is being done with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    Free = 0,
    Queued = 1,
    Running = 2,
    Done = 3,
}

/// Worker numbers are below this.
pub(crate) const MAX_WORKER: u32 = 1 << 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) generation: u32,
    pub(crate) worker: u32,
    pub(crate) phase: Phase,
}

impl State {
    fn pack(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.worker) << 8 | self.phase as u64
    }

    /// `None` if the word has no valid phase: somebody wrote where they may not.
    fn unpack(word: u64) -> Option<State> {
        let phase = match word as u8 {
            0 => Phase::Free,
            1 => Phase::Queued,
            2 => Phase::Running,
            3 => Phase::Done,
            _ => return None,
        };
        Some(State { generation: (word >> 32) as u32, worker: (word as u32) >> 8, phase })
    }
}

/// A record's state word. Zero is `FREE{0}`.
#[cfg_attr(not(loom), repr(transparent))]
pub(crate) struct StateWord(AtomicU64);

impl StateWord {
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        StateWord(AtomicU64::new(0))
    }

    /// What it is. Acquire: S4 pairs with S3: who sees DONE sees the results. S6 pairs with S1 and S3 for the supervisor.
    pub(crate) fn load(&self) -> Option<State> {
        State::unpack(self.0.load(Ordering::Acquire))
    }

    /// Parent and supervisor: the task lies in the record. S1 (Release) pairs with S2.
    pub(crate) fn queue(&self, generation: u32) {
        self.0.store(State { generation, worker: 0, phase: Phase::Queued }.pack(), Ordering::Release);
    }

    /// Worker: takes the record if the id is not stale. From here on its results are this worker's alone (R1).
    ///
    /// S2 (Acquire) pairs with S1: who claims sees the task. Nothing was written before it, so no Release.
    pub(crate) fn claim(&self, generation: u32, worker: u32) -> bool {
        let queued = State { generation, worker: 0, phase: Phase::Queued }.pack();
        let running = State { generation, worker, phase: Phase::Running }.pack();
        self.0.compare_exchange(queued, running, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Worker, or supervisor for a dead one: the results lie in the record. S3 (Release) pairs with S4.
    pub(crate) fn finish(&self, generation: u32, worker: u32) {
        self.0.store(State { generation, worker, phase: Phase::Done }.pack(), Ordering::Release);
    }

    /// Collector: the results are copied out, and their blocks taken. Relaxed: only the parent takes free records, ordered by the mutex of its free list,
    /// and to a worker with a stale id the new generation is all that matters.
    pub(crate) fn free(&self, generation: u32) {
        self.0.store(State { generation, worker: 0, phase: Phase::Free }.pack(), Ordering::Relaxed);
    }
}

/// What travels through the rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id {
    pub(crate) generation: u32,
    pub(crate) index: u32,
}

impl Id {
    /// An id of no record: whoever takes it out looks around and skips it.
    pub(crate) const NUDGE: Id = Id { generation: u32::MAX, index: u32::MAX };

    pub(crate) fn pack(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(crate) fn unpack(word: u64) -> Id {
        Id { generation: (word >> 32) as u32, index: word as u32 }
    }
}

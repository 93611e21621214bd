//! The once: who runs it is named in the word, so that a run that is interrupted by a death is known to be.
//!
//! # The word
//! `{ owner: 29, state: 3 }`
//!
//! | state | owner | |
//! | --- | --- | --- |
//! | `INCOMPLETE` | nobody | nobody has begun |
//! | `RUNNING` | the runner | it runs, or has died while it ran |
//! | `INTERRUPTED` | nobody | a runner died or panicked; what it did may be half done |
//! | `DONE` | nobody | for good |
//!
//! # Steps
//! | who | step | | pairs with |
//! | --- | --- | --- | --- |
//! | all | C1 | `DONE` (Acquire): go on | C3 |
//! | run | C2 | `INCOMPLETE` or `INTERRUPTED` → `{ me, RUNNING }` (Acquire): **run**; it is `RUNNING`: sleep | C3, P1, D1 |
//! | | C3 | `{ me, RUNNING }` → `DONE` (Release) | C1 |
//! | | C4 | wake all | |
//! | panic | P1 | `{ me, RUNNING }` → `INTERRUPTED` (Release), then C4 | C2 |
//! | mend | D1 | `{ dead, RUNNING }` → `INTERRUPTED` (AcqRel) | C2 |
//! | | D2 | wake all: the dead one may have been about to | |
//!
//! # Invariants
//! 1. A word with an owner is changed by that owner alone, or by whoever mends for it once it is dead. So one runs at a time.
//! 2. `DONE` is final, and written by a runner that has finished: what it did is visible to whoever sees it.
//! 3. Whoever runs after a run that did not finish is told, and sees what that run did as far as it came.
//!
//! # A kill at each step
//! - after C2, anywhere up to C3: `RUNNING`; whoever waits finds the owner dead, D1.
//! - after C3 or P1: nobody holds anything. Sleepers look again at the end of their slice, or after D2.
//! - in D1 or D2: the next one does it again.

use super::super::owned::Owned;
use crate::fault;
use crate::sync::{AcqRel, Acquire, AtomicU32, Relaxed, Release};
use crate::wait::{Until, WaitWord, wait};

const INCOMPLETE: u32 = 0;
const RUNNING: u32 = 1;
const INTERRUPTED: u32 = 2;
const DONE: u32 = 3;

/// The words of a once. All zeroes is one that nobody has begun.
#[cfg_attr(not(loom), repr(C))]
pub(crate) struct Control {
    word: AtomicU32,
    /// Where all sleep who wait for a runner.
    waiters: WaitWord,
}

/// What a caller finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is done.
    Done,
    /// The caller runs it now, and ends by [`Control::finish`].
    Run {
        /// Whether an earlier run did not finish.
        interrupted: bool,
    },
}

/// Why a caller has to do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Others run it, or nobody does.
    NotYet,
    /// This participant runs it.
    WouldDeadlock,
    /// The word has an impossible value.
    Corrupt,
}

impl Control {
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Control { word: AtomicU32::new(INCOMPLETE), waiters: WaitWord::new() }
    }

    /// C1.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        Owned(self.word.load(Acquire)) == Owned::nobodys(DONE) // C1 pairs with C3
    }

    /// C1 and C2.
    pub(crate) fn try_begin(&self, me: usize, peers: usize) -> Result<Turn, Refusal> {
        let seen = Owned(self.word.load(Acquire)); // C1 pairs with C3
        match (seen.state(), seen.owner()) {
            (DONE, None) => Ok(Turn::Done),
            (INCOMPLETE | INTERRUPTED, None) => {
                let mine = Owned::by(me, RUNNING);
                // C2 pairs with P1 and D1
                if self.word.compare_exchange(seen.0, mine.0, Acquire, Relaxed).is_err() {
                    return Err(Refusal::NotYet);
                }
                fault::point("once: running");
                Ok(Turn::Run { interrupted: seen.state() == INTERRUPTED })
            }
            (RUNNING, Some(runner)) if runner == me => Err(Refusal::WouldDeadlock),
            (RUNNING, Some(runner)) if runner < peers => Err(Refusal::NotYet),
            _ => Err(Refusal::Corrupt),
        }
    }

    /// C1 and C2, again and again; `NotYet` once the time is over. `check` is that of [`wait`].
    #[cold]
    pub(crate) fn begin(
        &self,
        me: usize,
        peers: usize,
        until: Until,
        check: impl FnMut() -> bool,
    ) -> Result<Turn, Refusal> {
        let look = || match self.try_begin(me, peers) {
            Err(Refusal::NotYet) => None,
            outcome => Some(outcome),
        };
        wait(&self.waiters, until, look, check).unwrap_or(Err(Refusal::NotYet))
    }

    /// C1, again and again, without running it; `NotYet` once the time is over. `check` is that of [`wait`].
    #[cold]
    pub(crate) fn wait(
        &self,
        me: usize,
        peers: usize,
        until: Until,
        check: impl FnMut() -> bool,
    ) -> Result<(), Refusal> {
        let look = || {
            let seen = Owned(self.word.load(Acquire)); // C1 pairs with C3
            match (seen.state(), seen.owner()) {
                (DONE, None) => Some(Ok(())),
                (INCOMPLETE | INTERRUPTED, None) => None,
                (RUNNING, Some(runner)) if runner == me => Some(Err(Refusal::WouldDeadlock)),
                (RUNNING, Some(runner)) if runner < peers => None,
                _ => Some(Err(Refusal::Corrupt)),
            }
        };
        wait(&self.waiters, until, look, check).unwrap_or(Err(Refusal::NotYet))
    }

    /// C3 or P1, and C4, by the runner.
    pub(crate) fn finish(&self, completed: bool) {
        let end = if completed { DONE } else { INTERRUPTED };
        fault::point("once: about to finish");
        self.word.store(Owned::nobodys(end).0, Release); // C3 pairs with C1, P1 with C2
        fault::point("once: finished, nobody woken");
        self.waiters.wake(u32::MAX); // C4
    }

    /// Whoever runs it at this moment.
    pub(crate) fn runner(&self) -> Option<usize> {
        Owned(self.word.load(Relaxed)).owner()
    }

    /// D1 and D2, for a participant that is dead or leaves.
    pub(crate) fn mend(&self, dead: usize) {
        let mut seen = Owned(self.word.load(Acquire));
        while seen.owner() == Some(dead) {
            // D1 pairs with C2
            match self.word.compare_exchange(seen.0, Owned::nobodys(INTERRUPTED).0, AcqRel, Acquire) {
                Ok(_) => break,
                Err(now) => seen = Owned(now),
            }
        }
        fault::point("once: a dead runner's word freed");
        self.waiters.wake(u32::MAX); // D2
    }
}

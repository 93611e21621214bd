//! The event: a flag, and how often it was set.
//!
//! # The word
//! `{ times: 31, SET: 1 }`: how often the event was set, modulo 2³¹, and whether it is.
//!
//! | who | step | | pairs with |
//! | --- | --- | --- | --- |
//! | set | S1 | `{ n, 0 }` → `{ n + 1, SET }` (Release); it is set already: go on | W2 |
//! | | S2 | wake all, also if it was set already: whoever did that may have died before it woke anybody | |
//! | clear | C1 | `{ n, SET }` → `{ n, 0 }` (AcqRel) | |
//! | wait | W1 | read the word (Acquire): n at the beginning | S1 |
//! | | W2 | it is `SET`, or its n is another one (Acquire): **the event happened**; else sleep | S1 |
//!
//! A waiter that sleeps while the event is set and cleared again has not missed it: n is another one.
//!
//! # A kill at each step
//! Each change is one CAS, and nobody holds anything, so nothing is ever to repair. A setter killed between S1 and S2 leaves sleepers that look again
//! at the end of their slice, or when anybody else sets.

use crate::fault;
use crate::sync::{AcqRel, Acquire, AtomicU32, Release};
use crate::wait::WaitWord;

const SET: u32 = 1;
const TIME: u32 = 2;

/// The words of an event. All zeroes is one that is not set.
#[cfg_attr(not(loom), repr(C))]
pub(crate) struct Control {
    word: AtomicU32,
    /// Who waits sleeps here.
    pub(super) waiters: WaitWord,
}

/// The event's word as a waiter found it when it began to wait.
#[derive(Clone, Copy)]
pub struct Beginning(u32);

impl Control {
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Control { word: AtomicU32::new(0), waiters: WaitWord::new() }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.word.load(Acquire) & SET != 0
    }

    pub(crate) fn set(&self) {
        let mut seen = self.word.load(Acquire);
        while seen & SET == 0 {
            // S1 pairs with W1 and W2
            match self.word.compare_exchange(seen, seen.wrapping_add(TIME) | SET, Release, Acquire) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        fault::point("event: set");
        self.waiters.wake(u32::MAX); // S2
    }

    pub(crate) fn clear(&self) {
        let mut seen = self.word.load(Acquire);
        while seen & SET != 0 {
            match self.word.compare_exchange(seen, seen & !SET, AcqRel, Acquire) {
                Ok(_) => break, // C1
                Err(now) => seen = now,
            }
        }
    }

    /// W1.
    pub(crate) fn begin(&self) -> Beginning {
        Beginning(self.word.load(Acquire)) // W1 pairs with S1
    }

    /// W2.
    pub(crate) fn has_happened(&self, since: Beginning) -> bool {
        let now = self.word.load(Acquire); // W2 pairs with S1
        now & SET != 0 || now & !SET != since.0 & !SET
    }
}

//! The readers-writer lock: readers stand in lines of their own, a writer in one word.
//!
//! # The words
//! - The word: `{ owner: 29, phase: 2, SUSPECT: 1 }`. The owner is the writer. `SUSPECT`: a writer died or panicked, and nobody has called
//!   `mark_consistent` since.
//! - A claim for each participant, on a line that nobody else writes: `IDLE` or `READING`. How many guards a reader has is known to its handle
//!   alone, in memory of its own: the others need to know whether it reads.
//!
//! | phase | owner | state |
//! | --- | --- | --- |
//! | `FREE` | nobody | readers come and go |
//! | `DRAINING` | a writer | it waits until those who read have left; no other reader comes in; the value is as it was |
//! | `WRITING` | a writer | nobody else reads or writes; the value may be half changed |
//!
//! # Steps
//! | who | step | | pairs with |
//! | --- | --- | --- | --- |
//! | read | R0 | this participant reads already: one guard more, in. The word has a writer: wait for `FREE` | |
//! | | R1 | claim := `READING` | W3 |
//! | | R2 | fence | W2 |
//! | | R3 | no writer in the word (Acquire): **in** | W5 |
//! | | R4 | else R5, and wait for `FREE` | |
//! | leave | R5 | claim := `IDLE` (Release) | W3 |
//! | | R6 | wake the writer that drains | |
//! | write | W1 | `FREE` → `{ me, DRAINING }` (Acquire); it has an owner: wait for `FREE` | W5 |
//! | | W2 | fence | R2 |
//! | | W3 | all other claims are `IDLE` (Acquire); one is not: wait for R5 | R1, R5 |
//! | | W4 | `{ me, DRAINING }` → `{ me, WRITING }` (Acquire): **in** | |
//! | release, give up | W5 | word := `FREE` (Release), `SUSPECT` as it was, or set after a panic | R3, W1 |
//! | | W6 | wake all readers and one writer | |
//! | mark | M1 | `SUSPECT` := 0, by the owner in `WRITING` | |
//! | mend | D1 | the dead one's claim := `IDLE` (Release) | W3 |
//! | | D2 | it owns the word: `DRAINING` → `FREE`, `WRITING` → `{ FREE, SUSPECT }` (AcqRel) | R3, W1 |
//! | | D3 | wake all: the dead one may have been about to | |
//!
//! # Invariants
//! 1. A word with an owner is changed by that owner alone, or by whoever mends for it once it is dead. A claim likewise.
//! 2. Nobody reads while another one is in `WRITING`. The fences of R2 and W2 are ordered: if R2's is first, W3 sees the claim; if W2's is first,
//!    R3 sees the writer, and the reader leaves.
//! 3. The value changes in `WRITING` alone. W4 is an acquiring CAS and not a store, so that no write of the caller's is moved to before it: what a
//!    writer that dies in `DRAINING` leaves is in order.
//! 4. A writer waits for those who were in before W1, and for nobody who comes later: R0 looks at the word before it claims, so a reader that waits
//!    does not show up in W3 again and again. So writers do not starve. Readers may, if writers follow each other without a break.
//! 5. A participant that reads never waits for a writer (R0), which would wait for it; and never writes.
//!
//! # A kill at each step
//! - after R1, in R3 and after it, before R5: the claim stands; a writer that drains finds the reader dead, D1.
//! - after R5: the claim is gone; a writer that sleeps looks again within a slice, or after D3.
//! - after W1 to W3: `DRAINING`; whoever waits for `FREE` finds the owner dead, D2. The value is in order (invariant 3).
//! - after W4, anywhere up to W5: `WRITING`, so `SUSPECT`, also after M1: told once more than needed, never once less.
//! - after W5: `FREE`. Sleepers look again within a slice, or after D3.
//! - in D1 to D3: nothing but the dead one's own words has changed; the next one does all of it again.

use super::super::owned::Owned;
use crate::fault;
use crate::sync::{AcqRel, Acquire, AtomicU32, Line, Relaxed, Release, SeqCst, fence};
use crate::table::Table;
use crate::wait::{Until, WaitWord, wait};
use std::cell::Cell;

const SUSPECT: u32 = 1;
const PHASE: u32 = 6;
const FREE: u32 = 0;
const DRAINING: u32 = 2;
const WRITING: u32 = 4;

const IDLE: u32 = 0;
const READING: u32 = 1;

/// The lock's own words, on one line that readers only read. All zeroes is a free lock around a value that is in order.
#[cfg_attr(not(loom), repr(C))]
pub(crate) struct Control {
    word: AtomicU32,
    /// Where readers sleep, until the word is free.
    readers: WaitWord,
    /// Where writers sleep, until the word is free.
    writers: WaitWord,
    /// Where the word's owner sleeps, until nobody reads.
    drained: WaitWord,
}

/// What a participant holds as a reader. Zero is `IDLE`.
pub(crate) type Claim = Line<AtomicU32>;

/// Why the lock was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Others hold it.
    Busy,
    /// This participant holds it.
    WouldDeadlock,
    /// The word has an impossible value.
    Corrupt,
}

/// A lock that was taken; whether the value is suspect.
pub(crate) type Taken = Result<bool, Refusal>;

#[cfg(loom)]
impl Control {
    pub(crate) fn new() -> Self {
        Control {
            word: AtomicU32::new(FREE),
            readers: WaitWord::new(),
            writers: WaitWord::new(),
            drained: WaitWord::new(),
        }
    }
}

/// A lock, as one participant sees it.
pub(crate) struct Lock<'a> {
    control: &'a Control,
    claims: Table<'a, Claim>,
    me: usize,
    /// How many read guards this participant has.
    guards: Cell<usize>,
}

impl<'a> Lock<'a> {
    pub(crate) fn new(control: &'a Control, claims: Table<'a, Claim>, me: usize) -> Self {
        Lock { control, claims, me, guards: Cell::new(0) }
    }

    // --- read ----------------------------------------------------------------------------------------------------

    /// R0 to R4.
    #[inline]
    pub(crate) fn try_read(&self) -> Taken {
        let (seen, writer) = self.look(Relaxed)?; // R0: R3 looks again, and who reads already has seen all there is
        if writer == Some(self.me) {
            return Err(Refusal::WouldDeadlock);
        }
        let guards = self.guards.get();
        if guards > 0 {
            self.guards.set(guards + 1);
            return Ok(is_suspect(seen));
        }
        if writer.is_some() {
            return Err(Refusal::Busy);
        }
        self.claim().store(READING, Relaxed); // R1 pairs with W3
        fault::point("rwlock: reader claimed");
        fence(SeqCst); // R2 pairs with W2
        // R3 pairs with W5
        match self.look(Acquire) {
            Ok((seen, None)) => {
                fault::point("rwlock: reader in");
                self.guards.set(1);
                Ok(is_suspect(seen))
            }
            refused => {
                self.leave(); // R4
                Err(refused.err().unwrap_or(Refusal::Busy))
            }
        }
    }

    /// R0 to R4, again and again; `Busy` once the time is over. `check` is that of [`wait`].
    #[cold]
    pub(crate) fn read(&self, until: Until, check: impl FnMut() -> bool) -> Taken {
        wait(&self.control.readers, until, || unless_busy(self.try_read()), check)
            .unwrap_or(Err(Refusal::Busy))
    }

    /// Gives one guard back; R5 and R6 for the last.
    #[inline]
    pub(crate) fn release_read(&self) {
        let left = self.guards.get().saturating_sub(1);
        self.guards.set(left);
        if left == 0 {
            self.leave();
        }
    }

    #[inline]
    fn leave(&self) {
        self.claim().store(IDLE, Release); // R5 pairs with W3
        fault::point("rwlock: reader gone, nobody woken");
        self.control.drained.wake(1); // R6
    }

    // --- write ---------------------------------------------------------------------------------------------------

    /// W1 to W4; leaves nothing behind if somebody reads or writes.
    #[inline]
    pub(crate) fn try_write(&self) -> Taken {
        self.claimable()?;
        // A look first: where somebody reads, W1 would keep others out for nothing.
        if !self.is_drained() {
            return Err(Refusal::Busy);
        }
        self.claim_word()?;
        if self.is_drained() {
            return self.begin_writing();
        }
        self.give_up();
        Err(Refusal::Busy)
    }

    /// W1 to W4; gives up with `Busy` once the time is over. `check` is that of [`wait`].
    pub(crate) fn write(&self, until: Until, mut check: impl FnMut() -> bool) -> Taken {
        let claim = || unless_busy(self.claim_word());
        wait(&self.control.writers, until, claim, &mut check).unwrap_or(Err(Refusal::Busy))?;
        self.drain(until, check)
    }

    /// W3 and W4 of a writer that owns the word.
    fn drain(&self, until: Until, check: impl FnMut() -> bool) -> Taken {
        if wait(&self.control.drained, until, || self.is_drained().then_some(()), check).is_some() {
            return self.begin_writing();
        }
        self.give_up();
        Err(Refusal::Busy)
    }

    /// The word, if W1 may take it.
    #[inline]
    fn claimable(&self) -> Result<Owned, Refusal> {
        match self.look(Relaxed)? {
            (_, Some(writer)) if writer == self.me => Err(Refusal::WouldDeadlock),
            _ if self.guards.get() > 0 => Err(Refusal::WouldDeadlock),
            (seen, None) => Ok(seen),
            (_, Some(_)) => Err(Refusal::Busy),
        }
    }

    /// W1 and W2.
    #[inline]
    pub(crate) fn claim_word(&self) -> Result<(), Refusal> {
        let seen = self.claimable()?;
        let mine = Owned::by(self.me, DRAINING | seen.state() & SUSPECT);
        // W1 pairs with W5
        if self.control.word.compare_exchange(seen.0, mine.0, Acquire, Relaxed).is_err() {
            return Err(Refusal::Busy);
        }
        fault::point("rwlock: writer claimed");
        fence(SeqCst); // W2 pairs with R2
        Ok(())
    }

    /// W3.
    fn is_drained(&self) -> bool {
        self.readers().next().is_none()
    }

    /// W4.
    fn begin_writing(&self) -> Taken {
        let suspect = self.is_suspect();
        let (draining, writing) = (DRAINING | suspect_bit(suspect), WRITING | suspect_bit(suspect));
        let (seen, next) = (Owned::by(self.me, draining), Owned::by(self.me, writing));
        fault::point("rwlock: drained");
        match self.control.word.compare_exchange(seen.0, next.0, Acquire, Relaxed) {
            Ok(_) => {
                fault::point("rwlock: writing"); // W4
                Ok(suspect)
            }
            Err(_) => Err(Refusal::Corrupt),
        }
    }

    /// W5 and W6, after `DRAINING`.
    pub(crate) fn give_up(&self) {
        self.free(self.is_suspect());
    }

    /// W5 and W6, after `WRITING`.
    #[inline]
    pub(crate) fn release_write(&self, panicked: bool) {
        self.free(panicked || self.is_suspect());
    }

    /// W5 and W6.
    #[inline]
    fn free(&self, suspect: bool) {
        self.control.word.store(Owned::nobodys(FREE | suspect_bit(suspect)).0, Release); // W5 pairs with R3 and W1
        fault::point("rwlock: free, nobody woken");
        self.control.readers.wake(u32::MAX); // W6
        self.control.writers.wake(1);
    }

    /// M1, under the write lock.
    pub(crate) fn mark_consistent(&self) {
        self.control.word.store(Owned::by(self.me, WRITING).0, Relaxed); // M1
        fault::point("rwlock: marked consistent");
    }

    // --- look ----------------------------------------------------------------------------------------------------

    /// Whether a writer died or panicked, and nobody has said since that the value is in order.
    #[inline]
    pub(crate) fn is_suspect(&self) -> bool {
        is_suspect(Owned(self.control.word.load(Relaxed)))
    }

    /// The word, and the writer that it names.
    #[inline]
    fn look(&self, order: std::sync::atomic::Ordering) -> Result<(Owned, Option<usize>), Refusal> {
        let seen = Owned(self.control.word.load(order));
        match (seen.state() & PHASE, seen.owner()) {
            (FREE, None) => Ok((seen, None)),
            (DRAINING | WRITING, Some(writer)) if writer < self.claims.count() => Ok((seen, Some(writer))),
            _ => Err(Refusal::Corrupt),
        }
    }

    /// The others who read, at this moment.
    fn readers(&self) -> impl Iterator<Item = usize> {
        let reads = |(peer, claim): (usize, &Claim)| {
            (peer != self.me && claim.0.load(Acquire) != IDLE).then_some(peer) // W3 pairs with R1 and R5
        };
        self.claims.iter().enumerate().filter_map(reads)
    }

    /// The others who hold the lock, at this moment: whose death would be of concern.
    pub(crate) fn holders(&self) -> impl Iterator<Item = usize> {
        let writer = self.look(Relaxed).ok().and_then(|(_, writer)| writer);
        writer.into_iter().filter(|&writer| writer != self.me).chain(self.readers())
    }

    #[inline]
    fn claim(&self) -> &'a AtomicU32 {
        &self.claims.entry(self.me).0
    }
}

/// D1 to D3, for a participant that is dead or leaves.
pub(crate) fn mend(control: &Control, claims: Table<'_, Claim>, dead: usize) {
    claims.entry(dead).0.store(IDLE, Release); // D1 pairs with W3
    fault::point("rwlock: a dead reader's claim cleared");
    let mut seen = Owned(control.word.load(Acquire));
    while seen.owner() == Some(dead) {
        let suspect = is_suspect(seen) || seen.state() & PHASE != DRAINING;
        let free = Owned::nobodys(FREE | suspect_bit(suspect));
        // D2 pairs with R3 and W1
        match control.word.compare_exchange(seen.0, free.0, AcqRel, Acquire) {
            Ok(_) => break,
            Err(now) => seen = Owned(now),
        }
    }
    fault::point("rwlock: a dead writer's word freed");
    // D3
    for waiting in [&control.readers, &control.writers, &control.drained] {
        waiting.wake(u32::MAX);
    }
}

fn is_suspect(seen: Owned) -> bool {
    seen.state() & SUSPECT != 0
}

fn suspect_bit(suspect: bool) -> u32 {
    if suspect { SUSPECT } else { 0 }
}

fn unless_busy<R>(outcome: Result<R, Refusal>) -> Option<Result<R, Refusal>> {
    if matches!(outcome, Err(Refusal::Busy)) { None } else { Some(outcome) }
}

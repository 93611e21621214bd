//! The barrier: places that participants take, and the generation that they have arrived for.
//!
//! # The words
//! The control word is `{ generation: 32, changes: 31, broken: 1 }`. A place is `{ arrived for: 32, holder: 30, state: 2 }`; the holder is a
//! participant's number + 1. A place has arrived if its holder did so for the generation after the control word's.
//!
//! | state of a place | meaning |
//! | --- | --- |
//! | `NEVER` | nobody has taken it yet, or since the last reset |
//! | `TAKEN` | the holder's, as long as that takes part |
//! | `LOST` | the holder is gone, and nobody has taken it since |
//!
//! | who | step | | pairs with |
//! | --- | --- | --- | --- |
//! | wait | A1 | find the place that is mine, and go to A2; or take one: `LOST` → `TAKEN`, else `NEVER` → `TAKEN`, not arrived | |
//! | | A1b | who has taken a place: control := g, changes + 1 (AcqRel) | C1 |
//! | | A2 | read the control word (Acquire), g; broken: `Broken` | C3, R3 |
//! | | A3 | place := arrived for g + 1 (Release) | C2 |
//! | look | C1 | read the control word (Acquire). The generation is not g: **it was counted**. Broken: W1 | A1b, W2, C3 |
//! | | C2 | read the places (Acquire). Mine has not arrived any more, or one is lost: W1. All have arrived, and (read again) their holders live: C3. Else sleep, and look again | A3 |
//! | | C3 | control: what C1 read → g + 1 (AcqRel): **it was counted**; another one now: C1 | A2, C1 |
//! | | C4 | wake all | the wait word |
//! | withdraw | W1 | place: arrived for g + 1 → for g (AcqRel) | |
//! | | W2 | control: g, changes + 1 (AcqRel): it was not counted. The generation is not g: **it was counted** | C1 |
//! | mend | M1 | the dead one's place: `TAKEN` → `LOST` | |
//! | | M2 | wake all, also if the place was lost already | the wait word |
//! | abort | B1 | control: broken, changes + 1; wake all | C1 |
//! | reset | R1 | as B1 | C1 |
//! | | R2 | places: arrived → not arrived, `LOST` → `NEVER` | C2 |
//! | | R3 | control: not broken, changes + 1; wake all | A2 |
//!
//! # Invariants
//! 1. A scan that ends in C3 has counted each place's last arrival, of a holder that lived when all had arrived: between an arrival that was cleared and the next one at
//!    that place the control word changes (W2 of who withdrew, A1b of another holder, R3), so a scan from before that fails in C3, and one from after it sees the clearing.
//! 2. A wait succeeds if and only if the generation went on from its g: one word tells it, to all alike. Who leaves a wait without success has cleared its arrival and changed
//!    that word after it (W1, W2): a scan that saw the arrival fails in C3, or was done, and W2 finds that.
//! 3. A success has seen all that was written before the arrivals that it counts (A3, C2, C3, C1).
//! 4. Of the last two to arrive, one sees the other: each looks again between the fence of the wait word (its W2) and its sleep.
//! 5. A living holder's place is changed by itself and, its arrival cleared, by a reset: nothing else.
//!
//! # A kill at each step
//! - a waiter before A1: nothing. From A1 on its place is taken and, whether it has arrived or not, not counted (C2) and mended (M1); after C2 has found it living it counts, as if
//!   it had died after the barrier.
//! - who has taken a place, before A1b: it has not arrived; whoever takes the place next comes to A1b.
//! - a completer before C3: nothing. Who waits looks again, and completes. After C3: who sleeps finds the generation gone on at the end of its slice.
//! - a withdrawer between W1 and W2: it is mended.
//! - a mender before M1: the next one mends. After it: the next one wakes, or who sleeps finds the place lost at the end of its slice.
//! - who aborts: broken, or not. Who resets, before R3: broken, until somebody resets.

use super::words::{Phase, Place};
use crate::fault;
use crate::sync::{AcqRel, Acquire, AtomicU64, Relaxed, Release};
use crate::table::Table;
use crate::wait::{Until, WaitWord, wait};

/// The words that belong to nobody.
#[cfg_attr(not(loom), repr(C))]
pub(crate) struct Control {
    word: AtomicU64,
    #[cfg(not(loom))]
    parties: crate::sync::AtomicU32,
    waiters: WaitWord,
}

/// A place's word, on a line of its own. Zero is one that was never taken.
#[cfg_attr(not(loom), repr(C, align(128)))]
pub(crate) struct PlaceWord(AtomicU64);

#[cfg(loom)]
impl PlaceWord {
    pub(crate) fn new() -> Self {
        PlaceWord(AtomicU64::new(0))
    }
}

impl Control {
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Control { word: AtomicU64::new(0), waiters: WaitWord::new() }
    }

    /// Writes the words of a new one, which nobody else sees yet.
    #[cfg(not(loom))]
    pub(crate) fn init(&self, parties: u32) {
        self.parties.store(parties, Relaxed);
    }

    /// For how many it was made; to be checked.
    #[cfg(not(loom))]
    pub(crate) fn parties(&self) -> usize {
        self.parties.load(Relaxed) as usize
    }
}

/// Why a wait did not succeed. Each of them has withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Somebody aborted or reset.
    Broken,
    /// So many places are lost.
    Incomplete(usize),
    /// All places are taken by others.
    Full,
    /// The time is over.
    Timeout,
    /// The words are impossible.
    Corrupt,
}

/// An arrival at a place, for the generation after `generation`.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) place: usize,
    me: usize,
    generation: u32,
}

impl Arrival {
    /// The place's word while it has arrived.
    fn word(self) -> u64 {
        Place::Taken { arrived_for: self.generation.wrapping_add(1), holder: self.me }.word()
    }
}

/// The protocol over the words of one barrier.
#[derive(Clone, Copy)]
pub(crate) struct Places<'a> {
    control: &'a Control,
    table: Table<'a, PlaceWord>,
    parties: usize,
}

impl<'a> Places<'a> {
    /// `table` has an entry for each participant; as many of them are places as there are parties.
    pub(crate) fn new(control: &'a Control, table: Table<'a, PlaceWord>, parties: usize) -> Self {
        Places { control, table, parties: parties.min(table.count()) }
    }

    /// How many places there are: never more than the table has.
    pub(crate) fn parties(&self) -> usize {
        self.parties
    }

    fn phase(&self) -> Phase {
        Phase(self.control.word.load(Acquire)) // A2, C1 pair with A1b, C3, W2, B1, R3
    }

    /// Changes the control word to what `next` makes of it, and gives what it was; or what it is, where `next` makes nothing of it.
    fn change(&self, next: impl Fn(Phase) -> Option<u64>) -> Result<Phase, Phase> {
        loop {
            let phase = self.phase();
            let next = next(phase).ok_or(phase)?;
            if self.control.word.compare_exchange(phase.0, next, AcqRel, Relaxed).is_ok() {
                return Ok(phase);
            }
        }
    }

    fn words(&self) -> impl Iterator<Item = &'a AtomicU64> {
        self.table.iter().take(self.parties).map(|place| &place.0)
    }

    fn places(&self) -> impl Iterator<Item = Place> {
        self.words().map(|word| Place::of(word.load(Acquire))) // C2 pairs with A3
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.phase().is_broken()
    }

    /// How many have arrived and wait.
    pub(crate) fn arrived(&self) -> usize {
        let next = self.phase().generation().wrapping_add(1);
        self.places().filter(|place| place.has_arrived_for(next)).count()
    }

    /// How many places are lost.
    pub(crate) fn lost(&self) -> usize {
        self.places().filter(|&place| place == Place::Lost).count()
    }

    // --- wait ----------------------------------------------------------------------------------------------------

    /// A1 to C4, and W1 and W2 where it does not succeed. Says which place was `me`'s. `is_dead` is asked once all have arrived.
    pub(crate) fn wait(
        &self,
        me: usize,
        until: Until,
        is_dead: impl Fn(usize) -> bool,
        check: impl FnMut() -> bool,
    ) -> Result<usize, Failure> {
        let arrival = self.arrive(me)?;
        let look = || self.look(arrival, &is_dead);
        let failure = match wait(&self.control.waiters, until, look, check) {
            Some(Ok(())) => return Ok(arrival.place),
            Some(Err(failure)) => failure,
            None => Failure::Timeout,
        };
        if self.withdraw(arrival) { Err(failure) } else { Ok(arrival.place) }
    }

    /// A1 to A3.
    pub(crate) fn arrive(&self, me: usize) -> Result<Arrival, Failure> {
        let (place, mut seen, phase) = self.take_place(me).ok_or(Failure::Full)?; // A1, A2
        if phase.is_broken() {
            return Err(Failure::Broken);
        }
        let arrival = Arrival { place, me, generation: phase.generation() };
        // A reset that is late may clear an earlier arrival meanwhile.
        while Place::of(seen).is_held_by(me) {
            // A3 pairs with C2
            match self.word(place).compare_exchange(seen, arrival.word(), Release, Relaxed) {
                Ok(_) => {
                    fault::point("barrier: arrived");
                    return Ok(arrival);
                }
                Err(now) => seen = now,
            }
        }
        Err(Failure::Corrupt)
    }

    fn word(&self, place: usize) -> &'a AtomicU64 {
        &self.table.entry(place).0
    }

    /// A1 and A2. Says which place, its word, and what the control word was.
    fn take_place(&self, me: usize) -> Option<(usize, u64, Phase)> {
        let seen = self.words().map(|word| word.load(Acquire));
        if let Some((place, word)) = seen.enumerate().find(|&(_, word)| Place::of(word).is_held_by(me)) {
            return Some((place, word, self.phase()));
        }
        let taken = Place::Taken { arrived_for: self.phase().generation(), holder: me }.word();
        let place = [Place::Lost, Place::Never].into_iter().find_map(|free| {
            let take = |word: &AtomicU64| {
                let seen = word.load(Acquire);
                Place::of(seen) == free && word.compare_exchange(seen, taken, AcqRel, Relaxed).is_ok()
            };
            self.words().position(take)
        })?;
        fault::point("barrier: place taken");
        // A1b pairs with C1: a scan that has counted an earlier holder must not count this one in its stead, whose writes it has not seen.
        let phase = self.change(|phase| Some(phase.changed(phase.is_broken()))).unwrap_or_else(|phase| phase);
        Some((place, taken, phase))
    }

    /// C1 to C4: whether the wait is over.
    pub(crate) fn look(
        &self,
        arrival: Arrival,
        is_dead: impl Fn(usize) -> bool,
    ) -> Option<Result<(), Failure>> {
        let next = arrival.generation.wrapping_add(1);
        let lives = |holder| holder == arrival.me || holder < self.table.count() && !is_dead(holder);
        let counts = |place: Place| match place {
            Place::Taken { holder, .. } => place.has_arrived_for(next) && lives(holder),
            _ => false,
        };
        loop {
            let phase = self.phase(); // C1
            if phase.generation() != arrival.generation {
                return Some(Ok(()));
            }
            if phase.is_broken() || self.word(arrival.place).load(Acquire) != arrival.word() {
                return Some(Err(Failure::Broken));
            }
            // C2
            let (mut arrived, mut lost) = (0, 0);
            for place in self.places() {
                arrived += usize::from(place.has_arrived_for(next));
                lost += usize::from(place == Place::Lost);
            }
            if lost > 0 {
                return Some(Err(Failure::Incomplete(lost)));
            }
            // The system calls last.
            if arrived < self.parties || !self.places().all(counts) {
                return None;
            }
            fault::point("barrier: all have arrived");
            // C3 pairs with A2 and C1
            if self.control.word.compare_exchange(phase.0, phase.next(), AcqRel, Relaxed).is_ok() {
                fault::point("barrier: completed");
                self.control.waiters.wake(u32::MAX); // C4
                return Some(Ok(()));
            }
        }
    }

    /// W1 and W2. False: it was counted.
    pub(crate) fn withdraw(&self, arrival: Arrival) -> bool {
        let cleared = Place::Taken { arrived_for: arrival.generation, holder: arrival.me }.word();
        // W1; it fails where a reset has cleared it.
        let _ = self.word(arrival.place).compare_exchange(arrival.word(), cleared, AcqRel, Relaxed);
        fault::point("barrier: withdrawn");
        // W2 pairs with C1
        let is_current = |phase: Phase| phase.generation() == arrival.generation;
        self.change(|phase| is_current(phase).then(|| phase.changed(phase.is_broken()))).is_ok()
    }

    // --- break and mend ------------------------------------------------------------------------------------------

    /// B1.
    pub(crate) fn abort(&self) {
        self.set_broken(true); // B1
        fault::point("barrier: broken");
        self.control.waiters.wake(u32::MAX);
    }

    /// R1 to R3.
    pub(crate) fn reset(&self) {
        self.set_broken(true); // R1
        fault::point("barrier: broken");
        let generation = self.phase().generation();
        for word in self.words() {
            let seen = word.load(Acquire);
            let cleared = match Place::of(seen) {
                Place::Taken { arrived_for, holder } if arrived_for == generation.wrapping_add(1) => {
                    Place::Taken { arrived_for: generation, holder }
                }
                Place::Lost => Place::Never,
                _ => continue,
            };
            // R2; it fails where the holder has withdrawn, or somebody has taken it.
            let _ = word.compare_exchange(seen, cleared.word(), AcqRel, Relaxed);
        }
        fault::point("barrier: cleared");
        self.set_broken(false); // R3
        self.control.waiters.wake(u32::MAX);
    }

    fn set_broken(&self, broken: bool) {
        let _ = self.change(|phase| Some(phase.changed(broken)));
    }

    /// M1: `gone` is dead, or leaves.
    pub(crate) fn mend(&self, gone: usize) {
        for word in self.words() {
            let mut seen = word.load(Acquire);
            // A reset may clear its arrival meanwhile.
            while Place::of(seen).is_held_by(gone) {
                match word.compare_exchange(seen, Place::Lost.word(), AcqRel, Acquire) {
                    Ok(_) => break,
                    Err(now) => seen = now,
                }
            }
        }
        fault::point("barrier: place lost");
        // M2, also if the place was lost already: whoever did that may have died before it woke anybody.
        self.control.waiters.wake(u32::MAX);
    }
}

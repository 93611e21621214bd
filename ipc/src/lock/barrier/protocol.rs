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
//! | wait | A1 | find the place that is mine, or take one: `LOST` → `TAKEN`, else `NEVER` → `TAKEN`, not arrived | |
//! | | A2 | read the control word (Acquire), g; broken: `Broken` | C3, R3 |
//! | | A3 | place := arrived for g + 1 (Release) | C2 |
//! | | A4 | look: the generation is not g: **it was counted**. Broken, or the place has not arrived any more, or one is lost: W1. Else C1 | C3 |
//! | | A5 | sleep, look again | the wait word |
//! | complete | C1 | read the control word (Acquire); not g, or broken: nothing | W2 |
//! | | C2 | all places have arrived (Acquire), and all holders live | A3 |
//! | | C3 | control: what C1 read → g + 1 (AcqRel); another one now: C1 | A4 |
//! | | C4 | wake all | |
//! | withdraw | W1 | place: arrived for g + 1 → for g (AcqRel) | C2 |
//! | | W2 | control: g, changes + 1 (AcqRel): it was not counted. The generation is not g: **it was counted** | C1 |
//! | mend | M1 | the dead one's place: `TAKEN` → `LOST` | |
//! | | M2 | wake all, also if the place was lost already | |
//! | abort | B1 | control: broken, changes + 1; wake all | A4 |
//! | reset | R1 | as B1 | |
//! | | R2 | places: arrived → not arrived, `LOST` → `NEVER`; wake all | A4 |
//! | | R3 | control: not broken, changes + 1 | A2 |
//!
//! # Invariants
//! 1. A wait succeeds if and only if the generation went on from its g: one word tells it, to all alike. Who has left a wait without success has changed
//!    that word after its arrival was cleared. So a scan that saw the arrival was begun before (C1), and its C3 fails; or it was done, and W2 finds that.
//! 2. While a place is taken and has not arrived, the generation stays: A2 is after A1. The one exception is a scan that counted a dead holder, who lived then: the
//!    new holder goes on in its stead.
//! 3. Each generation has as many successes as places, less those of the dead.
//! 4. Of the last two to arrive, one sees the other: each looks again between the fence of the wait word (its W2) and its sleep.
//!
//! # A kill at each step
//! - a waiter before A1: nothing. From A1 on its place is taken and, whether it has arrived or not, not counted (C2) and mended (M1). Between C2 and C3
//!   the scan has counted it as living.
//! - a completer before C3: nothing. Who waits looks again, and completes. After C3: who sleeps finds the generation gone on at the end of its slice.
//! - a withdrawer between W1 and W2: it is mended; the scan may have counted it as living.
//! - a mender before M1: the next one mends. After it: the next one wakes, or who sleeps finds the place lost at the end of its slice.
//! - who aborts: broken, or not. Who resets, before R3: broken, until somebody resets.

use crate::fault;
use crate::sync::{AcqRel, Acquire, AtomicU32, AtomicU64, Relaxed, Release};
use crate::table::Table;
use crate::wait::{Until, WaitWord, wait};

/// The words that belong to nobody.
#[cfg_attr(not(loom), repr(C))]
pub(crate) struct Control {
    word: AtomicU64,
    parties: AtomicU32,
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
    pub(crate) fn new(parties: u32) -> Self {
        Control { word: AtomicU64::new(0), parties: AtomicU32::new(parties), waiters: WaitWord::new() }
    }

    /// Writes the words of a new one, which nobody else sees yet.
    #[cfg(not(loom))]
    pub(crate) fn init(&self, parties: u32) {
        self.parties.store(parties, Relaxed);
    }
}

/// What the control word says.
#[derive(Clone, Copy)]
struct Phase(u64);

impl Phase {
    const BROKEN: u64 = 1;
    const CHANGE: u64 = 2;

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn is_broken(self) -> bool {
        self.0 & Self::BROKEN != 0
    }

    /// `{ changes + 1 }`; the generation stays when the changes start again from 0.
    fn changed(self, broken: bool) -> u64 {
        let low = (self.0 as u32).wrapping_add(Self::CHANGE as u32) & !(Self::BROKEN as u32);
        u64::from(self.generation()) << 32 | u64::from(low) | u64::from(broken)
    }

    /// `{ generation + 1 }`.
    fn next(self) -> u64 {
        self.0.wrapping_add(1 << 32)
    }
}

/// What a place's word says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Never,
    Taken { arrived_for: u32, holder: usize },
    Lost,
}

impl Place {
    const TAKEN: u64 = 1;
    const LOST: u64 = 2;
    const STATE: u64 = 3;

    fn word(self) -> u64 {
        match self {
            Place::Never => 0,
            Place::Lost => Self::LOST,
            Place::Taken { arrived_for, holder } => {
                u64::from(arrived_for) << 32 | (holder as u64 + 1) << 2 | Self::TAKEN
            }
        }
    }

    /// A word that says nothing is a place that was never taken.
    fn of(word: u64) -> Self {
        match (word & Self::STATE, (word as u32 >> 2) as usize) {
            (Self::LOST, _) => Place::Lost,
            (Self::TAKEN, 1..) => {
                Place::Taken { arrived_for: (word >> 32) as u32, holder: (word as u32 >> 2) as usize - 1 }
            }
            _ => Place::Never,
        }
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
}

impl<'a> Places<'a> {
    /// `table` has an entry for each participant; as many of them are places as there are parties.
    pub(crate) fn new(control: &'a Control, table: Table<'a, PlaceWord>) -> Self {
        Places { control, table }
    }

    /// How many places there are: never more than the table has.
    pub(crate) fn parties(&self) -> usize {
        (self.control.parties.load(Relaxed) as usize).min(self.table.count())
    }

    fn phase(&self) -> Phase {
        Phase(self.control.word.load(Acquire)) // A2, A4, C1 pair with C3, W2, B1, R3
    }

    fn words(&self) -> impl Iterator<Item = &'a AtomicU64> {
        self.table.iter().take(self.parties()).map(|place| &place.0)
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
        self.places()
            .filter(|place| matches!(place, Place::Taken { arrived_for, .. } if *arrived_for == next))
            .count()
    }

    fn lost(&self) -> usize {
        self.places().filter(|&place| place == Place::Lost).count()
    }

    // --- wait ----------------------------------------------------------------------------------------------------

    /// A1 to A5, and W1 and W2 where it does not succeed. Says which place was `me`'s. `is_dead` is asked once all have arrived.
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
        let (place, before) = self.take_place(me).ok_or(Failure::Full)?; // A1
        fault::point("barrier: place taken");
        let phase = self.phase(); // A2
        if phase.is_broken() {
            return Err(Failure::Broken);
        }
        let lost = self.lost();
        if lost > 0 {
            return Err(Failure::Incomplete(lost));
        }
        let arrival = Arrival { place, me, generation: phase.generation() };
        // A3 pairs with C2. Nobody else changes the place of a living holder who has not arrived.
        let arrived = self.word(place).compare_exchange(before, arrival.word(), Release, Relaxed);
        arrived.map_err(|_| Failure::Corrupt)?;
        fault::point("barrier: arrived");
        Ok(arrival)
    }

    fn word(&self, place: usize) -> &'a AtomicU64 {
        &self.table.entry(place).0
    }

    /// A1. Says which place, and its word.
    fn take_place(&self, me: usize) -> Option<(usize, u64)> {
        let mine = |place| matches!(place, Place::Taken { holder, .. } if holder == me);
        let seen = self.words().map(|word| word.load(Acquire));
        if let Some(found) = seen.enumerate().find(|&(_, word)| mine(Place::of(word))) {
            return Some(found);
        }
        let taken = Place::Taken { arrived_for: self.phase().generation(), holder: me }.word();
        [Place::Lost, Place::Never].into_iter().find_map(|free| {
            let take = |word: &AtomicU64| {
                let seen = word.load(Acquire);
                Place::of(seen) == free && word.compare_exchange(seen, taken, AcqRel, Relaxed).is_ok()
            };
            self.words().position(take).map(|place| (place, taken))
        })
    }

    /// A4: whether the wait is over.
    pub(crate) fn look(
        &self,
        arrival: Arrival,
        is_dead: impl Fn(usize) -> bool,
    ) -> Option<Result<(), Failure>> {
        let phase = self.phase();
        if phase.generation() != arrival.generation || self.complete(arrival, is_dead) {
            return Some(Ok(()));
        }
        if phase.is_broken() || self.word(arrival.place).load(Acquire) != arrival.word() {
            return Some(Err(Failure::Broken));
        }
        let lost = self.lost();
        (lost > 0).then_some(Err(Failure::Incomplete(lost)))
    }

    /// C1 to C4. Whether the generation has gone on.
    fn complete(&self, arrival: Arrival, is_dead: impl Fn(usize) -> bool) -> bool {
        let next = arrival.generation.wrapping_add(1);
        let lives = |holder: usize| holder == arrival.me || holder < self.table.count() && !is_dead(holder);
        loop {
            let phase = self.phase(); // C1
            if phase.generation() != arrival.generation {
                return true;
            }
            let has_arrived =
                |place| matches!(place, Place::Taken { arrived_for, .. } if arrived_for == next);
            let holder_lives = |place| matches!(place, Place::Taken { holder, .. } if lives(holder));
            // C2: the system calls last.
            if phase.is_broken() || !self.places().all(has_arrived) || !self.places().all(holder_lives) {
                return false;
            }
            fault::point("barrier: all have arrived");
            // C3 pairs with A4
            if self.control.word.compare_exchange(phase.0, phase.next(), AcqRel, Relaxed).is_ok() {
                fault::point("barrier: completed");
                self.control.waiters.wake(u32::MAX); // C4
                return true;
            }
        }
    }

    /// W1 and W2. False: it was counted.
    pub(crate) fn withdraw(&self, arrival: Arrival) -> bool {
        let cleared = Place::Taken { arrived_for: arrival.generation, holder: arrival.me }.word();
        // W1; it fails where a reset has cleared it.
        let _ = self.word(arrival.place).compare_exchange(arrival.word(), cleared, AcqRel, Relaxed);
        fault::point("barrier: withdrawn");
        loop {
            let phase = self.phase();
            if phase.generation() != arrival.generation {
                return false;
            }
            let changed = phase.changed(phase.is_broken());
            if self.control.word.compare_exchange(phase.0, changed, AcqRel, Relaxed).is_ok() {
                return true; // W2 pairs with C1
            }
        }
    }

    // --- break and mend ------------------------------------------------------------------------------------------

    /// B1.
    pub(crate) fn abort(&self) {
        self.set_broken(true);
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
        loop {
            let phase = self.phase();
            if self.control.word.compare_exchange(phase.0, phase.changed(broken), AcqRel, Relaxed).is_ok() {
                return;
            }
        }
    }

    /// M1: `gone` is dead, or leaves.
    pub(crate) fn mend(&self, gone: usize) {
        for word in self.words() {
            let mut seen = word.load(Acquire);
            // A reset may clear its arrival meanwhile.
            while matches!(Place::of(seen), Place::Taken { holder, .. } if holder == gone) {
                match word.compare_exchange(seen, Place::LOST, AcqRel, Acquire) {
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

//! `Barrier` under torture: nobody goes on before all have come.
//!
//! There are as many parties as seats. Each one writes down that it is about to wait, and that it is back, and which place it has.
//!
//! - Whoever goes on finds nobody who lives, has a place, and was **out** from before the wait began until after it ended: such a one has not
//!   come. That is *reordered*. The dead are told apart by the kernel.
//! - No two of the living have the same place, and nobody's changes: else *duplicated*.
//! - Of a lost party all are told, and go on as soon as another one has come: else somebody is *wedged*. Who is alone does not go on.
//!
//! Some waits have an end, and now and then somebody aborts the barrier, and somebody resets it.

use crate::journal::{Journal, Shared, Words, Wrong};
use crate::living;
use crate::object::{MOMENT, Object};
use crate::subject::{Dead, Findings, Part, Stage, Subject, Trouble};
use skep::{Barrier, BarrierError};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// One wait in so many begins with an abort.
const ABORT_ONE_IN: u64 = 512;

pub struct Subjected {
    barrier: Object<Barrier>,
    seats: Shared<Said>,
    findings: Findings,
}

/// What one seat's participants say, one after the other.
#[derive(Default)]
#[repr(C, align(128))]
struct Said {
    pid: AtomicU64,
    /// `{ another number each time: 48, place + 1 if it has one: 15, it waits: 1 }`
    state: AtomicU64,
}

// SAFETY: atomics.
unsafe impl Words for Said {}

fn place(state: u64) -> Option<u64> {
    (state >> 1 & 0x7fff).checked_sub(1)
}

fn is_out(state: u64) -> bool {
    state & 1 == 0
}

pub fn make(mut stage: Stage) -> Result<Box<dyn Subject>, Trouble> {
    let parties = stage.seats();
    Ok(Box::new(Subjected {
        barrier: Object::make(&mut stage, parties)?,
        seats: Shared::new(parties).map_err(|e| format!("the parties' words: {e}"))?,
        findings: Findings::default(),
    }))
}

impl Subject for Subjected {
    fn fault_points(&self, _seat: usize) -> &'static [&'static str] {
        &[
            "join: joined",
            "barrier: place taken",
            "barrier: arrived",
            "barrier: all have arrived",
            "barrier: completed",
            "barrier: withdrawn",
            "barrier: broken",
            "barrier: cleared",
            "barrier: place lost",
            "repair: settled",
            "leave: vacant",
        ]
    }

    fn goes_on_without_one(&self) -> bool {
        false
    }

    fn play(&self, mut part: Part<'_>) -> Result<(), Trouble> {
        let barrier = self.barrier.join()?;
        let (journal, pace) = (part.journal, part.pace());
        let mut party = Party { all: &self.seats, seat: part.seat, number: part.life << 32, place: None };
        party.say(0);
        self.seats[part.seat].pid.store(std::process::id().into(), SeqCst);
        while part.stays() {
            journal.begin(1);
            if part.random.one_in(ABORT_ONE_IN) {
                barrier.abort().map_err(|e| format!("abort: {e}"))?;
            }
            while !journal.shall_leave() {
                let out = party.all_out();
                party.say(1);
                let waited =
                    if part.random.one_in(4) { barrier.wait_timeout(MOMENT) } else { barrier.wait() };
                match waited {
                    Ok(passed) => {
                        party.has_passed(passed.index() as u64, &out, journal);
                        break;
                    }
                    Err(error) => {
                        party.say(0);
                        match error {
                            BarrierError::Timeout => std::thread::yield_now(),
                            BarrierError::Broken => {
                                if barrier.is_broken() && part.random.one_in(2) {
                                    barrier.reset().map_err(|e| format!("reset: {e}"))?;
                                }
                                std::thread::sleep(MOMENT);
                            }
                            // Somebody new has to come, or a dead one's place is being mended.
                            BarrierError::Incomplete { .. } | BarrierError::Full => {
                                std::thread::sleep(MOMENT)
                            }
                            other => return Err(format!("wait: {other}")),
                        }
                    }
                }
            }
            journal.finish(1);
            pace.think(&mut part.random);
        }
        party.place = None;
        party.say(0); // before it gives its place back
        Ok(())
    }

    fn bury(&mut self, dead: &Dead<'_>) {
        self.findings.witnessed(dead.journal);
    }

    fn judge(mut self: Box<Self>) -> Result<Findings, Trouble> {
        self.barrier.recover(&mut self.findings)?;
        let is_alone = self.seats.len() > 1;
        if is_alone && self.barrier.part.wait_timeout(MOMENT).is_ok() {
            self.findings.count(Wrong::Reordered);
        }
        Ok(self.findings)
    }
}

/// One participant's view of all.
struct Party<'a> {
    all: &'a [Said],
    seat: usize,
    number: u64,
    place: Option<u64>,
}

impl Party<'_> {
    /// Writes down that it waits, or does not.
    fn say(&mut self, waits: u64) {
        self.number += 1;
        let place = self.place.map_or(0, |place| place + 1);
        self.all[self.seat].state.store(self.number << 16 | place << 1 | waits, SeqCst);
    }

    /// The others' words.
    fn others(&self) -> impl Iterator<Item = (usize, u64)> {
        let look = |(seat, said): (usize, &Said)| (seat, said.state.load(SeqCst));
        self.all.iter().enumerate().map(look).filter(|&(seat, _)| seat != self.seat)
    }

    /// Those of the others who have a place and do not wait at this moment.
    fn all_out(&self) -> Vec<(usize, u64)> {
        self.others().filter(|&(_, state)| is_out(state) && place(state).is_some()).collect()
    }

    /// Looks whether it could.
    fn has_passed(&mut self, index: u64, out: &[(usize, u64)], journal: &Journal) {
        if out.iter().any(|&(seat, state)| self.is_still_so(seat, state)) {
            journal.saw(Wrong::Reordered);
        }
        if self.place.is_some_and(|place| place != index) || index >= self.all.len() as u64 {
            journal.saw(Wrong::Duplicated);
        }
        self.place = Some(index);
        self.say(0);
        let same = |&(_, state): &(usize, u64)| place(state) == Some(index);
        if self.others().filter(same).any(|(seat, state)| self.is_still_so(seat, state)) {
            journal.saw(Wrong::Duplicated);
        }
    }

    /// Whether somebody who said that lives, and has said nothing else since.
    fn is_still_so(&self, seat: usize, state: u64) -> bool {
        let said = &self.all[seat];
        let is_so = || said.state.load(SeqCst) == state;
        is_so() && living::lives(said.pid.load(SeqCst)) && is_so()
    }
}

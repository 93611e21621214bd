//! `Event` under torture: whoever waited when `set` returned goes on.
//!
//! The first seats set and clear, the others wait. What a waiter is about to do, it writes down; but only the kernel knows that it does wait: it sleeps. So a
//! setter looks for those who had begun to wait and sleep, sets, at times clears at once, and then sets no more until each of *them* has gone on. The others
//! may have come too late, and the event is set for them again.
//!
//! - One that waited and does not go on is *wedged*, with all setters.
//! - One that goes on though nobody has set the event since it was clear is *reordered*: a setter writes down that it is about to set, and that it has.

use crate::journal::{Shared, Words, Wrong};
use crate::living;
use crate::object::{MOMENT, Object};
use crate::subject::{Dead, Findings, Part, Stage, Subject, Trouble};
use skep::{Event, WaitError};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

pub struct Subjected {
    event: Object<Event>,
    setters: usize,
    seats: Shared<Said>,
    findings: Findings,
}

/// What one seat's participants say, one after the other.
#[derive(Default)]
#[repr(C, align(128))]
struct Said {
    pid: AtomicU64,
    /// Another number for each wait; 0: it does not wait.
    waits: AtomicU64,
    /// How often the event was set here, twice; odd: it is about to be.
    sets: AtomicU64,
}

// SAFETY: atomics.
unsafe impl Words for Said {}

pub fn make(mut stage: Stage) -> Result<Box<dyn Subject>, Trouble> {
    Ok(Box::new(Subjected {
        event: Object::make(&mut stage, ())?,
        setters: stage.producers,
        seats: Shared::new(stage.seats()).map_err(|e| format!("the waiters' words: {e}"))?,
        findings: Findings::default(),
    }))
}

impl Subject for Subjected {
    fn fault_points(&self, seat: usize) -> &'static [&'static str] {
        let all = &["event: set", "join: locked", "join: repaired", "join: joined", "leave: vacant"];
        if seat < self.setters { all } else { &all[1..] }
    }

    fn play(&self, part: Part<'_>) -> Result<(), Trouble> {
        let event = self.event.join()?;
        if part.seat < self.setters { self.set(event, part) } else { self.wait(event, part) }
    }

    fn bury(&mut self, dead: &Dead<'_>) {
        self.findings.witnessed(dead.journal);
    }

    fn judge(mut self: Box<Self>) -> Result<Findings, Trouble> {
        let (event, trouble) = (&self.event.part, |e| format!("set or clear: {e}"));
        event.set().map_err(trouble)?;
        self.findings.lost += u64::from(event.wait().is_err());
        event.clear().map_err(trouble)?;
        self.findings.duplicated += u64::from(event.wait_timeout(MOMENT) != Err(WaitError::Timeout));
        self.event.recover(&mut self.findings)?;
        Ok(self.findings)
    }
}

impl Subjected {
    // --- set -----------------------------------------------------------------------------------------------------

    fn set(&self, event: Event, mut part: Part<'_>) -> Result<(), Trouble> {
        let (journal, pace, trouble) = (part.journal, part.pace(), |e| format!("set or clear: {e}"));
        let sets = &self.seats[part.seat].sets;
        sets.store((sets.load(SeqCst) + 1) & !1, SeqCst); // its last life may have died about to set
        while part.stays() {
            journal.begin(1);
            let asleep = self.asleep();
            sets.fetch_add(1, SeqCst);
            event.set().map_err(trouble)?;
            sets.fetch_add(1, SeqCst);
            if part.random.one_in(4) {
                pace.think(&mut part.random);
            }
            event.clear().map_err(trouble)?;
            while asleep.iter().any(|&(seat, wait)| self.still_waits(seat, wait)) {
                if journal.shall_leave() {
                    return Ok(());
                }
                std::thread::yield_now();
            }
            journal.finish(1);
            if asleep.is_empty() {
                std::thread::sleep(MOMENT);
            }
        }
        Ok(())
    }

    /// Whether one that waited then lives, and waits as before. A seat's next life waits under another number.
    fn still_waits(&self, seat: usize, wait: u64) -> bool {
        let words = &self.seats[seat];
        words.waits.load(SeqCst) == wait && living::lives(words.pid.load(SeqCst))
    }

    /// Who certainly waits, and under which number.
    fn asleep(&self) -> Vec<(usize, u64)> {
        let waits = |&seat: &usize| {
            let words = &self.seats[seat];
            let wait = words.waits.load(SeqCst);
            // Between the two looks it has not gone on; and from the first on it sleeps nowhere else.
            (wait != 0 && living::sleeps(words.pid.load(SeqCst)) && words.waits.load(SeqCst) == wait)
                .then_some((seat, wait))
        };
        (self.setters..self.seats.len()).filter_map(|seat| waits(&seat)).collect()
    }

    // --- wait ----------------------------------------------------------------------------------------------------

    fn wait(&self, event: Event, mut part: Part<'_>) -> Result<(), Trouble> {
        let (journal, pace) = (part.journal, part.pace());
        let words = &self.seats[part.seat];
        words.waits.store(0, SeqCst);
        words.pid.store(std::process::id().into(), SeqCst);
        let mut number = part.life << 32;
        while part.stays() {
            journal.begin(1);
            let before = self.sets();
            let is_clear = !event.is_set();
            number += 1;
            words.waits.store(number + 1, SeqCst);
            let waited = if part.random.one_in(8) { event.wait_timeout(MOMENT) } else { event.wait() };
            words.waits.store(0, SeqCst);
            match waited {
                Ok(()) if is_clear && before == self.sets() && before.iter().all(|sets| sets % 2 == 0) => {
                    journal.saw(Wrong::Reordered);
                }
                Ok(()) | Err(WaitError::Timeout) => {}
                Err(other) => return Err(format!("wait: {other}")),
            }
            journal.finish(1);
            pace.think(&mut part.random);
        }
        Ok(())
    }

    fn sets(&self) -> Vec<u64> {
        self.seats[..self.setters].iter().map(|words| words.sets.load(SeqCst)).collect()
    }
}

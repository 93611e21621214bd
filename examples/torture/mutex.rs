//! `Mutex` under torture: two counters that are equal whenever nobody holds the lock, unless its holder has died.
//!
//! - Whoever gets the lock **without** `OwnerDied` finds nobody's sign on the value and the counters equal. A dead holder's sign, or half a step, without
//!   `OwnerDied` is *torn*; so is a value that somebody has left unrepaired, as every lock must say so until somebody marks it.
//! - Nobody else's sign appears while one holds the lock: that would be two holders, *duplicated*.
//! - A step whose lock was **released** counts: the counter is not below the number of those (*lost*), nor above that of those that were begun
//!   (*duplicated*). One that was cut short may count or not: who takes over finishes it if the first counter has moved.

use crate::journal::{Journal, Wrong};
use crate::random::Random;
use crate::subject::{Dead, Findings, Part, Stage, Subject, Trouble};
use skep::{LockError, Mutex, MutexGuard};
use std::os::fd::AsFd;
use std::time::Duration;

/// So short that it often is over before the lock is free.
const MOMENT: Duration = Duration::from_micros(200);

/// `{ sign of the holder, first counter, second counter, 1 if somebody saw it broken and left it so }`.
type Value = [u64; 4];
const SIGN: usize = 0;
const FIRST: usize = 1;
const SECOND: usize = 2;
const LEFT_BROKEN: usize = 3;

pub struct Subjected {
    mutex: Mutex<Value>,
    name: Option<String>,
    begun: u64,
    done: u64,
    findings: Findings,
}

pub fn make(stage: Stage) -> Result<Box<dyn Subject>, Trouble> {
    let mutex = match &stage.name {
        Some(name) => Mutex::create(name, Value::default()),
        None => Mutex::new(Value::default()),
    };
    Ok(Box::new(Subjected {
        mutex: mutex.map_err(|e| format!("making a mutex: {e}"))?,
        name: stage.name,
        begun: 0,
        done: 0,
        findings: Findings::default(),
    }))
}

impl Subject for Subjected {
    fn fault_points(&self, _seat: usize) -> &'static [&'static str] {
        &[]
    }

    fn play(&self, mut part: Part<'_>) -> Result<(), Trouble> {
        let mutex = self.open()?;
        let (journal, pace) = (part.journal, part.pace());
        while part.stays() {
            journal.begin(1);
            let guard = lock(&mutex, journal, &mut part.random)?;
            step(guard, part.life + 1, journal, &mut part.random);
            journal.finish(1);
            pace.think(&mut part.random);
        }
        Ok(())
    }

    fn bury(&mut self, dead: &Dead<'_>) {
        self.findings.witnessed(dead.journal);
        self.done += dead.journal.done();
        self.begun += dead.journal.done() + dead.journal.under_way();
    }

    fn judge(mut self: Box<Self>) -> Result<Findings, Trouble> {
        let journal = Journal::default();
        let guard = lock(&self.mutex, &journal, &mut Random::new(0))?;
        let counted = guard[FIRST];
        drop(guard);
        self.findings.witnessed(&journal);
        self.findings.lost += self.done.saturating_sub(counted);
        self.findings.duplicated += counted.saturating_sub(self.begun);
        Ok(self.findings)
    }
}

impl Subjected {
    fn open(&self) -> Result<Mutex<Value>, Trouble> {
        let opened = match &self.name {
            Some(name) => Mutex::open(name),
            None => {
                let descriptor = self.mutex.as_fd().try_clone_to_owned();
                Mutex::from_fd(descriptor.map_err(|e| format!("duplicating a descriptor: {e}"))?)
            }
        };
        opened.map_err(|e| format!("opening: {e}"))
    }
}

/// Takes the lock, and brings the value in order if its holder died.
fn lock<'a>(
    mutex: &'a Mutex<Value>,
    journal: &Journal,
    random: &mut Random,
) -> Result<MutexGuard<'a, Value>, Trouble> {
    loop {
        let locked = match random.below(4) {
            0 => mutex.try_lock(),
            1 => mutex.lock_timeout(MOMENT),
            _ => mutex.lock(),
        };
        match locked {
            Ok(guard) => {
                if guard[SIGN] != 0 || guard[FIRST] != guard[SECOND] || guard[LEFT_BROKEN] != 0 {
                    journal.saw(Wrong::Torn);
                }
                return Ok(guard);
            }
            // Whoever does not mark it leaves the question to the next one.
            Err(LockError::OwnerDied(mut guard)) if random.one_in(8) => guard[LEFT_BROKEN] = 1,
            Err(LockError::OwnerDied(mut guard)) => {
                if guard[FIRST].wrapping_sub(guard[SECOND]) > 1 {
                    journal.saw(Wrong::Torn);
                }
                *guard = [0, guard[FIRST], guard[FIRST], 0];
                guard.mark_consistent();
                return Ok(guard);
            }
            Err(LockError::WouldBlock | LockError::Timeout) => std::thread::yield_now(),
            Err(other) => return Err(format!("lock: {other}")),
        }
    }
}

/// Moves both counters, one after the other.
fn step(mut guard: MutexGuard<'_, Value>, sign: u64, journal: &Journal, random: &mut Random) {
    guard[SIGN] = sign;
    let before = guard[FIRST];
    guard[FIRST] = before + 1;
    std::hint::black_box(&mut *guard); // all that is written here is written now
    match random.below(64) {
        0 => std::thread::sleep(MOMENT),
        n if n < 16 => std::thread::yield_now(),
        n => (0..n).for_each(|_| std::hint::spin_loop()),
    }
    guard[SECOND] += 1;
    if *std::hint::black_box(&mut *guard) != [sign, before + 1, before + 1, 0] {
        journal.saw(Wrong::Duplicated);
    }
    guard[SIGN] = 0;
}

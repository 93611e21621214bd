//! `RwLock` under torture: two counters that are equal whenever nobody writes, unless a writer has died.
//!
//! The first seats write most of the time, the others read; each does the other now and then.
//!
//! - Whoever **reads** finds no writer's sign on the value and the counters equal, from the first look to the last: else a writer was there, *torn*.
//!   The same for whoever is about to **write**. A dead writer's sign, or half a step, without `OwnerDied` is *torn* too; so is a value that somebody has left
//!   unrepaired, as every lock must say so until somebody marks it.
//! - Nobody else's sign appears while one writes: that would be two writers, *duplicated*.
//! - `OwnerDied` is for the death of one that **writes**: who reads, or waits for readers, has touched nothing. More repairs than such deaths are *duplicated*;
//!   so are more repairs of a value in perfect order than deaths known to be in one of the few steps between the lock's word and the sign. A kill from outside
//!   hits one of those once in hundreds of times; one in [`RARE`] is excused.
//! - A step whose lock was **released** counts: the counter is not below the number of those (*lost*), nor above that of those that were begun
//!   (*duplicated*). One that was cut short may count or not: who takes over finishes it if the first counter has moved.

use crate::journal::{Journal, Shared, Wrong};
use crate::object::{MOMENT, Object};
use crate::random::Random;
use crate::subject::{Dead, End, Findings, Part, Stage, Subject, Trouble};
use skep::{LockError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::sync::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Acquire};
use std::time::Duration;

/// `{ sign of the writer, first counter, second counter, 1 if somebody saw it broken and left it so }`.
type Value = [u64; 4];
const SIGN: usize = 0;
const FIRST: usize = 1;
const SECOND: usize = 2;
const LEFT_BROKEN: usize = 3;

/// What a journal holds from before a writer asks for the lock until it is released.
const WRITES: u64 = 0;

pub struct Subjected {
    lock: Object<RwLock<Value>>,
    writers: usize,
    /// What all have written: `BEGUN`, `DONE`, `REPAIRED` and `UNTOUCHED`.
    counts: Shared<AtomicU64>,
    /// Deaths that `OwnerDied` may tell of: known by their fault point to have left the value in order; and others.
    deaths_untouched: u64,
    deaths: u64,
    findings: Findings,
}

const BEGUN: usize = 0;
const DONE: usize = 1;
const REPAIRED: usize = 2;
/// Repairs where nothing was to repair.
const UNTOUCHED: usize = 3;

/// One kill in so many of those who ask for the lock may come just when they have it, and have not written.
const RARE: u64 = 32;
/// So long nobody need wait at the end, when all the others are dead.
const LIMIT: Duration = Duration::from_secs(5);

pub fn make(mut stage: Stage) -> Result<Box<dyn Subject>, Trouble> {
    Ok(Box::new(Subjected {
        lock: Object::make(&mut stage, Value::default())?,
        writers: stage.producers,
        counts: Shared::new(4).map_err(|e| format!("the counts: {e}"))?,
        deaths_untouched: 0,
        deaths: 0,
        findings: Findings::default(),
    }))
}

impl Subject for Subjected {
    fn fault_points(&self, seat: usize) -> &'static [&'static str] {
        if seat < self.writers {
            &[
                "join: joined",
                "rwlock: writer claimed",
                "rwlock: drained",
                "rwlock: writing",
                "rwlock: free, nobody woken",
                "rwlock: marked consistent",
                "rwlock: a dead reader's claim cleared",
                "rwlock: a dead writer's word freed",
                "repair: settled",
                "leave: vacant",
            ]
        } else {
            &[
                "join: joined",
                "rwlock: reader claimed",
                "rwlock: reader in",
                "rwlock: reader gone, nobody woken",
                "rwlock: a dead reader's claim cleared",
                "rwlock: a dead writer's word freed",
                "repair: settled",
                "leave: vacant",
            ]
        }
    }

    fn play(&self, mut part: Part<'_>) -> Result<(), Trouble> {
        let lock = self.lock.join()?;
        let (journal, pace) = (part.journal, part.pace());
        let is_writer = part.seat < self.writers;
        while part.stays() {
            journal.begin(1);
            if part.random.one_in(8) != is_writer {
                journal.hold(WRITES);
                self.counts[BEGUN].fetch_add(1, AcqRel);
                let guard = self.write(&lock, journal, &mut part.random)?;
                step(guard, part.life + 1, journal, &mut part.random);
                self.counts[DONE].fetch_add(1, AcqRel);
                journal.hold_nothing();
            } else {
                self.read(&lock, journal, &mut part.random)?;
            }
            journal.finish(1);
            pace.think(&mut part.random);
        }
        Ok(())
    }

    fn bury(&mut self, dead: &Dead<'_>) {
        self.findings.witnessed(dead.journal);
        match dead.end {
            End::Left => {}
            End::Killed | End::Failed => self.deaths += u64::from(dead.journal.held() == Some(WRITES)),
            End::At("rwlock: writing" | "rwlock: marked consistent") => self.deaths_untouched += 1,
            End::At(_) => {}
        }
    }

    fn judge(mut self: Box<Self>) -> Result<Findings, Trouble> {
        self.lock.recover(&mut self.findings)?;
        if let Err(LockError::Timeout) = self.lock.part.write_timeout(LIMIT) {
            self.findings.wedged += 1;
            return Ok(self.findings);
        }
        let journal = Journal::default();
        let guard = self.write(&self.lock.part, &journal, &mut Random::new(0))?;
        let counted = guard[FIRST];
        drop(guard);
        self.findings.witnessed(&journal);
        let count = |n: usize| self.counts[n].load(Acquire);
        self.findings.lost += count(DONE).saturating_sub(counted);
        self.findings.duplicated += counted.saturating_sub(count(BEGUN));
        self.findings.duplicated += count(REPAIRED).saturating_sub(self.deaths + self.deaths_untouched);
        let excused = self.deaths_untouched + 2 + self.deaths / RARE;
        self.findings.duplicated += count(UNTOUCHED).saturating_sub(excused);
        Ok(self.findings)
    }
}

impl Subjected {
    /// Takes the lock to write, and brings the value in order if a writer died.
    fn write<'a>(
        &self,
        lock: &'a RwLock<Value>,
        journal: &Journal,
        random: &mut Random,
    ) -> Result<RwLockWriteGuard<'a, Value>, Trouble> {
        loop {
            let locked = match random.below(4) {
                0 => lock.try_write(),
                1 => lock.write_timeout(MOMENT),
                _ => lock.write(),
            };
            match locked {
                Ok(guard) => {
                    expect_order(&guard, journal);
                    return Ok(guard);
                }
                // Whoever does not mark it leaves the question to the next one.
                Err(LockError::OwnerDied(mut guard)) if random.one_in(8) => guard[LEFT_BROKEN] = 1,
                Err(LockError::OwnerDied(mut guard)) => {
                    if guard[FIRST].wrapping_sub(guard[SECOND]) > 1 {
                        journal.saw(Wrong::Torn);
                    }
                    let in_order = [0, guard[FIRST], guard[FIRST], 0];
                    let was_untouched = std::mem::replace(&mut *guard, in_order) == in_order;
                    guard.mark_consistent();
                    self.counts[REPAIRED].fetch_add(1, AcqRel);
                    self.counts[UNTOUCHED].fetch_add(was_untouched.into(), AcqRel);
                    return Ok(guard);
                }
                Err(LockError::WouldBlock | LockError::Timeout) => std::thread::yield_now(),
                Err(other) => return Err(format!("write: {other}")),
            }
        }
    }

    /// Reads for a while, once.
    fn read(&self, lock: &RwLock<Value>, journal: &Journal, random: &mut Random) -> Result<(), Trouble> {
        loop {
            let locked = match random.below(4) {
                0 => lock.try_read(),
                1 => lock.read_timeout(MOMENT),
                _ => lock.read(),
            };
            match locked {
                Ok(guard) => {
                    // Whoever reads may always read once more, also if a writer waits.
                    let again = if random.one_in(8) { Some(lock.read()) } else { None };
                    if matches!(again, Some(Err(_))) {
                        journal.saw(Wrong::Torn);
                    }
                    look(&guard, journal, random);
                    return Ok(());
                }
                // Nobody writes meanwhile, but it may be in any order. A writer has to repair it.
                Err(LockError::OwnerDied(guard)) => {
                    let before = *guard;
                    linger(random);
                    if before != *std::hint::black_box(&*guard) {
                        journal.saw(Wrong::Torn);
                    }
                    return Ok(());
                }
                Err(LockError::WouldBlock | LockError::Timeout) => std::thread::yield_now(),
                Err(other) => return Err(format!("read: {other}")),
            }
        }
    }
}

fn expect_order(value: &Value, journal: &Journal) {
    if value[SIGN] != 0 || value[FIRST] != value[SECOND] || value[LEFT_BROKEN] != 0 {
        journal.saw(Wrong::Torn);
    }
}

/// Looks at the value for a while.
fn look(guard: &RwLockReadGuard<'_, Value>, journal: &Journal, random: &mut Random) {
    let before = **guard;
    expect_order(&before, journal);
    linger(random);
    if before != **std::hint::black_box(guard) {
        journal.saw(Wrong::Torn);
    }
}

/// Moves both counters, one after the other.
fn step(mut guard: RwLockWriteGuard<'_, Value>, sign: u64, journal: &Journal, random: &mut Random) {
    guard[SIGN] = sign;
    let before = guard[FIRST];
    guard[FIRST] = before + 1;
    std::hint::black_box(&mut *guard); // all that is written here is written now
    linger(random);
    guard[SECOND] += 1;
    if *std::hint::black_box(&mut *guard) != [sign, before + 1, before + 1, 0] {
        journal.saw(Wrong::Duplicated);
    }
    guard[SIGN] = 0;
}

/// Keeps the lock for a while.
fn linger(random: &mut Random) {
    match random.below(64) {
        0 => std::thread::sleep(MOMENT),
        n if n < 16 => std::thread::yield_now(),
        n => (0..n).for_each(|_| std::hint::spin_loop()),
    }
}

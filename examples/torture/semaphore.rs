//! `Semaphore` under torture, in rounds of two sorts.
//!
//! **Permits** that are held for a while, bounded or not:
//! - Never do the living hold more than there are, *duplicated*. Each writes down what it holds, from after it has taken it to before it gives it back; the
//!   dead are told apart by the kernel, since others may have their permits before anybody has noticed.
//! - At the end all are free again: fewer are *lost*, more *duplicated*. A bounded semaphore never takes one more.
//!
//! **Signals** that the first seats release and the others take and forget, up to a bound or not:
//! - What was released and not forgotten is free at the end; what was cut short may count or not. Fewer are *lost*, more *duplicated*.

use crate::journal::{Journal, Shared, Words, Wrong};
use crate::living;
use crate::object::{MOMENT, Object};
use crate::random::Random;
use crate::subject::{Dead, Findings, Part, Stage, Subject, Trouble};
use skep::{Permit, ReleaseError, Semaphore, SemaphoreSetup, WaitError};
use std::sync::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::SeqCst};

pub struct Subjected {
    semaphore: Object<Semaphore>,
    producers: usize,
    /// How many permits there are; in rounds of signals, how many there should be at most.
    permits: u32,
    is_bounded: bool,
    is_for_signals: bool,
    holds: Shared<Hold>,
    /// What was released and forgotten: begun and done of each.
    counts: Shared<AtomicU64>,
    findings: Findings,
}

/// What one seat's participants hold, one after the other.
#[derive(Default)]
#[repr(C, align(128))]
struct Hold {
    pid: AtomicU64,
    /// `{ another number for each hold: 32, permits: 32 }`; 0: nothing.
    held: AtomicU64,
}

// SAFETY: atomics.
unsafe impl Words for Hold {}

const RELEASES_BEGUN: usize = 0;
const RELEASES_DONE: usize = 1;
const FORGETS_BEGUN: usize = 2;
const FORGETS_DONE: usize = 3;

pub fn make(mut stage: Stage) -> Result<Box<dyn Subject>, Trouble> {
    let (is_for_signals, is_bounded) = (stage.random.one_in(2), stage.random.one_in(2));
    let permits = stage.capacity as u32;
    let setup = SemaphoreSetup {
        permits: if is_for_signals { 0 } else { permits },
        bound: is_bounded.then_some(permits),
    };
    let memory = |e| format!("the holders' words: {e}");
    Ok(Box::new(Subjected {
        semaphore: Object::make(&mut stage, setup)?,
        producers: stage.producers,
        permits,
        is_bounded,
        is_for_signals,
        holds: Shared::new(stage.seats()).map_err(memory)?,
        counts: Shared::new(4).map_err(memory)?,
        findings: Findings::default(),
    }))
}

impl Subject for Subjected {
    fn fault_points(&self, _seat: usize) -> &'static [&'static str] {
        &[
            "join: joined",
            "semaphore: certified",
            "semaphore: recorded",
            "semaphore: changed",
            "semaphore: counted up",
            "semaphore: woke those who wait for one",
            "semaphore mend: counted up",
            "semaphore mend: given back",
            "repair: settled",
            "leave: vacant",
        ]
    }

    fn play(&self, part: Part<'_>) -> Result<(), Trouble> {
        let semaphore = self.semaphore.join()?;
        if !self.is_for_signals {
            self.hold(&semaphore, part)
        } else if part.seat < self.producers {
            self.release(&semaphore, part)
        } else {
            self.forget(&semaphore, part)
        }
    }

    fn bury(&mut self, dead: &Dead<'_>) {
        self.findings.witnessed(dead.journal);
    }

    fn judge(mut self: Box<Self>) -> Result<Findings, Trouble> {
        self.semaphore.recover(&mut self.findings)?;
        let available = self.semaphore.part.available().map_err(|e| format!("available: {e}"))?;
        let (fewest, most) = if self.is_for_signals {
            let count = |n: usize| self.counts[n].load(Acquire) as i64;
            let fewest = count(RELEASES_DONE) - count(FORGETS_BEGUN);
            (fewest, count(RELEASES_BEGUN) - count(FORGETS_DONE))
        } else {
            (self.permits.into(), self.permits.into())
        };
        self.findings.lost += (fewest - i64::from(available)).max(0) as u64;
        self.findings.duplicated += (i64::from(available) - most).max(0) as u64;
        Ok(self.findings)
    }
}

impl Subjected {
    // --- permits -------------------------------------------------------------------------------------------------

    fn hold(&self, semaphore: &Semaphore, mut part: Part<'_>) -> Result<(), Trouble> {
        let (journal, pace) = (part.journal, part.pace());
        let mine = &self.holds[part.seat];
        mine.held.store(0, SeqCst); // its last life's
        mine.pid.store(std::process::id().into(), SeqCst);
        let mut number = part.life;
        while part.stays() {
            journal.begin(1);
            let first = acquire(semaphore, self.permits, &mut part.random)?;
            // One more only if it need not be waited for.
            let second = part.random.one_in(4).then(|| semaphore.try_acquire());
            let second = match second {
                Some(Err(WaitError::Timeout)) | None => None,
                Some(taken) => Some(taken.map_err(|e| format!("acquire: {e}"))?),
            };
            let held = first.count() + second.as_ref().map_or(0, Permit::count);
            number = number.wrapping_add(1 << 16);
            mine.held.store(number << 32 | u64::from(held), SeqCst);
            self.count_holders(journal);
            if self.is_bounded && part.random.one_in(64) {
                match semaphore.release(1) {
                    Err(ReleaseError::TooMany { .. }) => {}
                    _ => journal.saw(Wrong::Duplicated),
                }
            }
            linger(&mut part.random);
            mine.held.store(0, SeqCst);
            drop(first);
            drop(second);
            journal.finish(1);
            pace.think(&mut part.random);
        }
        Ok(())
    }

    /// Whether more are held, by the living and at one time, than there are.
    fn count_holders(&self, journal: &Journal) {
        let look = || -> Vec<u64> { self.holds.iter().map(|hold| hold.held.load(SeqCst)).collect() };
        let sum = |held: &[u64]| -> u64 { held.iter().map(|held| held & 0xffff_ffff).sum() };
        let mut held = look();
        if sum(&held) <= self.permits.into() {
            return;
        }
        for (held, hold) in held.iter_mut().zip(self.holds.iter()) {
            if *held != 0 && !living::lives(hold.pid.load(SeqCst)) {
                *held = 0;
            }
        }
        // What they hold now as well, they have held all the time.
        let again = look();
        let is_so = held.iter().zip(&again).all(|(held, again)| *held == 0 || held == again);
        if is_so && sum(&held) > self.permits.into() {
            journal.saw(Wrong::Duplicated);
        }
    }

    // --- signals -------------------------------------------------------------------------------------------------

    fn release(&self, semaphore: &Semaphore, mut part: Part<'_>) -> Result<(), Trouble> {
        let (journal, pace) = (part.journal, part.pace());
        while part.stays() {
            journal.begin(1);
            let mut count = 1 + part.random.below(u64::from(self.permits.min(4)));
            self.counts[RELEASES_BEGUN].fetch_add(count, AcqRel);
            while !self.release_once(semaphore, count as u32, journal)? {
                // There may never be room for several, where others are content with less.
                self.counts[RELEASES_BEGUN].fetch_sub(count - 1, AcqRel);
                count = 1;
                std::thread::yield_now();
            }
            self.counts[RELEASES_DONE].fetch_add(count, AcqRel);
            journal.finish(1);
            pace.think(&mut part.random);
        }
        Ok(())
    }

    fn release_once(&self, semaphore: &Semaphore, count: u32, journal: &Journal) -> Result<bool, Trouble> {
        let available = semaphore.available().map_err(|e| format!("available: {e}"))?;
        if self.is_bounded && available > self.permits {
            journal.saw(Wrong::Duplicated);
        }
        if !self.is_bounded && available > self.permits {
            return Ok(false);
        }
        match semaphore.release(count) {
            Ok(()) => Ok(true),
            Err(ReleaseError::TooMany { .. }) if self.is_bounded => Ok(false),
            Err(other) => Err(format!("release: {other}")),
        }
    }

    fn forget(&self, semaphore: &Semaphore, mut part: Part<'_>) -> Result<(), Trouble> {
        let (journal, pace) = (part.journal, part.pace());
        while part.stays() {
            journal.begin(1);
            let permit = acquire(semaphore, self.permits, &mut part.random)?;
            let count = u64::from(permit.count());
            if part.random.one_in(8) {
                drop(permit); // somebody else's
            } else {
                self.counts[FORGETS_BEGUN].fetch_add(count, AcqRel);
                permit.forget();
                self.counts[FORGETS_DONE].fetch_add(count, AcqRel);
            }
            journal.finish(1);
            pace.think(&mut part.random);
        }
        Ok(())
    }
}

/// Takes permits, in one of the ways there are, up to four at once.
fn acquire<'a>(semaphore: &'a Semaphore, most: u32, random: &mut Random) -> Result<Permit<'a>, Trouble> {
    loop {
        let many = 2 + random.below(3) as u32;
        let taken = match random.below(6) {
            0 => semaphore.try_acquire(),
            1 => semaphore.acquire_timeout(MOMENT),
            // Not for ever: others may always be faster.
            2 if many <= most => semaphore.try_acquire_many(many),
            3 if many <= most => semaphore.acquire_many_timeout(many, MOMENT),
            _ => semaphore.acquire(),
        };
        match taken {
            Ok(permit) => return Ok(permit),
            Err(WaitError::Timeout) => std::thread::yield_now(),
            Err(other) => return Err(format!("acquire: {other}")),
        }
    }
}

/// Holds for a while.
fn linger(random: &mut Random) {
    match random.below(64) {
        0 => std::thread::sleep(MOMENT),
        n if n < 16 => std::thread::yield_now(),
        n => (0..n).for_each(|_| std::hint::spin_loop()),
    }
}

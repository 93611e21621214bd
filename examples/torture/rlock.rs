//! `RLock` under torture: as `mutex.rs`, and the holder locks again, to several depths, and may die at each.
//!
//! - Whoever gets the lock **without** `OwnerDied` finds nobody's sign on the value and the counters equal: else *torn*.
//! - Nobody else's sign appears while one holds the lock, however many of its guards it has dropped, but the last: else *duplicated*.
//! - The holder gets the lock again at once, else it would be *lost* to itself.
//! - A step whose lock was **released** counts (*lost*), and no more than were begun (*duplicated*).

use crate::journal::{Journal, Wrong};
use crate::object::{MOMENT, Object};
use crate::random::Random;
use crate::subject::{Dead, Findings, Part, Stage, Subject, Trouble};
use skep::{LockError, RLock, RLockGuard};

/// `{ sign of the holder, first counter, second counter, 1 if somebody saw it broken and left it so }`.
type Value = [u64; 4];

pub struct Subjected {
    lock: Object<RLock<Value>>,
    begun: u64,
    done: u64,
    findings: Findings,
}

pub fn make(mut stage: Stage) -> Result<Box<dyn Subject>, Trouble> {
    let lock = Object::make(&mut stage, Value::default())?;
    Ok(Box::new(Subjected { lock, begun: 0, done: 0, findings: Findings::default() }))
}

impl Subject for Subjected {
    fn fault_points(&self, _seat: usize) -> &'static [&'static str] {
        &[]
    }

    fn play(&self, mut part: Part<'_>) -> Result<(), Trouble> {
        let lock_handle = self.lock.join()?;
        let (journal, pace) = (part.journal, part.pace());
        while part.stays() {
            journal.begin(1);
            let guard = lock(&lock_handle, journal, &mut part.random)?;
            step(&lock_handle, guard, part.life + 1, journal, &mut part.random);
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
        let counted = lock(&self.lock.part, &journal, &mut Random::new(0))?.get()[1];
        self.findings.witnessed(&journal);
        self.findings.lost += self.done.saturating_sub(counted);
        self.findings.duplicated += counted.saturating_sub(self.begun);
        Ok(self.findings)
    }
}

/// Takes the lock, and brings the value in order if its holder died.
fn lock<'a>(
    lock: &'a RLock<Value>,
    journal: &Journal,
    random: &mut Random,
) -> Result<RLockGuard<'a, Value>, Trouble> {
    loop {
        let locked = match random.below(4) {
            0 => lock.try_lock(),
            1 => lock.lock_timeout(MOMENT),
            _ => lock.lock(),
        };
        match locked {
            Ok(guard) => {
                let [sign, first, second, left_broken] = guard.get();
                if sign != 0 || first != second || left_broken != 0 {
                    journal.saw(Wrong::Torn);
                }
                return Ok(guard);
            }
            // Whoever does not mark it leaves the question to the next one.
            Err(LockError::OwnerDied(guard)) if random.one_in(8) => guard.update(|value| value[3] = 1),
            Err(LockError::OwnerDied(guard)) => {
                let [_, first, second, _] = guard.get();
                if first.wrapping_sub(second) > 1 {
                    journal.saw(Wrong::Torn);
                }
                guard.set([0, first, first, 0]);
                guard.mark_consistent();
                return Ok(guard);
            }
            Err(LockError::WouldBlock | LockError::Timeout) => std::thread::yield_now(),
            Err(other) => return Err(format!("lock: {other}")),
        }
    }
}

/// Moves both counters, one after the other, with more and more guards, and then with fewer.
fn step<'a>(
    lock: &'a RLock<Value>,
    guard: RLockGuard<'a, Value>,
    sign: u64,
    journal: &Journal,
    random: &mut Random,
) {
    let before = guard.get()[1];
    guard.set([sign, before + 1, before, 0]);
    let mut guards = vec![guard];
    for _ in 0..random.below(4) {
        match lock.try_lock() {
            Ok(again) => guards.push(again),
            Err(_) => journal.saw(Wrong::Lost),
        }
    }
    match random.below(64) {
        0 => std::thread::sleep(MOMENT),
        n if n < 16 => std::thread::yield_now(),
        n => (0..n).for_each(|_| std::hint::spin_loop()),
    }
    guards[0].update(|value| value[2] += 1);
    while let Some(guard) = guards.pop() {
        if guard.get() != [sign, before + 1, before + 1, 0] {
            journal.saw(Wrong::Duplicated);
        }
        if guards.is_empty() {
            guard.update(|value| value[0] = 0);
        }
    }
}

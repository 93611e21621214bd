//! `Condvar` and `Mutex` under torture: a store of bounded size, with those who put waiting for room and those who take waiting for items.
//!
//! Each put notifies one who waits for an item, each take one who waits for room, and whoever finds that a holder has died notifies all, as what that
//! was about to do is not known. So it never comes to a stop, however few items there is room for, unless a notification was lost: that is *wedged*.
//!
//! - A notification that is for one goes to no more, else it is *duplicated*.
//! - What is in the store fits there, and was put: else *torn*.
//! - A put or take that **returned** counts: the counters are not below the number of those (*lost*), nor above that of those that were begun
//!   (*duplicated*).

use crate::journal::{Journal, Shared, Wrong};
use crate::object::{MOMENT, Object};
use crate::random::Random;
use crate::subject::{Dead, Findings, Part, Stage, Subject, Trouble};
use skep::{Condvar, LockError, Mutex, MutexGuard, shared_struct};
use std::sync::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Acquire};

shared_struct! {
    struct Store {
        state: Mutex<State>,
        items: Condvar,
        room: Condvar,
    }
}

/// How many were put, how many taken, and how many there is room for.
type State = [u64; 3];
const PUT: usize = 0;
const TAKEN: usize = 1;
const ROOM: usize = 2;

pub struct Subjected {
    store: Object<Store>,
    producers: usize,
    /// Some waits have an end.
    times_out: bool,
    /// `{ puts begun, takes begun, puts done, takes done }`
    counts: Shared<AtomicU64>,
    findings: Findings,
}

pub fn make(mut stage: Stage) -> Result<Box<dyn Subject>, Trouble> {
    let state = [0, 0, 1 + stage.random.below(stage.capacity as u64)];
    Ok(Box::new(Subjected {
        store: Object::make(&mut stage, (state, (), ()))?,
        producers: stage.producers,
        times_out: stage.random.one_in(2),
        counts: Shared::new(4).map_err(|e| format!("the counts: {e}"))?,
        findings: Findings::default(),
    }))
}

impl Subject for Subjected {
    fn fault_points(&self, _seat: usize) -> &'static [&'static str] {
        &[
            "join: joined",
            "condvar: ticket taken",
            "condvar: waiting",
            "condvar: unlocked",
            "condvar: woken",
            "condvar: locked again",
            "condvar: notified",
            "condvar: passed on",
            "repair: settled",
            "leave: vacant",
        ]
    }

    fn play(&self, mut part: Part<'_>) -> Result<(), Trouble> {
        let store = self.store.join()?;
        let (journal, pace) = (part.journal, part.pace());
        let side = if part.seat < self.producers { PUT } else { TAKEN };
        while part.stays() {
            journal.begin(1);
            self.counts[side].fetch_add(1, AcqRel);
            self.change(&store, side, journal, &mut part.random)?;
            self.counts[2 + side].fetch_add(1, AcqRel);
            journal.finish(1);
            pace.think(&mut part.random);
        }
        Ok(())
    }

    fn bury(&mut self, dead: &Dead<'_>) {
        self.findings.witnessed(dead.journal);
    }

    fn judge(mut self: Box<Self>) -> Result<Findings, Trouble> {
        let journal = Journal::default();
        let store = &self.store.part;
        let state = *in_order(store, store.state.lock(), &journal)?;
        self.findings.witnessed(&journal);
        for side in [PUT, TAKEN] {
            let (begun, done) = (self.counts[side].load(Acquire), self.counts[2 + side].load(Acquire));
            self.findings.lost += done.saturating_sub(state[side]);
            self.findings.duplicated += state[side].saturating_sub(begun);
        }
        self.store.recover(&mut self.findings)?;
        Ok(self.findings)
    }
}

impl Subjected {
    /// Puts one item or takes one, and tells one of those who wait for that.
    fn change(
        &self,
        store: &Store,
        side: usize,
        journal: &Journal,
        random: &mut Random,
    ) -> Result<(), Trouble> {
        let (mine, others) =
            if side == PUT { (&store.room, &store.items) } else { (&store.items, &store.room) };
        let must_wait = move |state: &mut State| {
            let items = state[PUT] - state[TAKEN];
            if side == PUT { items >= state[ROOM] } else { items == 0 }
        };
        let mut guard = in_order(store, store.state.lock(), journal)?;
        while must_wait(&mut guard) {
            let locked = match random.below(if self.times_out { 5 } else { 3 }) {
                0 => mine.wait(guard),
                1 => mine.wait_while(guard, must_wait),
                2 => mine.wait_for(guard, |state| !must_wait(state)),
                n => {
                    let waited = match n {
                        3 => mine.wait_timeout(guard, MOMENT),
                        _ => mine.wait_timeout_while(guard, MOMENT, must_wait),
                    };
                    match waited {
                        Ok((guard, _)) => Ok(guard),
                        Err(error) => Err(error.map(|(guard, _)| guard)),
                    }
                }
            };
            guard = in_order(store, locked, journal)?;
        }
        guard[side] += 1;
        // Under the lock: who dies before it has told leaves the lock to somebody who is told of that.
        match others.notify_one() {
            Ok(0 | 1) => Ok(()),
            Ok(_) => {
                journal.saw(Wrong::Duplicated);
                Ok(())
            }
            Err(other) => Err(format!("notify: {other}")),
        }
    }
}

/// The guard; if a holder has died, everybody is told to look for himself.
fn in_order<'a>(
    store: &Store,
    locked: Result<MutexGuard<'a, State>, LockError<MutexGuard<'a, State>>>,
    journal: &Journal,
) -> Result<MutexGuard<'a, State>, Trouble> {
    let guard = match locked {
        Err(LockError::OwnerDied(mut guard)) => {
            let told = store.items.notify_all().and_then(|_| store.room.notify_all());
            told.map_err(|e| format!("notify: {e}"))?;
            guard.mark_consistent();
            Ok(guard)
        }
        locked => locked,
    };
    let guard = guard.map_err(|e| format!("lock: {e}"))?;
    let [put, taken, room] = *guard;
    if taken > put || put - taken > room {
        journal.saw(Wrong::Torn);
        return Err("more was taken than put, or put than there is room for".into());
    }
    Ok(guard)
}

//! The condition variable: who waits, and since when.
//!
//! # The words
//! Each participant has a claim, `{ ticket: 30, state: 2 }`, on a line of its own, which is also the futex that it sleeps on: a wake-up goes to the
//! one it is meant for. A ticket comes from a shared counter, so that who has waited longest is chosen first; no truth is in that counter, it orders.
//!
//! | state | meaning | who changes it |
//! | --- | --- | --- |
//! | `IDLE` | does not wait; the ticket is 0 | its participant: W2 |
//! | `WAITING` | waits to be notified | a notifier: N2; its participant: T1; the participant is dead, anybody: N3, M2 |
//! | `NOTIFIED` | is notified, and not yet back with the mutex | its participant: W6; its mender: M3 |
//!
//! | who | step | | pairs with |
//! | --- | --- | --- | --- |
//! | wait | W1 | take a ticket | |
//! | | W2 | claim: `IDLE` → `WAITING` (Release) | N1 |
//! | | W3 | unlock the mutex | the notifier's lock |
//! | | W4 | sleep while the claim is that (Acquire) | N2 |
//! | | W5 | lock the mutex | |
//! | | W6 | claim := `IDLE` (Release) | |
//! | timeout | T1 | before W5, claim: `WAITING` → `IDLE`; it is another one: it was notified, as if in time | N2 |
//! | notify | N1 | find the oldest claim that is `WAITING` (Acquire) | W2 |
//! | | N2 | its participant lives: claim → `NOTIFIED` (AcqRel), wake it; somebody was faster: N1 | W4, T1 |
//! | | N3 | it is dead: claim → `IDLE`; N1 | |
//! | mend | M1 | the claim is `NOTIFIED` (Acquire): notify the oldest who waits, dead or alive, as in N1 and N2 | N2 |
//! | | M2 | it is `WAITING`: claim → `IDLE`; somebody was faster: M1 | N2 |
//! | | M3 | claim := `IDLE` | |
//!
//! # Invariants
//! 1. A notification is a claim that is `NOTIFIED`; it ends in W6, when its participant has the mutex, or in M3, when another claim has become
//!    `NOTIFIED` for it or nobody waits. So it is not lost.
//! 2. A notifier that holds the mutex, or has held it since, sees all who waited then: W2 is before W3. So does who mends for the one that it notified:
//!    what N1 saw is before N2, and N2 before M1.
//! 3. A claim that is `WAITING` belongs to the participant that wrote it: a ticket is not used twice (within 2³⁰ waits). Whoever sees the claim, then its
//!    participant gone, then has a CAS from that very claim succeed, has changed a dead one's: N3 needs no right to repair.
//!
//! # A kill at each step
//! - a waiter before W2, after W6 or T1: nobody's claim is left. The mutex tells of a holder's death.
//! - W2 to W4: it waits no more, and no notification is spent on it (N3, M2).
//! - notified, up to W6: mended, M1 passes the notification on. If it died after W5, the mutex tells of that besides.
//! - a notifier between N2 and its wake: the notified one finds out at the end of its slice. Who was to be notified after it is not.
//! - a mender after M1: the dead one's claim still is `NOTIFIED`, so the next mender notifies one more: a wake-up too much, never one too few. The one
//!   that was notified may be dead itself; then it is mended likewise.

use crate::fault;
use crate::sync::{self, AcqRel, Acquire, AtomicU32, Relaxed, Release};
use crate::table::Table;
use crate::wait::{Until, wait_while};

const IDLE: u32 = 0;
const WAITING: u32 = 1;
const NOTIFIED: u32 = 2;
const STATE: u32 = 3;
/// The lowest bit of a ticket.
const TICKET: u32 = 4;

/// The words that belong to nobody. All zeroes are a condition variable's that nobody waits for.
#[cfg_attr(not(loom), repr(C))]
pub(crate) struct Control {
    /// The next ticket, in a claim's bits.
    tickets: AtomicU32,
}

/// One participant's word. Zero is one that does not wait.
#[cfg_attr(not(loom), repr(C, align(128)))]
pub(crate) struct Claim(AtomicU32);

#[cfg(loom)]
impl Control {
    pub(crate) fn new() -> Self {
        Control { tickets: AtomicU32::new(0) }
    }
}

#[cfg(loom)]
impl Claim {
    pub(crate) fn new() -> Self {
        Claim(AtomicU32::new(IDLE))
    }
}

/// A participant's own claim is not what it has left there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Corrupt;

/// A claim that is `WAITING`, and whose.
struct Waiter<'a> {
    number: usize,
    claim: &'a AtomicU32,
    /// What the claim was.
    seen: u32,
}

/// The protocol over the words of one condition variable.
#[derive(Clone, Copy)]
pub(crate) struct Waiters<'a> {
    control: &'a Control,
    claims: Table<'a, Claim>,
}

impl<'a> Waiters<'a> {
    pub(crate) fn new(control: &'a Control, claims: Table<'a, Claim>) -> Self {
        Waiters { control, claims }
    }

    fn claim(&self, number: usize) -> &'a AtomicU32 {
        &self.claims.entry(number).0
    }

    // --- wait ----------------------------------------------------------------------------------------------------

    /// W1 to W6. `unlock` and `lock` are the mutex's. Gives what `lock` gives, and whether somebody notified `me`; false: the time was over first.
    pub(crate) fn wait<R>(
        &self,
        me: usize,
        until: Until,
        unlock: impl FnOnce(),
        lock: impl FnOnce() -> R,
        check: impl FnMut() -> bool,
    ) -> Result<(R, bool), Corrupt> {
        let waiting = self.begin(me)?;
        unlock(); // W3
        fault::point("condvar: unlocked");
        let notified = wait_while(self.claim(me), waiting, until, check) || !self.give_up(me, waiting); // W4
        fault::point("condvar: woken");
        let locked = lock(); // W5
        fault::point("condvar: locked again");
        if notified {
            self.end(me);
        }
        Ok((locked, notified))
    }

    /// W1 and W2: `me` waits, until it [gives up](Self::give_up) or is notified. Says what the claim is.
    pub(crate) fn begin(&self, me: usize) -> Result<u32, Corrupt> {
        let waiting = self.ticket() | WAITING; // W1
        fault::point("condvar: ticket taken");
        // W2 pairs with N1
        self.claim(me).compare_exchange(IDLE, waiting, Release, Relaxed).map_err(|_| Corrupt)?;
        fault::point("condvar: waiting");
        Ok(waiting)
    }

    /// T1. False: it was notified.
    pub(crate) fn give_up(&self, me: usize, waiting: u32) -> bool {
        self.claim(me).compare_exchange(waiting, IDLE, AcqRel, Acquire).is_ok() // T1 pairs with N2
    }

    /// W6: `me` has been notified, and is back with the mutex.
    pub(crate) fn end(&self, me: usize) {
        self.claim(me).store(IDLE, Release); // W6
    }

    fn ticket(&self) -> u32 {
        let mut seen = self.control.tickets.load(Relaxed);
        loop {
            match self.control.tickets.compare_exchange(seen, seen.wrapping_add(TICKET), Relaxed, Relaxed) {
                Ok(_) => return seen & !STATE,
                Err(now) => seen = now,
            }
        }
    }

    // --- notify --------------------------------------------------------------------------------------------------

    /// Notifies the `n` living participants that have waited longest, or all if they are fewer. Says how many.
    pub(crate) fn notify(&self, n: usize, mut is_dead: impl FnMut(usize) -> bool) -> usize {
        if n >= self.claims.count() {
            // Each once, so that it ends beside participants that wait again and again.
            return (0..self.claims.count())
                .filter(|&number| self.waiter(number).is_some_and(|waiter| waiter.notify(&mut is_dead)))
                .count();
        }
        (0..n).take_while(|_| self.notify_oldest(&mut is_dead)).count()
    }

    /// N1 to N3. False: nobody who lives waits.
    fn notify_oldest(&self, mut is_dead: impl FnMut(usize) -> bool) -> bool {
        while let Some(waiter) = self.oldest() {
            if waiter.notify(&mut is_dead) {
                return true;
            }
        }
        false
    }

    /// The participant, if it waits.
    fn waiter(&self, number: usize) -> Option<Waiter<'a>> {
        let claim = self.claim(number);
        let seen = claim.load(Acquire); // N1 pairs with W2
        (seen & STATE == WAITING).then_some(Waiter { number, claim, seen })
    }

    /// N1.
    fn oldest(&self) -> Option<Waiter<'a>> {
        let waiters = (0..self.claims.count()).filter_map(|number| self.waiter(number));
        waiters.reduce(|a, b| if b.is_older_than(&a) { b } else { a })
    }

    // --- death ---------------------------------------------------------------------------------------------------

    /// Whether somebody else is notified and not yet back: should it die, its notification is another's.
    pub(crate) fn is_another_notified(&self, me: usize) -> bool {
        let notified = |claim: &Claim| claim.0.load(Relaxed) & STATE == NOTIFIED;
        self.claims.iter().enumerate().any(|(number, claim)| number != me && notified(claim))
    }

    /// M1 to M3: `gone` is dead, or leaves.
    pub(crate) fn mend(&self, gone: usize) {
        let claim = self.claim(gone);
        if let Some(waiter) = self.waiter(gone) {
            // M2; where it fails, a notifier has made it `NOTIFIED` or found it dead too.
            let _ = claim.compare_exchange(waiter.seen, IDLE, AcqRel, Acquire);
        }
        if claim.load(Acquire) & STATE == NOTIFIED {
            self.notify_oldest(|_| false); // M1 pairs with N2
            fault::point("condvar: passed on");
        }
        claim.store(IDLE, Release); // M3
    }
}

impl Waiter<'_> {
    /// Whether it took its ticket before the other did; tickets start again from 0 behind the last one.
    fn is_older_than(&self, other: &Self) -> bool {
        (self.seen.wrapping_sub(other.seen) as i32) < 0
    }

    /// N2 or N3. False: it is dead, or does not wait any more.
    fn notify(&self, is_dead: impl FnOnce(usize) -> bool) -> bool {
        if is_dead(self.number) {
            let _ = self.claim.compare_exchange(self.seen, IDLE, AcqRel, Relaxed); // N3: invariant 3
            return false;
        }
        let notified = self.seen & !STATE | NOTIFIED;
        // N2 pairs with W4 and T1
        if self.claim.compare_exchange(self.seen, notified, AcqRel, Relaxed).is_err() {
            return false;
        }
        fault::point("condvar: notified");
        sync::futex_wake(self.claim, 1);
        true
    }
}

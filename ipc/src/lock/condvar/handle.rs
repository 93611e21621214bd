//! The handle of a condition variable.

use super::protocol::{Claim, Control, Waiters};
use crate::error::{Error, LockError, WaitError};
use crate::header::{Item, Kind};
use crate::lock::guard::MutexGuard;
use crate::part::{Part, Place, Seat, as_fd, lines};
use crate::wait::Until;
use bytemuck::Pod;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// Where processes wait for a condition on the value of a [`Mutex`](crate::Mutex), like [`std::sync::Condvar`] and Python's `multiprocessing.Condition`.
///
/// Who holds the mutex and finds that the condition does not hold, waits; whoever makes it hold notifies. Waiting lets go of the mutex, and gives it back
/// afterwards. Who has waited longest is notified first, and nobody else is woken.
///
/// A waiter can wake up without a reason, most of all after a death: look at the condition again, as [`wait_while`](Self::wait_while) does. The mutex may
/// lie in any segment, and waits for different mutexes are possible at a time: each notification then is one waiter's, whichever its mutex.
///
/// # With the mutex or without
/// Notifying needs no lock. But who changes the condition without holding the mutex can do so just when a waiter has looked at it and does not yet
/// wait: that waiter sleeps through the notification. Change it under the mutex; notify under it or right after.
///
/// # When a participant dies
/// while it waits, no notification is spent on it. Once it is notified and not yet back with the mutex, the notification goes to the one
/// that has waited longest: by whoever waits, within two seconds; perhaps twice, if that one dies as well. A waiter that dies later holds the mutex: the next one that locks
/// is told ([`LockError::OwnerDied`]), and notifies others, if there is something left for them to do. If a notifier dies before it has woken those
/// that it notified, they notice within two seconds; those that it has not got to are not notified. A process that is stopped is alive.
///
/// ```
/// use skep_ipc::{Condvar, Mutex, Part};
/// let (jobs, added) = (Mutex::new(0_u32)?, Condvar::new()?);
/// let elsewhere = added.try_clone()?; // in another process: `Condvar::from_fd`, or `create` and `open`
/// std::thread::scope(|threads| {
///     let jobs = &jobs;
///     threads.spawn(move || {
///         *jobs.lock().expect("nobody dies") += 1;
///         elsewhere.notify_one()
///     });
///     let mut guard = jobs.lock().expect("nobody dies");
///     guard = added.wait_while(guard, |jobs| *jobs == 0).expect("nobody dies");
///     *guard -= 1;
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Condvar {
    // Before `seat`: it points into the segment that the seat keeps mapped.
    waiters: Waiters<'static>,
    seat: Arc<Seat>,
    _not_sync: PhantomData<Cell<()>>,
}

/// Why a wait with a timeout is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wakeup {
    /// Somebody notified the waiter.
    Notified,
    /// The time was over before anybody did.
    TimedOut,
}

/// The guard, or what became of it.
type Locked<'a, T> = Result<MutexGuard<'a, T>, LockError<MutexGuard<'a, T>>>;

/// The guard, and why the wait is over.
type LockedAnd<'a, T> = Result<(MutexGuard<'a, T>, Wakeup), LockError<(MutexGuard<'a, T>, Wakeup)>>;

impl Condvar {
    /// Makes an anonymous one. See [`Part`] for named ones.
    ///
    /// # Errors
    /// [`Error::NoMemory`], [`Error::Os`].
    pub fn new() -> Result<Self, Error> {
        Condvar::anonymous(())
    }

    // --- wait ----------------------------------------------------------------------------------------------------

    /// Unlocks the mutex, waits to be notified, and locks it again.
    ///
    /// # Errors
    /// [`LockError::OwnerDied`] with the guard, as [`Mutex::lock`](crate::Mutex::lock) gives it: the notification is this caller's all the same.
    /// Without a guard, the mutex being unlocked: [`LockError::Forked`], [`LockError::Corrupt`], and what else `lock` gives.
    pub fn wait<'a, T: Pod>(&self, guard: MutexGuard<'a, T>) -> Locked<'a, T> {
        match self.wait_until(guard, Until::Forever) {
            Ok((guard, _)) => Ok(guard),
            Err(error) => Err(error.map(|(guard, _)| guard)),
        }
    }

    /// The same, no longer than `timeout`; says whether somebody notified. Locking the mutex again takes as long as it takes.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout<'a, T: Pod>(&self, guard: MutexGuard<'a, T>, timeout: Duration) -> LockedAnd<'a, T> {
        self.wait_until(guard, Until::after(timeout))
    }

    /// Waits as long as `condition` says true of the value. It is called under the mutex, for the first time before anything is waited for.
    ///
    /// # Errors
    /// As [`wait`](Self::wait): after a death the value may not be in order, and the condition is not asked.
    pub fn wait_while<'a, T: Pod>(
        &self,
        guard: MutexGuard<'a, T>,
        condition: impl FnMut(&mut T) -> bool,
    ) -> Locked<'a, T> {
        match self.wait_while_until(guard, condition, Until::Forever) {
            Ok((guard, _)) => Ok(guard),
            Err(error) => Err(error.map(|(guard, _)| guard)),
        }
    }

    /// The same, no longer than `timeout`. [`Wakeup::TimedOut`]: the condition says true even now.
    ///
    /// # Errors
    /// As [`wait_while`](Self::wait_while).
    pub fn wait_timeout_while<'a, T: Pod>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
        condition: impl FnMut(&mut T) -> bool,
    ) -> LockedAnd<'a, T> {
        self.wait_while_until(guard, condition, Until::after(timeout))
    }

    /// Waits until `condition` says true of the value, as Python's `wait_for` does: [`wait_while`](Self::wait_while), the other way round.
    ///
    /// # Errors
    /// As [`wait_while`](Self::wait_while).
    pub fn wait_for<'a, T: Pod>(
        &self,
        guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> Locked<'a, T> {
        self.wait_while(guard, |value| !condition(value))
    }

    fn wait_while_until<'a, T: Pod>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
        until: Until,
    ) -> LockedAnd<'a, T> {
        let mut wakeup = Wakeup::Notified;
        while condition(&mut guard) {
            if wakeup == Wakeup::TimedOut {
                return Ok((guard, wakeup));
            }
            (guard, wakeup) = self.wait_until(guard, until)?;
        }
        Ok((guard, Wakeup::Notified))
    }

    fn wait_until<'a, T: Pod>(&self, guard: MutexGuard<'a, T>, until: Until) -> LockedAnd<'a, T> {
        if !self.seat.is_own() {
            return Err(LockError::Forked);
        }
        let mutex = guard.mutex();
        let check = || {
            let is_concerned = self.waiters.is_another_notified(self.seat.me());
            if is_concerned {
                self.seat.mend_the_dead();
            }
            is_concerned
        };
        let waited = self.waiters.wait(self.seat.me(), until, || drop(guard), || mutex.lock(), check);
        let (locked, notified) = waited.map_err(|_| LockError::Corrupt)?;
        let wakeup = if notified { Wakeup::Notified } else { Wakeup::TimedOut };
        match locked {
            Ok(guard) => Ok((guard, wakeup)),
            Err(error) => Err(error.map(|guard| (guard, wakeup))),
        }
    }

    // --- notify --------------------------------------------------------------------------------------------------

    /// Notifies the `n` that have waited longest, or all if they are fewer. Returns how many: the dead do not count. What the caller wrote before is
    /// visible to those who go on because of it.
    ///
    /// # Errors
    /// [`WaitError::Forked`].
    pub fn notify(&self, n: usize) -> Result<usize, WaitError> {
        if !self.seat.is_own() {
            return Err(WaitError::Forked);
        }
        Ok(self.waiters.notify(n, |peer| self.seat.is_dead(peer)))
    }

    /// Notifies the one that has waited longest. Returns how many that were, 0 or 1.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn notify_one(&self) -> Result<usize, WaitError> {
        self.notify(1)
    }

    /// Notifies all who wait. Returns how many.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn notify_all(&self) -> Result<usize, WaitError> {
        self.notify(usize::MAX)
    }
}

impl Part for Condvar {
    type Setup = ();
    const KIND: Kind = Kind::new(*b"condvar\0");

    fn item() -> Item {
        Item::opaque(1)
    }

    fn bytes(peers: usize) -> usize {
        lines::<Control>(1) + lines::<Claim>(peers)
    }

    fn init(place: &mut Place, (): ()) -> Result<(), Error> {
        waiters(place); // zeroes are one that nobody waits for
        Ok(())
    }

    fn attach(place: &mut Place, seat: &Arc<Seat>) -> Result<Self, Error> {
        Ok(Condvar { waiters: waiters(place), seat: seat.clone(), _not_sync: PhantomData })
    }

    fn mend(place: &mut Place, peer: usize) {
        waiters(place).mend(peer);
    }

    fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}

/// The words at a place, valid as long as its segment.
fn waiters<'a>(place: &mut Place) -> Waiters<'a> {
    // SAFETY: atomics, of which zeroes are valid; a handle keeps the seat, and with it the segment, and who mends has it mapped.
    unsafe { Waiters::new(place.control(), place.claims()) }
}

as_fd!(std::os::fd::AsFd for Condvar);

impl std::fmt::Debug for Condvar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}

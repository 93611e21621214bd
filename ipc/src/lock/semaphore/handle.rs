//! The handle of a semaphore, and its permits.

use super::protocol::{Claim, Control, MOST, Permits, Refusal};
use crate::error::{Error, ReleaseError, WaitError};
use crate::header::{Item, Kind};
use crate::part::{Part, Place, Seat, as_fd, lines};
use crate::refusals::Refusals;
use crate::segment::agree;
use crate::wait::Until;
use std::sync::Arc;
use std::time::Duration;

/// A number of permits that processes take and give back, like Python's `multiprocessing.Semaphore` and `BoundedSemaphore`.
///
/// [`acquire`](Self::acquire) gives a [`Permit`], whose holder this handle is; dropped, it is free again. [`release`](Self::release) makes permits that
/// nobody held, and [`Permit::forget`] ends one for good, so that a semaphore can also count signals from those who release to those who acquire. What a
/// process wrote before it released or gave back is visible to whoever takes a permit after that.
///
/// Who is faster is first: a newcomer may overtake those who wait, and who waits for several permits takes them all at once, when so many are free.
///
/// # When a participant dies
/// its permits are free again: those who wait look for dead holders every 100 ms, who tries does at the first try after as long,
/// and [`recover`](Part::recover) does it at once. (A holder is seen to be dead once the kernel has freed its process's memory.) The same happens
/// to a permit that was given to `std::mem::forget` when its handle is dropped. Permits that were [released](Self::release) stay. A participant that is
/// *stopped* is alive, and keeps what it holds. If one dies before it has woken a sleeper for a permit that it freed, and nobody holds any,
/// the sleeper notices within two seconds.
///
/// # The algorithm
/// is lock-free: a compare-and-swap whose success can be told after its author's death (Attiya, Ben-Baruch and Hendler, PODC 2018). A permit is taken and given
/// back without a system call, unless somebody sleeps.
///
/// ```
/// use skep_ipc::{Part, Semaphore};
/// let slots = Semaphore::bounded(2)?;
/// let elsewhere = slots.try_clone()?; // in another process: `from_fd`, or `create` and `open`
/// let first = slots.acquire()?;
/// let second = elsewhere.acquire()?;
/// assert!(slots.try_acquire().is_err());
/// drop(second);
/// assert_eq!(slots.available()?, 1);
/// assert!(slots.release(1).is_err(), "there are two permits already, one of them held");
/// # drop(first);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A handle is one participant, of one thread at a time:
/// ```compile_fail
/// fn shared<T: Sync>() {}
/// shared::<skep_ipc::Semaphore>();
/// ```
pub struct Semaphore {
    // Before `seat`: they point into the segment that the seat keeps mapped.
    permits: Permits<'static>,
    seat: Arc<Seat>,
    /// Of `try_acquire`; makes the handle one thread's at a time too.
    refusals: Refusals,
}

/// What a semaphore starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SemaphoreSetup {
    /// How many permits are free at first.
    pub permits: u32,
    /// How many there may ever be, free and held; if nothing is said, 2³¹ - 1.
    pub bound: Option<u32>,
}

impl SemaphoreSetup {
    /// So many permits, and more if somebody [releases](Semaphore::release) them.
    pub fn counting(permits: u32) -> Self {
        SemaphoreSetup { permits, bound: None }
    }

    /// So many permits, and never more.
    pub fn bounded(permits: u32) -> Self {
        SemaphoreSetup { permits, bound: Some(permits) }
    }
}

impl Semaphore {
    /// Makes an anonymous semaphore with so many free permits; [`release`](Self::release) can make more, up to 2³¹ - 1. See [`Part`] for named ones.
    ///
    /// # Errors
    /// [`Error::Setup`] if `permits` is more than 2³¹ - 1; [`Error::NoMemory`], [`Error::Os`].
    pub fn new(permits: u32) -> Result<Self, Error> {
        Semaphore::anonymous(SemaphoreSetup::counting(permits))
    }

    /// Makes an anonymous semaphore with so many free permits, which never has more.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn bounded(permits: u32) -> Result<Self, Error> {
        Semaphore::anonymous(SemaphoreSetup::bounded(permits))
    }

    // --- take ------------------------------------------------------------------------------------------------------

    /// Takes a permit, as soon as one is free.
    ///
    /// # Errors
    /// [`WaitError::TooMany`] if the bound is zero, [`WaitError::Forked`], [`WaitError::Corrupt`].
    #[inline]
    pub fn acquire(&self) -> Result<Permit<'_>, WaitError> {
        self.acquire_many(1)
    }

    /// Takes a permit if one is free.
    ///
    /// # Errors
    /// [`WaitError::Timeout`] if none is, and as [`acquire`](Self::acquire).
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit<'_>, WaitError> {
        self.try_acquire_many(1)
    }

    /// Takes a permit, if one is free before `timeout` is over.
    ///
    /// # Errors
    /// [`WaitError::Timeout`], and as [`acquire`](Self::acquire).
    #[inline]
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>, WaitError> {
        self.acquire_many_timeout(1, timeout)
    }

    /// Takes `count` permits at once, as soon as so many are free. Until then it holds none of them.
    ///
    /// As others may always take some before there are enough, it can wait for as long as they do.
    ///
    /// # Errors
    /// [`WaitError::TooMany`] if `count` is above the bound, [`WaitError::Forked`], [`WaitError::Corrupt`].
    pub fn acquire_many(&self, count: u32) -> Result<Permit<'_>, WaitError> {
        self.acquire_until(count, || Until::Forever)
    }

    /// Takes `count` permits at once, if so many are free.
    ///
    /// # Errors
    /// [`WaitError::Timeout`] if there are not so many, and as [`acquire_many`](Self::acquire_many).
    pub fn try_acquire_many(&self, count: u32) -> Result<Permit<'_>, WaitError> {
        self.check(count)?;
        let take = || self.permits.take(self.seat.me(), count);
        let mut result = take();
        if result == Err(Refusal::Not) && self.refusals.is_time_to_look() {
            self.mend_if_held();
            result = take();
        }
        self.taken(count, result)
    }

    /// Takes `count` permits at once, if so many are free before `timeout` is over.
    ///
    /// # Errors
    /// [`WaitError::Timeout`], and as [`acquire_many`](Self::acquire_many).
    pub fn acquire_many_timeout(&self, count: u32, timeout: Duration) -> Result<Permit<'_>, WaitError> {
        self.acquire_until(count, || Until::after(timeout))
    }

    fn acquire_until(&self, count: u32, until: impl FnOnce() -> Until) -> Result<Permit<'_>, WaitError> {
        self.check(count)?;
        let mut result = self.permits.take(self.seat.me(), count);
        if result == Err(Refusal::Not) {
            let check = || self.mend_if_held();
            result = self.permits.take_until(self.seat.me(), count, until(), check);
        }
        self.taken(count, result)
    }

    fn check(&self, count: u32) -> Result<(), WaitError> {
        if !self.seat.is_own() {
            return Err(WaitError::Forked);
        }
        if count > self.permits.bound() { Err(WaitError::TooMany) } else { Ok(()) }
    }

    fn taken(&self, count: u32, result: Result<(), Refusal>) -> Result<Permit<'_>, WaitError> {
        match result {
            Ok(()) => Ok(Permit { semaphore: self, count }),
            Err(Refusal::Not) => Err(WaitError::Timeout),
            Err(Refusal::Corrupt) => Err(WaitError::Corrupt),
        }
    }

    /// Mends for the dead if somebody holds permits; says whether somebody does.
    fn mend_if_held(&self) -> bool {
        let held = || self.permits.pool().is_ok_and(|pool| pool.available < pool.total);
        held() && {
            self.seat.mend_the_dead();
            held()
        }
    }

    // --- give ------------------------------------------------------------------------------------------------------

    /// Makes `count` new permits, and wakes those who wait for them. No permit is needed for that, and those that are held stay so.
    ///
    /// # Errors
    /// [`ReleaseError::TooMany`] if there would be more than the bound, free and held: then nothing changes. [`ReleaseError::Forked`],
    /// [`ReleaseError::Corrupt`].
    pub fn release(&self, count: u32) -> Result<(), ReleaseError> {
        if !self.seat.is_own() {
            return Err(ReleaseError::Forked);
        }
        self.permits.add(self.seat.me(), count).map_err(|refusal| match refusal {
            Refusal::Not => ReleaseError::TooMany { bound: self.permits.bound() },
            Refusal::Corrupt => ReleaseError::Corrupt,
        })
    }

    /// How many permits are free at this moment.
    ///
    /// # Errors
    /// [`WaitError::Corrupt`].
    pub fn available(&self) -> Result<u32, WaitError> {
        self.permits.pool().map(|pool| pool.available).map_err(|_| WaitError::Corrupt)
    }
}

/// Permits of a [`Semaphore`], which are free again when this is dropped.
///
/// In a child that `fork()` copied it into, it holds nothing.
#[must_use = "the permit is free again as soon as it is dropped"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    count: u32,
}

impl Permit<'_> {
    /// How many permits this is.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Ends the permits: nobody holds them any more, and they are not free either. A bounded semaphore has room for as many new ones then.
    pub fn forget(self) {
        let semaphore = self.semaphore;
        if semaphore.seat.is_own() {
            // Refused only where a peer wrote what it may not: nothing can be done about that.
            let _ = semaphore.permits.spend(semaphore.seat.me(), self.count);
        }
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        let semaphore = self.semaphore;
        if semaphore.seat.is_own() {
            let _ = semaphore.permits.give(semaphore.seat.me(), self.count); // as in `forget`
        }
    }
}

impl std::fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permit").field("count", &self.count).finish_non_exhaustive()
    }
}

// SAFETY: the same values are taken from a place each time, and the item names their type.
unsafe impl Part for Semaphore {
    type Setup = SemaphoreSetup;
    const KIND: Kind = Kind::new(*b"semaphor");

    fn item() -> Item {
        Item::opaque(1)
    }

    fn bytes(peers: usize) -> usize {
        lines::<Control>(1) + lines::<Claim>(peers)
    }

    fn init(place: &mut Place, SemaphoreSetup { permits, bound }: SemaphoreSetup) -> Result<(), Error> {
        let bound = bound.unwrap_or(MOST);
        if bound > MOST {
            return Err(Error::Setup("a semaphore has at most 2147483647 permits"));
        }
        if permits > bound {
            return Err(Error::Setup("a semaphore starts with as many permits as its bound, or fewer"));
        }
        words(place).init(permits, bound);
        Ok(())
    }

    fn attach(place: &mut Place, seat: &Arc<Seat>) -> Result<Self, Error> {
        Ok(Semaphore { permits: words(place), seat: seat.clone(), refusals: Refusals::default() })
    }

    fn mend(place: &mut Place, peer: usize) {
        words(place).mend(peer);
    }

    fn agree(&self, setup: &SemaphoreSetup) -> Result<(), Error> {
        let expected = setup.bound.unwrap_or(MOST);
        Ok(agree("bound", self.permits.bound().into(), expected.into())?)
    }

    fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}

/// The words at a place, valid as long as the segment, which the caller keeps.
fn words(place: &mut Place) -> Permits<'static> {
    // SAFETY: atomics, of which zeroes are valid; the handle keeps the seat, and with it the segment, or uses them at once.
    unsafe { Permits::new(place.control(), place.claims()) }
}

as_fd!(std::os::fd::AsFd for Semaphore);

impl std::fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Semaphore")
            .field("available", &self.available().ok())
            .field("bound", &self.permits.bound())
            .finish_non_exhaustive()
    }
}

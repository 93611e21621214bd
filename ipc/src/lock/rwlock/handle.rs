//! The handle of a readers-writer lock. Steps and invariants are those of `protocol.rs`.

use super::guard::{RwLockReadGuard, RwLockWriteGuard};
use super::protocol::{self, Claim, Control, Lock, Refusal, Taken};
use crate::error::{Error, LockError};
use crate::header::{Item, Kind};
use crate::part::{Part, Place, Seat, as_fd, lines};
use crate::wait::Until;
use bytemuck::Pod;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

type ReadResult<'a, T> = Result<RwLockReadGuard<'a, T>, LockError<RwLockReadGuard<'a, T>>>;
type WriteResult<'a, T> = Result<RwLockWriteGuard<'a, T>, LockError<RwLockWriteGuard<'a, T>>>;

/// A value in shared memory that many participants read at a time, or one writes.
///
/// Readers do not get into each other's way: each announces itself on a cache line of its own, so reading costs no more the more there are.
/// A writer looks at the line of every place that the lock was made for ([`PartOptions`](crate::PartOptions)): fewer places, faster writers.
/// A lock that is free is taken and released without a system call.
///
/// A handle is one participant, for one thread at a time; see [`Part`]. It may have several read guards. The value is aligned to 128 bytes at most.
///
/// # Order
/// Writers come first: once one asks, it waits for those who read already, and everybody who comes later waits for it. (A handle that reads may
/// read once more even so.) Readers can be kept out for as long as writers follow each other without a break. Among writers, and among those who
/// wait, there is no order.
///
/// # Blocking
/// A reader that keeps its guard holds up writers, and through the first of these all later readers; a writer holds up everybody. A *stopped* one is
/// alive, and does so until it goes on. The forms with a timeout give up; a writer that gives up lets the readers in again.
/// A handle that would wait for itself gets [`LockError::WouldDeadlock`]; two handles in one thread that wait for each other do so for ever.
///
/// # When a participant dies
/// while it reads, that is as if it had left. While it writes, the value is as it left it: from then on [`read`](Self::read) and
/// [`write`](Self::write) give [`LockError::OwnerDied`], with the guard in it, until a writer has brought the value in order and says so by
/// [`mark_consistent`](RwLockWriteGuard::mark_consistent). A panic that unwinds through a write guard counts as a death, and a write guard that was
/// forgotten when its handle is dropped. A writer that dies while it still waits for readers has touched nothing, and nobody is told.
///
/// ```
/// use skep_ipc::{LockError, Part, RwLock};
/// let prices = RwLock::new([100_u64, 200])?;
/// let elsewhere = prices.try_clone()?; // in another process: `from_fd`, or `create` and `open`
/// {
///     let (here, there) = (prices.read().expect("nobody died"), elsewhere.read().expect("nobody died"));
///     assert_eq!(here[0] + there[1], 300);
///     assert!(matches!(prices.write(), Err(LockError::WouldDeadlock)));
/// }
/// // What a writer does that knows how to repair the value after a death:
/// let mut guard = elsewhere.write().or_else(|e| e.recover(|prices| *prices = [100, 200]))?;
/// guard[0] = 101;
/// drop(guard);
/// assert_eq!(prices.read().expect("in order")[0], 101);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The value is one of plain bytes:
/// ```compile_fail
/// skep_ipc::RwLock::new(String::new());
/// ```
///
/// A handle is not shared between threads:
/// ```compile_fail
/// fn shared<T: Sync>() {}
/// shared::<skep_ipc::RwLock<u64>>();
/// ```
///
/// # What the processes have to keep to
/// The value may only be touched under the lock. A process that writes to the memory by other ways can make another one read anything that fits
/// a `T`, or wait without end; it cannot make it read or write elsewhere.
pub struct RwLock<T: Pod> {
    // Before `seat`: both point into the segment that the seat keeps mapped.
    lock: Lock<'static>,
    value: NonNull<T>,
    seat: Arc<Seat>,
}

// SAFETY: the value is one that other participants read meanwhile, hence `T: Sync`, and that moves to the thread that writes, hence `T: Send`;
// everything else is sendable.
unsafe impl<T: Pod + Send + Sync> Send for RwLock<T> {}

impl<T: Pod> RwLock<T> {
    /// Makes an anonymous lock around a value. See [`Part`] for named ones.
    ///
    /// # Errors
    /// [`Error::NoMemory`], [`Error::Os`].
    pub fn new(value: T) -> Result<Self, Error> {
        RwLock::anonymous(value)
    }

    // --- read ----------------------------------------------------------------------------------------------------

    /// Waits until nobody writes or is about to, and reads.
    ///
    /// # Errors
    /// [`LockError::OwnerDied`] with the guard; without it [`LockError::WouldDeadlock`] (this handle writes), [`LockError::Forked`],
    /// [`LockError::Corrupt`].
    #[inline]
    pub fn read(&self) -> Result<RwLockReadGuard<'_, T>, LockError<RwLockReadGuard<'_, T>>> {
        self.read_until(|| Until::Forever)
    }

    /// Reads, unless somebody living writes or is about to.
    ///
    /// If it is refused, it asks the kernel whether those who hold the lock live.
    ///
    /// # Errors
    /// [`LockError::WouldBlock`], and as [`read`](Self::read).
    #[inline]
    pub fn try_read(&self) -> Result<RwLockReadGuard<'_, T>, LockError<RwLockReadGuard<'_, T>>> {
        self.check_epoch()?;
        self.read_guard(self.or_after_a_death(|| self.lock.try_read()), LockError::WouldBlock)
    }

    /// Waits no longer than `timeout`, and reads.
    ///
    /// # Errors
    /// [`LockError::Timeout`], and as [`read`](Self::read).
    #[inline]
    pub fn read_timeout(
        &self,
        timeout: Duration,
    ) -> Result<RwLockReadGuard<'_, T>, LockError<RwLockReadGuard<'_, T>>> {
        self.read_until(|| Until::after(timeout))
    }

    #[inline]
    fn read_until(&self, until: impl FnOnce() -> Until) -> ReadResult<'_, T> {
        self.check_epoch()?;
        let taken = match self.lock.try_read() {
            Err(Refusal::Busy) => self.lock.read(until(), || self.mend_dead_holders()),
            outcome => outcome,
        };
        self.read_guard(taken, LockError::Timeout)
    }

    #[inline]
    fn read_guard<'a>(&'a self, taken: Taken, busy: LockError<RwLockReadGuard<'a, T>>) -> ReadResult<'a, T> {
        let is_suspect = taken.map_err(|refusal| refused(refusal, busy))?;
        let guard = RwLockReadGuard::new(self);
        if is_suspect { Err(LockError::OwnerDied(guard)) } else { Ok(guard) }
    }

    // --- write ---------------------------------------------------------------------------------------------------

    /// Waits until nobody else reads or writes, and writes.
    ///
    /// # Errors
    /// [`LockError::OwnerDied`] with the guard; without it [`LockError::WouldDeadlock`] (this handle reads or writes), [`LockError::Forked`],
    /// [`LockError::Corrupt`].
    #[inline]
    pub fn write(&self) -> Result<RwLockWriteGuard<'_, T>, LockError<RwLockWriteGuard<'_, T>>> {
        self.write_until(|| Until::Forever)
    }

    /// Writes, unless somebody else living reads or writes.
    ///
    /// If it is refused, it asks the kernel whether those who hold the lock live.
    ///
    /// # Errors
    /// [`LockError::WouldBlock`], and as [`write`](Self::write).
    #[inline]
    pub fn try_write(&self) -> Result<RwLockWriteGuard<'_, T>, LockError<RwLockWriteGuard<'_, T>>> {
        self.check_epoch()?;
        self.write_guard(self.or_after_a_death(|| self.lock.try_write()), LockError::WouldBlock)
    }

    /// Waits no longer than `timeout`, and writes.
    ///
    /// # Errors
    /// [`LockError::Timeout`], and as [`write`](Self::write).
    #[inline]
    pub fn write_timeout(
        &self,
        timeout: Duration,
    ) -> Result<RwLockWriteGuard<'_, T>, LockError<RwLockWriteGuard<'_, T>>> {
        self.write_until(|| Until::after(timeout))
    }

    #[inline]
    fn write_until(&self, until: impl FnOnce() -> Until) -> WriteResult<'_, T> {
        self.check_epoch()?;
        let taken = self.lock.write(until(), || self.mend_dead_holders());
        self.write_guard(taken, LockError::Timeout)
    }

    #[inline]
    fn write_guard<'a>(
        &'a self,
        taken: Taken,
        busy: LockError<RwLockWriteGuard<'a, T>>,
    ) -> WriteResult<'a, T> {
        let is_suspect = taken.map_err(|refusal| refused(refusal, busy))?;
        let guard = RwLockWriteGuard::new(self);
        if is_suspect { Err(LockError::OwnerDied(guard)) } else { Ok(guard) }
    }

    // --- death ---------------------------------------------------------------------------------------------------

    /// Mends for those who hold the lock and are dead. Somebody holds it, or this would not be asked: true.
    fn mend_dead_holders(&self) -> bool {
        if self.lock.holders().any(|holder| self.seat.is_dead(holder)) {
            self.seat.mend_the_dead();
        }
        true
    }

    /// One attempt, and another one if it was refused for the sake of a dead holder.
    #[inline]
    fn or_after_a_death(&self, attempt: impl Fn() -> Taken) -> Taken {
        match attempt() {
            Err(Refusal::Busy) => {
                self.mend_dead_holders();
                attempt()
            }
            outcome => outcome,
        }
    }

    #[inline]
    fn check_epoch<G>(&self) -> Result<(), LockError<G>> {
        if self.seat.is_own() { Ok(()) } else { Err(LockError::Forked) }
    }

    // --- for the guards ------------------------------------------------------------------------------------------

    #[inline]
    pub(super) fn lock(&self) -> &Lock<'static> {
        &self.lock
    }

    #[inline]
    pub(super) fn value(&self) -> NonNull<T> {
        self.value
    }

    /// Whether guards mean anything in this process: in a forked child they are the parent's.
    #[inline]
    pub(super) fn is_own(&self) -> bool {
        self.seat.is_own()
    }
}

fn refused<G>(refusal: Refusal, busy: LockError<G>) -> LockError<G> {
    match refusal {
        Refusal::Busy => busy,
        Refusal::WouldDeadlock => LockError::WouldDeadlock,
        Refusal::Corrupt => LockError::Corrupt,
    }
}

// SAFETY: the same values are taken from a place each time, and the item names their type.
unsafe impl<T: Pod> Part for RwLock<T> {
    /// The value.
    type Setup = T;
    const KIND: Kind = Kind::new(*b"rwlock\0\0");

    fn item() -> Item {
        Item::of::<T>()
    }

    fn bytes(peers: usize) -> usize {
        lines::<Control>(1) + lines::<Claim>(peers) + lines::<T>(1)
    }

    fn init(place: &mut Place, value: T) -> Result<(), Error> {
        place.take::<Control>(1);
        place.take::<Claim>(place.peers()); // zeroes are a lock that nobody holds
        // SAFETY: inside the segment, aligned, and nobody else sees it yet.
        unsafe { place.take::<T>(1).write(value) };
        Ok(())
    }

    fn attach(place: &mut Place, seat: &Arc<Seat>) -> Result<Self, Error> {
        // SAFETY: atomics, of which zeroes are valid; the handle keeps the seat, and with it the segment.
        let (control, claims) = unsafe { (place.control(), place.claims()) };
        Ok(RwLock { lock: Lock::new(control, claims, seat.me()), value: place.take(1), seat: seat.clone() })
    }

    fn mend(place: &mut Place, peer: usize) {
        // SAFETY: as in `attach`; whoever mends keeps the segment.
        let (control, claims) = unsafe { (place.control(), place.claims()) };
        place.take::<T>(1);
        protocol::mend(control, claims, peer);
    }

    fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}

as_fd!(<T: Pod> std::os::fd::AsFd for RwLock<T>);

impl<T: Pod> std::fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RwLock").field("is_suspect", &self.lock.is_suspect()).finish_non_exhaustive()
    }
}

//! A robust lock in shared memory, and what it is around: what [`Mutex`](super::Mutex), [`RLock`](super::RLock) and [`Array`](crate::Array) are made of.
//!
//! The lock is the C library's (`pthread.rs`): the kernel knows who holds it, and passes it on when the holder ends. Its own way of telling
//! that is a trap: whoever gets the lock from a dead holder and unlocks it without a word makes it useless for everybody, for ever. So the
//! mutex is always made consistent at once, and that the *data* may not be in order stands in a word of our own, `suspect`, until somebody
//! says that they are.
//!
//! # States
//! | mutex | `suspect` | state | the next `lock` gives |
//! | --- | --- | --- | --- |
//! | free | 0 | in order | the guard |
//! | free | 1 | suspect: a holder died, and nobody has called `mark_consistent` since | `OwnerDied(guard)` |
//! | held by a living thread | any | that thread decides | waits |
//! | `OWNER_DIED` (written by the kernel) | any | the holder died just now | `OwnerDied(guard)`, after L2 and L3 |
//!
//! # Steps
//! | who | step | |
//! | --- | --- | --- |
//! | `lock` | L1 | lock the mutex: free, go to L4; held, wait; `OWNER_DIED`, go to L2 |
//! | | L2 | `suspect := 1` |
//! | | L3 | make the mutex consistent |
//! | | L4 | read `suspect`: 0, the guard; else `OwnerDied(guard)` |
//! | `mark_consistent` | M1 | `suspect := 0` |
//! | guard's drop | D1 | during a panic that began under the guard: `suspect := 1` |
//! | | D2 | unlock the mutex |
//!
//! # Invariants
//! 1. `suspect` is written by the holder of the mutex alone, so it needs no order of its own: lock and unlock give it.
//! 2. Between the death of a holder and the next M1, whoever gets the lock is told.
//! 3. A mutex that is used through this file alone is never unlocked inconsistent, so it never becomes unrecoverable.
//! 4. The memory stays mapped while a thread of this process holds the lock, or the C library has noted that it is about to: the guard borrows
//!    the handle, a handle whose guard was forgotten never unmaps (`guards`), and no call returns with the note still there (`lock_for`). A holder who locks again through another
//!    handle, of a mapping of its own, may drop the first one before the last guard: the C library has noted the first one's mapping, so that stays too (`depth`).
//! 5. `depth`, and `guards` and `is_outermost` of a handle, are changed by the holder of the mutex alone, as `suspect` is.
//!
//! # A kill at each step
//! - in L1, before the lock is taken: nothing has happened. After: the kernel sees the mutex in the dead thread's list, or as the pending
//!   one, and writes `OWNER_DIED`; nothing in the data has changed, and the next holder is told nevertheless.
//! - after L1 with `OWNER_DIED`, before or after L2: the kernel writes `OWNER_DIED` again. The next one starts at L2.
//! - after L3, anywhere up to D2: likewise; `suspect` is 1 already.
//! - while the user writes to the data: `OWNER_DIED`, so L2. This is what invariant 2 is about.
//! - after M1: `OWNER_DIED`, and the next one sets `suspect` again: told once more than needed, never once less.
//! - in D2, before the word is released: `OWNER_DIED`, as before. After, before a waiter is woken: the kernel wakes one for the pending entry;
//!   besides, no waiter sleeps for longer than a slice without another attempt.
//!
//! A thread that ends with its guard forgotten, and a process that executes another program, count as dead holders: the kernel treats them so. But for one case, a thread
//! that is not its process's first one and executes a program: it takes the first one's id before the kernel looks at what it holds. Whoever waits looks once a slice
//! whether there still is a thread of the holder's id (`pass_on_from_the_vanished`), and so does whoever is refused.
//!
//! The holder is named by its thread id, so all who share the lock must be in one pid namespace; it says in which it was made, and is not attached elsewhere.

use super::contents::{CONTROL_BYTES, Contents, len, value_offset};
use super::pthread::{Attempt, RawMutex, Relock};
use crate::error::{Error, LockError, Mismatch};
use crate::fork::Epoch;
use crate::header::{Blueprint, Item, Kind};
use crate::part::{Place, Seat, lines};
use crate::segment::{Segment, open_or_create};
use crate::sync::{AtomicU32, AtomicU64, LINE, Relaxed, spin_loop};
use crate::sys;
use crate::wait::{SLICE, Until};
use bytemuck::Pod;
use std::convert::Infallible;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// How often a lock that is held is looked at before the thread sleeps, with pauses that double from 8 to 64: some ten microseconds. Each look has the holder fetch the line again.
const TRIES: u32 = 10;

/// The words before the contents, on a line of their own.
#[repr(C, align(64))]
pub(super) struct Control {
    pub(super) raw: RawMutex,
    /// Not zero: the data may not be in order. Changed under the lock alone.
    pub(super) suspect: AtomicU32,
    /// How many guards the holder has, through whatever handles. Changed under the lock alone.
    depth: AtomicU32,
    /// Where the thread ids in `raw` count; written once, before the segment is published.
    pid_namespace: AtomicU64,
}

const _: () = assert!(size_of::<Control>() == CONTROL_BYTES);

/// A kind of lock: what it is called, and what becomes of a holder who locks again.
pub(crate) trait Lock {
    const KIND: Kind;
    const RELOCK: Relock;
}

/// A handle of a lock `L` around `V`, in a segment of its own or, around a value, at a place in a struct's.
pub(crate) struct Robust<V: ?Sized + Contents, L: Lock> {
    /// The control words, with the contents behind them; in the segment that `seat` keeps mapped.
    base: NonNull<u8>,
    contents: NonNull<V>,
    epoch: Epoch,
    seat: Arc<Seat>,
    /// How many guards of this handle exist, or were forgotten.
    guards: AtomicU32,
    /// Whether the lock was taken through this handle, and not again by a holder who had it.
    is_outermost: AtomicBool,
    _lock: PhantomData<L>,
}

// SAFETY: the contents move to the thread that locks, hence `V: Send`; everything else is a segment and atomics.
unsafe impl<V: ?Sized + Contents + Send, L: Lock> Send for Robust<V, L> {}
// SAFETY: as above; one thread at a time has access to the contents.
unsafe impl<V: ?Sized + Contents + Send, L: Lock> Sync for Robust<V, L> {}

/// Around a value.
impl<T: Pod, L: Lock> Robust<T, L> {
    // --- in a segment of its own -----------------------------------------------------------------------------------

    pub(super) fn anonymous(value: T) -> Result<Self, Error> {
        Self::build_anonymous(1, |contents| *contents = value)
    }

    pub(super) fn create(name: &str, value: T) -> Result<Self, Error> {
        Self::build_named(name, 1, |contents| *contents = value)
    }

    pub(super) fn open_or_create(name: &str, value: T) -> Result<Self, Error> {
        open_or_create(|| Self::open(name), || Self::create(name, value))
    }

    // --- as a part -------------------------------------------------------------------------------------------------

    pub(super) fn bytes() -> usize {
        const { assert!(align_of::<T>() <= LINE, "a value in a struct is aligned to a line at most") };
        lines::<u8>(len::<T>())
    }

    pub(super) fn init_at(place: &mut Place, value: T) -> Result<(), Error> {
        Self::init(place.take(len::<T>()), 1, |contents| *contents = value)
    }

    pub(super) fn attach(place: &mut Place, seat: &Arc<Seat>) -> Result<Self, Error> {
        Self::at(place.take(len::<T>()), 1, seat)
    }

    /// The kernel passes a dead holder's lock on, and what a thread forgot it holds until it ends.
    pub(super) fn skip(place: &mut Place) {
        place.take::<u8>(len::<T>());
    }
}

impl<V: ?Sized + Contents, L: Lock> Robust<V, L> {
    // --- in a segment of its own -----------------------------------------------------------------------------------

    /// Creates an anonymous lock, whose zeroed contents `fill` sees before anybody else.
    pub(crate) fn build_anonymous(capacity: u64, fill: impl FnOnce(&mut V)) -> Result<Self, Error> {
        Self::build(None, capacity, fill)
    }

    /// Creates a named lock, whose zeroed contents `fill` sees before anybody else.
    pub(crate) fn build_named(name: &str, capacity: u64, fill: impl FnOnce(&mut V)) -> Result<Self, Error> {
        Self::build(Some(name), capacity, fill)
    }

    fn build(name: Option<&str>, capacity: u64, fill: impl FnOnce(&mut V)) -> Result<Self, Error> {
        let init = |body| Self::init(body, capacity, fill);
        Segment::build(name, &Self::blueprint(), (capacity, 1), init, Self::with)
    }

    pub(crate) fn open(name: &str) -> Result<Self, Error> {
        Segment::open(name, &Self::blueprint()).and_then(Self::with)
    }

    pub(crate) fn from_fd(file: OwnedFd) -> Result<Self, Error> {
        Segment::from_fd(file, &Self::blueprint()).and_then(Self::with)
    }

    /// A handle of the lock in a segment that was checked against the blueprint.
    fn with(segment: Segment) -> Result<Self, Error> {
        let (base, capacity) = (segment.body(), segment.capacity());
        Self::at(base, capacity, &Seat::apart(&segment, Self::blueprint()))
    }

    /// What a program expects of a segment that holds such a lock.
    pub(super) fn blueprint() -> Blueprint {
        Blueprint { kind: L::KIND, item: Item::of::<V::Item>(), body_len: V::body_len }
    }

    /// Another handle of a lock in a segment of its own; `None` of one at a place.
    pub(super) fn try_clone(&self) -> Option<Result<Self, Error>> {
        self.seat.is_apart().then(|| self.another())
    }

    /// Another handle of a lock in a segment of its own.
    pub(crate) fn another(&self) -> Result<Self, Error> {
        if self.epoch.is_current() { Self::with(self.segment().clone()) } else { Err(Error::Forked) }
    }

    pub(super) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }

    pub(crate) fn segment(&self) -> &Segment {
        self.seat.segment()
    }

    /// A handle, unless the lock's thread ids mean others in this process.
    fn at(base: NonNull<u8>, capacity: u64, seat: &Arc<Seat>) -> Result<Self, Error> {
        let (epoch, seat) = (seat.segment().epoch(), seat.clone());
        let robust = Robust {
            base,
            contents: Self::contents_at(base, capacity),
            epoch,
            seat,
            guards: AtomicU32::new(0),
            is_outermost: AtomicBool::new(false),
            _lock: PhantomData,
        };
        let (found, expected) = (robust.control().pid_namespace.load(Relaxed), sys::pid_namespace()?);
        if found == expected { Ok(robust) } else { Err(Mismatch::PidNamespace { found, expected }.into()) }
    }

    /// Fills the zeroed memory of a new lock, which nobody else sees yet and has room for the capacity.
    fn init(base: NonNull<u8>, capacity: u64, fill: impl FnOnce(&mut V)) -> Result<(), Error> {
        // SAFETY: within the memory, as the caller says, and aligned; any bytes are valid contents.
        fill(unsafe { Self::contents_at(base, capacity).as_mut() });
        // SAFETY: as above; the control words are atomics and a cell, for which zeroes are valid.
        let control: &Control = unsafe { base.cast().as_ref() };
        control.pid_namespace.store(sys::pid_namespace()?, Relaxed);
        control.raw.init(L::RELOCK)
    }

    // --- lock ----------------------------------------------------------------------------------------------------

    /// L1 to L3; until the lock is free, its holder dies, or the time is over.
    #[inline]
    pub(crate) fn lock(&self, until: impl FnOnce() -> Until) -> Result<(), LockError<Infallible>> {
        match self.attempt()? {
            Attempt::Busy => self.lock_until(until()),
            attempt => self.settle(attempt),
        }
    }

    /// L1 to L3, at once or not.
    #[inline]
    pub(crate) fn try_lock(&self) -> Result<(), LockError<Infallible>> {
        let attempt = match self.attempt()? {
            Attempt::Busy => self.attempt_again(),
            attempt => attempt,
        };
        self.settle(attempt)
    }

    /// L1 once more, should the holder have vanished.
    #[cold]
    fn attempt_again(&self) -> Attempt {
        let raw = &self.control().raw;
        if raw.pass_on_from_the_vanished() { raw.try_lock() } else { Attempt::Busy }
    }

    #[inline]
    fn attempt(&self) -> Result<Attempt, LockError<Infallible>> {
        if self.epoch.is_current() { Ok(self.control().raw.try_lock()) } else { Err(LockError::Forked) }
    }

    #[cold]
    fn lock_until(&self, until: Until) -> Result<(), LockError<Infallible>> {
        let raw = &self.control().raw;
        for round in 0..TRIES {
            (0..8 << round.min(3)).for_each(|_| spin_loop());
            if raw.is_held() {
                continue; // an attempt would take the line from the holder
            }
            match raw.try_lock() {
                Attempt::Busy => {}
                attempt => return self.settle(attempt),
            }
        }
        loop {
            let left = until.remaining().unwrap_or(SLICE);
            if left.is_zero() {
                return match self.attempt_again() {
                    Attempt::Busy => Err(LockError::Timeout),
                    attempt => self.settle(attempt),
                };
            }
            match raw.lock_for(left.min(SLICE)) {
                Attempt::Busy | Attempt::TimedOut => {
                    raw.pass_on_from_the_vanished();
                }
                attempt => return self.settle(attempt),
            }
        }
    }

    /// L2 and L3.
    #[inline]
    fn settle(&self, attempt: Attempt) -> Result<(), LockError<Infallible>> {
        let control = self.control();
        match attempt {
            Attempt::Locked => {}
            Attempt::OwnerDied => {
                control.suspect.store(1, Relaxed); // L2
                control.raw.make_consistent(); // L3
                control.depth.store(0, Relaxed);
            }
            Attempt::Busy => return Err(LockError::WouldBlock),
            Attempt::TimedOut => return Err(LockError::Timeout),
            Attempt::WouldDeadlock => return Err(LockError::WouldDeadlock),
            Attempt::Unrecoverable => return Err(LockError::Unrecoverable),
            Attempt::Invalid => return Err(LockError::Corrupt),
        }
        let depth = control.depth.load(Relaxed);
        if depth == 0 {
            self.is_outermost.store(true, Relaxed); // invariant 5
        }
        control.depth.store(depth.saturating_add(1), Relaxed);
        self.guards.store(self.guards.load(Relaxed).saturating_add(1), Relaxed);
        Ok(())
    }

    /// L4: whether the holder, who calls this, must be told of a death.
    #[inline]
    pub(crate) fn is_suspect(&self) -> bool {
        self.control().suspect.load(Relaxed) != 0
    }

    /// M1.
    pub(crate) fn mark_consistent(&self) {
        self.control().suspect.store(0, Relaxed);
    }

    /// D2, unless this is a forked child's copy: then the lock is the parent's. During a panic that began under the guard, D1 first.
    #[inline]
    pub(crate) fn release(&self, panicked: bool) {
        if !self.epoch.is_current() {
            return;
        }
        let control = self.control();
        if panicked {
            control.suspect.store(1, Relaxed); // D1
        }
        let depth = control.depth.load(Relaxed).saturating_sub(1);
        control.depth.store(depth, Relaxed);
        let guards = self.guards.load(Relaxed).saturating_sub(1);
        self.guards.store(guards, Relaxed); // invariant 5
        if guards == 0 {
            let was_outermost = self.is_outermost.load(Relaxed);
            self.is_outermost.store(false, Relaxed);
            if was_outermost && depth > 0 {
                std::mem::forget(self.segment().clone()); // invariant 4
            }
        }
        control.raw.unlock(); // D2
    }

    // --- words ---------------------------------------------------------------------------------------------------

    #[inline]
    pub(super) fn control(&self) -> &Control {
        // SAFETY: `base` has room for the control words, which are initialised before the segment is published, and consist of atomics
        // and a cell.
        unsafe { self.base.cast().as_ref() }
    }

    /// Where the contents are: the holder's.
    #[inline]
    pub(crate) fn contents(&self) -> NonNull<V> {
        self.contents
    }

    /// Where the contents are behind control words at `base`, in memory that has room for the capacity.
    fn contents_at(base: NonNull<u8>, capacity: u64) -> NonNull<V> {
        // SAFETY: within the memory, as the caller says.
        V::over(unsafe { base.byte_add(value_offset::<V::Item>()) }.cast(), capacity)
    }
}

impl<V: ?Sized + Contents, L: Lock> Drop for Robust<V, L> {
    fn drop(&mut self) {
        // No guard borrows the handle any more. One that was forgotten has left the lock held: invariant 4.
        if self.guards.load(Relaxed) > 0 {
            std::mem::forget(self.segment().clone());
        }
    }
}

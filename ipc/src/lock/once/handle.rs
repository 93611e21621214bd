//! The handle of a once. Steps and invariants are those of `protocol.rs`.

use super::protocol::{Control, Refusal, Turn};
use crate::error::{Error, WaitError};
use crate::header::{Item, Kind};
use crate::part::{Part, Place, Seat, as_fd, lines};
use crate::wait::Until;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// Something that one participant does for all, once, like [`std::sync::Once`] across processes.
///
/// The first caller of [`call_once`](Self::call_once) runs what it was given; all others wait until that is done, and run nothing. What the runner
/// wrote is visible to whoever has seen it done. From then on a call costs one load.
///
/// # When a participant dies
/// while it runs, or panics, the run is interrupted: the next caller, or one of those who wait, runs its own from the beginning, and is
/// [told](OnceState::is_interrupted) that an earlier run may have left something half done. A runner that is *stopped* is alive, and everybody waits for
/// it. A process that waits goes on without a runner's wake-up within two seconds.
///
/// ```
/// use skep_ipc::{Once, Part};
/// let once = Once::new()?;
/// let elsewhere = once.try_clone()?; // in another process: `from_fd`, or `create` and `open`
/// let mut runs = 0;
/// once.call_once(|state| {
///     assert!(!state.is_interrupted());
///     runs += 1;
/// })?;
/// elsewhere.call_once(|_| runs += 1)?;
/// assert_eq!(runs, 1);
/// assert!(elsewhere.is_completed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Once {
    // Before `seat`: it points into the segment that the seat keeps mapped.
    control: &'static Control,
    peers: usize,
    seat: Arc<Seat>,
    _not_sync: PhantomData<Cell<()>>,
}

/// What a runner is told about the runs before it.
#[derive(Debug)]
pub struct OnceState {
    interrupted: bool,
}

impl OnceState {
    /// Whether an earlier run ended in a death or a panic: what it was about to do may be half done.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted
    }
}

impl Once {
    /// Makes an anonymous one. See [`Part`] for named ones.
    ///
    /// # Errors
    /// [`Error::NoMemory`], [`Error::Os`].
    pub fn new() -> Result<Self, Error> {
        Once::anonymous(())
    }

    /// Runs `run`, unless it was done before; if somebody else runs it, waits until that is done.
    ///
    /// # Errors
    /// [`WaitError::WouldDeadlock`] (called from within a run of this handle), [`WaitError::Forked`], [`WaitError::Corrupt`].
    ///
    /// # Panics
    /// If `run` does. The run then counts as interrupted.
    #[inline]
    pub fn call_once(&self, run: impl FnOnce(&OnceState)) -> Result<(), WaitError> {
        self.call_until(run, || Until::Forever)
    }

    /// The same; if somebody else runs it, waits no longer than `timeout`.
    ///
    /// # Errors
    /// [`WaitError::Timeout`], and as [`call_once`](Self::call_once).
    ///
    /// # Panics
    /// As [`call_once`](Self::call_once).
    #[inline]
    pub fn call_once_timeout(
        &self,
        run: impl FnOnce(&OnceState),
        timeout: Duration,
    ) -> Result<(), WaitError> {
        self.call_until(run, || Until::after(timeout))
    }

    /// The same, without waiting: if somebody else living runs it, that is [`WaitError::Timeout`].
    ///
    /// # Errors
    /// [`WaitError::Timeout`], and as [`call_once`](Self::call_once).
    ///
    /// # Panics
    /// As [`call_once`](Self::call_once).
    pub fn try_call_once(&self, run: impl FnOnce(&OnceState)) -> Result<(), WaitError> {
        if self.is_completed() {
            return Ok(());
        }
        self.check_epoch()?;
        let attempt = || self.control.try_begin(self.seat.me(), self.peers);
        let turn = match attempt() {
            Err(Refusal::NotYet) => {
                self.mend_dead_runner();
                attempt()
            }
            outcome => outcome,
        };
        self.take_turn(turn.map_err(refused)?, run)
    }

    /// Whether it is done: one load.
    #[inline]
    pub fn is_completed(&self) -> bool {
        self.control.is_done()
    }

    /// Waits until somebody has done it.
    ///
    /// # Errors
    /// [`WaitError::WouldDeadlock`] (called from within a run of this handle), [`WaitError::Forked`], [`WaitError::Corrupt`].
    #[inline]
    pub fn wait(&self) -> Result<(), WaitError> {
        self.wait_until(|| Until::Forever)
    }

    /// Waits until somebody has done it, or the time is over.
    ///
    /// # Errors
    /// [`WaitError::Timeout`], and as [`wait`](Self::wait).
    #[inline]
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), WaitError> {
        self.wait_until(|| Until::after(timeout))
    }

    #[inline]
    fn wait_until(&self, until: impl FnOnce() -> Until) -> Result<(), WaitError> {
        if self.is_completed() {
            return Ok(());
        }
        self.check_epoch()?;
        self.control.wait(self.seat.me(), self.peers, until(), || self.mend_dead_runner()).map_err(refused)
    }

    #[inline]
    fn call_until(
        &self,
        run: impl FnOnce(&OnceState),
        until: impl FnOnce() -> Until,
    ) -> Result<(), WaitError> {
        if self.is_completed() {
            return Ok(());
        }
        self.check_epoch()?;
        let turn = self.control.begin(self.seat.me(), self.peers, until(), || self.mend_dead_runner());
        self.take_turn(turn.map_err(refused)?, run)
    }

    fn take_turn(&self, turn: Turn, run: impl FnOnce(&OnceState)) -> Result<(), WaitError> {
        let Turn::Run { interrupted } = turn else { return Ok(()) };
        let mut running = Running { once: self, completed: false };
        run(&OnceState { interrupted });
        running.completed = true;
        drop(running);
        self.check_epoch() // `run` may have forked: in the child nothing is done
    }

    /// Mends for a runner that is dead. Whether anybody runs it.
    fn mend_dead_runner(&self) -> bool {
        let Some(runner) = self.control.runner() else { return false };
        if runner < self.peers && runner != self.seat.me() && self.seat.is_dead(runner) {
            self.seat.mend_the_dead();
        }
        true
    }

    #[inline]
    fn check_epoch(&self) -> Result<(), WaitError> {
        if self.seat.is_own() { Ok(()) } else { Err(WaitError::Forked) }
    }
}

/// A run of this handle's, until dropped.
struct Running<'a> {
    once: &'a Once,
    completed: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // In a forked child it is the parent's.
        if self.once.seat.is_own() {
            self.once.control.finish(self.completed);
        }
    }
}

fn refused(refusal: Refusal) -> WaitError {
    match refusal {
        Refusal::NotYet => WaitError::Timeout,
        Refusal::WouldDeadlock => WaitError::WouldDeadlock,
        Refusal::Corrupt => WaitError::Corrupt,
    }
}

// SAFETY: the same values are taken from a place each time, and the item names their type.
unsafe impl Part for Once {
    type Setup = ();
    const KIND: Kind = Kind::new(*b"once\0\0\0\0");

    fn item() -> Item {
        Item::opaque(1)
    }

    fn bytes(_peers: usize) -> usize {
        lines::<Control>(1)
    }

    fn init(place: &mut Place, (): ()) -> Result<(), Error> {
        place.take::<Control>(1); // zeroes are one that nobody has begun
        Ok(())
    }

    fn attach(place: &mut Place, seat: &Arc<Seat>) -> Result<Self, Error> {
        // SAFETY: atomics, of which zeroes are valid; the handle keeps the seat, and with it the segment.
        let control = unsafe { place.control() };
        Ok(Once { control, peers: place.peers(), seat: seat.clone(), _not_sync: PhantomData })
    }

    fn mend(place: &mut Place, peer: usize) {
        // SAFETY: as in `attach`; whoever mends keeps the segment.
        let control: &Control = unsafe { place.control() };
        control.mend(peer);
    }

    fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}

as_fd!(std::os::fd::AsFd for Once);

impl std::fmt::Debug for Once {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Once").field("is_completed", &self.is_completed()).finish_non_exhaustive()
    }
}

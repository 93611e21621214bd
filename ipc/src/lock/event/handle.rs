//! The handle of an event.

use super::protocol::Control;
use crate::error::{Error, WaitError};
use crate::header::{Item, Kind};
use crate::part::{Part, Place, Seat, as_fd, lines};
use crate::wait::{Until, wait};
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// A flag that processes set, clear and wait for, like Python's `multiprocessing.Event`.
///
/// Whoever waits goes on once the event is set, also if it was cleared again at once. What a process wrote before [`set`](Self::set) is visible to
/// whoever went on because of it. As long as the event is set, waiting costs one load.
///
/// # When a participant dies
/// nothing is held, and nothing is lost: an event is set or it is not. If the process that sets it dies before it has woken those who sleep, they notice
/// within two seconds.
///
/// ```
/// use skep_ipc::Event;
/// use std::time::Duration;
/// let ready = Event::new()?;
/// assert!(ready.wait_timeout(Duration::from_millis(1)).is_err());
/// ready.set()?;
/// ready.wait()?;
/// ready.clear()?;
/// assert!(!ready.is_set());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Event {
    // Before `seat`: it points into the segment that the seat keeps mapped.
    control: &'static Control,
    seat: Arc<Seat>,
    _not_sync: PhantomData<Cell<()>>,
}

impl Event {
    /// Makes an anonymous event, which is not set. See [`Part`] for named ones.
    ///
    /// # Errors
    /// [`Error::NoMemory`], [`Error::Os`].
    pub fn new() -> Result<Self, Error> {
        Event::anonymous(())
    }

    /// Sets the event, and wakes everybody who waits for it.
    ///
    /// # Errors
    /// [`WaitError::Forked`].
    pub fn set(&self) -> Result<(), WaitError> {
        self.check_epoch()?;
        self.control.set();
        Ok(())
    }

    /// Clears the event: who waits from now on waits for the next [`set`](Self::set).
    ///
    /// # Errors
    /// [`WaitError::Forked`].
    pub fn clear(&self) -> Result<(), WaitError> {
        self.check_epoch()?;
        self.control.clear();
        Ok(())
    }

    /// Whether the event is set.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.control.is_set()
    }

    /// Waits until the event is set.
    ///
    /// # Errors
    /// [`WaitError::Forked`].
    #[inline]
    pub fn wait(&self) -> Result<(), WaitError> {
        self.wait_until(|| Until::Forever)
    }

    /// Waits until the event is set, or the time is over.
    ///
    /// # Errors
    /// [`WaitError::Timeout`], [`WaitError::Forked`].
    #[inline]
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), WaitError> {
        self.wait_until(|| Until::after(timeout))
    }

    #[inline]
    fn wait_until(&self, until: impl FnOnce() -> Until) -> Result<(), WaitError> {
        self.check_epoch()?;
        let since = self.control.begin();
        let look = || self.control.has_happened(since).then_some(());
        if look().is_some() {
            return Ok(());
        }
        // Nobody holds anything: the dead are of no concern.
        wait(&self.control.waiters, until(), look, || false).ok_or(WaitError::Timeout)
    }

    #[inline]
    fn check_epoch(&self) -> Result<(), WaitError> {
        if self.seat.is_own() { Ok(()) } else { Err(WaitError::Forked) }
    }
}

// SAFETY: the same values are taken from a place each time, and the item names their type.
unsafe impl Part for Event {
    type Setup = ();
    const KIND: Kind = Kind::new(*b"event\0\0\0");

    fn item() -> Item {
        Item::opaque(1)
    }

    fn bytes(_peers: usize) -> usize {
        lines::<Control>(1)
    }

    fn init(place: &mut Place, (): ()) -> Result<(), Error> {
        place.take::<Control>(1); // zeroes are an event that is not set
        Ok(())
    }

    fn attach(place: &mut Place, seat: &Arc<Seat>) -> Result<Self, Error> {
        // SAFETY: atomics, of which zeroes are valid; the handle keeps the seat, and with it the segment.
        let control = unsafe { place.control() };
        Ok(Event { control, seat: seat.clone(), _not_sync: PhantomData })
    }

    fn mend(place: &mut Place, _peer: usize) {
        place.take::<Control>(1); // nobody holds anything
    }

    fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}

as_fd!(std::os::fd::AsFd for Event);

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Event").field("is_set", &self.is_set()).finish_non_exhaustive()
    }
}

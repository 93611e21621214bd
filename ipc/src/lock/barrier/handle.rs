//! The handle of a barrier.

use super::protocol::{Control, Failure, PlaceWord, Places};
use crate::error::{BarrierError, Error, WaitError};
use crate::header::{Item, Kind};
use crate::part::{Part, Place, Seat, as_fd, lines};
use crate::segment::agree;
use crate::wait::Until;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// Where a number of processes wait until all of them have come, again and again, like Python's `multiprocessing.Barrier`.
///
/// It has as many *places* as parties. A participant takes one at its first [`wait`](Self::wait), and keeps it until it is dropped. Once all
/// places have arrived, all go on, each with its place's number; what each wrote before is visible to all.
///
/// Another than in Python, a wait whose time is over takes back only the caller's own arrival, and breaks nothing: the others wait on, and it may come again.
/// Processes come and go, and one that is slow is no reason to fail those that are not. To have it otherwise, [`abort`](Self::abort) after a timeout.
///
/// # When a participant dies
/// its place is lost, and its arrival does not count, unless all were there already. Then the party cannot be met: who waits gets
/// [`BarrierError::Incomplete`], within a fraction of a second after the kernel has freed the dead process's memory, until another participant has taken the place, by its first wait, or somebody has
/// [reset](Self::reset) the barrier. A participant that is dropped loses its place likewise. If the last to arrive dies before it has woken the others,
/// one of them completes in its stead. A process that is stopped is alive, and is waited for.
///
/// The leader is place 0's holder. If it dies after all have gone on, that time has no leader, and the next wait of the others is `Incomplete`; so who
/// relies on what the leader does waits once more for its end.
///
/// ```
/// use skep_ipc::{Barrier, Part};
/// let here = Barrier::new(2)?;
/// let there = here.try_clone()?; // in another process: `Barrier::from_fd`, or `create` and `open`
/// std::thread::scope(|threads| {
///     let other = threads.spawn(move || there.wait());
///     let mine = here.wait()?;
///     let others = other.join().expect("it does not panic")?;
///     assert!(mine.is_leader() != others.is_leader());
///     Ok::<(), skep_ipc::BarrierError>(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Barrier {
    // Before `seat`: it points into the segment that the seat keeps mapped.
    places: Places<'static>,
    seat: Arc<Seat>,
    _not_sync: PhantomData<Cell<()>>,
}

/// That all have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BarrierWait {
    index: usize,
}

impl BarrierWait {
    /// The number of this participant's place, from 0: another one for each of those who went on.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Whether this is the one of them that has place 0.
    pub fn is_leader(&self) -> bool {
        self.index == 0
    }
}

impl Barrier {
    /// Makes an anonymous barrier. See [`Part`] for named ones.
    ///
    /// # Errors
    /// [`Error::Setup`] if there are no parties, or more than the participants that the segment is made for (128, or
    /// [`PartOptions`](crate::PartOptions)); [`Error::NoMemory`], [`Error::Os`].
    pub fn new(parties: usize) -> Result<Self, Error> {
        Barrier::anonymous(parties)
    }

    /// Waits until all have come.
    ///
    /// # Errors
    /// [`BarrierError::Broken`], [`BarrierError::Incomplete`], [`BarrierError::Full`], [`BarrierError::Forked`], [`BarrierError::Corrupt`]. In each
    /// case this arrival has not counted.
    pub fn wait(&self) -> Result<BarrierWait, BarrierError> {
        self.wait_until(Until::Forever)
    }

    /// Waits until all have come, or the time is over.
    ///
    /// # Errors
    /// [`BarrierError::Timeout`], and as [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<BarrierWait, BarrierError> {
        self.wait_until(Until::after(timeout))
    }

    fn wait_until(&self, until: Until) -> Result<BarrierWait, BarrierError> {
        if !self.seat.is_own() {
            return Err(BarrierError::Forked);
        }
        let wait = || {
            let check = || {
                self.seat.mend_the_dead();
                true
            };
            self.places.wait(self.seat.me(), until, |peer| self.seat.is_dead(peer), check)
        };
        let waited = loop {
            match wait() {
                // A place may be a dead one's, or have been until now.
                Err(Failure::Full) if self.seat.mend_the_dead() > 0 || self.places.lost() > 0 => {}
                waited => break waited,
            }
        };
        waited.map(|index| BarrierWait { index }).map_err(|failure| match failure {
            Failure::Broken => BarrierError::Broken,
            Failure::Incomplete(lost) => BarrierError::Incomplete { lost },
            Failure::Full => BarrierError::Full,
            Failure::Timeout => BarrierError::Timeout,
            Failure::Corrupt => BarrierError::Corrupt,
        })
    }

    /// Breaks the barrier: who waits, and who comes later, gets [`BarrierError::Broken`], until somebody [resets](Self::reset) it.
    ///
    /// # Errors
    /// [`WaitError::Forked`].
    pub fn abort(&self) -> Result<(), WaitError> {
        self.check_epoch()?;
        self.places.abort();
        Ok(())
    }

    /// Makes the barrier whole and empty: who waits now gets [`BarrierError::Broken`], and lost places are as if never taken. If this process dies
    /// meanwhile, the barrier may stay broken.
    ///
    /// # Errors
    /// [`WaitError::Forked`].
    pub fn reset(&self) -> Result<(), WaitError> {
        self.check_epoch()?;
        self.places.reset();
        Ok(())
    }

    /// Whether somebody [aborted](Self::abort) it, and nobody has reset it since.
    pub fn is_broken(&self) -> bool {
        self.places.is_broken()
    }

    /// How many have to come.
    pub fn parties(&self) -> usize {
        self.places.parties()
    }

    /// How many have come and wait, at this moment; the dead count until they are found.
    pub fn waiting(&self) -> usize {
        self.places.arrived()
    }

    fn check_epoch(&self) -> Result<(), WaitError> {
        if self.seat.is_own() { Ok(()) } else { Err(WaitError::Forked) }
    }
}

// SAFETY: the same values are taken from a place each time, and the item names their type.
unsafe impl Part for Barrier {
    /// How many have to come.
    type Setup = usize;
    const KIND: Kind = Kind::new(*b"barrier\0");

    fn item() -> Item {
        Item::opaque(1)
    }

    fn bytes(peers: usize) -> usize {
        lines::<Control>(1) + lines::<PlaceWord>(peers)
    }

    fn init(place: &mut Place, parties: usize) -> Result<(), Error> {
        let peers = place.peers();
        let (control, _) = words(place);
        match u32::try_from(parties) {
            Ok(few @ 1..) if parties <= peers => control.init(few),
            _ => {
                return Err(Error::Setup(
                    "a barrier is for at least one party, and no more than participants",
                ));
            }
        }
        Ok(())
    }

    fn attach(place: &mut Place, seat: &Arc<Seat>) -> Result<Self, Error> {
        let places = places(place);
        if places.parties() == 0 {
            return Err(Error::Corrupt);
        }
        Ok(Barrier { places, seat: seat.clone(), _not_sync: PhantomData })
    }

    fn mend(place: &mut Place, peer: usize) {
        places(place).mend(peer);
    }

    fn agree(&self, parties: &usize) -> Result<(), Error> {
        Ok(agree("number of parties", self.parties() as u64, *parties as u64)?)
    }

    fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}

/// The words at a place, valid as long as its segment.
fn words<'a>(place: &mut Place) -> (&'a Control, crate::table::Table<'a, PlaceWord>) {
    // SAFETY: atomics, of which zeroes are valid; a handle keeps the seat, and with it the segment, and who mends has it mapped.
    unsafe { (place.control(), place.claims()) }
}

fn places<'a>(place: &mut Place) -> Places<'a> {
    let (control, table) = words(place);
    Places::new(control, table, control.parties())
}

as_fd!(std::os::fd::AsFd for Barrier);

impl std::fmt::Debug for Barrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Barrier")
            .field("parties", &self.parties())
            .field("waiting", &self.waiting())
            .field("is_broken", &self.is_broken())
            .finish_non_exhaustive()
    }
}

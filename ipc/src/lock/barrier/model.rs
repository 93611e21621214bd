//! A barrier in simulated shared memory, for models.

pub use super::protocol::Failure;

use super::protocol::{Arrival, Control, PlaceWord, Places};
use crate::model::World;
use crate::peer::{Repair, recover};
use crate::table::Table;
use crate::wait::Until;
use loom::sync::Arc;
use std::ptr::NonNull;

/// What [`Barrier`](../struct.Barrier.html) is on a machine. Clones are the same one.
#[derive(Clone)]
pub struct Barrier(Arc<Memory>);

struct Memory {
    control: Control,
    table: Box<[PlaceWord]>,
    parties: usize,
    world: World,
}

// SAFETY: the words are loom's atomics.
unsafe impl Sync for Memory {}
// SAFETY: as above.
unsafe impl Send for Memory {}

/// A participant that has come, and will look.
pub struct Came(Arrival);

impl Barrier {
    /// One of `parties` places for `peers` participants, who have all joined.
    pub fn new(parties: usize, peers: usize) -> Self {
        let world = World::new(peers);
        (0..peers).for_each(|number| assert!(world.enter(number)));
        let table = (0..peers).map(|_| PlaceWord::new()).collect();
        Barrier(Arc::new(Memory { control: Control::new(), table, parties, world }))
    }

    fn places(&self) -> Places<'_> {
        // SAFETY: the box lives as long as the memory, which `self` holds, and does not move.
        let table = unsafe { Table::new(NonNull::from(&self.0.table[0]), self.0.table.len()) };
        Places::new(&self.0.control, table, self.0.parties)
    }

    fn is_dead(&self, peer: usize) -> bool {
        self.0.world.is_dead(peer)
    }

    /// Participant `me` waits for the others, and mends for nobody. Says which place it has.
    pub fn wait(&self, me: usize) -> Result<usize, Failure> {
        self.places().wait(me, Until::Forever, |peer| self.is_dead(peer), || false)
    }

    /// The same; each time that it has slept it mends for the dead.
    pub fn wait_and_mend(&self, me: usize) -> Result<usize, Failure> {
        self.places().wait(me, Until::Forever, |peer| self.is_dead(peer), || self.recover(me) > 0)
    }

    /// The same; its time is over at once.
    pub fn wait_briefly(&self, me: usize) -> Result<usize, Failure> {
        let came = self.come(me)?;
        self.look(&came)
    }

    /// Participant `me` comes, for a later [`look`](Self::look).
    pub fn come(&self, me: usize) -> Result<Came, Failure> {
        self.places().arrive(me).map(Came)
    }

    /// Looks once; then its time is over.
    pub fn look(&self, came: &Came) -> Result<usize, Failure> {
        let (places, arrival) = (self.places(), came.0);
        let failure = match places.look(arrival, |peer| self.is_dead(peer)) {
            Some(Ok(())) => return Ok(arrival.place),
            Some(Err(failure)) => failure,
            None => Failure::Timeout,
        };
        if places.withdraw(arrival) { Err(failure) } else { Ok(arrival.place) }
    }

    /// Breaks it.
    pub fn abort(&self) {
        self.places().abort();
    }

    /// Makes it whole.
    pub fn reset(&self) {
        self.places().reset();
    }

    /// Whether it is broken.
    pub fn is_broken(&self) -> bool {
        self.places().is_broken()
    }

    /// Tells the kernel that a participant has died; sleepers look again.
    pub fn died(&self, number: usize) {
        self.0.world.died(number);
    }

    /// Mends for the dead.
    pub fn recover(&self, me: usize) -> usize {
        let repair = |dead| {
            self.mend(dead);
            Repair::Done
        };
        recover(self.0.world.peers(), &self.0.world, me, |_| true, repair)
    }

    /// Mends for one that is dead, and nothing else: for a mender that is killed.
    pub fn mend(&self, dead: usize) {
        self.places().mend(dead);
    }
}

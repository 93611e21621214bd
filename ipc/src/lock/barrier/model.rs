//! A barrier in simulated shared memory, for models.

pub use super::protocol::Failure;

use super::protocol::{Control, PlaceWord, Places};
use crate::model::World;
use crate::peer::{Membership, Repair, recover};
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
    world: World,
}

// SAFETY: the words are loom's atomics.
unsafe impl Sync for Memory {}
// SAFETY: as above.
unsafe impl Send for Memory {}

impl Barrier {
    /// One of `parties` places for `peers` participants, who have all joined.
    pub fn new(parties: u32, peers: usize) -> Self {
        let world = World::new(peers);
        (0..peers).for_each(|number| assert!(world.join(number, || Repair::Done)));
        let table = (0..peers).map(|_| PlaceWord::new()).collect();
        Barrier(Arc::new(Memory { control: Control::new(parties), table, world }))
    }

    fn places(&self) -> Places<'_> {
        // SAFETY: the box lives as long as the memory, which `self` holds, and does not move.
        let table = unsafe { Table::new(NonNull::from(&self.0.table[0]), self.0.table.len()) };
        Places::new(&self.0.control, table)
    }

    /// Participant `me` waits for the others. Says which place it has.
    pub fn wait(&self, me: usize) -> Result<usize, Failure> {
        let check = || {
            self.recover(me);
            true
        };
        self.places().wait(me, Until::Forever, |peer| self.0.world.is_dead(peer), check)
    }

    /// The same; its time is over at once.
    pub fn wait_briefly(&self, me: usize) -> Result<usize, Failure> {
        let (places, is_dead) = (self.places(), |peer| self.0.world.is_dead(peer));
        let arrival = places.arrive(me)?;
        let failure = match places.look(arrival, is_dead) {
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
            self.places().mend(dead);
            Repair::Done
        };
        recover(self.0.world.peers(), &self.0.world, me, |_| true, repair)
    }

    /// Mends for one that is dead, and nothing else: for a mender that is killed.
    pub fn mend(&self, dead: usize) {
        self.places().mend(dead);
    }
}

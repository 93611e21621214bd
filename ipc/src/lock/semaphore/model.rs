//! A semaphore in simulated shared memory, for models.

use super::protocol::{Claim, Control, Permits, Pool, Refusal};
use crate::model::World;
use crate::peer::{self, Repair};
use crate::table::Table;
use crate::wait::Until;
use loom::sync::Arc;
use std::ptr::NonNull;

/// What [`Semaphore`](../struct.Semaphore.html) is on a machine, for a number of participants.
#[derive(Clone)]
pub struct Semaphore(Arc<Memory>);

struct Memory {
    control: Control,
    claims: Box<[Claim]>,
    world: World,
}

impl Semaphore {
    /// A semaphore with so many free permits, of which there may be up to `bound`.
    pub fn new(permits: u32, bound: u32, peers: usize) -> Self {
        let claims = (0..peers).map(|_| Claim::new()).collect();
        let memory = Memory { control: Control::new(), claims, world: World::new(peers) };
        let semaphore = Semaphore(Arc::new(memory));
        semaphore.permits().init(permits, bound);
        semaphore
    }

    /// Becomes participant `number`, whose place nobody has.
    pub fn take_part(&self, number: usize) -> SemaphorePeer {
        let repair = || {
            self.permits().mend(number);
            Repair::Done
        };
        assert!(self.0.world.join(number, repair), "a place that nobody has");
        SemaphorePeer { memory: self.clone(), number }
    }

    /// Tells the kernel that participant `number` has died.
    pub fn died(&self, number: usize) {
        self.0.world.died(number);
    }

    /// The free permits, and all that there are.
    pub fn pool(&self) -> (u32, u32) {
        let Pool { available, total } = self.permits().pool().expect("in order");
        (available, total)
    }

    /// Mends for the dead participant `number`, which nobody else does meanwhile; its place stays a dead one's.
    pub fn mend(&self, number: usize) {
        self.permits().mend(number);
    }

    fn permits(&self) -> Permits<'_> {
        let claims = NonNull::from(&self.0.claims[0]);
        // SAFETY: the box lives as long as the memory that `self` holds, and does not move.
        Permits::new(&self.0.control, unsafe { Table::new(claims, self.0.claims.len()) })
    }
}

/// A participant of a [`Semaphore`].
pub struct SemaphorePeer {
    memory: Semaphore,
    number: usize,
}

impl SemaphorePeer {
    fn permits(&self) -> Permits<'_> {
        self.memory.permits()
    }

    /// Takes `n` permits if so many are free.
    pub fn try_acquire(&self, n: u32) -> bool {
        is_done(self.permits().take(self.number, n))
    }

    /// Takes `n` permits; sleeps while there are fewer.
    pub fn acquire(&self, n: u32) {
        let check = || self.recover() > 0;
        assert!(is_done(self.permits().take_until(self.number, n, Until::Forever, check)));
    }

    /// Gives back `n` of its own.
    pub fn give_back(&self, n: u32) {
        assert!(is_done(self.permits().give(self.number, n)));
    }

    /// Ends `n` of its own.
    pub fn spend(&self, n: u32) {
        assert!(is_done(self.permits().spend(self.number, n)));
    }

    /// Makes `n` new ones. False: there would be too many.
    pub fn release(&self, n: u32) -> bool {
        is_done(self.permits().add(self.number, n))
    }

    /// How many it holds.
    pub fn held(&self) -> u32 {
        self.permits().held(self.number)
    }

    /// Mends for the dead; says for how many.
    pub fn recover(&self) -> usize {
        let world = &self.memory.0.world;
        peer::recover(
            world.peers(),
            world,
            self.number,
            |_| true,
            |dead| {
                self.permits().mend(dead);
                Repair::Done
            },
        )
    }

    /// Gives back what it holds, and leaves.
    pub fn leave(self) {
        self.permits().mend(self.number);
        self.memory.0.world.leave(self.number);
    }
}

/// Whether a change was made, of a semaphore that is not corrupt.
fn is_done(result: Result<(), Refusal>) -> bool {
    match result {
        Ok(()) => true,
        Err(Refusal::Not) => false,
        Err(Refusal::Corrupt) => panic!("corrupt"),
    }
}

//! A queue in simulated shared memory, for models.

use super::layout::{Control, Slot};
use super::leasing::{Delivery, Leased};
use super::ring::{Refusal, Ring};
use crate::model::World;
use crate::wait::{Until, WaitWord};
use bytemuck::Pod;
use loom::sync::Arc;
use std::ptr::NonNull;

/// A ring in simulated shared memory, with its peer table and its oracle of who lives.
pub struct Queue<T>(Arc<Memory<T>>);

struct Memory<T> {
    control: Control,
    slots: Box<[Slot<T>]>,
    /// Where joiners sleep.
    joiners: Option<WaitWord>,
    world: World,
}

// SAFETY: shared words are loom's atomics; payloads are loom's cells, which check that the protocol keeps accesses apart.
unsafe impl<T: Pod> Sync for Memory<T> {}
// SAFETY: as above.
unsafe impl<T: Pod> Send for Memory<T> {}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Queue(self.0.clone())
    }
}

impl<T: Pod> Queue<T> {
    /// A ring of `capacity` slots (a power of two) for `peers` participants.
    pub fn new(capacity: u64, peers: usize) -> Self {
        Queue::with_joiners(capacity, peers, None)
    }

    /// The same, which participants can [join](Peer::join_all): what [`JoinableQueue`](../struct.JoinableQueue.html) is on a machine.
    pub fn joinable(capacity: u64, peers: usize) -> Self {
        Queue::with_joiners(capacity, peers, Some(WaitWord::new()))
    }

    fn with_joiners(capacity: u64, peers: usize, joiners: Option<WaitWord>) -> Self {
        assert!(capacity.is_power_of_two());
        Queue(Arc::new(Memory {
            control: Control::new(),
            slots: (0..capacity).map(Slot::new).collect(),
            joiners,
            world: World::new(peers),
        }))
    }

    /// Becomes participant `number`, whose place nobody has.
    pub fn peer(&self, number: usize) -> Peer<T> {
        self.join(number).expect("a place that nobody has")
    }

    /// Becomes participant `number`, unless that place is a living one's, or a dead one's that cannot be repaired yet.
    pub fn join(&self, number: usize) -> Option<Peer<T>> {
        let peer = Peer { memory: self.0.clone(), number, leased: Leased::default() };
        self.0.world.join(number, || peer.ring().repair(number, &self.0.world)).then_some(peer)
    }

    /// Tells the kernel that participant `number` has died; sleepers look again, as they do after a slice of time.
    pub fn died(&self, number: usize) {
        self.0.world.died(number);
    }

    /// Whether a repair has made participant `number`'s place vacant.
    pub fn is_vacant(&self, number: usize) -> bool {
        self.0.world.is_vacant(number)
    }
}

/// A participant of a [`Queue`]: what [`SimpleQueue`](../struct.SimpleQueue.html) is on a machine.
pub struct Peer<T> {
    memory: Arc<Memory<T>>,
    number: usize,
    leased: Leased,
}

/// An item that a [`Peer`] has leased.
pub struct Lease<T> {
    /// The item.
    pub item: T,
    delivery: Delivery,
}

impl<T> Lease<T> {
    /// How often it was delivered before.
    pub fn deliveries(&self) -> u64 {
        self.delivery.returns
    }
}

impl<T: Pod> Peer<T> {
    fn ring(&self) -> Ring<'_, T> {
        // SAFETY: the boxes live as long as the memory that `self` holds, and do not move; entry `number` is this peer's.
        unsafe {
            let slots = NonNull::from(&self.memory.slots[0]);
            let (capacity, peers) = (self.memory.slots.len() as u64, self.memory.world.peers());
            Ring::new(&self.memory.control, slots, capacity, peers, self.number)
        }
    }

    /// Puts a value if there is room. False: full. Panics if the ring is closed or corrupt.
    pub fn try_put(&self, value: T) -> bool {
        match self.ring().put_and_wake(value) {
            Ok(()) => true,
            Err(Refusal::NotReady) => false,
            Err(refusal) => panic!("{refusal:?}"),
        }
    }

    /// Puts as many values as there is room for in one claim; says how many.
    pub fn try_put_batch(&self, values: &[T]) -> usize {
        match self.ring().put_batch_and_wake(values) {
            Ok(put) => put,
            Err(Refusal::NotReady) => 0,
            Err(refusal) => panic!("{refusal:?}"),
        }
    }

    /// Claims a position for a put that [`finish_put`](Self::finish_put) ends: a producer that is paused in between.
    pub fn start_put(&self) -> Option<u64> {
        self.ring().claim_free(1).ok().map(|claim| claim.first)
    }

    /// Publishes a value at a position from [`start_put`](Self::start_put).
    pub fn finish_put(&self, position: u64, value: T) {
        self.ring().publish(position, value);
        self.ring().items().wake(1);
    }

    /// Takes an item if there is one. Panics if the ring is corrupt.
    pub fn try_get(&self) -> Option<T> {
        let ring = self.ring();
        match ring.try_claim() {
            Ok(p) => {
                let value = ring.read(p);
                ring.release_and_wake(p);
                Some(value)
            }
            Err(Refusal::NotReady | Refusal::Ending | Refusal::Closed) => None,
            Err(Refusal::Corrupt) => panic!("corrupt"),
        }
    }

    /// Takes up to `into.len()` items in one claim; says how many.
    pub fn try_get_batch(&self, into: &mut [T]) -> usize {
        match self.ring().get_batch_and_wake(into) {
            Ok(got) => got,
            Err(Refusal::NotReady | Refusal::Ending | Refusal::Closed) => 0,
            Err(Refusal::Corrupt) => panic!("corrupt"),
        }
    }

    /// Leases an item, if there is one and this participant may hold a further lease (it may hold two).
    pub fn lease(&self) -> Option<Lease<T>> {
        let ring = self.ring();
        let delivery = ring.try_lease(&self.leased, self.leased.vacant()?).ok()?;
        Some(Lease { item: ring.read(delivery.position), delivery })
    }

    /// A leased item is done with.
    pub fn ack(&self, lease: Lease<T>) {
        self.ring().ack(&self.leased, lease.delivery);
        if let Some(joiners) = &self.memory.joiners {
            self.ring().wake_joiners(joiners);
        }
    }

    /// A leased item goes back.
    pub fn nack(&self, lease: Lease<T>) {
        self.ring().nack(&self.leased, lease.delivery);
    }

    /// Puts a value; sleeps while there is no room. False: closed.
    pub fn put(&self, value: T) -> bool {
        match self.ring().wait_and_put(&self.memory.world, value, Until::Forever) {
            Ok(()) => true,
            Err(Refusal::Closed) => false,
            Err(refusal) => panic!("{refusal:?}"),
        }
    }

    /// Takes an item; sleeps while there is none. `None`: closed and drained.
    pub fn get(&self) -> Option<T> {
        let ring = self.ring();
        match ring.wait_and_claim(&self.memory.world, Until::Forever, || ring.try_claim()) {
            Ok(p) => {
                let value = ring.read(p);
                ring.release_and_wake(p);
                Some(value)
            }
            Err(Refusal::Closed) => None,
            Err(refusal) => panic!("{refusal:?}"),
        }
    }

    /// Closes the ring and wakes everybody.
    pub fn close(&self) {
        self.ring().close_and_wake();
    }

    /// Closes the ring and wakes nobody: a closer that is stopped there.
    pub fn start_close(&self) {
        self.ring().close();
    }

    /// Leaves: the place is free for another one.
    pub fn leave(self) {
        self.memory.world.leave(self.number);
    }

    /// Repairs for the dead; says for how many.
    pub fn recover(&self) -> usize {
        let repaired = self.ring().recover(&self.memory.world);
        if repaired > 0 {
            self.wake_all_joiners();
        }
        repaired
    }

    /// Sleeps until everything that was put has been released. Panics unless the queue is [joinable](Queue::joinable).
    pub fn join_all(&self) {
        let joiners = self.memory.joiners.as_ref().expect("a joinable queue");
        assert!(self.ring().wait_until_done(joiners, &self.memory.world, Until::Forever));
    }

    fn wake_all_joiners(&self) {
        if let Some(joiners) = &self.memory.joiners {
            joiners.wake(u32::MAX);
        }
    }
}

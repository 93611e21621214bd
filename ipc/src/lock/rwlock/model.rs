//! A readers-writer lock in simulated shared memory, for models.

use super::protocol::{self, Claim, Control, Lock, Refusal, Taken};
use crate::model::World;
use crate::peer::{self, Repair};
use crate::sync::{AtomicU32, Cell, Line};
use crate::table::Table;
use crate::wait::Until;
use bytemuck::Pod;
use loom::sync::Arc;
use std::ptr::NonNull;

/// A lock around a value, with its world.
pub struct RwLock<T>(Arc<Memory<T>>);

struct Memory<T> {
    control: Control,
    claims: Box<[Claim]>,
    value: Cell<T>,
    world: World,
}

// SAFETY: shared words are loom's atomics; the value is loom's cell, which checks that the protocol keeps accesses apart.
unsafe impl<T: Pod> Sync for Memory<T> {}
// SAFETY: as above.
unsafe impl<T: Pod> Send for Memory<T> {}

impl<T> Clone for RwLock<T> {
    fn clone(&self) -> Self {
        RwLock(self.0.clone())
    }
}

impl<T: Pod> RwLock<T> {
    /// A lock for `peers` participants.
    pub fn new(value: T, peers: usize) -> Self {
        RwLock(Arc::new(Memory {
            control: Control::new(),
            claims: (0..peers).map(|_| Line(AtomicU32::new(0))).collect(),
            value: Cell::new(value),
            world: World::new(peers),
        }))
    }

    /// Becomes participant `number`, whose place nobody has.
    pub fn peer(&self, number: usize) -> RwLockPeer<T> {
        let joined = self.0.world.join(number, || self.mend(number));
        assert!(joined, "a place that nobody has");
        // SAFETY: the memory outlives the lock, which stands before it in the peer, and does not move.
        let control = unsafe { NonNull::from(&self.0.control).as_ref() };
        RwLockPeer { lock: Lock::new(control, self.claims(), number), number, memory: self.clone() }
    }

    /// Tells the kernel that participant `number` has died; sleepers look again, as they do after a slice of time.
    pub fn died(&self, number: usize) {
        self.0.world.died(number);
    }

    /// Whether the dead one at this place has been mended for.
    pub fn is_vacant(&self, number: usize) -> bool {
        self.0.world.is_vacant(number)
    }

    fn claims<'a>(&self) -> Table<'a, Claim> {
        // SAFETY: the box lives as long as the memory, which the caller keeps, and does not move.
        unsafe { Table::new(NonNull::from(&self.0.claims[0]), self.0.claims.len()) }
    }

    fn mend(&self, dead: usize) -> Repair {
        protocol::mend(&self.0.control, self.claims(), dead);
        Repair::Done
    }
}

/// A participant: what [`RwLock`](../struct.RwLock.html) is on a machine.
pub struct RwLockPeer<T> {
    lock: Lock<'static>,
    number: usize,
    memory: RwLock<T>,
}

impl<T: Pod> RwLockPeer<T> {
    /// Takes the lock to read, sleeping as long as it takes; whether the value is suspect.
    pub fn begin_read(&self) -> bool {
        granted(self.lock.read(Until::Forever, || self.check())).expect("it waits as long as it takes")
    }

    /// Takes the lock to read if it can be had; whether the value is suspect.
    pub fn try_begin_read(&self) -> Option<bool> {
        granted(self.lock.try_read())
    }

    /// Gives one read lock back.
    pub fn end_read(&self) {
        self.lock.release_read();
    }

    /// Takes the lock to write, sleeping as long as it takes; whether the value is suspect.
    pub fn begin_write(&self) -> bool {
        granted(self.lock.write(Until::Forever, || self.check())).expect("it waits as long as it takes")
    }

    /// Takes the lock to write if it can be had; whether the value is suspect.
    pub fn try_begin_write(&self) -> Option<bool> {
        granted(self.lock.try_write())
    }

    /// Begins to wait for readers, if there is no other writer, and gives up: a writer whose time is over.
    pub fn begin_write_and_give_up(&self) {
        if self.lock.claim_word().is_ok() {
            self.lock.give_up();
        }
    }

    /// Says that the value is in order.
    pub fn mark_consistent(&self) {
        self.lock.mark_consistent();
    }

    /// Gives the write lock back.
    pub fn end_write(&self) {
        self.lock.release_write(false);
    }

    /// The value, under the lock. Panics if it is torn.
    pub fn get(&self) -> T {
        self.memory.0.value.read()
    }

    /// Changes the value, under the write lock, one half after the other.
    pub fn set(&self, value: T) {
        self.memory.0.value.write(value);
    }

    /// Reads the value; `None` if it is suspect.
    pub fn read(&self) -> Option<T> {
        let is_suspect = self.begin_read();
        let value = (!is_suspect).then(|| self.get());
        self.end_read();
        value
    }

    /// The same, unless a writer is there.
    pub fn try_read(&self) -> Option<Option<T>> {
        let is_suspect = self.try_begin_read()?;
        let value = (!is_suspect).then(|| self.get());
        self.end_read();
        Some(value)
    }

    /// Writes a value, and says that it is in order; whether it was suspect before.
    pub fn write(&self, value: T) -> bool {
        let was_suspect = self.begin_write();
        self.finish_write(value, was_suspect);
        was_suspect
    }

    /// The same, unless anybody else is there.
    pub fn try_write(&self, value: T) -> Option<bool> {
        let was_suspect = self.try_begin_write()?;
        self.finish_write(value, was_suspect);
        Some(was_suspect)
    }

    fn finish_write(&self, value: T, was_suspect: bool) {
        self.set(value);
        if was_suspect {
            self.mark_consistent();
        }
        self.end_write();
    }

    /// Mends for the dead; says for how many.
    pub fn recover(&self) -> usize {
        let world = &self.memory.0.world;
        peer::recover(world.peers(), world, self.number, |_| true, |dead| self.memory.mend(dead))
    }

    fn check(&self) -> bool {
        if self.lock.holders().any(|holder| self.memory.0.world.is_dead(holder)) {
            self.recover();
        }
        true
    }
}

fn granted(taken: Taken) -> Option<bool> {
    match taken {
        Ok(is_suspect) => Some(is_suspect),
        Err(Refusal::Busy) => None,
        Err(refusal) => panic!("{refusal:?}"),
    }
}

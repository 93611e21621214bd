//! The world of a model: a peer table, and the kernel's knowledge of who lives.

use crate::peer::{Entry, JOINED, Membership, Peers, Repair, VACANT, vacate};
use crate::sync::{self, AcqRel, Acquire, Release};
use loom::sync::Arc;
use loom::sync::atomic::AtomicU32;
use std::ptr::NonNull;

/// A peer table and the oracle of who lives: what a segment and the kernel's locks are on a machine. Clones are the same world.
///
/// A participant *enters* at a place, and *leaves*, or *dies*: then its lock is free, as the kernel lets go of it, and its words stay as they
/// were until somebody repairs.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    entries: Box<[Entry]>,
    /// What the kernel knows: the locks on the entries. 1: somebody holds it.
    locked: Box<[AtomicU32]>,
    /// The right to repair. 1: somebody has it. Not loom's mutex, which a death in its holder's hands would poison.
    repairing: AtomicU32,
}

impl World {
    /// A world of `peers` places, nobody's yet.
    pub fn new(peers: usize) -> Self {
        World(Arc::new(Inner {
            entries: (0..peers).map(|_| Entry::new()).collect(),
            locked: (0..peers).map(|_| AtomicU32::new(0)).collect(),
            repairing: AtomicU32::new(0),
        }))
    }

    /// Becomes the participant at `place`. False if a living one is there, or a dead one that `repair` left for later.
    pub(crate) fn join(&self, place: usize, repair: impl FnOnce() -> Repair) -> bool {
        if !self.lock(place) {
            return false;
        }
        let entry = &self.0.entries[place];
        if entry.state.load(Acquire) == JOINED && self.exclusively(repair) != Some(Repair::Done) {
            self.unlock(place);
            return false;
        }
        entry.clear_claims();
        entry.state.store(JOINED, Release);
        true
    }

    /// Becomes the participant at `place`, for a protocol of one's own. False if a living one is there. What a dead one has left there is for the caller to
    /// repair, before anything else.
    pub fn enter(&self, place: usize) -> bool {
        self.join(place, || Repair::Done)
    }

    /// Whether nobody holds the lock of `place`, at this moment: its participant is dead, or has left, or never came.
    pub fn is_dead(&self, place: usize) -> bool {
        Membership::is_dead(self, place)
    }

    /// Runs `repair` holding the lock of `place`, as whoever repairs for a dead one must; `None` if somebody has it. A repairer that is killed in there lets go of it.
    pub fn seize<R>(&self, place: usize, repair: impl FnOnce() -> R) -> Option<R> {
        Membership::seize(self, place, repair)
    }

    /// The participant at `place` leaves.
    pub fn leave(&self, place: usize) {
        vacate(&self.0.entries[place]);
        self.let_go(place);
    }

    /// The kernel's lock on `place` is free, as its holder's last step.
    pub(crate) fn let_go(&self, place: usize) {
        self.unlock(place);
    }

    /// Tells the kernel that the participant at `place` has died; sleepers look again, as they do after a slice of time.
    pub fn died(&self, place: usize) {
        self.unlock(place);
        sync::wake_everybody();
    }

    /// Whether nobody is at `place`, and all that was there is repaired.
    pub fn is_vacant(&self, place: usize) -> bool {
        self.0.entries[place].state.load(Acquire) == VACANT
    }

    /// The peer table.
    pub(crate) fn peers(&self) -> Peers<'_> {
        // SAFETY: the box lives as long as the world, which is borrowed, and does not move.
        unsafe { Peers::new(NonNull::from(&self.0.entries[0]), self.0.entries.len()) }
    }

    fn lock(&self, place: usize) -> bool {
        lock(&self.0.locked[place])
    }

    fn unlock(&self, place: usize) {
        unlock(&self.0.locked[place]);
    }
}

impl Membership for World {
    fn is_dead(&self, peer: usize) -> bool {
        self.0.locked[peer].load(Acquire) == 0
    }

    fn seize<R>(&self, peer: usize, settle: impl FnOnce() -> R) -> Option<R> {
        if !self.lock(peer) {
            return None;
        }
        let _seized = Held(&self.0.locked[peer]);
        Some(settle())
    }

    fn exclusively<R>(&self, repair: impl FnOnce() -> R) -> Option<R> {
        if !lock(&self.0.repairing) {
            return None;
        }
        let _repairer = Held(&self.0.repairing);
        Some(repair())
    }
}

fn lock(word: &AtomicU32) -> bool {
    word.compare_exchange(0, 1, AcqRel, Acquire).is_ok()
}

fn unlock(word: &AtomicU32) {
    word.store(0, Release);
}

/// One of the kernel's locks, until dropped; a death unwinds through here and lets go of it, as the kernel does.
struct Held<'a>(&'a AtomicU32);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        unlock(self.0);
    }
}

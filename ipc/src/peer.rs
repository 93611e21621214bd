//! The peer table: who takes part in a segment, what each has announced, and the driver of repair.
//!
//! # Entries
//! One entry a participant, on lines of its own:
//!
//! | state | meaning |
//! | --- | --- |
//! | `VACANT` | nobody's; its other words mean nothing |
//! | `JOINED` | a participant's, as long as it lives; then a dead one's, to be repaired |
//! | `LEFT` | a role's holder left on purpose (pipes: end of file) |
//!
//! # Liveness
//! Who holds the entry's lock is alive (an OFD lock in `liveness.rs`, an oracle in a model). The kernel drops it when
//! the process ends, however it ends; a stopped process keeps it. A living one may lose it, when its program closes the
//! descriptor that it hangs on; so of a lock that is free the kernel is asked a second time (`process.rs`). So:
//!
//! 1. The lock is taken before the entry is written, and let go of after the entry is vacant: a living participant's entry
//!    never looks dead.
//! 2. Who wins the lock of an entry that still is `JOINED`, and hears under it that the process is dead, has found a dead one's words, and
//!    repairs before it writes its own or lets go. Nothing less shows a death: between a look at the state and one at the lock a living holder
//!    may have left, and another one joined. The state is read after the answer: one that lived without its lock until then may have left.
//!
//! # Repair
//! 3. One repairer at a time (a lock of its own, which a dead repairer lets go of), so that two who repair for overlapping claims do not hold up each other for
//!    ever. Nothing else stands on it: whoever settles a claim holds the lock of its dead maker, whose words stay until it is settled. So to a second repairer,
//!    with another dead peer's claim to the same position, the first one's dead peer is alive, and it leaves the claim for later; without this
//!    lock both may do so, again and again. As each takes its lock before it looks at the other's, at least one sees the other.
//! 4. The dead peer's intent and leases are cleared last, so a repair that is cut short is done again, whole.
//! 5. Nobody waits under the repair lock: where only a living peer's next step can tell, the entry is left for later. A repairer that is stopped there holds up the repair for all the
//!    dead of the segment until it goes on: it is alive.

use crate::fault;
#[cfg(not(loom))]
use crate::process::Process;
use crate::sync::{Acquire, AtomicU32, AtomicU64, Release};
use crate::table::Table;

/// The size of an entry in shared memory.
#[cfg(not(loom))]
pub(crate) const ENTRY_BYTES: usize = 128;

/// Nobody's.
pub(crate) const VACANT: u32 = 0;
/// A participant's.
pub(crate) const JOINED: u32 = 1;
/// A role's holder left on purpose.
pub(crate) const LEFT: u32 = 2;

/// One participant's words. All zeroes is a vacant entry.
#[cfg_attr(not(loom), repr(C, align(128)))]
pub(crate) struct Entry {
    pub(crate) state: AtomicU32,
    /// With the last three words: which process it is.
    pub(crate) pid: AtomicU32,
    /// What the participant is about to claim; its meaning is the object's.
    pub(crate) intent: AtomicU64,
    /// Claims that outlive the operation that made them, in the form of an intent; written by whoever holds what they name.
    pub(crate) leases: [AtomicU64; LEASES],
    /// Of an arena's participant: how often it has handled blocks (`arena/blocks.rs`). It is never cleared, so it only
    /// grows, whoever has the entry.
    pub(crate) handled: AtomicU64,
    /// 0: not known, and the lock alone tells whether it lives.
    #[cfg(not(loom))]
    started: AtomicU64,
    #[cfg(not(loom))]
    namespace: AtomicU64,
    #[cfg(not(loom))]
    image: AtomicU64,
    /// What it was seen to do: [`PUTS`], [`GETS`].
    #[cfg(not(loom))]
    roles: AtomicU32,
}

/// It has put, or tried to.
#[cfg(not(loom))]
pub(crate) const PUTS: u32 = 1;
/// It has got, or tried to.
#[cfg(not(loom))]
pub(crate) const GETS: u32 = 2;

/// How many leases a participant may hold at a time.
pub(crate) const LEASES: usize = if cfg!(loom) { 2 } else { 8 };

impl Entry {
    /// Nothing is announced or leased any more.
    pub(crate) fn clear_claims(&self) {
        self.leases.iter().for_each(|lease| lease.store(0, Release));
        self.intent.store(0, Release);
    }
}

#[cfg(not(loom))]
impl Entry {
    /// Says which process it is; by whoever holds the lock, before the entry is published.
    pub(crate) fn sign(&self, process: &Process) {
        self.lock_alone_tells(); // a death in here leaves no mixture that names a process
        self.clear_roles();
        self.pid.store(process.pid, Release);
        self.namespace.store(process.namespace, Release);
        self.image.store(process.image, Release);
        self.started.store(process.started, Release);
    }

    /// Adds to what it was seen to do; by itself.
    pub(crate) fn play(&self, role: u32) {
        self.roles.store(self.roles.load(Acquire) | role, Release);
    }

    /// Forgets what a participant before was seen to do.
    pub(crate) fn clear_roles(&self) {
        self.roles.store(0, Release);
    }

    pub(crate) fn plays(&self, role: u32) -> bool {
        self.roles.load(Acquire) & role != 0
    }

    /// From now on the participant is as dead as its lock is free, though its process lives on.
    pub(crate) fn lock_alone_tells(&self) {
        self.started.store(0, Release);
    }

    /// Which process it is.
    pub(crate) fn process(&self) -> Process {
        Process {
            started: self.started.load(Acquire),
            pid: self.pid.load(Acquire),
            namespace: self.namespace.load(Acquire),
            image: self.image.load(Acquire),
        }
    }
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Entry>() == ENTRY_BYTES);

#[cfg(loom)]
impl Entry {
    pub(crate) fn new() -> Self {
        Entry {
            state: AtomicU32::new(VACANT),
            pid: AtomicU32::new(0),
            intent: AtomicU64::new(0),
            leases: std::array::from_fn(|_| AtomicU64::new(0)),
            handled: AtomicU64::new(0),
        }
    }
}

/// The entries of one segment.
pub(crate) type Peers<'a> = Table<'a, Entry>;

/// Who lives, and the right to repair: what the algorithms need to know of the world.
pub(crate) trait Membership {
    /// Whether nobody holds the lock of this entry, at this moment, and its participant does not live without it.
    fn is_dead(&self, peer: usize) -> bool;

    /// Runs `settle` holding the lock of this entry, unless somebody has it, or lives without it (then `None`). Never waits.
    fn seize<R>(&self, peer: usize, settle: impl FnOnce() -> R) -> Option<R>;

    /// Whether the lock that `seize` took still is there: its descriptor may be closed under a repairer, too.
    fn still_has(&self, _peer: usize) -> bool {
        true
    }

    /// Runs `repair` unless another repairer is at work (then `None`). Never waits.
    fn exclusively<R>(&self, repair: impl FnOnce() -> R) -> Option<R>;
}

/// What came of an attempt to repair for one dead peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repair {
    /// Nothing of the dead peer is left.
    Done,
    /// A living peer that may have claimed the same position has to take its next step first.
    Later,
}

/// Looks for dead peers, has `repair` finish or undo what each announced, and makes their entries vacant.
///
/// Only those that `concern` are looked at, and `me` is skipped: whoever runs this is alive. Returns how many entries became vacant.
pub(crate) fn recover(
    peers: Peers<'_>,
    members: &impl Membership,
    me: usize,
    concern: impl Fn(usize) -> bool,
    mut repair: impl FnMut(usize) -> Repair,
) -> usize {
    let joined = |peer: usize| peers.entry(peer).state.load(Acquire) == JOINED;
    let perhaps_dead = |&peer: &usize| peer != me && joined(peer) && concern(peer) && members.is_dead(peer);
    if !(0..peers.count()).any(|peer| perhaps_dead(&peer)) {
        return 0;
    }
    members
        .exclusively(|| {
            let mut repaired = 0;
            for peer in (0..peers.count()).filter(perhaps_dead) {
                let settled = members.seize(peer, || {
                    let settled = joined(peer) && repair(peer) == Repair::Done;
                    fault::point("repair: settled");
                    let is_still_ours = settled && members.still_has(peer);
                    if is_still_ours {
                        vacate(peers.entry(peer));
                    }
                    is_still_ours
                });
                repaired += usize::from(settled == Some(true));
            }
            repaired
        })
        .unwrap_or(0)
}

/// Makes an entry nobody's: a leaving peer's own, or under the repair lock a dead one's.
pub(crate) fn vacate(entry: &Entry) {
    entry.clear_claims();
    entry.state.store(VACANT, Release);
}

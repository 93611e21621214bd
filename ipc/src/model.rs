//! Model checking with [loom]: simulated processes over simulated shared memory, which can be killed before any step.
//!
//! Built only under `--cfg loom`. With it you check a protocol of your own that stands on skep's primitives, or on shared words alone: that no interleaving, no
//! weak memory order and no `kill -9` at any instruction breaks it.
//!
//! - A model is a closure. [`explore`] runs it under every interleaving and every outcome of a weakly ordered memory that loom can tell apart, up to a bound on
//!   preemptions. It makes its objects, [`spawn`]s its participants, and checks at its end what must hold. A participant that never wakes is a
//!   deadlock, and an access to a payload beside a write to it is an error; loom reports both.
//! - [`process`] runs a participant's code as a process that is killed before its k-th operation on shared memory. What it did before stays, what it would have
//!   done, destructors included, does not happen. Tell the kernel ([`World::died`], [`Queue::died`], …): the living learn of a death from there alone.
//! - [`kill_at_every_step`] repeats a model for k = 0, 1, 2, …, until the process is never cut short.
//! - [`Queue`], [`Pipe`], [`Event`] and the others are skep's own algorithms, the same source as on a machine, on loom's heap. [`AtomicU32`], [`AtomicU64`],
//!   [`Cell`], [`fence`], [`futex_wait`] and [`futex_wake`] are for words of your own, [`World`] for who lives.
//!
//! Keep models small: capacities of 1 and 2, two to four participants, two preemptions. Order what needs a total order by `fence(SeqCst)`: loom weakens
//! sequentially consistent *accesses*. Break your protocol once, and see the model fail.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release
//! ```
//!
//! # A protocol of one's own
//! A pipeline: one stage squares numbers, another collects the squares. A number stays leased while its square is put, and a word of the stage's own says how far it
//! has come; so a successor does what its predecessor has not finished. Whatever dies where, each square arrives, in order; one may arrive twice.
#![doc = ""]
#![doc = "```no_run"]
#![doc = include_str!("model/pipeline.rs")]
#![doc = "```"]
//!
//! [loom]: https://docs.rs/loom

mod world;

pub use crate::lock::barrier::model::{Barrier, Failure};
pub use crate::lock::condvar::model::{Begun, Condvar, Hold};
pub use crate::lock::event::model::Event;
pub use crate::lock::once::model::{Once, OncePeer};
pub use crate::lock::rwlock::model::{RwLock, RwLockPeer};
pub use crate::lock::semaphore::model::{Semaphore, SemaphorePeer};
pub use crate::pipe::model::{Pipe, Receiver, Sender};
pub use world::World;

pub use crate::sync::loom::{AtomicU32, AtomicU64, Cell, fence, futex_wait, futex_wake};

use crate::queue::layout::{Control, Slot};
use crate::queue::leasing::{Delivery, Leased};
use crate::queue::ring::{Refusal, Ring};
use crate::wait::Until;
use bytemuck::Pod;
use loom::sync::Arc;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

// --- killing -----------------------------------------------------------------------------------------------------

/// The payload of the unwinding that stands for a death.
struct Killed;

loom::thread_local! {
    static STEPS_LEFT: std::cell::Cell<Option<u64>> = std::cell::Cell::new(None);
    static DEAD: std::cell::Cell<bool> = std::cell::Cell::new(false);
}

/// Before each shared-memory operation. False: this process is dead, the operation must not happen.
pub(crate) fn step() -> bool {
    if DEAD.with(std::cell::Cell::get) {
        return false;
    }
    match STEPS_LEFT.with(std::cell::Cell::get) {
        None => true,
        Some(0) => {
            DEAD.with(|dead| dead.set(true));
            resume_unwind(Box::new(Killed));
        }
        Some(left) => {
            STEPS_LEFT.with(|steps| steps.set(Some(left - 1)));
            true
        }
    }
}

/// Runs `life` as a process that is killed before its `kill_at`-th shared-memory operation (counted from 0), or never (`None`).
///
/// Returns what it returned, or `None` if it was killed. While it is dead none of its operations has any effect, those of destructors included.
pub fn process<R>(kill_at: Option<u64>, life: impl FnOnce() -> R) -> Option<R> {
    STEPS_LEFT.with(|steps| steps.set(kill_at));
    let end = catch_unwind(AssertUnwindSafe(life));
    STEPS_LEFT.with(|steps| steps.set(None));
    DEAD.with(|dead| dead.set(false));
    match end {
        Ok(result) => Some(result),
        Err(panic) if panic.is::<Killed>() => None,
        Err(panic) => resume_unwind(panic),
    }
}

/// Starts a participant on a simulated thread of its own.
pub fn spawn<R: 'static>(participant: impl FnOnce() -> R + 'static) -> loom::thread::JoinHandle<R> {
    loom::thread::spawn(participant)
}

/// What exploring a model came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explored {
    /// Before how many operations the process was killed.
    pub kill_points: u64,
    /// How many executions loom went through.
    pub executions: u64,
}

/// The number by which every bound on preemptions is raised: the environment variable `SKEP_MODEL_DEEPER`, 0 without it.
fn deeper() -> usize {
    std::env::var("SKEP_MODEL_DEEPER").ok().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Runs `model` under every interleaving with at most `preemptions` involuntary switches. Panics if one fails.
///
/// The environment variable `SKEP_MODEL_DEEPER` adds to the bound: few faults need more than two preemptions, and each further one multiplies the time by ten or so.
pub fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) -> Explored {
    let executions = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counter = executions.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions + deeper());
    builder.max_branches = 20_000;
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        model();
    });
    Explored { kill_points: 0, executions: executions.load(Ordering::Relaxed) }
}

/// Runs `model` with `Some(k)` for k = 0, 1, 2, … until in no execution it reports (by returning true) that its process was killed.
/// Panics if an execution fails.
pub fn kill_at_every_step(
    preemptions: usize,
    model: impl Fn(Option<u64>) -> bool + Send + Sync + Clone + 'static,
) -> Explored {
    let mut all = Explored { kill_points: 0, executions: 0 };
    loop {
        let was_killed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (model, killed, k) = (model.clone(), was_killed.clone(), all.kill_points);
        all.executions += explore(preemptions, move || {
            if model(Some(k)) {
                killed.store(true, Ordering::Relaxed);
            }
        })
        .executions;
        if !was_killed.load(Ordering::Relaxed) {
            return all;
        }
        all.kill_points += 1;
    }
}

/// Runs `model` with `Some(k)` and `Some(j)` for all k and j at which it reports that its first process was killed at k and its second one at j: two deaths, each
/// before each step. Panics if an execution fails.
pub fn kill_two_at_every_step(
    preemptions: usize,
    model: impl Fn(Option<u64>, Option<u64>) -> [bool; 2] + Send + Sync + Clone + 'static,
) -> Explored {
    let mut all = Explored { kill_points: 0, executions: 0 };
    for k in (0..).map(Some) {
        let first_killed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (model, killed) = (model.clone(), first_killed.clone());
        let explored = kill_at_every_step(preemptions, move |j| {
            let [first, second] = model(k, j);
            if first {
                killed.store(true, Ordering::Relaxed);
            }
            second
        });
        all.kill_points += explored.kill_points;
        all.executions += explored.executions;
        if !first_killed.load(Ordering::Relaxed) {
            break;
        }
    }
    all
}

// --- a queue on the heap ---------------------------------------------------------------------------------------------

/// A ring in simulated shared memory, with its peer table and its oracle of who lives.
pub struct Queue<T>(Arc<Memory<T>>);

struct Memory<T> {
    control: Control,
    slots: Box<[Slot<T>]>,
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
        assert!(capacity.is_power_of_two());
        Queue(Arc::new(Memory {
            control: Control::new(),
            slots: (0..capacity).map(Slot::new).collect(),
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

/// A participant of a [`Queue`]: what [`SimpleQueue`](../queue/struct.SimpleQueue.html) is on a machine.
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
        self.try_put_batch(&[value]) == 1
    }

    /// Puts as many values as there is room for in one claim; says how many.
    pub fn try_put_batch(&self, values: &[T]) -> usize {
        match self.ring().put_and_wake(values) {
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
        let mut item = [T::zeroed()];
        (self.try_get_batch(&mut item) == 1).then_some(item[0])
    }

    /// Takes up to `into.len()` items in one claim; says how many.
    pub fn try_get_batch(&self, into: &mut [T]) -> usize {
        match self.ring().get_and_wake(into) {
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

    /// Leaves: the place is free for another one.
    pub fn leave(self) {
        self.memory.world.leave(self.number);
    }

    /// Repairs for the dead; says for how many.
    pub fn recover(&self) -> usize {
        self.ring().recover(&self.memory.world)
    }
}

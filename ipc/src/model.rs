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

pub use crate::arena::model::{Arena, ArenaBlock, ArenaHints, ArenaItem, ArenaPeer, ArenaRef};
pub use crate::lock::barrier::model::{Barrier, Came, Failure};
pub use crate::lock::condvar::model::{Begun, Condvar, Hold};
pub use crate::lock::event::model::Event;
pub use crate::lock::once::model::{Once, OncePeer};
pub use crate::lock::rwlock::model::{RwLock, RwLockPeer};
pub use crate::lock::semaphore::model::{Semaphore, SemaphorePeer};
pub use crate::pipe::model::{Pipe, Receiver, Sender};
pub use crate::queue::model::{Lease, Peer, Queue};
#[doc(hidden)]
pub use crate::sync::biased::model::{Leaf, Root};
pub use world::World;

pub use crate::sync::loom::{AtomicU32, AtomicU64, Cell, fence, futex_wait, futex_wake};
pub use crate::sync::pair::{Membarrier, set_membarrier};
#[doc(hidden)]
pub use crate::sync::pair::{heavy_fence, light_fence};

use crate::sync::pair;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64 as StdAtomicU64, AtomicUsize, Ordering};

/// The payload of the unwinding that stands for a death.
struct Killed;

loom::thread_local! {
    static STEPS_LEFT: std::cell::Cell<Option<u64>> = std::cell::Cell::new(None);
    static DEAD: std::cell::Cell<bool> = std::cell::Cell::new(false);
}

/// Whether this process still acts.
pub(crate) fn is_alive() -> bool {
    !DEAD.with(std::cell::Cell::get)
}

/// Before each shared-memory operation. False: this process is dead, the operation must not happen.
#[doc(hidden)]
pub fn step() -> bool {
    if !is_alive() {
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

/// Starts a participant on a simulated thread of its own. Each execution of a model starts as many.
pub fn spawn<R: 'static>(participant: impl FnOnce() -> R + 'static) -> loom::thread::JoinHandle<R> {
    let number = pair::next_participant();
    loom::thread::spawn(move || {
        pair::begin(number);
        participant()
    })
}

/// What exploring a model came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explored {
    /// Before how many operations the process was killed.
    pub kill_points: u64,
    /// How many executions loom went through.
    pub executions: u64,
}

/// The number by which every bound on preemptions is raised, or lowered where it is negative: the environment variable `SKEP_MODEL_DEEPER`, 0 without it.
fn deeper() -> isize {
    std::env::var("SKEP_MODEL_DEEPER").ok().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Runs `model` under every interleaving with at most `preemptions` involuntary switches. Panics if one fails.
///
/// The environment variable `SKEP_MODEL_DEEPER` adds to the bound: few faults need more than two preemptions, and each further one multiplies the time by ten or so.
pub fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) -> Explored {
    let model = Arc::new(model);
    pair::expect_participants(Some(count_participants(model.clone())));
    let executions = Arc::new(StdAtomicU64::new(0));
    let counter = executions.clone();
    let mut builder = builder();
    builder.preemption_bound = Some(preemptions.saturating_add_signed(deeper()));
    builder.check(move || {
        pair::begin(pair::next_participant());
        counter.fetch_add(1, Ordering::Relaxed);
        model();
    });
    Explored { kill_points: 0, executions: executions.load(Ordering::Relaxed) }
}

/// Runs one execution of `model`; says how many participants it has.
fn count_participants(model: Arc<impl Fn() + Send + Sync + 'static>) -> usize {
    pair::expect_participants(None);
    let participants = Arc::new(AtomicUsize::new(0));
    let counted = participants.clone();
    let mut builder = builder();
    // Loom looks before each execution whose number is a multiple of the interval, from 1 on, whether it is the last one's turn.
    (builder.checkpoint_interval, builder.max_permutations) = (1, Some(2));
    builder.check(move || {
        pair::begin(pair::next_participant());
        model();
        counted.store(pair::participants(), Ordering::Relaxed);
    });
    participants.load(Ordering::Relaxed)
}

fn builder() -> loom::model::Builder {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 20_000;
    builder
}

/// Runs `model` with `Some(k)` for k = 0, 1, 2, … until in no execution it reports (by returning true) that its process was killed.
/// Panics if an execution fails.
pub fn kill_at_every_step(
    preemptions: usize,
    model: impl Fn(Option<u64>) -> bool + Send + Sync + Clone + 'static,
) -> Explored {
    let mut all = Explored { kill_points: 0, executions: 0 };
    loop {
        let was_killed = Arc::new(AtomicBool::new(false));
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
        let first_killed = Arc::new(AtomicBool::new(false));
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

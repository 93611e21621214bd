//! What the models share: the outcomes that were seen, and the line that each model prints.

pub use skep::model::spawn;
use skep::model::{Explored, Peer, Queue, process};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The outcomes that were seen, over all executions of a model.
pub struct Outcomes<O>(Arc<Mutex<BTreeSet<O>>>);

impl<O> Clone for Outcomes<O> {
    fn clone(&self) -> Self {
        Outcomes(self.0.clone())
    }
}

impl<O: Ord + Debug + Clone> Outcomes<O> {
    pub fn new() -> Self {
        Outcomes(Arc::new(Mutex::new(BTreeSet::new())))
    }

    pub fn saw(&self, outcome: O) {
        self.0.lock().unwrap().insert(outcome);
    }

    /// Each outcome is permitted, and each permitted one was reached, unless models are explored with fewer preemptions than they ask for.
    pub fn are_exactly(&self, permitted: &[O]) {
        let seen = self.0.lock().unwrap();
        let permitted: BTreeSet<O> = permitted.iter().cloned().collect();
        let has_fewer = std::env::var("SKEP_MODEL_DEEPER").is_ok_and(|deeper| deeper.starts_with('-'));
        assert!(seen.is_subset(&permitted) && (has_fewer || seen.len() == permitted.len()), "{seen:?}");
    }
}

/// Runs a model and prints what it came to: `ci/loom.sh` adds these lines up.
pub fn report(model: &str, run: impl FnOnce() -> Explored) {
    let start = Instant::now();
    let Explored { kill_points, executions } = run();
    let seconds = start.elapsed().as_secs_f64();
    println!("model {model}: kill points {kill_points}, executions {executions}, seconds {seconds:.1}");
}

/// Runs a participant of a queue as a process that is killed at step `k`, on a thread of its own; the kernel hears of its death.
pub fn mortal<R: 'static>(
    queue: &Queue<u64>,
    number: usize,
    k: Option<u64>,
    life: impl FnOnce() -> R + 'static,
) -> loom::thread::JoinHandle<Option<R>> {
    let kernel = queue.clone();
    spawn(move || {
        let lived = process(k, life);
        if lived.is_none() {
            kernel.died(number);
        }
        lived
    })
}

/// After any death: the ring takes and gives a full lap, in order.
pub fn works(peer: &Peer<u64>, capacity: u64) {
    (0..capacity).for_each(|n| assert!(peer.try_put(10 + n), "wedged for producers"));
    (0..capacity).for_each(|n| assert_eq!(peer.try_get(), Some(10 + n), "wedged for consumers"));
}

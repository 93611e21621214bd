//! Kernels that refuse membarrier, to some or to all: nobody sleeps through a wake-up, and what is
//! counted ends once.

use crate::support::{report, spawn};
use skep::model::Membarrier::{Granted, Refused, Withdrawn};
use skep::model::{Event, Membarrier, Queue, Root, explore, set_membarrier};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// What the sleeper's and the waker's kernels do.
const PAIRS: [(Membarrier, Membarrier); 5] =
    [(Refused, Granted), (Granted, Refused), (Refused, Refused), (Withdrawn, Granted), (Granted, Withdrawn)];

/// Objects are made where membarrier is refused, so that their words know of it from the beginning.
fn made<R>(make: impl FnOnce() -> R, then: Membarrier) -> R {
    set_membarrier(Refused);
    let made = make();
    set_membarrier(then);
    made
}

#[test]
fn an_event_wakes_its_sleeper() {
    for (sleepers, setters) in PAIRS {
        report(&format!("an event, its sleeper {sleepers:?}, its setter {setters:?}"), move || {
            explore(3, move || {
                let event = made(Event::new, setters);
                let sleeping = event.clone();
                let sleeper = spawn(move || {
                    set_membarrier(sleepers);
                    sleeping.wait();
                });
                event.set();
                sleeper.join().unwrap();
            })
        });
    }
}

/// Two that sleep on one word, of which one can fence for all.
#[test]
fn an_event_wakes_the_one_that_is_refused_beside_one_that_is_not() {
    report("an event, two sleepers, one refused", || {
        explore(2, || {
            let event = made(Event::new, Granted);
            let sleepers = [Granted, Refused].map(|sleepers| {
                let event = event.clone();
                spawn(move || {
                    set_membarrier(sleepers);
                    event.wait();
                })
            });
            event.set();
            sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
        })
    });
}

/// Each party sleeps and wakes.
#[test]
fn a_queue_wakes_both_of_its_ends() {
    for (consumers, producers) in PAIRS {
        report(&format!("a queue of one slot, consumer {consumers:?}, producer {producers:?}"), move || {
            explore(2, move || {
                let queue = made(|| Queue::<u64>::new(1, 2), consumers);
                let (a, b) = (queue.peer(0), queue.peer(1));
                let producer = spawn(move || {
                    set_membarrier(producers);
                    assert!(a.put(1) && a.put(2));
                });
                assert_eq!((b.get(), b.get()), (Some(1), Some(2)));
                producer.join().unwrap();
            })
        });
    }
}

struct Ends(Arc<AtomicU32>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// A leaf is dropped beside the last root. Where the kernel refuses what it has granted, the value
/// may stay for ever; it never goes twice.
#[test]
fn a_counted_value_is_dropped_once() {
    for kernel in [Refused, Withdrawn] {
        report(&format!("a counted value, {kernel:?}"), move || {
            explore(3, move || {
                set_membarrier(kernel);
                let ends = Arc::new(AtomicU32::new(0));
                let root = Root::new(Ends(ends.clone()));
                let leaf = root.leaf();
                let other = spawn(move || {
                    set_membarrier(kernel);
                    drop(root);
                });
                let another = leaf.clone();
                drop(leaf);
                assert_eq!(ends.load(Relaxed), 0, "dropped while a leaf kept it");
                drop(another);
                other.join().unwrap();
                let ends = ends.load(Relaxed);
                assert!(ends == 1 || kernel == Withdrawn && ends == 0, "{ends}");
            })
        });
    }
}

//! Sleeping and waking on the ring, and its end: a wake-up that is lost is a deadlock, which loom reports.

use crate::support::{Outcomes, report, spawn};
use skep::model::{Peer, Queue, explore};

/// One consumer sleeps for each of two items that two producers put: if a wake-up were lost, loom would report a deadlock.
#[test]
fn no_wake_up_is_lost_by_sleeping_consumers() {
    report("a sleeping consumer, two producers, capacity 2", || {
        explore(2, || {
            let queue = Queue::<u64>::new(2, 3);
            let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
            let a = spawn(move || assert!(a.try_put(1)));
            let c = spawn(move || c.get().unwrap() + c.get().unwrap());
            assert!(b.try_put(2));
            a.join().unwrap();
            assert_eq!(c.join().unwrap(), 3);
        })
    });
    report("two sleeping consumers, one producer, capacity 2", || {
        explore(2, || {
            let queue = Queue::<u64>::new(2, 3);
            let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
            let a = spawn(move || a.get().unwrap());
            let b = spawn(move || b.get().unwrap());
            assert!(c.try_put(1));
            assert!(c.try_put(2));
            assert_eq!(a.join().unwrap() + b.join().unwrap(), 3);
        })
    });
}

#[test]
fn no_wake_up_is_lost_by_a_sleeping_producer() {
    report("a sleeping producer, capacity 1", || {
        explore(3, || {
            let queue = Queue::<u64>::new(1, 2);
            let (a, b) = (queue.peer(0), queue.peer(1));
            let a = spawn(move || assert!(a.put(1) && a.put(2)));
            assert_eq!(b.get(), Some(1));
            assert_eq!(b.get(), Some(2));
            a.join().unwrap();
        })
    });
}

/// A producer dies with a place in the middle, and what is behind it was put, before the first item is: whoever takes
/// that passes a wake-up on past the place.
#[test]
fn no_wake_up_ends_at_a_dead_producers_place() {
    report("a skipped place between two items, two sleeping consumers, capacity 4", || {
        explore(2, || {
            let queue = Queue::<u64>::new(4, 4);
            let (a, b, c, d) = (queue.peer(0), queue.peer(1), queue.peer(2), queue.peer(3));
            let first = a.start_put().unwrap();
            b.start_put().unwrap();
            let third = a.start_put().unwrap();
            a.finish_put(third, 3);
            drop(b);
            queue.died(1);
            assert_eq!(c.recover(), 1);
            let c = spawn(move || c.get().unwrap());
            let d = spawn(move || d.get().unwrap());
            a.finish_put(first, 1);
            assert_eq!(c.join().unwrap() + d.join().unwrap(), 4);
        })
    });
}

/// Items published out of order: a sleeper woken for the second one, which it cannot take yet, is not forgotten.
#[test]
fn no_wake_up_is_spent_in_vain() {
    report("items published out of order, two sleeping consumers, capacity 2", || {
        explore(2, || {
            let queue = Queue::<u64>::new(2, 4);
            let (a, b, c, d) = (queue.peer(0), queue.peer(1), queue.peer(2), queue.peer(3));
            let first = a.start_put().unwrap();
            let c = spawn(move || c.get().unwrap());
            let d = spawn(move || d.get().unwrap());
            assert!(b.try_put(2));
            a.finish_put(first, 1);
            assert_eq!(c.join().unwrap() + d.join().unwrap(), 3);
        })
    });
}

#[test]
fn close_wakes_the_sleeping_and_leaves_what_was_put() {
    report("close beside a put and a sleeping consumer, capacity 1", || {
        let outcomes = Outcomes::new();
        let seen = outcomes.clone();
        let explored = explore(2, move || {
            let queue = Queue::<u64>::new(1, 3);
            let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
            let a = spawn(move || a.put(1));
            let b = spawn(move || (b.get(), b.get()));
            c.close();
            seen.saw((a.join().unwrap(), b.join().unwrap()));
        });
        outcomes.are_exactly(&[
            (true, (Some(1), None)), // put before close: drained, then the end
            (false, (None, None)),   // close before put
        ]);
        explored
    });
}

/// The end is the end: not while an item is in a consumer's hands that gives it back.
#[test]
fn the_end_comes_after_what_is_put_back() {
    report("close, and an item put back beside a sleeping consumer, capacity 1", || {
        explore(2, || {
            let queue = Queue::<u64>::new(1, 2);
            let (a, b) = (queue.peer(0), queue.peer(1));
            assert!(a.try_put(1));
            let p = a.lease().unwrap();
            let b = spawn(move || (b.get(), b.get()));
            a.close();
            a.nack(p);
            assert_eq!(b.join().unwrap(), (Some(1), None));
        })
    });
    report("close beside a put in flight, two sleeping consumers, capacity 1", || {
        explore(1, || {
            let queue = Queue::<u64>::new(1, 3);
            let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
            let first = a.start_put().unwrap();
            let b = spawn(move || b.get());
            let c = spawn(move || c.get());
            a.close();
            a.finish_put(first, 1);
            let got = [b.join().unwrap(), c.join().unwrap()];
            assert_eq!(got.iter().flatten().count(), 1, "{got:?}");
        })
    });
    report("a put in flight in a closed queue, two sleeping consumers, capacity 1", || {
        explore(0, || {
            let queue = Queue::<u64>::new(1, 3);
            let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
            let first = a.start_put().unwrap();
            a.close();
            let b = spawn(move || b.get());
            let c = spawn(move || c.get());
            let a = spawn(move || a.finish_put(first, 1));
            let got = [b.join().unwrap(), c.join().unwrap()];
            assert_eq!(got.iter().flatten().count(), 1, "{got:?}");
            a.join().unwrap();
        })
    });
    report("close, and an item taken beside two sleeping consumers, capacity 1", || {
        explore(1, || {
            let queue = Queue::<u64>::new(1, 3);
            let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
            assert!(a.try_put(1));
            a.close();
            let b = spawn(move || b.get());
            let c = spawn(move || c.get());
            let a = a.get();
            let got = [a, b.join().unwrap(), c.join().unwrap()];
            assert_eq!(got.iter().flatten().count(), 1, "{got:?}");
        })
    });
}

/// A producer that sleeps is told of the close, and tells a consumer that sleeps on the same word
/// until the end is sure: the release of the last item wakes one of the two, and the closer may be
/// stopped before it wakes anybody.
#[test]
fn a_producer_is_told_of_the_close_beside_one_that_waits_for_the_end() {
    for close in [Peer::close, Peer::start_close] {
        report("close beside a sleeping producer and one that waits for the end, capacity 1", move || {
            explore(1, move || {
                let queue = Queue::<u64>::new(1, 3);
                let [a, b, c] = [0, 1, 2].map(|n| queue.peer(n));
                assert!(a.try_put(1));
                let held = a.lease().unwrap();
                let b = spawn(move || b.put(2));
                let a = spawn(move || {
                    close(&a);
                    let c = spawn(move || c.get());
                    a.ack(held);
                    c.join().unwrap()
                });
                assert_eq!((b.join().unwrap(), a.join().unwrap()), (false, None));
            })
        });
    }
}

/// Items that come back are seen by whoever looks, but not by whoever passes a wake-up on: each has a wake-up of its own, also while another one is on its way.
#[test]
fn no_wake_up_for_what_comes_back_is_held_back() {
    report("two items put back beside two sleeping consumers, capacity 2", || {
        explore(0, || {
            let queue = Queue::<u64>::new(2, 3);
            let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
            assert!(a.try_put(1) && a.try_put(2));
            let held = [a.lease().unwrap(), a.lease().unwrap()];
            let b = spawn(move || b.get().unwrap());
            let c = spawn(move || c.get().unwrap());
            // On a thread of its own: so the others fall asleep without a preemption.
            let a = spawn(move || held.into_iter().for_each(|item| a.nack(item)));
            assert_eq!(b.join().unwrap() + c.join().unwrap(), 3);
            a.join().unwrap();
        })
    });
}

/// Two slots are released while two producers sleep: the second release leaves it to the producer that the first one woke to wake the other.
#[test]
fn a_wake_up_is_passed_on_by_producers_too() {
    report("two sleeping producers, capacity 2", || {
        explore(2, || {
            let queue = Queue::<u64>::new(2, 3);
            let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
            assert!(a.try_put(1) && a.try_put(2));
            let b = spawn(move || assert!(b.put(3)));
            let c = spawn(move || assert!(c.put(4)));
            assert_eq!(a.try_get(), Some(1));
            assert_eq!(a.try_get(), Some(2));
            b.join().unwrap();
            c.join().unwrap();
        })
    });
}

/// A batch wakes as many as it has items, unless some are on their way: then these pass it on.
#[test]
fn a_batch_wakes_as_many_as_it_needs() {
    report("an item and then a batch of two, three sleeping consumers, capacity 4", || {
        explore(0, || {
            let queue = Queue::<u64>::new(4, 4);
            let a = queue.peer(0);
            let others = [1, 2, 3].map(|n| {
                let peer = queue.peer(n);
                spawn(move || peer.get().unwrap())
            });
            assert!(a.try_put(1));
            assert_eq!(a.try_put_batch(&[2, 3]), 2);
            assert_eq!(others.map(|other| other.join().unwrap()).iter().sum::<u64>(), 6);
        })
    });
}

/// It takes one preemption to catch the fault that this is about, and with one there are minutes to explore: that is for `ci/loom.sh --deep`.
const NO_PREEMPTION: usize = 0;

/// A consumer that never waited takes the item that a woken one is about to look at, to pass a wake-up on: the one behind it has its wake-up all the same.
#[test]
fn no_wake_up_ends_where_another_one_takes_the_next_item() {
    report("a get that need not wait beside two sleeping consumers, capacity 4", || {
        explore(NO_PREEMPTION, || {
            let queue = Queue::<u64>::new(4, 4);
            let [a, b, c, d] = [0, 1, 2, 3].map(|n| queue.peer(n));
            let a = spawn(move || (1..=3).for_each(|n| assert!(a.try_put(n))));
            let b = spawn(move || b.get().unwrap());
            let d = spawn(move || (d.try_get(), d));
            let got = c.get().unwrap() + b.join().unwrap(); // this thread sleeps too: so the others fall asleep without a preemption
            a.join().unwrap();
            let (taken, d) = d.join().unwrap();
            assert_eq!(got + taken.or_else(|| d.try_get()).unwrap(), 6);
        })
    });
}

/// The same for producers and free slots.
#[test]
fn no_wake_up_ends_where_another_one_takes_the_next_slot() {
    report("a put that need not wait beside two sleeping producers, capacity 4", || {
        explore(NO_PREEMPTION, || {
            let queue = Queue::<u64>::new(4, 4);
            let [a, b, c, d] = [0, 1, 2, 3].map(|n| queue.peer(n));
            (1..=4).for_each(|n| assert!(a.try_put(n)));
            let a = spawn(move || (1..=3).for_each(|_| assert!(a.try_get().is_some())));
            let b = spawn(move || assert!(b.put(5)));
            let d = spawn(move || {
                d.try_put(6);
            });
            assert!(c.put(5));
            [a, b, d].into_iter().for_each(|other| other.join().unwrap());
        })
    });
}

//! Leases: their holders killed before each step, and two deaths.

use crate::support::{report, spawn};
use skep::model::{Peer, Queue, kill_at_every_step, kill_two_at_every_step, process};

/// After any death: the ring takes and gives a full lap, in order.
fn works(peer: &Peer<u64>, capacity: u64) {
    (0..capacity).for_each(|n| assert!(peer.try_put(10 + n), "wedged for producers"));
    (0..capacity).for_each(|n| assert_eq!(peer.try_get(), Some(10 + n), "wedged for consumers"));
}

/// Leases and acknowledges all that is there; says each item and how often it was delivered before.
fn drain(peer: &Peer<u64>) -> Vec<(u64, u64)> {
    let next = || {
        let lease = peer.lease()?;
        let seen = (lease.item, lease.deliveries());
        peer.ack(lease);
        Some(seen)
    };
    std::iter::from_fn(next).collect()
}

/// Peer 0 leases and acknowledges, and dies at step k, beside peer 1 that repairs and takes.
#[test]
fn a_holder_killed_before_its_ack_gives_the_item_back_once() {
    report("killed lease and ack, capacity 1", || {
        kill_at_every_step(2, |k| {
            let queue = Queue::<u64>::new(1, 3);
            let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
            assert!(c.try_put(7));
            let kernel = queue.clone();
            let a = spawn(move || {
                let lived = process(k, || a.lease().map(|lease| a.ack(lease)).is_some());
                if lived.is_none() {
                    kernel.died(0);
                }
                lived
            });
            b.recover();
            let mut got = drain(&b);
            let lived = a.join().unwrap();
            c.recover();
            assert_eq!(queue.is_vacant(0), lived.is_none());
            got.extend(drain(&c));
            match lived {
                Some(true) => assert_eq!(got, []),
                Some(false) => assert_eq!(got, [(7, 0)]),
                None => assert!([vec![], vec![(7, 0)], vec![(7, 1)]].contains(&got), "{got:?}"),
            }
            works(&c, 1);
            lived.is_none()
        })
    });
}

/// The same with a nack: the item is never gone.
#[test]
fn a_holder_killed_in_its_nack_loses_nothing() {
    report("killed nack, capacity 1", || {
        kill_at_every_step(2, |k| {
            let queue = Queue::<u64>::new(1, 3);
            let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
            assert!(c.try_put(7));
            let lease = a.lease().unwrap();
            let kernel = queue.clone();
            let a = spawn(move || {
                let lived = process(k, || a.nack(lease));
                if lived.is_none() {
                    kernel.died(0);
                }
                lived
            });
            b.recover();
            let mut got = drain(&b);
            let lived = a.join().unwrap();
            c.recover();
            assert_eq!(queue.is_vacant(0), lived.is_none());
            got.extend(drain(&c));
            assert_eq!(got, [(7, 1)]);
            works(&c, 1);
            lived.is_none()
        })
    });
}

#[test]
fn two_leases_of_a_killed_holder_come_back() {
    report("two leases of one holder, killed, capacity 2", || {
        kill_at_every_step(1, |k| {
            let queue = Queue::<u64>::new(2, 3);
            let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
            assert_eq!(c.try_put_batch(&[1, 2]), 2);
            let leased = process(k, || (a.lease(), a.lease()));
            if leased.is_some() {
                return false;
            }
            queue.died(0);
            let b = spawn(move || {
                b.recover();
                drain(&b)
            });
            c.recover();
            let mut got = drain(&c);
            got.extend(b.join().unwrap());
            c.recover();
            got.extend(drain(&c));
            got.sort_unstable();
            assert_eq!(got.iter().map(|&(item, _)| item).collect::<Vec<_>>(), [1, 2]);
            works(&c, 2);
            true
        })
    });
}

/// Peer 0 dies at step k of its lease, peer 1 at step j of the repair for it; peer 2 repairs for both.
#[test]
fn a_holder_and_its_repairer_killed_lose_nothing() {
    report("two deaths, lease and its repair, capacity 1", || {
        kill_two_at_every_step(1, |k, j| {
            let queue = Queue::<u64>::new(1, 3);
            let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
            assert!(c.try_put(7));
            if process(k, || a.lease()).is_some() {
                return [false, false];
            }
            queue.died(0);
            let repaired = process(j, || {
                b.recover();
                b.lease()
            });
            if repaired.is_some() {
                return [true, false];
            }
            queue.died(1);
            c.recover();
            let got = drain(&c);
            assert_eq!(got.len(), 1, "{got:?}");
            assert_eq!(got[0].0, 7);
            assert!(queue.is_vacant(0) && queue.is_vacant(1));
            works(&c, 1);
            [true, true]
        })
    });
}

/// The same for a producer.
#[test]
fn a_producer_and_its_repairer_killed_wedge_nobody() {
    report("two deaths, put and its repair, capacity 1", || {
        kill_two_at_every_step(1, |k, j| {
            let queue = Queue::<u64>::new(1, 3);
            let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
            if process(k, || a.try_put(7)).is_some() {
                return [false, false];
            }
            queue.died(0);
            if process(j, || b.recover()).is_some() {
                return [true, false];
            }
            queue.died(1);
            c.recover();
            let got = drain(&c);
            assert!(got.is_empty() || got == [(7, 0)], "{got:?}");
            assert!(queue.is_vacant(0) && queue.is_vacant(1));
            works(&c, 1);
            [true, true]
        })
    });
}

//! Leases: their holders killed before each step, and two deaths.

use crate::support::{mortal, report, spawn, works};
use skep::model::{Lease, Peer, Queue, explore, kill_at_every_step, kill_two_at_every_step, process};

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
            let a = mortal(&queue, 0, k, move || a.lease().map(|lease| a.ack(lease)).is_some());
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
            let a = mortal(&queue, 0, k, move || a.nack(lease));
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

/// Peer 0 dies at step k of its lease, peer 1 at step j of the repair for it, beside peer 2 that repairs and takes.
#[test]
fn a_repairer_killed_beside_a_living_one_loses_nothing() {
    report("two deaths beside a living peer, capacity 1", || {
        kill_two_at_every_step(1, |k, j| {
            let queue = Queue::<u64>::new(1, 3);
            let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
            assert!(c.try_put(7));
            if process(k, || a.lease()).is_some() {
                return [false, false];
            }
            queue.died(0);
            let b = mortal(&queue, 1, j, move || b.recover());
            c.recover();
            let mut got = drain(&c);
            let repaired = b.join().unwrap();
            c.recover();
            got.extend(drain(&c));
            assert!([vec![(7, 0)], vec![(7, 1)]].contains(&got), "{got:?}");
            assert!(queue.is_vacant(0) && queue.is_vacant(1) == repaired.is_none());
            works(&c, 1);
            [true, repaired.is_none()]
        })
    });
}

/// Peer 0 has announced a claim and died at step k, beside a lease that another one takes, and repair: what that one leased is its own.
#[test]
fn a_lease_taken_beside_a_repair_stays_its_takers() {
    report("lease beside a repair, capacity 1", || {
        kill_at_every_step(2, |k| {
            let queue = Queue::<u64>::new(1, 3);
            let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
            assert!(c.try_put(7));
            if process(k, || a.lease()).is_some() {
                return false;
            }
            queue.died(0);
            let b = spawn(move || (b.lease(), b));
            c.recover();
            let mine = c.lease();
            let (theirs, b) = b.join().unwrap();
            assert!(mine.is_none() || theirs.is_none(), "delivered twice");
            c.recover();
            assert!(mine.is_none() || c.lease().is_none(), "delivered twice");
            let mut got = vec![];
            for (peer, lease) in [(&c, mine), (&b, theirs)] {
                if let Some(lease) = lease {
                    got.push(lease.item);
                    peer.ack(lease);
                }
            }
            got.extend(drain(&c).iter().map(|&(item, _)| item));
            assert_eq!(got, [7]);
            works(&c, 1);
            true
        })
    });
}

/// An item that came back as often as its turn counts: each further delivery looks like the one before.
fn put_worn_item(peer: &Peer<u64>) {
    assert!(peer.try_put(7));
    for returns in 0..2 {
        let lease = peer.lease().unwrap();
        assert_eq!(lease.deliveries(), returns);
        peer.nack(lease);
    }
}

/// Peers 0 and 1 die with claims to the same worn item, and peers 2 and 3 repair: what one of these has leased the other does not take for a dead one's.
#[test]
fn a_worn_item_that_two_dead_peers_claimed_is_delivered_once() {
    report("overlapping claims of two dead peers, worn item, capacity 1", || {
        kill_two_at_every_step(1, |k, j| {
            let queue = Queue::<u64>::new(1, 4);
            let (a, b, c, d) = (queue.peer(0), queue.peer(1), queue.peer(2), queue.peer(3));
            put_worn_item(&c);
            if process(k, || a.lease()).is_some() {
                return [false, false];
            }
            if process(j, || b.lease()).is_some() {
                return [true, false];
            }
            queue.died(0);
            queue.died(1);
            let d = spawn(move || {
                d.recover();
                (d.lease(), d)
            });
            c.recover();
            let (lease, d) = d.join().unwrap();
            is_its_takers(lease, &d, &c);
            assert!(queue.is_vacant(0) && queue.is_vacant(1));
            [true, true]
        })
    });
}

/// Peer 0 died with a claim to a worn item that peer 2 has leased; peer 2 dies at step j of its nack, peer 1 adopts the item, and peer 3 repairs.
#[test]
fn a_worn_item_adopted_beside_a_repair_stays_its_adopters() {
    report("worn item adopted from a killed nack beside a repair, capacity 1", || {
        kill_two_at_every_step(2, |k, j| {
            let queue = Queue::<u64>::new(1, 4);
            let (lost, adopter, holder, repairer) =
                (queue.peer(0), queue.peer(1), queue.peer(2), queue.peer(3));
            put_worn_item(&repairer);
            if process(k, || lost.lease()).is_some() {
                return [false, false];
            }
            let Some(lease) = holder.lease() else { return [true, false] };
            queue.died(0);
            let kernel = queue.clone();
            let others = spawn(move || {
                let lived = process(j, || holder.nack(lease));
                if lived.is_none() {
                    kernel.died(2);
                }
                (adopter.lease(), adopter, lived.is_none())
            });
            repairer.recover();
            let (lease, adopter, killed) = others.join().unwrap();
            is_its_takers(lease, &adopter, &repairer);
            [true, killed]
        })
    });
}

/// What `taker` may have leased nobody else gets, and after its ack it is gone; what it has not is there.
fn is_its_takers(lease: Option<Lease<u64>>, taker: &Peer<u64>, other: &Peer<u64>) {
    other.recover();
    let taken = usize::from(lease.is_some());
    assert_eq!(taken + drain(other).len(), 1, "delivered once");
    if let Some(lease) = lease {
        taker.ack(lease);
    }
    other.recover();
    works(other, 1);
}

/// Peer 1 waits for the item that peer 0 died with, and cannot repair while peer 2 is at it: then peer 2 wakes it.
#[test]
fn whoever_repairs_wakes_those_who_wait_for_it() {
    report("sleeper beside a repairer, capacity 1", || {
        explore(2, || {
            let queue = Queue::<u64>::new(1, 3);
            let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
            assert!(c.try_put(7));
            assert!(a.lease().is_some());
            let b = spawn(move || b.get());
            queue.died(0);
            c.recover();
            assert_eq!(b.join().unwrap(), Some(7));
        })
    });
}

/// Peer 0 dies at step k of a put, is repaired for, and peer 1 dies at step j as it passes over what is left.
#[test]
fn a_consumer_killed_at_a_dead_producers_position_wedges_nobody() {
    report("two deaths, put and the get behind it, capacity 1", || {
        kill_two_at_every_step(1, |k, j| {
            let queue = Queue::<u64>::new(1, 3);
            let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
            if process(k, || a.try_put(7)).is_some() {
                return [false, false];
            }
            queue.died(0);
            c.recover();
            let b = mortal(&queue, 1, j, move || b.try_get());
            let mut taken: Vec<_> = c.try_get().into_iter().collect();
            let got = b.join().unwrap();
            let killed = got.is_none();
            c.recover();
            taken.extend(got.flatten());
            taken.extend(drain(&c).iter().map(|&(item, _)| item));
            assert!(taken.is_empty() || taken == [7], "{taken:?}");
            assert!(queue.is_vacant(0) && queue.is_vacant(1) == killed);
            works(&c, 1);
            [true, killed]
        })
    });
}

/// At the highest count of returns two deliveries look the same: what an earlier holder has left must not pass for a claim of its own.
#[test]
fn a_worn_item_comes_back_although_an_earlier_holder_lives() {
    report("a dead holder of a worn item, an earlier one living, capacity 1", || {
        explore(1, || {
            let queue = Queue::<u64>::new(1, 3);
            let (x, d, y) = (queue.peer(0), queue.peer(1), queue.peer(2));
            assert!(y.try_put(7));
            for _ in 0..4 {
                x.nack(x.lease().unwrap());
            }
            let _held = d.lease().unwrap();
            queue.died(1);
            assert_eq!(y.recover(), 1, "nobody living holds it");
            assert_eq!(y.try_get(), Some(7));
        })
    });
}

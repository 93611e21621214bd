//! Joining: whoever waits until all is done sleeps no longer, whoever is the last and whatever
//! dies.

use crate::support::{mortal, report, spawn};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering::Relaxed};
use loom::thread::yield_now;
use skep::model::{Lease, Peer, Queue, explore, kill_at_every_step};

/// A joinable queue of that many slots, all full, and `peers` participants.
fn full(capacity: u64, peers: usize) -> (Queue<u64>, Vec<Peer<u64>>) {
    let queue = Queue::joinable(capacity, peers);
    let peers: Vec<_> = (0..peers).map(|n| queue.peer(n)).collect();
    (0..capacity).for_each(|n| assert!(peers[0].try_put(n)));
    (queue, peers)
}

/// Leases, works, and says that the work is done.
fn work(peer: &Peer<u64>, lease: Lease<u64>, done: &AtomicU32) {
    done.store(1, Relaxed);
    peer.ack(lease);
}

/// Two acknowledge the last two items at once, beside one that sleeps until all is done: one of the
/// two wakes it, and it sees the work of both.
#[test]
fn two_last_acks_do_not_both_miss_that_all_is_done() {
    report("a joiner beside the last two acks, capacity 2", || {
        explore(2, || {
            let (_queue, peers) = full(2, 3);
            let done = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
            let mut peers = peers.into_iter();
            let joiner = peers.next().unwrap();
            let workers: Vec<_> = peers
                .enumerate()
                .map(|(n, peer)| {
                    let (lease, done) = (peer.lease().unwrap(), done.clone());
                    spawn(move || work(&peer, lease, &done[n]))
                })
                .collect();
            joiner.join_all();
            assert!(done.iter().all(|done| done.load(Relaxed) == 1), "not all is done");
            workers.into_iter().for_each(|worker| worker.join().unwrap());
        })
    });
}

/// One that joins beside another joiner: the last ack wakes both.
#[test]
fn the_last_ack_wakes_all_joiners() {
    report("two joiners beside the last ack, capacity 1", || {
        explore(2, || {
            let (_queue, peers) = full(1, 3);
            let [first, second, worker] = peers.try_into().unwrap_or_else(|_| unreachable!());
            let lease = worker.lease().unwrap();
            let joiners = [first, second].map(|joiner| spawn(move || joiner.join_all()));
            worker.ack(lease);
            joiners.into_iter().for_each(|joiner| joiner.join().unwrap());
        })
    });
}

/// A producer is killed before each step of its put, beside a joiner; another one repairs and does
/// what was put: the joiner goes on.
#[test]
fn a_killed_producers_place_is_not_waited_for() {
    report("a joiner, killed producer, capacity 1", || {
        kill_at_every_step(1, |k| {
            let queue = Queue::joinable(1, 3);
            let [joiner, producer, worker] = [0, 1, 2].map(|n| queue.peer(n));
            let producer = mortal(&queue, 1, k, move || assert!(producer.try_put(1)));
            let joiner = spawn(move || joiner.join_all());
            let lived = producer.join().unwrap().is_some();
            worker.recover();
            while !lived && !queue.is_vacant(1) {
                yield_now(); // the joiner repairs
            }
            if let Some(lease) = worker.lease() {
                worker.ack(lease);
            }
            joiner.join().unwrap();
            !lived
        })
    });
}

/// A producer is killed before each step of its put, and nobody but the joiner repairs: it goes on,
/// whether what was put is done or was never put.
#[test]
fn a_joiner_repairs_for_a_killed_producer_by_itself() {
    report("a joiner behind a killed producer, capacity 1", || {
        kill_at_every_step(1, |k| {
            let queue = Queue::joinable(1, 3);
            let [joiner, producer, worker] = [0, 1, 2].map(|n| queue.peer(n));
            let producer = mortal(&queue, 1, k, move || assert!(producer.try_put(1)));
            let lived = producer.join().unwrap().is_some();
            if let Some(lease) = worker.lease() {
                worker.ack(lease);
            }
            joiner.join_all();
            !lived
        })
    });
}

/// A worker is killed before each step of its ack, beside a joiner; another one repairs and does
/// what has come back: the joiner goes on.
#[test]
fn a_killed_worker_leaves_no_joiner_asleep() {
    report("a joiner, killed worker, capacity 1", || {
        kill_at_every_step(1, |k| {
            let (queue, peers) = full(1, 3);
            let [joiner, worker, successor] = peers.try_into().unwrap_or_else(|_| unreachable!());
            let lease = worker.lease().unwrap();
            let worker = mortal(&queue, 1, k, move || worker.ack(lease));
            let joiner = spawn(move || joiner.join_all());
            let lived = worker.join().unwrap().is_some();
            successor.recover();
            while !lived && !queue.is_vacant(1) {
                yield_now(); // the joiner repairs
            }
            if let Some(lease) = successor.lease() {
                successor.ack(lease);
            }
            joiner.join().unwrap();
            !lived
        })
    });
}

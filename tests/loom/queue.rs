//! The ring between the living: order, batches, full and empty.

use crate::support::{Outcomes, report, spawn};
use skep::model::{Explored, Queue, explore};

/// Two producers put one item each; the main thread drains afterwards.
fn two_producers(capacity: u64) -> (Explored, Outcomes<(bool, bool, Vec<u64>)>) {
    let outcomes = Outcomes::new();
    let seen = outcomes.clone();
    let explored = explore(2, move || {
        let queue = Queue::<u64>::new(capacity, 3);
        let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
        let a = spawn(move || a.try_put(1));
        let b = b.try_put(2);
        let a = a.join().unwrap();
        let got: Vec<u64> = std::iter::from_fn(|| c.try_get()).collect();
        seen.saw((a, b, got));
    });
    (explored, outcomes)
}

#[test]
fn of_two_producers_at_capacity_one_one_puts_its_item() {
    report("two producers, capacity 1", || {
        let (explored, outcomes) = two_producers(1);
        outcomes.are_exactly(&[
            (true, false, vec![1]), // a claims first; b finds the ring full
            (false, true, vec![2]), // b claims first
        ]);
        explored
    });
}

#[test]
fn two_producers_at_capacity_two_both_put_in_the_order_of_their_claims() {
    report("two producers, capacity 2", || {
        let (explored, outcomes) = two_producers(2);
        outcomes.are_exactly(&[
            (true, true, vec![1, 2]), // a claims position 0
            (true, true, vec![2, 1]), // b claims position 0
        ]);
        explored
    });
}

/// The ring holds `items` from the start; two consumers take one each at most, the main thread the rest.
fn two_consumers(capacity: u64, items: u64) -> (Explored, Outcomes<[Option<u64>; 2]>) {
    let outcomes = Outcomes::new();
    let seen = outcomes.clone();
    let explored = explore(2, move || {
        let queue = Queue::<u64>::new(capacity, 3);
        let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
        (1..=items).for_each(|n| assert!(c.try_put(n)));
        let a = spawn(move || a.try_get());
        let b = b.try_get();
        let a = a.join().unwrap();
        let rest: Vec<u64> = std::iter::from_fn(|| c.try_get()).collect();
        let mut all: Vec<u64> = a.into_iter().chain(b).chain(rest).collect();
        all.sort_unstable();
        assert_eq!(all, (1..=items).collect::<Vec<_>>(), "nothing lost, nothing twice");
        seen.saw([a, b]);
    });
    (explored, outcomes)
}

#[test]
fn of_two_consumers_at_capacity_one_one_gets_the_item() {
    report("two consumers, capacity 1", || {
        let (explored, outcomes) = two_consumers(1, 1);
        outcomes.are_exactly(&[
            [Some(1), None], // a claims first
            [None, Some(1)], // b claims first
        ]);
        explored
    });
}

#[test]
fn two_consumers_at_capacity_two_get_one_item_each() {
    report("two consumers, capacity 2", || {
        let (explored, outcomes) = two_consumers(2, 2);
        outcomes.are_exactly(&[
            [Some(1), Some(2)], // a claims position 0
            [Some(2), Some(1)], // b claims position 0
        ]);
        explored
    });
}

/// A producer goes a lap ahead while a consumer takes: what is got is what was put, in order.
#[test]
fn a_producer_and_a_consumer_keep_order_over_a_lap() {
    report("producer and consumer over a lap, capacity 1", || {
        let outcomes = Outcomes::new();
        let seen = outcomes.clone();
        let explored = explore(3, move || {
            let queue = Queue::<u64>::new(1, 2);
            let (a, b) = (queue.peer(0), queue.peer(1));
            let a = spawn(move || (a.try_put(1), a.try_put(2)));
            let got = (b.try_get(), b.try_get());
            let put = a.join().unwrap();
            seen.saw((put, got, b.try_get()));
        });
        outcomes.are_exactly(&[
            ((true, false), (None, None), Some(1)), // both puts before the first get; or both gets before the first put is seen, then full
            ((true, false), (None, Some(1)), None), // put 1, put 2 finds it full, the second get takes 1
            ((true, false), (Some(1), None), None), // put 1, put 2 finds it full, the first get takes 1
            ((true, true), (Some(1), None), Some(2)), // the first get takes 1 between the puts, the second is before put 2
            ((true, true), (Some(1), Some(2)), None), // put, get, put, get
            ((true, true), (None, Some(1)), Some(2)), // the first get is before put 1, the second between the puts
        ]);
        explored
    });
}

#[test]
fn batches_are_put_whole_beside_another_producer() {
    report("a batch of two beside a put, capacity 2", || {
        let outcomes = Outcomes::new();
        let seen = outcomes.clone();
        let explored = explore(2, move || {
            let queue = Queue::<u64>::new(2, 3);
            let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
            let a = spawn(move || a.try_put_batch(&[1, 2]));
            let b = b.try_put(3);
            let a = a.join().unwrap();
            let mut got = [0; 2];
            let n = c.try_get_batch(&mut got);
            seen.saw((a, b, got[..n].to_vec()));
        });
        outcomes.are_exactly(&[
            (2, false, vec![1, 2]), // the batch claims both positions
            (1, true, vec![3, 1]),  // the put claims position 0, the batch gets what is left
        ]);
        explored
    });
}

/// Batches are put and taken at the same time, over a lap: what is got is what was put, whole and in order, however much of it.
#[test]
fn batches_keep_order_beside_batches_over_a_lap() {
    report("batches beside batches over a lap, capacity 2", || {
        explore(3, || {
            let queue = Queue::<u64>::new(2, 2);
            let (a, b) = (queue.peer(0), queue.peer(1));
            let producer = spawn(move || {
                let first = a.try_put_batch(&[1, 2]);
                first + a.try_put_batch(&[3, 4])
            });
            let mut got = vec![];
            for _ in 0..2 {
                let mut some = [0; 2];
                let n = b.try_get_batch(&mut some);
                got.extend_from_slice(&some[..n]);
            }
            let put = producer.join().unwrap() as u64;
            got.extend(std::iter::from_fn(|| b.try_get()));
            assert_eq!(got, (1..=put).collect::<Vec<_>>());
        })
    });
}

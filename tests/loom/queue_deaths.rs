//! The ring when a participant is killed before each of its steps, and its repair.

use crate::support::{mortal, report, spawn, works};
use skep::model::{Explored, Peer, Queue, explore, kill_at_every_step, process};

/// Peer 0 puts 1 and is killed at step k; peer 1 puts 2, repairing when it hears of the death; peer 2 takes.
fn killed_producer(capacity: u64) -> Explored {
    kill_at_every_step(2, move |k| {
        let queue = Queue::<u64>::new(capacity, 3);
        let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
        let a = mortal(&queue, 0, k, move || a.try_put(1));
        let mut got = vec![];
        let mut put_two = false;
        for _ in 0..2 {
            put_two = put_two || b.try_put(2);
            got.extend(c.try_get());
            b.recover();
        }
        let put_one = a.join().unwrap();
        b.recover();
        assert_eq!(queue.is_vacant(0), put_one.is_none(), "the dead one's place is free, and only its");
        got.extend(std::iter::from_fn(|| c.try_get()));
        let count = |n: u64| got.iter().filter(|&&other| other == n).count();
        assert_eq!(count(2), usize::from(put_two), "what a living peer put is there once");
        match put_one {
            Some(put) => assert_eq!(count(1), usize::from(put)),
            None => assert!(count(1) <= 1, "what a dead peer put is there, or not"),
        }
        works(&b, capacity);
        put_one.is_none()
    })
}

#[test]
fn a_producer_killed_at_any_step_has_put_its_item_or_not() {
    report("killed producer, capacity 1", || killed_producer(1));
    report("killed producer, capacity 2", || killed_producer(2));
}

/// The ring is full; peer 0 takes and is killed at step k; peer 1 takes; peer 2 repairs and takes what is left.
fn killed_consumer(capacity: u64) -> Explored {
    kill_at_every_step(2, move |k| {
        let queue = Queue::<u64>::new(capacity, 3);
        let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
        (1..=capacity).for_each(|n| assert!(c.try_put(n)));
        let a = mortal(&queue, 0, k, move || a.try_get());
        let b = spawn(move || b.try_get());
        c.recover();
        let got_a = a.join().unwrap();
        let mut got: Vec<u64> = b.join().unwrap().into_iter().collect();
        c.recover();
        assert_eq!(queue.is_vacant(0), got_a.is_none());
        got.extend(std::iter::from_fn(|| c.try_get()));
        got.extend(got_a.flatten());
        got.sort_unstable();
        let all: Vec<u64> = (1..=capacity).collect();
        if got_a.is_some() {
            assert_eq!(got, all, "nothing lost, nothing twice");
        } else {
            // One item may have been taken for good by the dead one's very last steps.
            assert!(all.iter().filter(|n| !got.contains(n)).count() <= 1, "lost: {got:?}");
            assert!(got.windows(2).all(|pair| pair[0] < pair[1]), "twice: {got:?}");
        }
        works(&c, capacity);
        got_a.is_none()
    })
}

#[test]
fn a_consumer_killed_at_any_step_has_taken_its_item_or_not() {
    report("killed consumer, capacity 1", || killed_consumer(1));
    report("killed consumer, capacity 2", || killed_consumer(2));
}

/// A consumer sleeps while the only producer of its item is killed; another one puts later: nobody sleeps for ever.
#[test]
fn a_killed_waker_leaves_nobody_asleep() {
    report("killed waker, capacity 1", || {
        kill_at_every_step(1, |k| {
            let queue = Queue::<u64>::new(1, 3);
            let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
            let a = mortal(&queue, 0, k, move || a.try_put(1));
            let b = spawn(move || b.get().unwrap());
            let put_one = a.join().unwrap();
            c.recover();
            if put_one.is_none() {
                // If the dead one has put its item, there may be no room until the sleeper has taken it.
                assert!(c.put(2));
                let got = b.join().unwrap();
                let rest = c.try_get();
                assert!((got, rest) == (2, None) || (got, rest) == (1, Some(2)), "{got} {rest:?}");
            } else {
                assert_eq!(b.join().unwrap(), 1);
            }
            put_one.is_none()
        })
    });
}

/// Two consumers sleep, and one of them is killed, perhaps while a wake-up is on its way to it that holds others back: the other one gets an item.
#[test]
fn a_killed_sleeper_takes_nobodys_wake_up_along() {
    report("killed sleeper, capacity 2", || {
        kill_at_every_step(0, |k| {
            let queue = Queue::<u64>::new(2, 3);
            let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
            let a = mortal(&queue, 0, k, move || a.get().unwrap());
            let b = spawn(move || b.get().unwrap());
            assert!(c.try_put(1) && c.try_put(2));
            let got_a = a.join().unwrap();
            c.recover();
            let got_b = b.join().unwrap();
            assert!(got_a.map_or(got_b == 1 || got_b == 2, |got_a| got_a + got_b == 3), "{got_a:?} {got_b}");
            got_a.is_none()
        })
    });
}

/// What a consumer gives back goes to another one, once, while a third is killed in the middle of adopting it.
#[test]
fn an_item_given_back_is_delivered_once() {
    report("put back beside a killed adopter, capacity 1", || {
        kill_at_every_step(2, |k| {
            let queue = Queue::<u64>::new(1, 3);
            let (a, b, c) = (queue.peer(0), queue.peer(1), queue.peer(2));
            assert!(c.try_put(1));
            let p = c.lease().unwrap();
            c.nack(p);
            let a = mortal(&queue, 0, k, move || a.try_get());
            let b = spawn(move || b.try_get());
            c.recover();
            let got_a = a.join().unwrap();
            let got_b = b.join().unwrap();
            c.recover();
            let rest = c.try_get();
            let got: Vec<u64> = got_a.flatten().into_iter().chain(got_b).chain(rest).collect();
            if got_a.is_some() {
                assert_eq!(got, [1]);
            } else {
                assert!(got.len() <= 1, "twice");
            }
            works(&c, 1);
            got_a.is_none()
        })
    });
}

/// Repair for a dead peer that lost its claim, while the living holder puts the item back and another one adopts it.
#[test]
fn an_item_put_back_beside_a_repair_is_delivered_once() {
    report("put back beside a repair, capacity 1", || {
        kill_at_every_step(1, |k| {
            let queue = Queue::<u64>::new(1, 4);
            let (a, x, y, r) = (queue.peer(0), queue.peer(1), queue.peer(2), queue.peer(3));
            assert!(r.try_put(7));
            // Peer 0 dies with its intent announced, whether it has claimed or not.
            let got_a = process(k, || a.try_get());
            let Some(p) = y.lease() else { return got_a.is_none() };
            queue.died(0);
            let y = spawn(move || y.nack(p));
            let x = spawn(move || x.try_get());
            r.recover();
            let got_r = r.try_get();
            y.join().unwrap();
            let got_x = x.join().unwrap();
            r.recover();
            let got: Vec<u64> = [got_r, got_x, r.try_get()].into_iter().flatten().collect();
            assert_eq!(got, [7]);
            works(&r, 1);
            got_a.is_none()
        })
    });
}

/// Two repairers for one dead consumer: the orphan is not taken twice.
#[test]
fn two_repairers_do_not_deliver_an_item_twice() {
    report("two repairers, capacity 1", || {
        kill_at_every_step(1, |k| {
            let queue = Queue::<u64>::new(1, 4);
            let (a, b, c, d) = (queue.peer(0), queue.peer(1), queue.peer(2), queue.peer(3));
            assert!(c.try_put(7));
            let got_a = process(k, || a.try_get());
            if got_a.is_some() {
                return false;
            }
            queue.died(0);
            let b = spawn(move || {
                b.recover();
            });
            let d = spawn(move || d.try_get());
            c.recover();
            let got_c = c.try_get();
            b.join().unwrap();
            let got_d = d.join().unwrap();
            let rest = c.try_get();
            let got = [got_c, got_d, rest].iter().flatten().count();
            assert!(got <= 1, "twice: {got_c:?} {got_d:?} {rest:?}");
            works(&c, 1);
            true
        })
    });
}

/// What a killed consumer's batch leaves comes back in the order in which it was put, also where its slots are not.
#[test]
fn a_killed_batch_of_gets_comes_back_in_order() {
    report("killed batch of gets across the last slot, capacity 4", || {
        kill_at_every_step(1, |k| {
            let queue = Queue::<u64>::new(4, 2);
            let (a, b) = (queue.peer(0), queue.peer(1));
            assert_eq!((b.try_put_batch(&[0, 0]), b.try_get_batch(&mut [0; 2])), (2, 2));
            assert_eq!(b.try_put_batch(&[1, 2, 3, 4]), 4);
            if process(k, || a.try_get_batch(&mut [0; 4])).is_some() {
                return false;
            }
            queue.died(0);
            assert_eq!(b.recover(), 1);
            let got: Vec<u64> = std::iter::from_fn(|| b.try_get()).collect();
            assert!(got.is_sorted() && got.iter().eq(&[1, 2, 3, 4][..got.len()]), "{got:?}");
            works(&b, 4);
            true
        })
    });
}

/// A batch is resolved in part when its maker dies, and others have gone on since: the rest is still found.
#[test]
fn a_batch_killed_in_the_middle_leaves_nothing_behind() {
    report("killed batch of puts, capacity 2", || {
        kill_at_every_step(1, |k| {
            let queue = Queue::<u64>::new(2, 2);
            let (a, b) = (queue.peer(0), queue.peer(1));
            let put = process(k, || a.try_put_batch(&[1, 2]));
            if put.is_some() {
                return false;
            }
            let first = b.try_get();
            let three = b.try_put(3);
            queue.died(0);
            assert_eq!(b.recover(), 1);
            let got: Vec<u64> = first.into_iter().chain(std::iter::from_fn(|| b.try_get())).collect();
            let permitted = [vec![], vec![1], vec![1, 2]];
            assert!(
                permitted.iter().any(|p| got == [p.clone(), vec![3; usize::from(three)]].concat()),
                "{got:?}"
            );
            works(&b, 2);
            true
        })
    });
    report("killed batch of gets, capacity 2", || {
        kill_at_every_step(1, |k| {
            let queue = Queue::<u64>::new(2, 2);
            let (a, b) = (queue.peer(0), queue.peer(1));
            assert_eq!(b.try_put_batch(&[1, 2]), 2);
            let got = process(k, || a.try_get_batch(&mut [0; 2]));
            if got.is_some() {
                return false;
            }
            let three = b.try_put(3);
            let first = b.try_get();
            queue.died(0);
            assert_eq!(b.recover(), 1);
            let mut got: Vec<u64> = first.into_iter().chain(std::iter::from_fn(|| b.try_get())).collect();
            assert_eq!(got.contains(&3), three);
            got.retain(|&n| n != 3);
            let permitted: [&[u64]; 3] = [&[1, 2], &[1], &[]];
            assert!(permitted.contains(&got.as_slice()), "{got:?}");
            works(&b, 2);
            true
        })
    });
}

/// Peers come and go at one place while another one looks for the dead: nobody died, whatever it reads of the state and of the lock, one after the other.
#[test]
fn a_place_that_changes_hands_is_not_a_death() {
    report("leave and join beside a repairer, capacity 1", || {
        explore(4, || {
            let queue = Queue::<u64>::new(1, 2);
            let (a, b) = (queue.peer(0), queue.peer(1));
            let places = queue.clone();
            let changes = spawn(move || {
                a.leave();
                // A repairer may be holding the place for a moment.
                let put = |peer: Peer<u64>| (peer.try_put(1), peer);
                if let Some(next) = places.join(0) {
                    next.leave();
                }
                places.join(0).map(put)
            });
            assert_eq!(b.recover(), 0, "nobody died");
            let last = changes.join().unwrap();
            assert_eq!(queue.is_vacant(0), last.is_none(), "a living one's place is its own");
            assert_eq!(b.try_get(), last.map(|(put, _peer)| put).unwrap_or(false).then_some(1));
            works(&b, 1);
        })
    });
}

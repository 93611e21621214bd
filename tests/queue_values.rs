//! The queue of any values.

use skep::{Arena, Queue, RecvValueError, SendValueError, ShmArc, ShmBox, ShmString, ShmVec};
use std::collections::VecDeque;

#[test]
fn handles_move_through_a_queue_wherever_they_are_in_a_value() {
    let arena = Arena::new(1 << 20).unwrap();
    type Value = (u32, Vec<Option<ShmBox<u64>>>, ShmVec<f64>, ShmArc<[u8]>, ShmString);
    let mut here = Queue::<Value>::create_in(&arena, "values", 4).unwrap();
    let mut there = here.try_clone().unwrap();
    let before = arena.free_bytes();
    let shared = arena.slice(b"shared").unwrap().share().unwrap();
    for round in 0..20 {
        let boxes = (0..5).map(|n| (n != 2).then(|| arena.boxed(n).unwrap())).collect();
        let mut samples = arena.vec(2).unwrap();
        samples.extend_from_slice(&[1.5, 2.5, 3.0]).unwrap();
        let text = arena.string("text").unwrap();
        here.put((round, boxes, samples, shared.try_clone().unwrap(), text)).unwrap();
        assert_eq!(shared.count(), 2);
        let (number, boxes, samples, bytes, text) = there.get().unwrap();
        assert_eq!((number, boxes.len(), boxes[2].is_none(), &*text), (round, 5, true, "text"));
        assert_eq!(
            (boxes[4].as_deref(), &samples[..], &bytes[..]),
            (Some(&4), &[1.5, 2.5, 3.0][..], &b"shared"[..])
        );
    }
    drop(shared);
    assert_eq!(arena.free_bytes(), before);
}

#[test]
fn a_value_of_any_size_up_to_the_arena_gets_through() {
    let mut queue = Queue::<Vec<u8>>::new(4).unwrap();
    for size in [0, 1, 39, 40, 41, 100, 5_000, 1 << 20, 20 << 20] {
        let value: Vec<u8> = (0..size).map(|n| n as u8).collect();
        queue.put(value.clone()).unwrap();
        assert!(queue.get().unwrap() == value, "{size}");
    }
    assert_eq!(queue.try_get(), Err(RecvValueError::Empty));
}

#[test]
fn a_dropped_lease_gives_the_value_back_whole() {
    let mut queue = Queue::<ShmVec<u32>>::new(4).unwrap();
    let mut vec = queue.arena().vec(4).unwrap();
    vec.extend_from_slice(&[1, 2, 3]).unwrap();
    queue.put(vec).unwrap();
    let lease = queue.lease().unwrap();
    assert_eq!(lease[..], [1, 2, 3]);
    drop(lease);
    let lease = queue.lease().unwrap();
    assert_eq!(lease.deliveries(), 1);
    let mut vec = lease.ack().unwrap();
    vec.push(4).unwrap();
    assert_eq!(vec[..], [1, 2, 3, 4]);
}

#[test]
fn batches_are_put_and_taken_in_order_and_what_has_no_room_stays() {
    let mut queue = Queue::<Vec<u8>>::new(4).unwrap();
    let mut values: VecDeque<_> = (0..6_u8).map(|n| vec![n; 100]).collect();
    assert_eq!(queue.try_put_batch(&mut values).unwrap(), 4);
    assert_eq!(values, [[4; 100], [5; 100]]);
    let full = queue.try_put_batch(&mut values).unwrap_err();
    assert!(matches!(&full, SendValueError::Full(value) if value == &[4; 100]), "{full}");
    assert_eq!(values, [[5; 100]]);
    let mut got = Vec::new();
    assert_eq!(queue.get_batch(&mut got, 3).unwrap(), 3);
    assert_eq!(queue.put_batch(&mut values).unwrap(), 1);
    assert_eq!(queue.try_get_batch(&mut got, 9).unwrap(), 2);
    assert_eq!(got, [[0; 100], [1; 100], [2; 100], [3; 100], [5; 100]]);
    assert!(matches!(queue.try_get_batch(&mut got, 1), Err(RecvValueError::Empty)));
    assert_eq!((queue.get_batch(&mut got, 0).unwrap(), queue.try_get_with(|_| ()).is_err()), (0, true));
}

#[test]
fn a_closed_queue_hands_back_the_value_of_a_batch_that_it_refuses() {
    let mut queue = Queue::<String>::new(4).unwrap();
    queue.put("before".into()).unwrap();
    queue.close();
    let mut values: VecDeque<_> = ["one", "two"].map(String::from).into();
    let closed = queue.put_batch(&mut values).unwrap_err();
    assert!(matches!(&closed, SendValueError::Closed(value) if value == "one"), "{closed}");
    assert_eq!(values, ["two"]);
    let mut got = Vec::new();
    assert_eq!(queue.get_batch(&mut got, 5).unwrap(), 1);
    assert!(matches!(queue.get_batch(&mut got, 5), Err(RecvValueError::Closed)));
}

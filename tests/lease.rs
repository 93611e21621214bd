//! The laws of leases.

#![cfg(not(loom))]

mod common;

use common::{Other, given_fd, in_forked_child, role};
use skep::{GetError, SimpleQueue};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

const HANG: Duration = Duration::from_secs(60);

#[test]
fn the_other_process() {
    let Some((_, _)) = role() else { return };
    let queue = SimpleQueue::<u64>::from_fd(given_fd()).unwrap();
    let leases: Vec<_> = (0..8).map(|_| queue.lease().unwrap()).collect();
    loop {
        std::thread::park();
        std::hint::black_box(&leases);
    }
}

#[test]
fn an_acknowledged_item_is_gone_and_any_other_end_gives_it_back() {
    let mut queue = SimpleQueue::<u64>::new(1).unwrap();
    let other = queue.try_clone().unwrap();
    queue.put(7).unwrap();
    queue.lease().unwrap().nack();
    drop(other.lease().unwrap());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _lease = queue.lease();
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    let lease = other.try_lease().unwrap();
    assert_eq!((*lease, lease.deliveries()), (7, 3));
    queue.close();
    assert_eq!(queue.lease_timeout(Duration::ZERO).err(), Some(GetError::Empty), "it may come back");
    lease.ack();
    assert_eq!(queue.get(), Err(GetError::Closed));
}

#[test]
fn the_number_of_deliveries_stops_at_255() {
    let mut queue = SimpleQueue::<u64>::new(1).unwrap();
    queue.put(7).unwrap();
    (0..300).for_each(|n: u32| assert_eq!(queue.lease().unwrap().deliveries(), n.min(255)));
    assert_eq!(queue.get(), Ok(7));
}

#[test]
fn a_handle_holds_eight_leases_and_no_ninth() {
    let mut queue = SimpleQueue::<u64>::new(16).unwrap();
    queue.put_batch(&[0, 1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    let mut leases: Vec<_> = (0..8).map(|_| queue.lease().unwrap()).collect();
    assert_eq!(queue.try_lease().err(), Some(GetError::TooManyLeases));
    leases.remove(3).ack();
    assert_eq!(*queue.lease().unwrap(), 8);
}

#[test]
fn a_forgotten_lease_ends_with_its_handle() {
    let mut queue = SimpleQueue::<u64>::new(1).unwrap();
    queue.put(7).unwrap();
    let other = queue.try_clone().unwrap();
    std::mem::forget(other.lease().unwrap());
    drop(other);
    assert_eq!(queue.try_lease().unwrap().deliveries(), 1);
}

#[test]
fn a_forked_childs_copy_does_nothing() {
    let mut queue = SimpleQueue::<u64>::new(1).unwrap();
    queue.put(7).unwrap();
    let mut lease = Some(queue.lease().unwrap());
    let status = in_forked_child(|| {
        assert_eq!(queue.try_lease().err(), Some(GetError::Forked));
        lease.take().unwrap().ack();
        0
    });
    assert!(status.success());
    assert_eq!(queue.try_lease().err(), Some(GetError::Empty));
    lease.take().unwrap().nack();
    assert_eq!(*queue.try_lease().unwrap(), 7);
}

#[test]
fn what_a_killed_holder_had_leased_comes_back() {
    let mut queue = SimpleQueue::<u64>::new(16).unwrap();
    queue.put_batch(&[0, 1, 2, 3, 4, 5, 6, 7]).unwrap();
    let other = Other::start_with_fd("hold", "", queue.as_fd());
    common::end_after(HANG);
    while !queue.is_empty() {
        std::thread::yield_now();
    }
    other.kill();
    let leases: Vec<_> = (0..8).map(|_| queue.lease_timeout(HANG).unwrap()).collect();
    let mut items: Vec<u64> = leases.iter().map(|lease| **lease).collect();
    items.sort_unstable();
    assert_eq!(items, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert!(leases.iter().all(|lease| lease.deliveries() == 1));
}

//! The laws of leases.

#![cfg(not(loom))]

mod common;
#[path = "common/stepped.rs"]
mod stepped;

use common::{Other, given_fd, in_forked_child, role};
use skep::{GetError, Lease, SimpleQueue};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use stepped::{Now, Step, Stepped};

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
    let mut queue = SimpleQueue::<u64>::new(2).unwrap();
    queue.put_batch(&[7, 8]).unwrap();
    let mut leases = vec![queue.lease().unwrap(), queue.lease().unwrap()];
    let status = in_forked_child(|| {
        assert_eq!(queue.try_lease().err(), Some(GetError::Forked));
        leases.pop().unwrap().ack();
        leases.pop().unwrap().nack();
        0
    });
    assert!(status.success());
    assert_eq!(queue.try_lease().err(), Some(GetError::Empty), "the child has given none back");
    drop(leases);
    assert_eq!([*queue.try_lease().unwrap(), *queue.try_lease().unwrap()], [7, 8], "nor taken one");
}

#[test]
fn what_a_killed_holder_had_leased_comes_back() {
    let queue = eight_items_leased_by_a_killed_holder();
    let leases: Vec<_> = (0..8).map(|_| queue.lease_timeout(HANG).unwrap()).collect();
    let mut items: Vec<u64> = leases.iter().map(|lease| **lease).collect();
    items.sort_unstable();
    assert_eq!(items, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert!(leases.iter().all(|lease| lease.deliveries() == 1));
}

#[test]
fn what_a_killed_holder_had_leased_comes_back_to_who_only_tries() {
    let mut queue = eight_items_leased_by_a_killed_holder();
    let mut items: Vec<u64> =
        std::iter::repeat_with(|| queue.try_get()).filter_map(Result::ok).take(8).collect();
    items.sort_unstable();
    assert_eq!(items, [0, 1, 2, 3, 4, 5, 6, 7]);
}

fn eight_items_leased_by_a_killed_holder() -> SimpleQueue<u64> {
    let mut queue = SimpleQueue::new(16).unwrap();
    queue.put_batch(&[0, 1, 2, 3, 4, 5, 6, 7]).unwrap();
    let other = Other::start_with_fd("hold", "", queue.as_fd());
    common::end_after(HANG);
    while !queue.is_empty() {
        std::thread::yield_now();
    }
    other.kill();
    queue
}

/// How many of the steps a process is killed after, evenly spread.
const POINTS: u64 = 150;

/// A process that leases the queue's item, does `end` with it, and ends without leaving.
fn holder(queue: &SimpleQueue<u64>, end: fn(Lease<'_, u64>)) -> Stepped {
    let fd = queue.as_fd().try_clone_to_owned().unwrap();
    let prepare = || SimpleQueue::<u64>::from_fd(fd).unwrap();
    Stepped::start(prepare, |own| {
        end(own.lease().unwrap());
        std::mem::forget(own);
    })
}

/// Kills a process in the middle of a lease and its `end`: before it took the item this is delivered as if nothing had happened, afterwards once more, with its count, and
/// in the end as `ended` says. Returns in how many of the deaths the item was delivered once more.
fn killed_after_each(step: Step, end: fn(Lease<'_, u64>), ended: &[(u64, u32)]) -> usize {
    let one_item = || {
        let mut queue = SimpleQueue::<u64>::new(2).unwrap();
        queue.put(7).unwrap();
        queue
    };
    let all = {
        let queue = one_item();
        let child = holder(&queue, end);
        (1..).find(|_| child.step(step) == Now::Over).unwrap()
    };
    let mut returned = 0;
    let points = POINTS.min(all);
    for steps in (0..points).map(|point| all * point / points) {
        let mut queue = one_item();
        let child = holder(&queue, end);
        (0..steps).for_each(|_| assert_eq!(child.step(step), Now::Stopped));
        child.kill();
        assert_eq!(queue.recover().unwrap(), 1, "killed after step {steps} of {all}");
        let mut got = vec![];
        while let Ok(lease) = queue.try_lease() {
            got.push((*lease, lease.deliveries()));
            lease.ack();
        }
        let permitted = [&[(7, 0)], &[(7, 1)], ended];
        assert!(permitted.contains(&got.as_slice()), "killed after step {steps} of {all}: {got:?}");
        returned += usize::from(got == [(7, 1)]);
        // Both slots are there, and nobody is in the way.
        assert_eq!(queue.try_put_batch(&[1, 2]), Ok(2), "killed after step {steps} of {all}");
        assert_eq!((queue.try_get(), queue.try_get()), (Ok(1), Ok(2)));
    }
    returned
}

#[test]
fn a_holder_killed_at_any_instruction_of_lease_and_ack_gives_its_item_back_once_or_it_is_gone() {
    common::end_after(HANG);
    assert!(
        killed_after_each(Step::Instruction, |lease| lease.ack(), &[]) > 0,
        "none while it held the item"
    );
    killed_after_each(Step::SystemCall, |lease| lease.ack(), &[]);
}

#[test]
fn a_holder_killed_at_any_instruction_of_lease_and_nack_gives_its_item_back_once() {
    common::end_after(HANG);
    assert!(killed_after_each(Step::Instruction, |lease| lease.nack(), &[(7, 1)]) > 0);
    killed_after_each(Step::SystemCall, |lease| lease.nack(), &[(7, 1)]);
}

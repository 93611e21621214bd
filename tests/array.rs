//! Values and arrays with a lock, between processes that die.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/stepped.rs"]
mod stepped;

use common::{Other, Unlink, end_after, fresh_name, given_fd, in_forked_child, role};
use skep::{
    AccessError, Array, ArrayGuard, Error, Event, LockError, Mismatch, Mutex, OutOfRange, Part, RawArray,
    Value,
};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;
use stepped::{Now, Step, Stepped};

/// So long that only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);

/// More than a page of items, so that a half changed array is so in several pages.
const LEN: usize = 700;

/// How often each process counts.
const COUNTS: u64 = 5_000;

fn fd(object: &impl AsFd) -> OwnedFd {
    object.as_fd().try_clone_to_owned().unwrap()
}

#[test]
fn the_other_process() {
    let Some((role, argument)) = role() else { return };
    match role.as_str() {
        "hold half changed" => {
            let array = Array::<u64>::from_fd(given_fd()).unwrap();
            let mut guard = array.lock().unwrap();
            guard[..LEN / 2].fill(1);
            Event::open(&argument).unwrap().set().unwrap();
            std::thread::sleep(2 * HANG);
        }
        "hold the value" => {
            let value = Value::<[u64; 2]>::from_fd(given_fd()).unwrap();
            let mut guard = value.lock().unwrap();
            guard[0] += 1;
            Event::open(&argument).unwrap().set().unwrap();
            std::thread::sleep(2 * HANG);
        }
        "count in the array" => count_in_array(&Array::from_fd(given_fd()).unwrap()),
        "count in the value" => count_in_value(&Value::from_fd(given_fd()).unwrap()),
        "make and leave" => drop(Array::create_from_slice(&argument, &[3_u16, 1, 4, 1, 5]).unwrap()),
        other => panic!("no such role: {other}"),
    }
    std::process::exit(0);
}

fn count_in_array(array: &Array<u64>) {
    (0..COUNTS).for_each(|_| array.lock().unwrap().iter_mut().for_each(|item| *item += 1));
}

fn count_in_value(value: &Value<[u64; 2]>) {
    (0..COUNTS).for_each(|_| value.update(|[one, other]| (*one, *other) = (*one + 1, *other + 2)).unwrap());
}

/// A process that takes the lock of an object and is killed while it has it.
fn hold_and_die(role: &str, object: &impl AsFd) {
    let name = fresh_name(&role.replace(' ', "-"));
    let _unlink = Unlink(name.clone());
    let holds = Event::create(&name, ()).unwrap();
    let holder = Other::start_with_fd(role, &name, object);
    holds.wait_timeout(HANG).unwrap();
    holder.kill();
}

// --- what a death leaves -----------------------------------------------------------------------------------------

#[test]
fn a_killed_holders_array_comes_with_the_news_as_it_was_left() {
    let array = Array::<u64>::new(LEN).unwrap();
    hold_and_die("hold half changed", &array);
    let told = AccessError::Lock(LockError::OwnerDied(()));
    assert_eq!(array.get(0), Err(told));
    assert_eq!(array.set(0, 5), Err(told), "and nothing is written");
    let Err(LockError::OwnerDied(mut guard)) = array.lock_timeout(HANG) else { panic!("nobody told") };
    assert!(guard.is_suspect());
    assert!(guard[..LEN / 2].iter().all(|&item| item == 1) && guard[LEN / 2..].iter().all(|&item| item == 0));
    guard.fill(1);
    guard.mark_consistent();
    drop(guard);
    assert_eq!(array.get(LEN - 1), Ok(1));
}

#[test]
fn recover_repairs_an_array_after_a_death() {
    let array = Array::<u64>::new(LEN).unwrap();
    hold_and_die("hold half changed", &array);
    let guard = array.lock().or_else(|error| error.recover(|items| items.fill(7))).unwrap();
    assert!(guard.iter().all(|&item| item == 7));
    drop(guard);
    assert!(array.try_lock().is_ok());
}

/// What a program does that knows what to do about a death: a clean lock means equal items.
fn change(array: &Array<u64>) {
    let mut guard = array.lock().or_else(|e| e.recover(|items| items.fill(items[0]))).unwrap();
    assert!(guard.iter().all(|&item| item == guard[0]), "half changed, and nobody said so");
    for item in guard.iter_mut() {
        *item += 1;
        std::hint::black_box(item);
    }
}

/// Kills a process that runs `work` on an object, a new one each time, after a number of steps, for numbers from none to all; `look` then tells whether
/// the object says that somebody died. Somebody must have been told.
fn kill_at_each<P: AsFd>(make: fn() -> P, open: fn(OwnedFd) -> P, work: fn(&P), look: fn(&P) -> bool) {
    const POINTS: u64 = 80;
    let start = |object: &P| {
        let fd = fd(object);
        Stepped::start(|| open(fd), |own| work(&own))
    };
    let all: u64 = {
        let child = start(&make());
        (0..).find(|_| child.step(Step::Instruction) == Now::Over).unwrap()
    };
    let mut told = 0;
    for point in 0..POINTS {
        let object = make();
        let child = start(&object);
        (0..all * point / POINTS).for_each(|_| assert_eq!(child.step(Step::Instruction), Now::Stopped));
        child.kill();
        told += u64::from(look(&object));
        work(&object);
        assert!(!look(&object), "in order, and its lock works");
    }
    assert!(told > 0, "no kill hit the holder");
}

#[test]
fn a_holder_of_an_array_killed_at_any_instruction_leaves_a_lock_that_works_and_tells() {
    let look = |array: &Array<u64>| match array.try_lock() {
        Ok(guard) => {
            assert!(guard.iter().all(|&item| item == guard[0]), "half changed, and nobody said so");
            false
        }
        Err(LockError::OwnerDied(_)) => true,
        Err(other) => panic!("{other}"),
    };
    kill_at_each(|| Array::new(4).unwrap(), |fd| Array::from_fd(fd).unwrap(), change, look);
}

#[test]
fn a_process_killed_at_any_instruction_of_set_and_update_leaves_the_value_in_order_or_tells() {
    type Wide = [u64; 8];
    let look = |value: &Value<Wide>| match value.get() {
        Ok(items) => {
            assert!(items.iter().all(|&item| item == items[0]), "half changed, and nobody said so");
            false
        }
        Err(LockError::OwnerDied(_)) => true,
        Err(other) => panic!("{other}"),
    };
    let work = |value: &Value<Wide>| {
        value.set([5; 8]).unwrap();
        value.update(|items| items.iter_mut().for_each(|item| *item += 1)).unwrap();
    };
    kill_at_each(|| Value::new([0; 8]).unwrap(), |fd| Value::from_fd(fd).unwrap(), work, look);
}

#[test]
fn a_killed_holders_value_is_told_until_it_is_set() {
    let value = Value::new([5_u64, 5]).unwrap();
    hold_and_die("hold the value", &value);
    assert_eq!(value.get(), Err(LockError::OwnerDied([6, 5])));
    assert_eq!(value.update(|pair| pair[0] = 9), Err(LockError::OwnerDied([6, 5])), "and is not changed");
    value.set([7, 7]).unwrap();
    assert_eq!(value.get(), Ok([7, 7]));
}

#[test]
fn a_panic_in_update_leaves_the_value_and_the_news() {
    let value = Value::new(3_u64).unwrap();
    let panicking = || -> Result<(), _> {
        value.update(|n| {
            *n = 4;
            resume_unwind(Box::new(()))
        })
    };
    assert!(catch_unwind(AssertUnwindSafe(panicking)).is_err());
    assert_eq!(value.get(), Err(LockError::OwnerDied(3)));
}

#[test]
fn a_panic_under_the_guard_makes_the_array_suspect() {
    let array = Array::from_slice(&[1_u8]).unwrap();
    let panicking = || {
        let _guard = array.lock().unwrap();
        resume_unwind(Box::new(()))
    };
    assert!(catch_unwind(AssertUnwindSafe(panicking)).is_err());
    assert!(matches!(array.try_lock(), Err(LockError::OwnerDied(_))));
}

// --- exclusion ---------------------------------------------------------------------------------------------------

#[test]
fn processes_and_threads_count_exactly_under_the_lock() {
    end_after(3 * HANG);
    let (array, value) = (Array::<u64>::new(LEN).unwrap(), Value::new([0_u64; 2]).unwrap());
    let others = [
        Other::start_with_fd("count in the array", "", &array),
        Other::start_with_fd("count in the value", "", &value),
    ];
    std::thread::scope(|threads| {
        threads.spawn(|| count_in_array(&array));
        threads.spawn(|| count_in_value(&value));
    });
    others.into_iter().for_each(Other::finish);
    assert!(array.lock().unwrap().iter().all(|&item| item == 2 * COUNTS));
    assert_eq!(value.get(), Ok([2 * COUNTS, 4 * COUNTS]));
}

#[test]
fn a_held_array_refuses_and_times_out_and_its_holder_is_told_of_itself() {
    let array = Array::<u64>::new(2).unwrap();
    let clone = array.try_clone().unwrap();
    let guard = array.lock().unwrap();
    assert!(matches!(clone.lock(), Err(LockError::WouldDeadlock)));
    assert_eq!(array.get(0), Err(AccessError::Lock(LockError::WouldDeadlock)));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            assert!(matches!(clone.try_lock(), Err(LockError::WouldBlock)));
            assert!(matches!(clone.lock_timeout(Duration::from_millis(30)), Err(LockError::Timeout)));
        });
    });
    drop(guard);
    assert!(clone.try_lock().is_ok());
}

#[test]
fn a_forked_child_is_refused_and_its_copy_of_the_guard_unlocks_nothing() {
    let array = Array::<u64>::new(2).unwrap();
    let mut guard: Option<ArrayGuard<'_, u64>> = Some(array.lock().unwrap());
    let status = in_forked_child(|| {
        drop(guard.take());
        let refused = [
            matches!(array.lock(), Err(LockError::Forked)),
            matches!(array.try_lock(), Err(LockError::Forked)),
            matches!(array.get(0), Err(AccessError::Lock(LockError::Forked))),
            matches!(array.try_clone(), Err(Error::Forked)),
        ];
        i32::from(refused != [true; 4])
    });
    assert!(status.success(), "{status}");
    std::thread::scope(|threads| {
        threads.spawn(|| assert!(matches!(array.try_lock(), Err(LockError::WouldBlock))));
    });
}

// --- items -------------------------------------------------------------------------------------------------------

#[test]
fn items_are_copied_in_and_out_and_none_behind_the_end() {
    let array = Array::from_slice(&[1_u32, 2, 3]).unwrap();
    array.copy_from(1, &[7, 8]).unwrap();
    let mut all = [0; 3];
    array.copy_to(0, &mut all).unwrap();
    assert_eq!((all, array.get(2), array.len()), ([1, 7, 8], Ok(8), 3));
    array.copy_to(3, &mut []).unwrap();
    let behind = |start, count| Err(AccessError::OutOfRange(OutOfRange { start, count, len: 3 }));
    assert_eq!(array.set(3, 0), behind(3, 1));
    assert_eq!(array.copy_from(2, &[0, 0]), behind(2, 2));
    assert_eq!(array.copy_to(usize::MAX, &mut all), behind(usize::MAX, 3));
    assert_eq!(*array.lock().unwrap(), [1, 7, 8]);
}

#[test]
fn a_length_that_is_not_possible_is_an_error() {
    assert!(matches!(Array::<u64>::new(0), Err(Error::Capacity { capacity: 0, .. })));
    assert!(matches!(Array::<u8>::from_slice(&[]), Err(Error::Capacity { .. })));
    assert!(matches!(Array::<u64>::new(usize::MAX), Err(Error::Capacity { .. })));
    assert!(matches!(Array::<u64>::new(1 << 55), Err(Error::NoMemory { .. })));
}

// --- names, kinds and types --------------------------------------------------------------------------------------

#[test]
fn a_named_array_is_there_after_its_last_process_has_gone() {
    let name = fresh_name("left");
    let _unlink = Unlink(name.clone());
    Other::start("make and leave", &name).finish();
    let array = Array::<u16>::open(&name).unwrap();
    assert_eq!(*array.lock().unwrap(), [3, 1, 4, 1, 5], "whole, with the length that it was made with");
    Array::<u16>::unlink(&name).unwrap();
    assert!(matches!(Array::<u16>::open(&name), Err(Error::NotFound { .. })));
    assert_eq!(array.len(), 5, "whoever has it goes on");
}

#[test]
fn names_kinds_types_and_lengths_are_told_apart() {
    let name = fresh_name("names");
    let _unlink = Unlink(name.clone());
    let first = Array::<u64>::open_or_create(&name, 1).unwrap();
    first.set(0, 9).unwrap();
    assert!(matches!(Array::<u64>::create(&name, 1), Err(Error::Exists { .. })));
    let again = Array::<u64>::open(&name).unwrap();
    assert_eq!((again.len(), again.get(0)), (1, Ok(9)), "the length is the segment's");
    assert!(matches!(Array::<u32>::open(&name), Err(Error::Mismatch(Mismatch::Item { .. }))));
    assert!(matches!(Array::<i64>::from_fd(fd(&first)), Err(Error::Mismatch(Mismatch::Item { .. }))));
    assert!(matches!(Value::<u64>::open(&name), Err(Error::Mismatch(Mismatch::Kind { .. }))));
    assert!(matches!(RawArray::<u64>::open(&name), Err(Error::Mismatch(Mismatch::Kind { .. }))));
    let mutex = Mutex::new(0_u64).unwrap();
    assert!(matches!(Array::<u64>::from_fd(fd(&mutex)), Err(Error::Mismatch(Mismatch::Kind { .. }))));
}

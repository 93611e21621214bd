//! Values and arrays without a lock, between processes.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Other, Unlink, fresh_name, given_fd, in_forked_child, role};
use skep::{Array, AtomicArray, AtomicItem, AtomicValue, Error, Mismatch, OutOfRange, RawArray};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

/// How often each process counts.
const COUNTS: u64 = 200_000;

fn fd(object: &impl AsFd) -> OwnedFd {
    object.as_fd().try_clone_to_owned().unwrap()
}

#[test]
fn the_other_process() {
    let Some((role, argument)) = role() else { return };
    match role.as_str() {
        "count" => count(&AtomicArray::from_fd(given_fd()).unwrap()),
        "count for ever" => {
            let counters = AtomicArray::<u64>::from_fd(given_fd()).unwrap();
            while counters[0].fetch_add(1, Relaxed) < u64::MAX {}
        }
        "write" => {
            let array = RawArray::<u64>::from_fd(given_fd()).unwrap();
            while array.get(1) == Ok(0) {
                [0, u64::MAX].into_iter().for_each(|pattern| array.set(0, pattern).unwrap());
            }
        }
        "make and leave" => drop(AtomicValue::create(&argument, 41_i32).unwrap()),
        other => panic!("no such role: {other}"),
    }
    std::process::exit(0);
}

/// Counts up in one item and down in another.
fn count(counters: &AtomicArray<u64>) {
    (0..COUNTS).for_each(|_| {
        counters[0].fetch_add(1, Relaxed);
        counters[1].fetch_sub(1, Relaxed);
    });
}

// --- atomics -----------------------------------------------------------------------------------------------------

#[test]
fn processes_and_threads_count_exactly_without_a_lock() {
    let counters = AtomicArray::from_slice(&[0, 4 * COUNTS]).unwrap();
    let others = [(); 2].map(|()| Other::start_with_fd("count", "", &counters));
    std::thread::scope(|threads| {
        let clone = counters.clone();
        threads.spawn(move || count(&clone));
        threads.spawn(|| count(&counters));
    });
    others.into_iter().for_each(Other::finish);
    assert_eq!(counters.iter().map(|n| n.load(Relaxed)).collect::<Vec<_>>(), [4 * COUNTS, 0]);
}

#[test]
fn a_process_killed_while_it_counts_holds_up_nobody_and_loses_nothing() {
    let counters = AtomicArray::<u64>::new(1).unwrap();
    for _ in 0..20 {
        let before = counters[0].load(Relaxed);
        let other = Other::start_with_fd("count for ever", "", &counters);
        while counters[0].load(Relaxed) == before {
            std::thread::yield_now();
        }
        other.kill();
        let after = counters[0].load(Relaxed);
        assert!(after > before);
        assert_eq!(counters[0].fetch_add(1, Relaxed), after, "it counts no more, and we do");
    }
}

#[test]
fn each_integer_type_has_its_atomics() {
    fn check<A: AtomicItem + PartialEq + std::fmt::Debug>(values: [A; 3]) {
        let array = AtomicArray::from_slice(&values).unwrap();
        assert_eq!(size_of_val(&*array), size_of_val(&values));
        assert_eq!(format!("{array:?}"), format!("{values:?}"));
        let one = AtomicValue::new(values[2]).unwrap();
        assert_eq!(format!("{one:?}"), format!("{:?}", values[2]));
    }
    check([0, 1, u8::MAX]);
    check([0, 1, u16::MAX]);
    check([0, 1, u32::MAX]);
    check([0, 1, u64::MAX]);
    check([0, 1, usize::MAX]);
    check([0, -1, i8::MIN]);
    check([0, -1, i16::MIN]);
    check([0, -1, i32::MIN]);
    check([0, -1, i64::MIN]);
    check([0, -1, isize::MIN]);
}

#[test]
fn a_forked_child_may_use_its_copy() {
    let (value, raw) = (AtomicValue::new(1_u64).unwrap(), RawArray::from_slice(&[1_u8]).unwrap());
    let status = in_forked_child(|| {
        raw.clone().set(0, 2).unwrap();
        value.fetch_add(1, Release);
        0
    });
    assert!(status.success(), "{status}");
    assert_eq!((value.load(Acquire), raw.get(0)), (2, Ok(2)));
}

// --- names, kinds and types --------------------------------------------------------------------------------------

#[test]
fn a_named_value_is_there_after_its_last_process_has_gone() {
    let name = fresh_name("left");
    let _unlink = Unlink(name.clone());
    Other::start("make and leave", &name).finish();
    assert_eq!(AtomicValue::<i32>::open(&name).unwrap().fetch_add(1, Relaxed), 41);
    assert_eq!(AtomicValue::open_or_create(&name, 7_i32).unwrap().load(Relaxed), 42);
    AtomicValue::<i32>::unlink(&name).unwrap();
    assert!(matches!(AtomicValue::<i32>::open(&name), Err(Error::NotFound { .. })));
}

#[test]
fn names_kinds_types_and_lengths_are_told_apart() {
    let name = fresh_name("names");
    let _unlink = Unlink(name.clone());
    let array = AtomicArray::<u32>::open_or_create(&name, 3).unwrap();
    assert_eq!(AtomicArray::<u32>::open(&name).unwrap().len(), 3, "the length is the segment's");
    assert!(matches!(AtomicArray::<u32>::create(&name, 3), Err(Error::Exists { .. })));
    assert!(matches!(AtomicArray::<i32>::open(&name), Err(Error::Mismatch(Mismatch::Item { .. }))));
    assert!(matches!(RawArray::<u32>::open(&name), Err(Error::Mismatch(Mismatch::Kind { .. }))));
    assert!(matches!(Array::<u32>::open(&name), Err(Error::Mismatch(Mismatch::Kind { .. }))));
    let several = AtomicValue::<u32>::from_fd(fd(&array));
    assert!(matches!(several, Err(Error::Mismatch(Mismatch::Geometry { capacity: 3, .. }))));
    let one = AtomicValue::new(5_u32).unwrap();
    assert_eq!(AtomicArray::<u32>::from_fd(fd(&one)).unwrap()[0].load(Relaxed), 5);
    assert!(matches!(AtomicArray::<u8>::new(0), Err(Error::Capacity { .. })));
    assert!(matches!(RawArray::<u64>::new(usize::MAX), Err(Error::Capacity { .. })));
}

// --- raw ---------------------------------------------------------------------------------------------------------

#[test]
fn an_item_of_one_word_is_never_torn() {
    let array = RawArray::<u64>::new(2).unwrap();
    let other = Other::start_with_fd("write", "", &array);
    // Each change that is seen was a chance to see half of it. On one core there are few.
    let (mut last, mut changes, begun) = (0, 0, Instant::now());
    while changes < 10 || changes < 100_000 && begun.elapsed() < Duration::from_secs(1) {
        let item = array.get(0).unwrap();
        assert!(item == 0 || item == u64::MAX, "{item:x}");
        changes += u32::from(item != last);
        last = item;
    }
    array.set(1, 1).unwrap();
    other.finish();
}

#[test]
fn items_of_any_shape_are_copied_in_and_out_and_none_behind_the_end() {
    fn check<T: skep::Pod + PartialEq + std::fmt::Debug>(zero: T, items: [T; 3]) {
        let mut array = RawArray::<T>::new(4).unwrap();
        array.copy_from(1, &items).unwrap();
        let mut all = [zero; 4];
        array.copy_to(0, &mut all).unwrap();
        assert_eq!((all[0], &all[1..]), (zero, &items[..]));
        array.set(0, items[2]).unwrap();
        assert_eq!(array.get(0), Ok(items[2]));
        // SAFETY: nobody else has the array.
        let all_in_place = unsafe { array.as_mut_slice() };
        all_in_place[3] = zero;
        // SAFETY: as above.
        assert_eq!(unsafe { array.as_slice() }, [items[2], items[0], items[1], zero]);
        let behind = |start, count| Err(OutOfRange { start, count, len: 4 });
        assert_eq!(array.get(4), Err(OutOfRange { start: 4, count: 1, len: 4 }));
        assert_eq!(array.set(usize::MAX, zero), behind(usize::MAX, 1));
        assert_eq!(array.copy_from(3, &items), behind(3, 3));
        assert_eq!(array.copy_to(2, &mut all), behind(2, 4));
        // SAFETY: as above.
        assert_eq!(unsafe { array.as_slice() }, [items[2], items[0], items[1], zero], "none is written");
    }
    check(0_u8, [1, 2, 3]);
    check([0_u8; 3], [[1, 2, 3], [4, 5, 6], [7, 8, 9]]);
    check([0_u16; 5], [[1; 5], [2; 5], [3; 5]]);
    check(0_f32, [1.5, -2.5, f32::MAX]);
    check([0_f64; 3], [[1.5; 3], [2.5; 3], [3.5; 3]]);
    check(0_u128, [1, 2, u128::MAX - 7]);
    check((), [(), (), ()]);
}

//! What a mutex promises within one process and its forked children.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Unlink, end_after, fresh_name, in_forked_child};
use skep::{Error, Event, LockError, Mismatch, Mutex, Part, PartOptions, SimpleQueue, shared_struct};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// So long that only a hang reaches it.
const HANG: Duration = Duration::from_secs(30);

// --- guards that do not end as they should -----------------------------------------------------------------------

#[test]
fn a_panic_under_the_guard_makes_the_value_suspect() {
    let mutex = Mutex::new(0_u64).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _guard = mutex.lock().unwrap();
        std::panic::resume_unwind(Box::new(()));
    }));
    assert!(panicked.is_err());
    assert!(matches!(mutex.lock(), Err(LockError::OwnerDied(_))));
}

#[test]
fn a_thread_that_ends_with_its_guard_forgotten_counts_as_dead() {
    let mutex = Mutex::new(5_u64).unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| std::mem::forget(mutex.lock().unwrap()));
    });
    // `scope` returns before the thread has quite ended.
    match mutex.lock_timeout(HANG) {
        Err(LockError::OwnerDied(guard)) => assert_eq!(*guard, 5),
        result => panic!("{result:?}"),
    }
}

/// The C library keeps the addresses of held locks. One that was forgotten must stay mapped, or the next lock of this thread writes
/// into whatever is there then.
#[test]
fn a_mutex_dropped_with_its_guard_forgotten_stays_mapped() {
    let address = {
        let mutex = Mutex::new(0_u64).unwrap();
        let guard = mutex.lock().unwrap();
        let address = &raw const *guard as usize;
        std::mem::forget(guard);
        address
    };
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let covers = |line: &str| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        let [start, end] = [start, end].map(|hex| usize::from_str_radix(hex, 16).unwrap());
        Some((start..end).contains(&address))
    };
    assert!(maps.lines().any(|line| covers(line) == Some(true)));
    let other = Mutex::new(1_u64).unwrap();
    assert_eq!(*other.lock().unwrap(), 1);
}

// --- refusals --------------------------------------------------------------------------------------------------

#[test]
fn a_timeout_returns_and_not_before_its_time() {
    let mutex = Mutex::new(0_u64).unwrap();
    let _guard = mutex.lock().unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for millis in [0, 1, 30, 130] {
                let (timeout, start) = (Duration::from_millis(millis), Instant::now());
                assert!(matches!(mutex.lock_timeout(timeout), Err(LockError::Timeout)));
                assert!(start.elapsed() >= timeout);
            }
        });
    });
}

#[test]
fn locking_again_in_the_same_thread_is_an_error_not_a_hang() {
    end_after(HANG);
    let mutex = Mutex::new(0_u64).unwrap();
    let second_handle = Mutex::<u64>::from_fd(mutex.as_fd().try_clone_to_owned().unwrap()).unwrap();
    let guard = mutex.lock().unwrap();
    for handle in [&mutex, &second_handle] {
        assert!(matches!(handle.lock(), Err(LockError::WouldDeadlock)));
        assert!(matches!(handle.try_lock(), Err(LockError::WouldDeadlock)));
        assert!(matches!(handle.lock_timeout(HANG), Err(LockError::WouldDeadlock)));
    }
    drop(guard);
    assert_eq!(*second_handle.lock().unwrap(), 0);
}

#[test]
fn a_forked_child_is_refused_and_its_copy_of_the_guard_unlocks_nothing() {
    let mutex = Mutex::new(0_u64).unwrap();
    let mut guard = Some(mutex.lock().unwrap());
    let status = in_forked_child(|| {
        drop(guard.take());
        let refused = [
            matches!(mutex.lock(), Err(LockError::Forked)),
            matches!(mutex.try_lock(), Err(LockError::Forked)),
            matches!(mutex.lock_timeout(HANG), Err(LockError::Forked)),
        ];
        i32::from(refused != [true; 3])
    });
    assert!(status.success(), "{status}");
    std::thread::scope(|threads| {
        threads.spawn(|| assert!(matches!(mutex.try_lock(), Err(LockError::WouldBlock))));
    });
    drop(guard);
    assert_eq!(*mutex.lock().unwrap(), 0);
}

#[test]
fn names_kinds_and_types_are_told_apart() {
    let name = fresh_name("names");
    let _unlink = Unlink(name.clone());
    assert!(matches!(Mutex::<u64>::open(&name), Err(Error::NotFound { .. })));
    let first = Mutex::open_or_create(&name, 7_u64).unwrap();
    assert!(matches!(Mutex::create(&name, 8_u64), Err(Error::Exists { .. })));
    assert_eq!(*Mutex::open_or_create(&name, 9_u64).unwrap().lock().unwrap(), 7);
    *first.lock().unwrap() = 10;
    assert_eq!(*Mutex::<u64>::open(&name).unwrap().lock().unwrap(), 10);
    assert!(matches!(Mutex::<u32>::open(&name), Err(Error::Mismatch(Mismatch::Item { .. }))));
    assert!(matches!(Mutex::<i64>::open(&name), Err(Error::Mismatch(Mismatch::Item { .. }))));
    assert!(matches!(SimpleQueue::<u64>::open(&name), Err(Error::Mismatch(Mismatch::Kind { .. }))));
    Mutex::<u64>::unlink(&name).unwrap();
    assert!(matches!(Mutex::<u64>::unlink(&name), Err(Error::NotFound { .. })));
    assert_eq!(*first.lock().unwrap(), 10, "whoever has it goes on");
}

// --- cost ------------------------------------------------------------------------------------------------------

/// Under strict seccomp the kernel kills whoever makes any call but read, write and exit.
#[test]
fn a_free_lock_is_taken_and_released_without_a_system_call() {
    let mutex = Mutex::new(0_u64).unwrap();
    let strictly = |work: &dyn Fn(&Mutex<u64>)| {
        in_forked_child(|| {
            let own = Mutex::<u64>::from_fd(mutex.as_fd().try_clone_to_owned().unwrap()).unwrap();
            // SAFETY: restricts this process, which ends soon.
            assert_eq!(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) }, 0);
            work(&own);
            // SAFETY: ends this process, with the one call that is allowed for it.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
            unreachable!()
        })
    };
    let status = strictly(&|own| {
        for _ in 0..100_000 {
            *own.lock().unwrap() += 1;
            *own.try_lock().unwrap() += 1;
            *own.lock_timeout(HANG).unwrap() += 1;
        }
    });
    assert!(status.success(), "{status}");
    assert_eq!(*mutex.lock().unwrap(), 300_000);
    // That the check would notice one:
    let status = strictly(&|_| std::thread::yield_now());
    assert!(!status.success());
}

/// What the C library has noted for the kernel to look at when this thread ends: the lock that it is about to take.
fn noted_lock() -> usize {
    let (mut head, mut length) = (std::ptr::null::<[usize; 3]>(), 0_usize);
    // SAFETY: the call fills in where this thread's list head is, three words that live as long as the thread.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut length), 0);
        (*head)[2]
    }
}

/// The kernel looks at noted memory when the thread ends, whatever is mapped there by then.
#[test]
fn a_lock_that_timed_out_leaves_no_note_behind() {
    let mutex = Mutex::new(0_u64).unwrap();
    let _held = mutex.lock().unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            assert!(matches!(mutex.lock_timeout(Duration::from_millis(5)), Err(LockError::Timeout)));
            assert_eq!(noted_lock(), 0);
        });
    });
}

// --- as a part ---------------------------------------------------------------------------------------------------

shared_struct! {
    struct Pair {
        left: Mutex<u64>,
        right: Mutex<[u8; 3]>,
        moved: Event,
    }
}

fn pair() -> Pair {
    Pair::anonymous((7, [1; 3], ())).unwrap()
}

#[test]
fn the_mutexes_of_a_struct_are_locks_of_their_own() {
    let here = pair();
    let there = Pair::from_fd(here.as_fd().try_clone_to_owned().unwrap()).unwrap();
    let left = here.left.lock().unwrap();
    let mut right = there.right.lock().unwrap();
    assert!(matches!(there.left.try_lock(), Err(LockError::WouldDeadlock)));
    right[2] = 9;
    drop((left, right));
    assert_eq!((*there.left.lock().unwrap(), *here.right.lock().unwrap()), (7, [1, 1, 9]));
    assert!(matches!(here.left.try_clone(), Err(Error::Mismatch(Mismatch::Kind { .. }))));
    let fd = here.as_fd().try_clone_to_owned().unwrap();
    assert!(matches!(Mutex::<u64>::from_fd(fd), Err(Error::Mismatch(_))));
}

#[test]
fn a_holder_in_a_struct_that_dies_passes_the_lock_and_the_news_on() {
    let pair = pair();
    let status = in_forked_child(|| {
        let own = Pair::from_fd(pair.as_fd().try_clone_to_owned().unwrap()).unwrap();
        *own.left.lock().unwrap() = 8;
        std::mem::forget(own.left.lock().unwrap());
        std::mem::forget(own);
        0
    });
    assert!(status.success());
    match pair.left.lock_timeout(HANG) {
        Err(LockError::OwnerDied(mut guard)) => {
            assert_eq!(*guard, 8);
            guard.mark_consistent();
        }
        result => panic!("{result:?}"),
    }
    assert_eq!(*pair.right.lock().unwrap(), [1; 3], "its neighbour is in order");
    assert_eq!(pair.recover().unwrap(), 1);
}

#[test]
fn a_struct_dropped_with_a_guard_forgotten_stays_mapped() {
    let address = {
        let pair = pair();
        let guard = pair.left.lock().unwrap();
        let address = &raw const *guard as usize;
        std::mem::forget(guard);
        address
    };
    // SAFETY: asks the kernel whether a page is mapped; writes one byte into `_in_core`.
    let mapped = |_in_core: &mut u8| unsafe { libc::mincore((address & !4095) as *mut _, 1, _in_core) } == 0;
    assert!(mapped(&mut 0));
    assert_eq!(*Mutex::new(1_u64).unwrap().lock().unwrap(), 1);
}

#[test]
fn a_mutex_alone_has_clones_and_nobody_to_recover_for() {
    let mutex = Mutex::new(1_u64).unwrap();
    let clone = mutex.try_clone().unwrap();
    *clone.lock().unwrap() += 1;
    assert_eq!(*mutex.lock().unwrap(), 2);
    assert_eq!(mutex.recover().unwrap(), 0);
    let status = in_forked_child(|| i32::from(!matches!(mutex.try_clone(), Err(Error::Forked))));
    assert!(status.success());
    // What a program does that knows parts alone.
    let part = PartOptions::new().peers(2).anonymous::<Mutex<u64>>(3).unwrap();
    let other = part.try_clone().unwrap();
    *other.lock().unwrap() += 1;
    assert_eq!(*part.lock().unwrap(), 4);
    assert!(matches!(part.try_clone(), Err(Error::TooManyPeers { limit: 2 })));
}

/// What a program passes on with `?` is a sentence, also where `main` prints it.
#[test]
fn a_lock_error_passes_with_a_question_mark_and_reads_as_a_sentence() -> Result<(), skep::Error> {
    fn withdraw(balance: &Mutex<i64>) -> Result<i64, skep::Error> {
        let mut guard = balance.lock()?;
        *guard -= 1;
        Ok(*guard)
    }
    let balance = Mutex::new(5_i64)?;
    assert_eq!(withdraw(&balance)?, 4);
    let held = balance.lock()?;
    let refused = withdraw(&balance).unwrap_err();
    drop(held);
    assert!(matches!(refused, skep::Error::Lock(skep::LockError::WouldDeadlock)));
    assert_eq!(format!("{refused:?}"), "this thread holds the lock already: drop the guard first");
    Ok(())
}

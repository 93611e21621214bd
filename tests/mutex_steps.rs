//! The mutex, its holder killed after each of its machine instructions, under a debugger's single step.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/stepped.rs"]
mod stepped;

use skep::{LockError, Mutex};
use std::os::fd::{AsFd, OwnedFd};
use stepped::{Now, Step, Stepped};

/// Two numbers that are equal whenever they are in order.
type Pair = [u64; 2];

/// How many of the instructions are tried, evenly spread.
const POINTS: u64 = 150;

/// What a program does that knows what to do about a death: a clean lock means numbers in order.
fn change(mutex: &Mutex<Pair>) {
    let mut guard = match mutex.lock() {
        Err(LockError::OwnerDied(mut guard)) => {
            guard[1] = guard[0];
            guard.mark_consistent();
            guard
        }
        clean => clean.unwrap(),
    };
    assert_eq!(guard[0], guard[1], "half changed, and nobody said so");
    guard[0] += 1;
    std::hint::black_box(&guard);
    guard[1] += 1;
}

/// What one does that looks and leaves.
fn look_and_leave(mutex: &Mutex<Pair>) {
    drop(mutex.lock());
}

/// A process that runs `work` with a handle of its own.
fn start(mutex: &Mutex<Pair>, work: fn(&Mutex<Pair>)) -> Stepped {
    let fd: OwnedFd = mutex.as_fd().try_clone_to_owned().unwrap();
    Stepped::start(|| Mutex::from_fd(fd).unwrap(), |own| work(&own))
}

/// Kills a process that runs `work` after a number of steps, for numbers from none to all, each time on a mutex made by `prepare`;
/// `check` then looks at what is left. Returns how often somebody was told of a death.
fn kill_after_each(prepare: fn() -> Mutex<Pair>, work: fn(&Mutex<Pair>), must_be_told: bool) -> u64 {
    let all = {
        let mutex = prepare();
        let child = start(&mutex, work);
        (0..).find(|_| child.step(Step::Instruction) == Now::Over).unwrap()
    };
    let mut told = 0;
    for point in 0..POINTS {
        let mutex = prepare();
        let child = start(&mutex, work);
        let steps = all * point / POINTS;
        for _ in 0..steps {
            assert_eq!(child.step(Step::Instruction), Now::Stopped);
        }
        child.kill();
        match mutex.try_lock() {
            Ok(guard) => {
                assert_eq!(guard[0], guard[1], "half changed after {steps} steps, and nobody said so");
                assert!(!must_be_told, "nobody repaired, and after {steps} steps nobody was told");
            }
            Err(LockError::OwnerDied(_)) => told += 1,
            Err(other) => panic!("after {steps} of {all} steps: {other}"),
        }
        // Whatever it was, the lock works on.
        change(&mutex);
        assert!(mutex.try_lock().is_ok());
    }
    told
}

/// In order, and free.
fn clean() -> Mutex<Pair> {
    Mutex::new([5, 5]).unwrap()
}

/// Half changed, its holder dead, and nobody has been told yet.
fn orphaned() -> Mutex<Pair> {
    let mutex = clean();
    std::thread::scope(|threads| {
        let half = || {
            let mut guard = mutex.lock().unwrap();
            guard[0] += 1;
            std::mem::forget(guard);
        };
        threads.spawn(half).join().unwrap();
    });
    mutex
}

/// Half changed, its holder dead, and who was told has left it so.
fn suspect() -> Mutex<Pair> {
    let mutex = orphaned();
    let result = mutex.lock_timeout(std::time::Duration::from_secs(60));
    assert!(matches!(result, Err(LockError::OwnerDied(_))), "{result:?}");
    drop(result);
    mutex
}

#[test]
fn a_holder_killed_at_any_instruction_leaves_a_lock_that_works_and_tells() {
    let told = kill_after_each(clean, change, false);
    assert!(told > 0, "no kill hit the holder");
}

#[test]
fn a_repairer_killed_at_any_instruction_leaves_a_lock_that_works_and_tells() {
    for prepare in [orphaned, suspect] {
        assert!(kill_after_each(prepare, change, false) > 0);
    }
}

#[test]
fn whoever_does_not_repair_and_is_killed_at_any_instruction_leaves_the_news_to_the_next() {
    for prepare in [orphaned, suspect] {
        assert_eq!(kill_after_each(prepare, look_and_leave, true), POINTS);
    }
}

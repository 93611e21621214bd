//! The reentrant lock, within a process and between processes that die.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/stepped.rs"]
mod stepped;

use common::{Other, Random, Unlink, end_after, fresh_name, given_fd, in_forked_child, role};
use skep::{Error, Event, LockError, Mismatch, Mutex, Part, RLock, RLockGuard, shared_struct};
use std::os::fd::AsFd;
use std::time::Duration;
use stepped::{Now, Step, Stepped};

/// So long that only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);

/// Two numbers that are equal whenever they are in order, and how many deaths were told.
type Pair = [u64; 3];

shared_struct! {
    struct Scene {
        lock: RLock<Pair>,
        ready: Event,
        stop: Event,
    }
}

fn scene() -> Scene {
    end_after(3 * HANG);
    Scene::anonymous(([0; 3], (), ())).unwrap()
}

fn start(scene: &Scene, role: &str) -> Other {
    Other::start_with_fd(role, "", scene.as_fd())
}

/// The C library links the lock by the address at which the holder took it first.
#[test]
fn the_first_mapping_stays_as_long_as_the_lock_is_held_through_another() {
    let name = fresh_name("two-mappings");
    let _unlink = Unlink(name.clone());
    let other = Mutex::new(0_u64).unwrap();
    let (first, second) = (RLock::create(&name, 0_u64).unwrap(), RLock::<u64>::open(&name).unwrap());
    let outer = first.lock().unwrap();
    let inner = second.lock().unwrap();
    drop(outer);
    drop(first);
    *other.lock().unwrap() += 1; // links itself before the other one
    inner.set(7);
    drop(inner);
    assert_eq!(second.lock().unwrap().get(), 7);
}

#[test]
fn the_other_process() {
    let Some((role, _)) = role() else { return };
    let scene = Scene::from_fd(given_fd()).unwrap();
    match role.as_str() {
        "hold twice" => {
            let outer = scene.lock.lock().unwrap();
            let inner = scene.lock.lock().unwrap();
            inner.update(|pair| pair[0] += 1);
            scene.ready.set().unwrap();
            scene.stop.wait().unwrap();
            inner.update(|pair| pair[1] += 1);
            drop((inner, outer));
        }
        "change until told to stop" => {
            while !scene.stop.is_set() {
                change(&scene.lock, HANG);
                scene.ready.set().unwrap();
            }
        }
        other => panic!("no such role: {other}"),
    }
    std::process::exit(0);
}

/// Locks, as long as it takes; brings the pair in order after a death.
fn lock(lock: &RLock<Pair>, timeout: Duration) -> RLockGuard<'_, Pair> {
    match lock.lock_timeout(timeout) {
        Err(LockError::OwnerDied(guard)) => {
            guard.update(|pair| *pair = [pair[0], pair[0], pair[2] + 1]);
            guard.mark_consistent();
            guard
        }
        result => result.expect("the lock is wedged"),
    }
}

/// Changes the one number under the outer guard and the other under an inner one.
fn change(rlock: &RLock<Pair>, timeout: Duration) {
    let outer = lock(rlock, timeout);
    let [first, second, _] = outer.get();
    assert_eq!(first, second, "half changed, and nobody said so");
    outer.update(|pair| pair[0] += 1);
    let inner = rlock.lock().unwrap();
    inner.update(|pair| pair[1] += 1);
    drop(inner);
    let [one, other, _] = outer.get();
    assert_eq!((one, other), (first + 1, first + 1), "the inner guard has released the lock");
}

// --- reentrance --------------------------------------------------------------------------------------------------

#[test]
fn a_thread_locks_again_and_the_lock_is_free_after_its_last_guard() {
    let lock = RLock::new(1_u64).unwrap();
    let held_elsewhere =
        || std::thread::scope(|threads| threads.spawn(|| lock.try_lock().is_err()).join().unwrap());
    let outer = lock.lock().unwrap();
    let inner = lock.try_lock().unwrap();
    let third = lock.lock_timeout(Duration::ZERO).unwrap();
    inner.set(2);
    assert_eq!((outer.get(), third.update(|value| *value + 1)), (2, 3));
    drop(outer);
    assert!(held_elsewhere());
    drop(third);
    assert!(held_elsewhere());
    drop(inner);
    assert!(!held_elsewhere());
}

#[test]
fn a_thread_that_waits_for_another_times_out() {
    let lock = RLock::new(0_u64).unwrap();
    let _guard = lock.lock().unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            assert!(matches!(lock.try_lock(), Err(LockError::WouldBlock)));
            assert!(matches!(lock.lock_timeout(Duration::from_millis(130)), Err(LockError::Timeout)));
        });
    });
}

#[test]
fn threads_and_processes_that_lock_twice_exclude_each_other() {
    let scene = scene();
    let others: Vec<_> = (0..2).map(|_| start(&scene, "change until told to stop")).collect();
    std::thread::scope(|threads| {
        (0..2).for_each(|_| {
            threads.spawn(|| (0..5_000).for_each(|_| change(&scene.lock, HANG)));
        });
    });
    scene.ready.wait_timeout(HANG).unwrap();
    scene.stop.set().unwrap();
    others.into_iter().for_each(Other::finish);
    let [first, second, deaths] = scene.lock.lock().unwrap().get();
    assert!(first == second && first >= 10_000 && deaths == 0);
}

// --- death -------------------------------------------------------------------------------------------------------

#[test]
fn a_holder_killed_with_two_guards_leaves_the_lock_and_the_news() {
    let scene = scene();
    let holder = start(&scene, "hold twice");
    scene.ready.wait_timeout(HANG).unwrap();
    holder.kill();
    let Err(LockError::OwnerDied(guard)) = scene.lock.lock_timeout(HANG) else { panic!("nobody told") };
    assert_eq!(guard.get(), [1, 0, 0]);
    assert!(matches!(scene.lock.lock(), Err(LockError::OwnerDied(_))), "again, as long as nobody marks it");
    guard.mark_consistent();
    assert!(scene.lock.lock().is_ok());
    drop(guard);
    std::thread::scope(|threads| {
        threads.spawn(|| assert!(scene.lock.try_lock().is_ok(), "the dead one's count is gone"));
    });
}

#[test]
fn a_stopped_holder_is_alive() {
    let scene = scene();
    let holder = start(&scene, "hold twice");
    scene.ready.wait_timeout(HANG).unwrap();
    holder.signal(libc::SIGSTOP);
    assert!(matches!(scene.lock.lock_timeout(Duration::from_millis(250)), Err(LockError::Timeout)));
    holder.signal(libc::SIGCONT);
    scene.stop.set().unwrap();
    assert_eq!(scene.lock.lock_timeout(HANG).unwrap().get(), [1, 1, 0]);
    holder.finish();
}

#[test]
fn holders_killed_at_random_never_wedge_the_lock_nor_share_it() {
    const KILLS: usize = 100;
    let scene = scene();
    let role = "change until told to stop";
    let mut others: Vec<_> = (0..3).map(|_| start(&scene, role)).collect();
    let mut random = Random(0x710c);
    for _ in 0..KILLS {
        for _ in 0..random.below(20) {
            change(&scene.lock, HANG);
            std::thread::yield_now();
        }
        scene.ready.wait_timeout(HANG).unwrap();
        scene.ready.clear().unwrap();
        let victim = random.below(others.len() as u64) as usize;
        others.swap_remove(victim).kill();
        others.push(start(&scene, role));
    }
    scene.stop.set().unwrap();
    others.into_iter().for_each(Other::finish);
    let [first, second, deaths] = lock(&scene.lock, HANG).get();
    assert_eq!(first, second);
    assert!(deaths > 0, "no kill of {KILLS} hit a holder: the test shows nothing");
}

#[test]
fn a_holder_killed_at_any_instruction_leaves_a_lock_that_works_and_tells() {
    const POINTS: u64 = 60;
    let start = |rlock: &RLock<Pair>| {
        let fd = rlock.as_fd().try_clone_to_owned().unwrap();
        Stepped::start(|| RLock::from_fd(fd).unwrap(), |own| change(&own, HANG))
    };
    let rlock = RLock::new([0; 3]).unwrap();
    let child = start(&rlock);
    let all = (0..).find(|_| child.step(Step::Instruction) == Now::Over).unwrap();
    for point in 0..POINTS {
        let child = start(&rlock);
        for _ in 0..all * point / POINTS {
            assert_eq!(child.step(Step::Instruction), Now::Stopped);
        }
        child.kill();
        change(&rlock, Duration::ZERO);
    }
    assert!(rlock.lock().unwrap().get()[2] > 0, "no kill hit the holder");
}

#[test]
fn a_panic_under_an_inner_guard_makes_the_value_suspect() {
    let lock = RLock::new(0_u64).unwrap();
    let outer = lock.lock().unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _inner = lock.lock().unwrap();
        std::panic::resume_unwind(Box::new(()));
    }));
    assert!(panicked.is_err());
    assert!(outer.is_suspect());
    drop(outer);
    assert!(matches!(lock.lock(), Err(LockError::OwnerDied(_))));
}

/// The C library keeps the addresses of held locks: one whose outer guard was forgotten stays mapped, also if an inner one was dropped.
#[test]
fn a_lock_dropped_with_its_outer_guard_forgotten_stays_mapped() {
    let maps = || std::fs::read_to_string("/proc/self/maps").unwrap();
    // A process of its own, in which nobody else maps anything.
    let status = in_forked_child(|| {
        let before = maps();
        let lock = RLock::new(0_u64).unwrap();
        std::mem::forget(lock.lock().unwrap());
        drop(lock.lock().unwrap());
        let is_new = |line: &&str| line.contains("memfd:") && !before.contains(line);
        let with_it = maps();
        let mapping = with_it.lines().find(is_new).unwrap();
        drop(lock);
        i32::from(!maps().contains(mapping))
    });
    assert!(status.success());
}

// --- refusals ----------------------------------------------------------------------------------------------------

#[test]
fn a_forked_child_is_refused_and_its_copy_of_a_guard_unlocks_nothing() {
    let lock = RLock::new(0_u64).unwrap();
    let mut guard = Some(lock.lock().unwrap());
    let status = in_forked_child(|| {
        drop(guard.take());
        i32::from(
            !matches!(lock.lock(), Err(LockError::Forked)) || !matches!(lock.try_clone(), Err(Error::Forked)),
        )
    });
    assert!(status.success());
    std::thread::scope(|threads| {
        threads.spawn(|| assert!(matches!(lock.try_lock(), Err(LockError::WouldBlock))));
    });
    drop(guard);
    assert_eq!(lock.lock().unwrap().get(), 0);
}

#[test]
fn names_kinds_and_types_are_told_apart() {
    let name = fresh_name("rlock");
    let _unlink = Unlink(name.clone());
    let lock = RLock::open_or_create(&name, 7_u64).unwrap();
    assert!(matches!(RLock::create(&name, 8_u64), Err(Error::Exists { .. })));
    assert_eq!(RLock::<u64>::open(&name).unwrap().lock().unwrap().get(), 7);
    assert!(matches!(RLock::<u32>::open(&name), Err(Error::Mismatch(Mismatch::Item { .. }))));
    assert!(matches!(Mutex::<u64>::open(&name), Err(Error::Mismatch(Mismatch::Kind { .. }))));
    lock.try_clone().unwrap().lock().unwrap().set(9);
    assert_eq!(lock.lock().unwrap().get(), 9);
}

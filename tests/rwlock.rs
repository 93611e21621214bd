//! The readers-writer lock, with real processes that are killed for real.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/stepped.rs"]
mod stepped;

use common::{Other, Random, Unlink, end_after, fresh_name, given_fd, in_forked_child, role};
use skep::{Error, Event, LockError, Mismatch, Part, PartOptions, RwLock, shared_struct};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use stepped::{Now, Step, Stepped};

/// So long that only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);

/// Two numbers that are equal whenever nobody writes, and how often somebody repaired them.
type Pair = [u64; 3];
const DEATHS: usize = 2;
const ZERO: Pair = [0; 3];

shared_struct! {
    struct Scene {
        pair: RwLock<Pair>,
        /// From the other process to the test: it is where its role says.
        there: Event,
        /// From the test to the other process.
        go: Event,
    }
}

fn scene() -> Scene {
    end_after(3 * HANG);
    Scene::anonymous((ZERO, (), ())).unwrap()
}

fn start(scene: &Scene, role: &str) -> Other {
    Other::start_with_fd(role, "", scene.as_fd())
}

/// Starts it, and returns once it is where its role says.
fn start_and_wait(scene: &Scene, role: &str) -> Other {
    let other = start(scene, role);
    scene.there.wait_timeout(HANG).expect("the other process is gone or hangs");
    scene.there.clear().unwrap();
    other
}

#[test]
fn the_other_process() {
    let Some((role, argument)) = role() else { return };
    if role == "add by name" {
        let pair = RwLock::<Pair>::open(&argument).unwrap();
        (0..ROUNDS).for_each(|_| change(&pair));
        std::process::exit(0);
    }
    let scene = Scene::from_fd(given_fd()).unwrap();
    let wait_for_go = || {
        scene.there.set().unwrap();
        scene.go.wait().unwrap();
    };
    match role.as_str() {
        "read until told" => {
            let guard = scene.pair.read().unwrap();
            wait_for_go();
            assert_eq!(guard[0], guard[1]);
        }
        "write until told" => {
            let mut guard = scene.pair.write().unwrap();
            guard[0] += 1;
            wait_for_go();
            guard[1] += 1;
        }
        "be about to write" => {
            scene.there.set().unwrap();
            drop(scene.pair.write());
        }
        "read and write for ever" => loop {
            change(&scene.pair);
            look(&scene.pair);
        },
        other => panic!("no such role: {other}"),
    }
    std::process::exit(0);
}

const ROUNDS: u64 = 10_000;

/// Adds one to both numbers, after repairing them if a writer died.
fn change(pair: &RwLock<Pair>) {
    let mut guard = match pair.write_timeout(HANG) {
        Err(LockError::OwnerDied(mut guard)) => {
            guard[1] = guard[0];
            guard[DEATHS] += 1;
            guard.mark_consistent();
            guard
        }
        clean => clean.expect("wedged for writers"),
    };
    assert_eq!(guard[0], guard[1], "half changed, and nobody said so");
    let seen = guard[0];
    guard[0] = seen + 1;
    std::hint::black_box(&guard);
    std::thread::yield_now();
    guard[1] = seen + 1;
}

/// Looks twice. Whether a writer had died.
fn look(pair: &RwLock<Pair>) -> bool {
    match pair.read_timeout(HANG) {
        Ok(guard) => {
            let first = *guard;
            std::hint::black_box(&guard);
            std::thread::yield_now();
            assert_eq!((first, first[0]), (*guard, guard[1]), "changed under a reader, or half changed");
            false
        }
        Err(LockError::OwnerDied(_)) => true,
        Err(other) => panic!("wedged for readers: {other}"),
    }
}

// --- exclusion -------------------------------------------------------------------------------------------------

#[test]
fn processes_that_add_without_atomics_lose_nothing() {
    let name = fresh_name("rwlock-add");
    let _unlink = Unlink(name.clone());
    let pair = RwLock::create(&name, ZERO).unwrap();
    let others: Vec<_> = (0..3).map(|_| Other::start("add by name", &name)).collect();
    for _ in 0..ROUNDS {
        change(&pair);
        look(&pair);
    }
    others.into_iter().for_each(Other::finish);
    assert_eq!(*pair.read().unwrap(), [4 * ROUNDS, 4 * ROUNDS, 0]);
}

#[test]
fn readers_share_and_a_writer_waits_for_all_of_them() {
    let scene = scene();
    let other = start_and_wait(&scene, "read until told");
    let guards = (scene.pair.try_read().unwrap(), scene.pair.try_read().unwrap());
    let third = scene.try_clone().unwrap();
    assert!(matches!(third.pair.try_write(), Err(LockError::WouldBlock)));
    drop(guards);
    assert!(matches!(third.pair.write_timeout(Duration::from_millis(1)), Err(LockError::Timeout)));
    assert!(scene.pair.try_read().is_ok(), "a writer that gave up keeps no reader out");
    scene.go.set().unwrap();
    drop(third.pair.write_timeout(HANG).unwrap());
    other.finish();
}

#[test]
fn a_writer_that_waits_is_not_overtaken_by_readers() {
    let scene = scene();
    let guard = scene.pair.read().unwrap();
    let other = start_and_wait(&scene, "be about to write");
    let third = scene.try_clone().unwrap();
    // It says so just before.
    while third.pair.try_read().is_ok() {
        std::thread::yield_now();
    }
    assert!(matches!(third.pair.read_timeout(Duration::from_millis(1)), Err(LockError::Timeout)));
    assert!(scene.pair.read().is_ok(), "who reads already would wait for itself");
    drop(guard);
    assert!(third.pair.read_timeout(HANG).is_ok());
    other.finish();
}

// --- death -----------------------------------------------------------------------------------------------------

#[test]
fn a_killed_reader_holds_up_nobody() {
    let scene = scene();
    for _ in 0..3 {
        start_and_wait(&scene, "read until told").kill();
        drop(scene.pair.try_write().expect("also without waiting"));
        start_and_wait(&scene, "read until told").kill();
        drop(scene.pair.write_timeout(HANG).unwrap());
    }
}

#[test]
fn who_comes_after_a_killed_writer_is_told_until_somebody_repairs() {
    let scene = scene();
    start_and_wait(&scene, "write until told").kill();
    for _ in 0..2 {
        match scene.pair.try_read() {
            Err(LockError::OwnerDied(guard)) => {
                assert!(guard.is_suspect());
                assert_eq!(*guard, [1, 0, 0]);
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(scene.pair.read(), Err(LockError::OwnerDied(_))));
        assert!(matches!(scene.pair.try_write(), Err(LockError::OwnerDied(_))));
        assert!(matches!(scene.pair.write_timeout(HANG), Err(LockError::OwnerDied(_))));
    }
    let guard = scene.pair.write().or_else(|e| e.recover(|pair| pair[1] = pair[0])).unwrap();
    assert!(!guard.is_suspect());
    drop(guard);
    assert_eq!(*scene.pair.read().unwrap(), [1, 1, 0]);
}

#[test]
fn sleepers_of_a_killed_writer_go_on() {
    let scene = scene();
    let writer = start_and_wait(&scene, "write until told");
    let sleepers: Vec<_> = (0..2)
        .map(|number| {
            let own = scene.try_clone().unwrap();
            let (tell, told) = std::sync::mpsc::channel();
            let sleeper = std::thread::spawn(move || {
                // SAFETY: asks for this thread's number.
                tell.send(unsafe { libc::gettid() }).unwrap();
                match number {
                    0 => matches!(own.pair.read_timeout(HANG), Err(LockError::OwnerDied(_))),
                    _ => matches!(own.pair.write_timeout(HANG), Err(LockError::OwnerDied(_))),
                }
            });
            common::until_asleep(told.recv().unwrap());
            sleeper
        })
        .collect();
    writer.kill();
    assert!(sleepers.into_iter().all(|sleeper| sleeper.join().unwrap()));
}

/// It waits for a reader, so it has touched nothing.
#[test]
fn a_writer_killed_while_it_waits_breaks_nothing() {
    let scene = scene();
    let guard = scene.pair.read().unwrap();
    let writer = start_and_wait(&scene, "be about to write");
    let third = scene.try_clone().unwrap();
    while third.pair.try_read().is_ok() {
        std::thread::yield_now();
    }
    writer.kill();
    assert!(third.pair.try_read().is_ok());
    drop(guard);
    assert!(third.pair.try_write().is_ok());
}

#[test]
fn stopped_holders_are_alive() {
    let scene = scene();
    for role in ["read until told", "write until told"] {
        scene.recover().unwrap(); // the other process of the round before
        let other = start_and_wait(&scene, role);
        other.signal(libc::SIGSTOP);
        let mut status = 0;
        // SAFETY: waits until the child, which is not reaped here, is stopped.
        assert_eq!(unsafe { libc::waitpid(other.pid(), &raw mut status, libc::WUNTRACED) }, other.pid());
        assert!(matches!(scene.pair.write_timeout(Duration::from_millis(250)), Err(LockError::Timeout)));
        assert_eq!(scene.pair.try_read().is_ok(), role == "read until told");
        assert_eq!(scene.recover().unwrap(), 0);
        other.signal(libc::SIGCONT);
        scene.go.set().unwrap();
        other.finish();
        scene.go.clear().unwrap();
        assert!(scene.pair.try_write().is_ok());
    }
}

#[test]
fn processes_killed_at_random_never_wedge_the_lock_nor_tear_the_value_unsaid() {
    const KILLS: usize = 100;
    let scene = scene();
    let role = "read and write for ever";
    let mut others: Vec<_> = (0..3).map(|_| start(&scene, role)).collect();
    let mut random = Random(0x5ee_d10c);
    let moved = |from: Option<u64>| match scene.pair.read_timeout(HANG) {
        Ok(guard) => from.is_none_or(|from| guard[0] > from).then_some(guard[0]),
        Err(LockError::OwnerDied(_)) => None,
        Err(other) => panic!("wedged: {other}"),
    };
    for _ in 0..KILLS {
        for _ in 0..random.below(20) {
            let here = std::iter::repeat_with(|| moved(None)).find_map(|seen| seen);
            while moved(here).is_none() {
                look(&scene.pair);
            }
        }
        // The look was a reader's, so right after it nobody writes.
        (0..random.below(100_000)).for_each(|_| std::hint::spin_loop());
        let victim = random.below(others.len() as u64) as usize;
        others.swap_remove(victim).kill();
        others.push(start(&scene, role));
    }
    others.into_iter().for_each(Other::kill);
    change(&scene.pair);
    assert!(!look(&scene.pair));
    let deaths = scene.pair.read().unwrap()[DEATHS];
    assert!(deaths > 0, "no kill of {KILLS} hit a writer: the test shows nothing");
}

/// Kills a process that runs `work` after a number of instructions, evenly spread from none to all. Returns how often somebody was told.
fn kill_after_each(work: fn(&RwLock<Pair>)) -> u64 {
    const POINTS: u64 = 150;
    let start = |pair: &RwLock<Pair>| {
        let fd: OwnedFd = pair.as_fd().try_clone_to_owned().unwrap();
        Stepped::start(|| RwLock::from_fd(fd).unwrap(), move |own| work(&own))
    };
    // Two places, so that a writer's look at all of them takes few instructions.
    let make = || PartOptions::new().peers(2).anonymous::<RwLock<Pair>>([5, 5, 0]).unwrap();
    let all = {
        let child = start(&make());
        (0..).find(|_| child.step(Step::Instruction) == Now::Over).unwrap()
    };
    let mut told = 0;
    for point in 0..POINTS {
        let pair = make();
        let child = start(&pair);
        (0..all * point / POINTS).for_each(|_| assert_eq!(child.step(Step::Instruction), Now::Stopped));
        child.kill();
        let was_told = look(&pair);
        told += u64::from(was_told);
        change(&pair);
        assert!(!look(&pair));
    }
    told
}

#[test]
fn a_writer_killed_at_any_instruction_leaves_a_lock_that_works_and_tells() {
    assert!(kill_after_each(change) > 0, "no kill hit the writer");
}

#[test]
fn a_reader_killed_at_any_instruction_breaks_nothing() {
    assert_eq!(kill_after_each(|pair| assert!(!look(pair))), 0);
}

#[test]
fn a_panic_or_a_forgotten_guard_counts_as_a_death() {
    let pair = RwLock::new(ZERO).unwrap();
    let other = pair.try_clone().unwrap();
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _guard = pair.write();
        panic!("on purpose");
    }));
    assert!(unwound.is_err());
    assert!(pair.write().is_err_and(|e| e.recover(|_| ()).is_ok()));
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _guard = pair.read();
        panic!("on purpose");
    }));
    assert!(unwound.is_err());
    assert!(pair.read().is_ok(), "a reader has changed nothing");
    std::mem::forget(pair.read());
    assert!(matches!(other.try_write(), Err(LockError::WouldBlock)));
    drop(pair);
    let third = other.try_clone().unwrap();
    std::mem::forget(third.write().unwrap());
    assert!(matches!(other.try_read(), Err(LockError::WouldBlock)));
    drop(third);
    assert!(matches!(other.try_read(), Err(LockError::OwnerDied(_))));
}

// --- misuse ----------------------------------------------------------------------------------------------------

#[test]
fn who_would_wait_for_itself_is_refused() {
    let pair = RwLock::new(ZERO).unwrap();
    let reading = pair.read().unwrap();
    assert!(matches!(pair.write(), Err(LockError::WouldDeadlock)));
    assert!(matches!(pair.try_write(), Err(LockError::WouldDeadlock)));
    drop(reading);
    let writing = pair.write().unwrap();
    assert!(matches!(pair.read(), Err(LockError::WouldDeadlock)));
    assert!(matches!(pair.write_timeout(HANG), Err(LockError::WouldDeadlock)));
    drop(writing);
    assert!(pair.write().is_ok());
}

#[test]
fn a_forked_childs_copy_refuses_and_its_guards_do_nothing() {
    let pair = RwLock::new(ZERO).unwrap();
    let other = pair.try_clone().unwrap();
    let guard = pair.read().unwrap();
    let child = || {
        assert!(matches!(other.read(), Err(LockError::Forked)));
        assert!(matches!(other.try_write(), Err(LockError::Forked)));
        0
    };
    // Dropped in the child as in the parent.
    let mut guard = Some(guard);
    let status = in_forked_child(|| {
        drop(guard.take());
        child()
    });
    assert!(status.success());
    assert!(matches!(other.try_write(), Err(LockError::WouldBlock)), "the child let go of the parent's");
    drop(guard);
    assert!(other.try_write().is_ok());
}

#[test]
fn another_type_or_object_is_refused() {
    let pair = RwLock::new(ZERO).unwrap();
    let fd = || pair.as_fd().try_clone_to_owned().unwrap();
    assert!(matches!(RwLock::<u64>::from_fd(fd()), Err(Error::Mismatch(Mismatch::Item { .. }))));
    assert!(matches!(Event::from_fd(fd()), Err(Error::Mismatch(Mismatch::Kind { .. }))));
    let small = PartOptions::new().peers(1).anonymous::<RwLock<Pair>>(ZERO).unwrap();
    assert!(matches!(small.try_clone(), Err(Error::TooManyPeers { limit: 1 })));
}

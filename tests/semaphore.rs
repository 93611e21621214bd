//! The semaphore, with real processes that are killed for real.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/stepped.rs"]
mod stepped;

use common::{Other, Random, Unlink, end_after, fresh_name, given_fd, in_forked_child, role};
use skep::{
    Error, Event, Mismatch, Part, PartOptions, ReleaseError, Semaphore, SemaphoreSetup, WaitError,
    shared_struct,
};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use stepped::{Now, Step, Stepped};

/// So long that only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);

/// How many may be inside.
const ROOM: u32 = 3;

shared_struct! {
    struct Scene {
        permits: Semaphore,
        /// One permit for each who is inside, so that one too many finds none.
        inside: Semaphore,
        /// What a process tells the test.
        told: Semaphore,
        stop: Event,
    }
}

fn scene() -> Scene {
    end_after(3 * HANG);
    let room = SemaphoreSetup::bounded(ROOM);
    Scene::anonymous((room, room, SemaphoreSetup::counting(0), ())).unwrap()
}

#[test]
fn the_other_process() {
    let Some((role, argument)) = role() else { return };
    if role == "release by name" {
        Semaphore::open(&argument).unwrap().release(1).unwrap();
        std::process::exit(0);
    }
    let scene = Scene::from_fd(given_fd()).unwrap();
    match role.as_str() {
        "go in and out" => go_in_and_out(&scene, argument == "where others die"),
        "hold" => {
            let count = argument.parse().unwrap();
            let permits = scene.permits.acquire_many(count).unwrap();
            scene.told.release(1).unwrap();
            scene.stop.wait().unwrap();
            drop(permits);
        }
        "wait" => {
            scene.told.release(1).unwrap();
            let permit = scene.permits.acquire().unwrap();
            scene.told.release(1).unwrap();
            permit.forget();
        }
        other => panic!("no such role: {other}"),
    }
    std::process::exit(0);
}

/// Goes in and out until told to stop; the inner semaphore has room for as many as the outer one lets in.
fn go_in_and_out(scene: &Scene, others_die: bool) {
    let mut random = Random(u64::from(std::process::id()) << 1 | 1);
    while !scene.stop.is_set() {
        let count = 1 + random.below(2) as u32;
        let permits = scene.permits.acquire_many_timeout(count, HANG).expect("nobody stays inside");
        // A dead one's inner permits come back a moment after his outer ones.
        let inside = loop {
            match scene.inside.try_acquire_many(count) {
                Err(WaitError::Timeout) if others_die => _ = scene.recover().unwrap(),
                result => break result.expect("no more are inside than there is room for"),
            }
        };
        if random.below(4) == 0 {
            std::thread::yield_now();
        }
        drop((inside, permits));
        scene.told.release(1).unwrap();
    }
}

impl Scene {
    fn start(&self, role: &str, argument: &str) -> Other {
        Other::start_with_fd(role, argument, self.as_fd())
    }

    /// Waits until a process has told something `times` times.
    fn heard(&self, times: u32) {
        (0..times).for_each(|_| self.told.acquire_timeout(HANG).expect("the other process hangs").forget());
    }
}

// --- exclusion ---------------------------------------------------------------------------------------------------

#[test]
fn never_more_hold_a_permit_than_there_are() {
    let scene = scene();
    let others: Vec<_> = (0..5).map(|_| scene.start("go in and out", "")).collect();
    scene.heard(20_000);
    scene.stop.set().unwrap();
    others.into_iter().for_each(Other::finish);
    assert_eq!(scene.permits.available(), Ok(ROOM));
    assert_eq!(scene.inside.available(), Ok(ROOM));
}

#[test]
fn a_release_by_name_wakes_a_sleeper() {
    let name = fresh_name("semaphore");
    let _unlink = Unlink(name.clone());
    let semaphore = Semaphore::create(&name, SemaphoreSetup::counting(0)).unwrap();
    let other = Other::start("release by name", &name);
    semaphore.acquire_timeout(HANG).unwrap().forget();
    other.finish();
    assert_eq!(semaphore.available(), Ok(0));
}

// --- death -------------------------------------------------------------------------------------------------------

#[test]
fn the_permits_of_a_killed_holder_come_back_to_who_waits() {
    let scene = scene();
    for count in [1, 2, ROOM] {
        let holder = scene.start("hold", &count.to_string());
        scene.heard(1);
        assert_eq!(scene.permits.available(), Ok(ROOM - count));
        holder.kill();
        drop(scene.permits.acquire_many_timeout(ROOM, HANG).expect("the dead hold nothing"));
    }
}

#[test]
fn a_stopped_holder_is_alive() {
    let scene = scene();
    let holder = scene.start("hold", &ROOM.to_string());
    scene.heard(1);
    holder.signal(libc::SIGSTOP);
    assert_eq!(scene.permits.acquire_timeout(Duration::from_millis(250)).err(), Some(WaitError::Timeout));
    assert_eq!(scene.recover().unwrap(), 0);
    holder.signal(libc::SIGCONT);
    scene.stop.set().unwrap();
    drop(scene.permits.acquire_timeout(HANG).unwrap());
    holder.finish();
}

#[test]
fn a_killed_waiter_keeps_no_permit_from_another() {
    let scene = scene();
    let all = scene.permits.acquire_many(ROOM).unwrap();
    let waiters: Vec<_> = (0..3).map(|_| scene.start("wait", "")).collect();
    scene.heard(3);
    let [first, second, third] = waiters.try_into().ok().unwrap();
    first.kill();
    drop(all);
    scene.heard(2);
    second.finish();
    third.finish();
    scene.recover().unwrap();
    assert_eq!(scene.permits.available(), Ok(ROOM - 2));
}

#[test]
fn processes_killed_at_random_lose_no_permit_and_make_none() {
    const KILLS: usize = 100;
    let scene = scene();
    let mut others: Vec<_> = (0..3).map(|_| scene.start("go in and out", "where others die")).collect();
    let mut random = Random(0x5e3a);
    for _ in 0..KILLS {
        scene.heard(1 + random.below(300) as u32);
        let victim = random.below(others.len() as u64) as usize;
        others.swap_remove(victim).kill();
        others.push(scene.start("go in and out", "where others die"));
    }
    scene.heard(1000);
    scene.stop.set().unwrap();
    others.into_iter().for_each(Other::finish);
    scene.recover().unwrap();
    assert_eq!((scene.permits.available(), scene.inside.available()), (Ok(ROOM), Ok(ROOM)));
    drop(scene.permits.acquire_many(ROOM).unwrap());
}

/// A process that takes and gives back, killed after each of its machine instructions, or evenly spread ones of them.
#[test]
fn a_process_killed_at_any_instruction_leaves_all_permits() {
    const POINTS: u64 = 100;
    let work = |semaphore: Semaphore| {
        let one = semaphore.acquire().unwrap();
        let two = semaphore.acquire_many(2).unwrap();
        drop(one);
        drop(two);
        std::mem::forget(semaphore);
    };
    let start = |semaphore: &Semaphore| {
        let fd = semaphore.as_fd().try_clone_to_owned().unwrap();
        Stepped::start(|| Semaphore::from_fd(fd).unwrap(), work)
    };
    let semaphore = Semaphore::bounded(ROOM).unwrap();
    let child = start(&semaphore);
    let all = (0..).find(|_| child.step(Step::Instruction) == Now::Over).unwrap();
    assert_eq!(semaphore.recover().unwrap(), 1);
    let mut came_back = 0;
    for point in 0..POINTS {
        let child = start(&semaphore);
        for _ in 0..all * point / POINTS {
            assert_eq!(child.step(Step::Instruction), Now::Stopped);
        }
        child.kill();
        came_back += u32::from(semaphore.available().unwrap() < ROOM);
        // Another change in between must not make it forget the dead one's.
        drop(semaphore.try_acquire());
        semaphore.recover().unwrap();
        assert_eq!(semaphore.available(), Ok(ROOM), "after {point} of {POINTS} of {all} steps");
        drop(semaphore.acquire_many(ROOM).unwrap());
    }
    assert!(came_back > 0, "no kill hit a holder");
}

// --- what each operation says ------------------------------------------------------------------------------------

#[test]
fn a_bounded_semaphore_refuses_more_and_changes_nothing() {
    let semaphore = Semaphore::bounded(2).unwrap();
    let permit = semaphore.acquire().unwrap();
    assert_eq!(semaphore.release(1), Err(ReleaseError::TooMany { bound: 2 }));
    assert_eq!(semaphore.available(), Ok(1));
    permit.forget();
    assert_eq!(semaphore.release(2), Err(ReleaseError::TooMany { bound: 2 }));
    semaphore.release(1).unwrap();
    assert_eq!(semaphore.available(), Ok(2));
    assert_eq!(semaphore.acquire_many(3).err(), Some(WaitError::TooMany));
}

#[test]
fn a_counting_semaphore_counts_to_its_limit() {
    const MOST: u32 = i32::MAX as u32;
    let semaphore = Semaphore::new(MOST - 1).unwrap();
    semaphore.release(1).unwrap();
    assert_eq!(semaphore.release(1), Err(ReleaseError::TooMany { bound: MOST }));
    assert_eq!(semaphore.release(u32::MAX), Err(ReleaseError::TooMany { bound: MOST }));
    let all = semaphore.acquire_many(MOST).unwrap();
    assert_eq!((all.count(), semaphore.available()), (MOST, Ok(0)));
    drop(all);
    assert_eq!(semaphore.available(), Ok(MOST));
    assert!(matches!(Semaphore::new(MOST + 1), Err(Error::Setup(_))));
    let more = SemaphoreSetup { permits: 3, bound: Some(2) };
    assert!(matches!(Semaphore::anonymous(more), Err(Error::Setup(_))));
}

#[test]
fn a_permit_that_is_leaked_comes_back_with_its_handle_and_a_forgotten_one_does_not() {
    let semaphore = Semaphore::new(3).unwrap();
    let other = semaphore.try_clone().unwrap();
    std::mem::forget(other.acquire().unwrap());
    other.acquire().unwrap().forget();
    assert_eq!(semaphore.available(), Ok(1));
    drop(other);
    assert_eq!(semaphore.available(), Ok(2));
}

#[test]
fn a_timeout_returns_and_not_before_its_time() {
    let semaphore = Semaphore::new(1).unwrap();
    for millis in [0, 1, 30, 130] {
        let (timeout, start) = (Duration::from_millis(millis), Instant::now());
        assert_eq!(semaphore.acquire_many_timeout(2, timeout).err(), Some(WaitError::Timeout));
        assert!(start.elapsed() >= timeout);
        assert_eq!(semaphore.available(), Ok(1), "it holds none while it waits for several");
    }
    assert_eq!(semaphore.try_acquire_many(2).err(), Some(WaitError::Timeout));
}

#[test]
fn a_forked_childs_copy_refuses_and_gives_nothing_back() {
    let semaphore = Semaphore::bounded(1).unwrap();
    let mut permit = Some(semaphore.acquire().unwrap());
    let status = in_forked_child(|| {
        drop(permit.take());
        assert_eq!(semaphore.acquire().err(), Some(WaitError::Forked));
        assert_eq!(semaphore.try_acquire().err(), Some(WaitError::Forked));
        assert_eq!(semaphore.release(1), Err(ReleaseError::Forked));
        0
    });
    assert!(status.success());
    assert_eq!(semaphore.available(), Ok(0));
    drop(permit);
    assert_eq!(semaphore.available(), Ok(1));
}

#[test]
fn as_many_participants_as_it_was_made_for() {
    let semaphore = PartOptions::new().peers(1).anonymous::<Semaphore>(SemaphoreSetup::counting(1)).unwrap();
    assert!(matches!(semaphore.try_clone(), Err(Error::TooManyPeers { limit: 1 })));
    drop(semaphore.acquire().unwrap());
    let fd = semaphore.as_fd().try_clone_to_owned().unwrap();
    assert!(matches!(Event::from_fd(fd), Err(Error::Mismatch(Mismatch::Kind { .. }))));
}

//! The barrier, with real processes that are killed for real.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Other, Random, Unlink, end_after, fresh_name, given_fd, in_forked_child, role};
use skep::{Barrier, BarrierError, Error, Part, PartOptions, WaitError, shared_struct};
use std::os::fd::AsFd;
use std::time::Duration;

/// So long that only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);

#[test]
fn the_other_process() {
    let Some((role, argument)) = role() else { return };
    let barrier =
        if argument.is_empty() { Barrier::from_fd(given_fd()) } else { Barrier::open(&argument) }.unwrap();
    match role.as_str() {
        "wait once" => drop(barrier.wait().unwrap()),
        "wait 1000 times" => {
            let places: Vec<_> = (0..1000).map(|_| barrier.wait().unwrap().index()).collect();
            assert!(places.iter().all(|&place| place == places[0]));
        }
        // It gives up where the party is broken, and comes again where somebody is missing.
        "wait on and on" => while barrier.wait() != Err(BarrierError::Broken) {},
        other => panic!("no such role: {other}"),
    }
    std::process::exit(0);
}

fn until_waiting(barrier: &Barrier, n: usize) {
    while barrier.waiting() != n {
        std::thread::yield_now();
    }
}

#[test]
fn all_go_on_together_again_and_again() {
    end_after(2 * HANG);
    let name = fresh_name("barrier");
    let _unlink = Unlink(name.clone());
    let barrier = Barrier::create(&name, 4).unwrap();
    let others: Vec<_> = (0..3).map(|_| Other::start("wait 1000 times", &name)).collect();
    for _ in 0..1000 {
        let waited = barrier.wait().unwrap();
        assert_eq!(waited.is_leader(), waited.index() == 0);
    }
    others.into_iter().for_each(Other::finish);
}

#[test]
fn a_killed_waiters_place_is_lost_until_taken() {
    end_after(2 * HANG);
    let barrier = Barrier::new(2).unwrap();
    let other = Other::start_with_fd("wait once", "", barrier.as_fd());
    until_waiting(&barrier, 1);
    other.kill();
    assert_eq!(barrier.wait(), Err(BarrierError::Incomplete { lost: 1 }));
    assert_eq!(barrier.wait(), Err(BarrierError::Incomplete { lost: 1 }));
    let successor = Other::start_with_fd("wait once", "", barrier.as_fd());
    until_waiting(&barrier, 1);
    barrier.wait().unwrap();
    successor.finish();
}

#[test]
fn a_killed_waiter_is_told_to_who_sleeps() {
    end_after(2 * HANG);
    let barrier = Barrier::new(3).unwrap();
    let other = Other::start_with_fd("wait once", "", barrier.as_fd());
    until_waiting(&barrier, 1);
    let sleeper = barrier.try_clone().unwrap();
    std::thread::scope(|threads| {
        let sleeper = threads.spawn(move || sleeper.wait());
        until_waiting(&barrier, 2);
        other.kill();
        assert_eq!(sleeper.join().unwrap(), Err(BarrierError::Incomplete { lost: 1 }));
    });
}

#[test]
fn a_stopped_participant_is_waited_for() {
    end_after(2 * HANG);
    let barrier = Barrier::new(2).unwrap();
    let other = Other::start_with_fd("wait on and on", "", barrier.as_fd());
    barrier.wait().unwrap();
    other.signal(libc::SIGSTOP);
    while barrier.wait_timeout(Duration::from_millis(20)).is_ok() {}
    assert_eq!(barrier.wait_timeout(Duration::from_millis(20)), Err(BarrierError::Timeout));
    other.signal(libc::SIGCONT);
    barrier.wait().unwrap();
    barrier.abort().unwrap();
    other.finish();
}

#[test]
fn a_timeout_takes_back_only_ones_own_arrival() {
    let [one, two] = {
        let one = Barrier::new(2).unwrap();
        let two = one.try_clone().unwrap();
        [one, two]
    };
    assert_eq!(one.wait_timeout(Duration::from_millis(1)), Err(BarrierError::Timeout));
    assert_eq!((one.waiting(), one.is_broken()), (0, false));
    std::thread::scope(|threads| {
        threads.spawn(move || two.wait_timeout(HANG).unwrap());
        one.wait_timeout(HANG).unwrap();
    });
    // The other one has left: its place is lost.
    assert_eq!(one.wait(), Err(BarrierError::Incomplete { lost: 1 }));
}

#[test]
fn who_waits_is_told_of_an_abort_or_reset() {
    end_after(2 * HANG);
    let here = Barrier::new(2).unwrap();
    for act in [Barrier::abort, Barrier::reset] {
        let there = here.try_clone().unwrap();
        std::thread::scope(|threads| {
            let waiter = threads.spawn(move || there.wait());
            until_waiting(&here, 1);
            act(&here).unwrap();
            assert_eq!(waiter.join().unwrap(), Err(BarrierError::Broken));
        });
        if here.is_broken() {
            assert_eq!(here.wait(), Err(BarrierError::Broken));
            here.reset().unwrap();
        }
    }
    assert!(!here.is_broken());
}

#[test]
fn misuse_gives_errors() {
    assert!(matches!(Barrier::new(0), Err(Error::Setup(_))));
    assert!(matches!(PartOptions::new().peers(2).anonymous::<Barrier>(3), Err(Error::Setup(_))));
    let one = Barrier::new(1).unwrap();
    assert!(one.wait().unwrap().is_leader());
    assert_eq!(one.try_clone().unwrap().wait(), Err(BarrierError::Full));
    let status = in_forked_child(|| {
        assert_eq!(one.wait(), Err(BarrierError::Forked));
        assert_eq!(one.abort(), Err(WaitError::Forked));
        0
    });
    assert!(status.success());
    assert_eq!(one.parties(), 1);
}

#[test]
fn a_barrier_works_in_a_struct() {
    shared_struct! {
        struct Phases { first: Barrier, second: Barrier }
    }
    let phases = Phases::anonymous((1, 2)).unwrap();
    phases.first.wait().unwrap();
    assert_eq!(phases.second.wait_timeout(Duration::from_millis(1)), Err(BarrierError::Timeout));
}

/// Participants are killed at random, 100 times; each is followed by another one, and the party goes on.
#[test]
fn killed_participants_hold_up_nobody() {
    end_after(2 * HANG);
    let barrier = Barrier::new(4).unwrap();
    let start = || Other::start_with_fd("wait on and on", "", barrier.as_fd());
    let mut random = Random(11);
    let mut others: Vec<_> = (0..3).map(|_| start()).collect();
    // One that was killed may have been counted just before, and be lost only after that.
    let meet = || {
        while let Err(error) = barrier.wait_timeout(HANG) {
            assert!(matches!(error, BarrierError::Incomplete { .. }), "{error}");
        }
    };
    for _ in 0..100 {
        (0..2 + random.below(20)).for_each(|_| meet());
        (0..random.below(2000)).for_each(|_| std::hint::spin_loop());
        others.remove(random.below(3) as usize).kill();
        others.push(start());
    }
    barrier.abort().unwrap();
    others.into_iter().for_each(Other::finish);
}

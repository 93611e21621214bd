//! The once, with real processes that are killed for real.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/stepped.rs"]
mod stepped;

use common::{Other, Unlink, end_after, fresh_name, given_fd, in_forked_child, role};
use skep::{Error, Event, Mismatch, Once, Part, PartOptions, SimpleQueue, WaitError, shared_struct};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use stepped::{Now, Step, Stepped};

/// So long that only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);

shared_struct! {
    struct Scene {
        once: Once,
        /// From the other process to the test: it runs.
        there: Event,
        /// From the test to the other process.
        go: Event,
    }
}

fn scene() -> Scene {
    end_after(3 * HANG);
    Scene::anonymous(((), (), ())).unwrap()
}

/// A process that is in the middle of its run.
fn start_running(scene: &Scene) -> Other {
    let other = Other::start_with_fd("run until told", "", scene.as_fd());
    scene.there.wait_timeout(HANG).expect("the other process is gone or hangs");
    scene.there.clear().unwrap();
    other
}

#[test]
fn the_other_process() {
    let Some((role, argument)) = role() else { return };
    match role.as_str() {
        "run until told" => {
            let scene = Scene::from_fd(given_fd()).unwrap();
            let run = || {
                scene.there.set().unwrap();
                scene.go.wait().unwrap();
            };
            scene.once.call_once(|_| run()).unwrap();
        }
        "count the runs of a hundred" => {
            let mut runs = SimpleQueue::<u64>::from_fd(given_fd()).unwrap();
            for n in 0..100 {
                let once = Once::open_or_create(&format!("{argument}-{n}"), ()).unwrap();
                once.call_once(|_| runs.put(n).unwrap()).unwrap();
                assert!(once.is_completed());
            }
        }
        other => panic!("no such role: {other}"),
    }
    std::process::exit(0);
}

#[test]
fn of_processes_that_race_one_runs() {
    let name = fresh_name("once");
    let _unlink: Vec<_> = (0..100).map(|n| Unlink(format!("{name}-{n}"))).collect();
    let mut runs = SimpleQueue::<u64>::new(1024).unwrap();
    let role = "count the runs of a hundred";
    let others: Vec<_> = (0..4).map(|_| Other::start_with_fd(role, &name, runs.as_fd())).collect();
    others.into_iter().for_each(Other::finish);
    let mut all: Vec<u64> = std::iter::from_fn(|| runs.try_get().ok()).collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..100));
}

#[test]
fn who_waits_goes_on_when_it_is_done() {
    let scene = scene();
    let other = start_running(&scene);
    assert_eq!(scene.once.try_call_once(|_| panic!("two run")), Err(WaitError::Timeout));
    let soon = Duration::from_millis(1);
    assert_eq!(scene.once.call_once_timeout(|_| panic!("two run"), soon), Err(WaitError::Timeout));
    assert_eq!(scene.once.wait_timeout(soon), Err(WaitError::Timeout));
    assert!(!scene.once.is_completed());
    scene.go.set().unwrap();
    scene.once.call_once_timeout(|_| panic!("run twice"), HANG).unwrap();
    scene.once.wait().unwrap();
    other.finish();
}

#[test]
fn the_next_after_a_killed_runner_runs_and_is_told() {
    for attempt in [
        (|once, run| once.try_call_once(run)) as fn(&Once, &mut dyn FnMut(&skep::OnceState)) -> _,
        |once, run| once.call_once(run),
        |once, run| once.call_once_timeout(run, HANG),
    ] {
        let scene = scene();
        start_running(&scene).kill();
        let mut told = None;
        attempt(&scene.once, &mut |state| told = Some(state.is_interrupted())).unwrap();
        assert_eq!(told, Some(true));
        assert!(scene.once.is_completed());
    }
}

#[test]
fn a_sleeper_takes_over_from_a_killed_runner() {
    let scene = scene();
    let runner = start_running(&scene);
    let own = scene.try_clone().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let sleeper = std::thread::spawn(move || {
        // SAFETY: asks for this thread's number.
        tell.send(unsafe { libc::gettid() }).unwrap();
        let mut interrupted = false;
        own.once.call_once_timeout(|state| interrupted = state.is_interrupted(), HANG).unwrap();
        interrupted
    });
    common::until_asleep(told.recv().unwrap());
    runner.kill();
    scene.once.wait_timeout(HANG).unwrap();
    assert!(sleeper.join().unwrap());
}

#[test]
fn a_stopped_runner_is_alive() {
    let scene = scene();
    let other = start_running(&scene);
    other.signal(libc::SIGSTOP);
    let mut status = 0;
    // SAFETY: waits until the child, which is not reaped here, is stopped.
    assert_eq!(unsafe { libc::waitpid(other.pid(), &raw mut status, libc::WUNTRACED) }, other.pid());
    let call = scene.once.call_once_timeout(|_| panic!("two run"), Duration::from_millis(250));
    assert_eq!(call, Err(WaitError::Timeout));
    other.signal(libc::SIGCONT);
    scene.go.set().unwrap();
    scene.once.wait_timeout(HANG).unwrap();
    other.finish();
}

#[test]
fn a_panic_interrupts_a_run() {
    let once = Once::new().unwrap();
    let other = once.try_clone().unwrap();
    let unwound = catch_unwind(AssertUnwindSafe(|| once.call_once(|_| panic!("on purpose"))));
    assert!(unwound.is_err());
    assert!(!other.is_completed());
    other.try_call_once(|state| assert!(state.is_interrupted())).unwrap();
    once.call_once(|_| panic!("run twice")).unwrap();
}

#[test]
fn a_runner_killed_at_any_instruction_leaves_a_once_that_works() {
    const POINTS: u64 = 150;
    let start = |once: &Once| {
        let fd: OwnedFd = once.as_fd().try_clone_to_owned().unwrap();
        Stepped::start(|| Once::from_fd(fd).unwrap(), |own| own.call_once(|_| ()).unwrap())
    };
    let make = || PartOptions::new().peers(2).anonymous::<Once>(()).unwrap();
    let all = {
        let child = start(&make());
        (0..).find(|_| child.step(Step::Instruction) == Now::Over).unwrap()
    };
    let mut seen = [0; 3];
    for point in 0..POINTS {
        let once = make();
        let child = start(&once);
        (0..all * point / POINTS).for_each(|_| assert_eq!(child.step(Step::Instruction), Now::Stopped));
        child.kill();
        let was_done = once.is_completed();
        let mut told = None;
        once.call_once_timeout(|state| told = Some(state.is_interrupted()), HANG).expect("wedged");
        assert_eq!(was_done, told.is_none());
        assert!(once.is_completed());
        seen[told.map_or(2, usize::from)] += 1;
    }
    assert!(seen.iter().all(|&times| times > 0), "before, in and after the run: {seen:?}");
}

// --- misuse ----------------------------------------------------------------------------------------------------

#[test]
fn a_run_that_would_wait_for_itself_is_refused() {
    let once = Once::new().unwrap();
    once.call_once(|_| {
        assert_eq!(once.call_once(|_| ()), Err(WaitError::WouldDeadlock));
        assert_eq!(once.try_call_once(|_| ()), Err(WaitError::WouldDeadlock));
        assert_eq!(once.wait(), Err(WaitError::WouldDeadlock));
    })
    .unwrap();
    assert!(once.is_completed());
}

#[test]
fn a_forked_childs_copy_refuses_and_ends_no_run() {
    let once = Once::new().unwrap();
    let status = in_forked_child(|| {
        assert_eq!(once.call_once(|_| ()), Err(WaitError::Forked));
        assert_eq!(once.wait(), Err(WaitError::Forked));
        0
    });
    assert!(status.success());
    once.call_once(|_| {
        let status = in_forked_child(|| {
            assert_eq!(once.try_call_once(|_| ()), Err(WaitError::Forked));
            0
        });
        assert!(status.success());
        assert!(!once.is_completed());
    })
    .unwrap();
    let fd = once.as_fd().try_clone_to_owned().unwrap();
    assert!(matches!(Event::from_fd(fd), Err(Error::Mismatch(Mismatch::Kind { .. }))));
}

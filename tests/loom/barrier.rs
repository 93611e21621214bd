//! The barrier: all go on, or each is told why not, whatever dies.

use crate::support::{Outcomes, report, spawn};
use loom::thread::JoinHandle;
use skep::model::{Barrier, Failure, explore, kill_at_every_step, process};

type Waited = Result<usize, Failure>;

fn waiter(barrier: &Barrier, me: usize) -> JoinHandle<Waited> {
    let barrier = barrier.clone();
    spawn(move || barrier.wait(me))
}

fn places(mut all: Vec<Waited>) -> Vec<usize> {
    all.sort();
    all.into_iter().map(|waited| waited.unwrap()).collect()
}

#[test]
fn two_go_on_together_again_and_again() {
    report("a barrier, two parties twice", || {
        explore(1, || {
            let barrier = Barrier::new(2, 2);
            let other = barrier.clone();
            let second = spawn(move || [other.wait(1), other.wait(1)]);
            let first = [barrier.wait(0), barrier.wait(0)];
            let second = second.join().unwrap();
            for round in 0..2 {
                assert_eq!(places(vec![first[round], second[round]]), [0, 1]);
            }
        })
    });
}

#[test]
fn three_go_on_together() {
    report("a barrier, three parties", || {
        explore(0, || {
            let barrier = Barrier::new(3, 3);
            let others = [waiter(&barrier, 1), waiter(&barrier, 2)];
            let mut all = vec![barrier.wait(0)];
            all.extend(others.map(|o| o.join().unwrap()));
            assert_eq!(places(all), [0, 1, 2]);
        })
    });
}

/// One of two waits, the other one's time is over at once: both succeed, or neither did, and the second attempt meets the first.
#[test]
#[ignore = "explores for longer than a run may take"]
fn a_timeout_is_no_half_success() {
    let seen = Outcomes::new();
    let outcomes = seen.clone();
    report("a barrier, timeout", move || {
        explore(2, move || {
            let barrier = Barrier::new(2, 2);
            let other = barrier.clone();
            let brief = spawn(move || {
                let first = other.wait_briefly(1);
                if first.is_err() {
                    other.wait(1).unwrap();
                }
                first.err()
            });
            barrier.wait(0).unwrap();
            seen.saw(brief.join().unwrap());
        })
    });
    outcomes.are_exactly(&[None, Some(Failure::Timeout)]);
}

/// Both are impatient: never does one succeed alone.
#[test]
#[ignore = "explores for longer than a run may take"]
fn two_timeouts_agree() {
    let seen = Outcomes::new();
    let outcomes = seen.clone();
    report("a barrier, two timeouts", move || {
        explore(2, move || {
            let barrier = Barrier::new(2, 2);
            let other = barrier.clone();
            let brief = spawn(move || other.wait_briefly(1).is_ok());
            let here = barrier.wait_briefly(0).is_ok();
            seen.saw((here, brief.join().unwrap()));
        })
    });
    outcomes.are_exactly(&[(false, false), (true, true)]);
}

/// Beside an abort, both succeed or both are told.
#[test]
#[ignore = "explores for longer than a run may take"]
fn an_abort_is_told_to_all_or_none() {
    let seen = Outcomes::new();
    let outcomes = seen.clone();
    report("a barrier, abort", move || {
        explore(2, move || {
            let barrier = Barrier::new(2, 3);
            let waiters = [waiter(&barrier, 0), waiter(&barrier, 1)];
            barrier.abort();
            let waited = waiters.map(|w| w.join().unwrap().err());
            assert_eq!(waited[0], waited[1]);
            assert!(barrier.is_broken());
            seen.saw(waited[0]);
        })
    });
    outcomes.are_exactly(&[None, Some(Failure::Broken)]);
}

/// Beside a reset: one that waits alone is told, and meets the other one at its next attempt.
#[test]
fn a_reset_leaves_a_barrier_that_works() {
    report("a barrier, reset", || {
        explore(1, || {
            let barrier = Barrier::new(2, 3);
            let patient = |me: usize| {
                let barrier = barrier.clone();
                spawn(move || {
                    let first = barrier.wait(me);
                    if first.is_err() { barrier.wait_briefly(me).is_ok() } else { true }
                })
            };
            let first = patient(0);
            barrier.reset();
            assert!(!barrier.is_broken());
            let second = barrier.wait_briefly(1).is_ok();
            if !second {
                barrier.abort();
            }
            let first = first.join().unwrap();
            assert_eq!(first, second);
        })
    });
}

/// One of two is killed before each of its steps: the other one succeeds with it, or is told that it is lost, and a third one takes its place.
#[test]
fn a_killed_waiter_holds_up_nobody() {
    report("a barrier, killed waiter", || {
        kill_at_every_step(0, |k| {
            let barrier = Barrier::new(2, 3);
            let other = waiter(&barrier, 1);
            let lived = process(k, || barrier.wait(0));
            if lived.is_none() {
                barrier.died(0);
                barrier.recover(2);
                // It waits for the place that was never taken or is lost now; or it is told, or has gone on.
                let third = barrier.wait_briefly(2);
                if third.is_err() {
                    barrier.abort();
                }
                let other = other.join().unwrap();
                assert!(third.is_err() || other.is_ok(), "{third:?} {other:?}");
            } else {
                assert_eq!(places(vec![lived.unwrap(), other.join().unwrap()]), [0, 1]);
            }
            lived.is_none()
        })
    });
}

/// Two of three have arrived, and the third is killed on its way through: the two agree.
#[test]
#[ignore = "explores for longer than a run may take"]
fn a_killed_completer_leaves_the_others_agreed() {
    let seen = Outcomes::new();
    let outcomes = seen.clone();
    report("a barrier, killed completer of three", move || {
        kill_at_every_step(0, move |k| {
            let barrier = Barrier::new(3, 4);
            let others = [waiter(&barrier, 1), waiter(&barrier, 2)];
            let lived = process(k, || barrier.wait(0));
            if lived.is_none() {
                barrier.died(0);
                barrier.recover(3);
                barrier.abort(); // in place of somebody who takes a place that nobody had
            }
            let others = others.map(|o| o.join().unwrap().is_ok());
            assert_eq!(others[0], others[1]);
            seen.saw((lived.is_none(), others[0]));
            lived.is_none()
        })
    });
    outcomes.are_exactly(&[(false, true), (true, false), (true, true)]);
}

/// A mender is killed before each of its steps, beside a waiter, and another one mends: the waiter is told.
#[test]
fn a_killed_mender_leaves_a_lost_place() {
    report("a barrier, killed mender", || {
        kill_at_every_step(1, |k| {
            let barrier = Barrier::new(2, 4);
            for me in 0..2 {
                assert_eq!(barrier.wait_briefly(me), Err(Failure::Timeout));
            }
            barrier.died(0);
            let other = waiter(&barrier, 1);
            let killed = process(k, || barrier.mend(0)).is_none();
            barrier.died(2);
            barrier.recover(3);
            assert_eq!(other.join().unwrap(), Err(Failure::Incomplete(1)));
            assert_eq!(barrier.wait_briefly(3), Err(Failure::Timeout)); // it has taken the lost place
            killed
        })
    });
}

#[test]
fn a_newcomer_takes_the_lost_place_first() {
    explore(0, || {
        let barrier = Barrier::new(2, 4);
        assert_eq!(barrier.wait_briefly(0), Err(Failure::Timeout));
        barrier.died(0);
        barrier.recover(1);
        assert_eq!(barrier.wait_briefly(1), Err(Failure::Timeout));
        assert_eq!(barrier.wait_briefly(2), Err(Failure::Timeout));
        assert_eq!(barrier.wait_briefly(3), Err(Failure::Full));
        barrier.died(1);
        barrier.recover(3);
        assert_eq!(barrier.wait_briefly(2), Err(Failure::Incomplete(1)));
        barrier.reset();
        assert_eq!(barrier.wait_briefly(2), Err(Failure::Timeout));
    });
}

//! The barrier: all go on, or each is told why not, whatever dies.

use crate::support::{Outcomes, report, spawn};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering::Relaxed};
use loom::thread::JoinHandle;
use skep::model::{Barrier, Failure, explore, kill_at_every_step, process};

type Waited = Result<usize, Failure>;

fn waiter(barrier: &Barrier, me: usize) -> JoinHandle<Waited> {
    let barrier = barrier.clone();
    spawn(move || barrier.wait(me))
}

/// A party whose places are taken already.
fn with_places_taken(parties: usize, peers: usize) -> Barrier {
    let barrier = Barrier::new(parties, peers);
    (0..parties).for_each(|me| assert_eq!(barrier.wait_briefly(me), Err(Failure::Timeout)));
    barrier
}

/// A party of two, who have taken their places, and two more participants who have not.
fn two_of_four() -> Barrier {
    with_places_taken(2, 4)
}

// --- all live --------------------------------------------------------------------------------------------------------

#[test]
fn two_go_on_together_again_and_again() {
    report("a barrier, two parties twice", || {
        explore(1, || {
            let barrier = Barrier::new(2, 2);
            let other = barrier.clone();
            let second = spawn(move || [other.wait(1), other.wait(1)].map(Result::unwrap));
            let first = [barrier.wait(0), barrier.wait(0)].map(Result::unwrap);
            let second = second.join().unwrap();
            assert!(first == [0, 0] && second == [1, 1] || first == [1, 1] && second == [0, 0]);
        })
    });
}

#[test]
fn three_go_on_together() {
    report("a barrier, three parties", || {
        explore(1, || {
            let barrier = with_places_taken(3, 3);
            let others = [waiter(&barrier, 1), waiter(&barrier, 2)];
            let mut all = vec![barrier.wait(0).unwrap()];
            all.extend(others.map(|o| o.join().unwrap().unwrap()));
            all.sort();
            assert_eq!(all, [0, 1, 2]);
        })
    });
}

/// The time of both is over at once: never does one succeed alone; and who does sees what the other one wrote before.
#[test]
fn two_timeouts_agree() {
    let seen = Outcomes::new();
    let outcomes = seen.clone();
    report("a barrier, two timeouts", move || {
        explore(3, move || {
            let barrier = two_of_four();
            let written = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
            let goes_on = |me: usize| {
                let (barrier, written) = (barrier.clone(), written.clone());
                move || {
                    written[me].store(1, Relaxed);
                    let goes_on = barrier.wait_briefly(me).is_ok();
                    assert!(
                        !goes_on || written[1 - me].load(Relaxed) == 1,
                        "what was written before is not seen"
                    );
                    goes_on
                }
            };
            let other = spawn(goes_on(1));
            seen.saw((goes_on(0)(), other.join().unwrap()));
        })
    });
    outcomes.are_exactly(&[(false, false), (true, true)]);
}

/// One of two waits on, the other one's time is over at once: both succeed, or neither did, and the second attempt meets the first.
#[test]
fn a_timeout_is_no_half_success() {
    let seen = Outcomes::new();
    let outcomes = seen.clone();
    report("a barrier, timeout beside a waiter", move || {
        explore(1, move || {
            let barrier = Barrier::new(2, 2);
            let other = waiter(&barrier, 0);
            let first = barrier.wait_briefly(1);
            if first.is_err() {
                barrier.wait(1).unwrap();
            }
            other.join().unwrap().unwrap();
            seen.saw(first.err());
        })
    });
    outcomes.are_exactly(&[None, Some(Failure::Timeout)]);
}

/// All have come, and look once beside an abort: all succeed, or none.
#[test]
fn an_abort_is_told_to_all_or_none() {
    let seen = Outcomes::new();
    let outcomes = seen.clone();
    report("a barrier, abort", move || {
        explore(2, move || {
            let barrier = Barrier::new(2, 2);
            let looks = [0, 1].map(|me| {
                let (came, barrier) = (barrier.come(me).unwrap(), barrier.clone());
                spawn(move || barrier.look(&came).is_ok())
            });
            barrier.abort();
            let go_on = looks.map(|look| look.join().unwrap());
            assert_eq!(go_on[0], go_on[1]);
            assert!(barrier.is_broken());
            seen.saw(go_on[0]);
        })
    });
    outcomes.are_exactly(&[false, true]);
}

/// The same beside a reset, after which they meet.
#[test]
fn a_reset_is_told_to_all_or_none() {
    let seen = Outcomes::new();
    let outcomes = seen.clone();
    report("a barrier, reset", move || {
        explore(3, move || {
            let barrier = Barrier::new(2, 2);
            let [first, second] = [0, 1].map(|me| barrier.come(me).unwrap());
            let other = barrier.clone();
            let look = spawn(move || other.look(&first).is_ok());
            barrier.reset();
            let goes_on = barrier.look(&second).is_ok();
            assert_eq!(look.join().unwrap(), goes_on);
            assert_eq!(barrier.wait_briefly(0), Err(Failure::Timeout));
            seen.saw(goes_on);
        })
    });
    outcomes.are_exactly(&[false, true]);
}

/// Who sleeps is told of an abort and of a reset.
#[test]
fn a_sleeper_is_told_that_it_is_broken() {
    for act in [Barrier::abort, Barrier::reset] {
        let seen = Outcomes::new();
        let outcomes = seen.clone();
        report("a barrier, sleeper beside an abort or reset", move || {
            explore(2, move || {
                let barrier = Barrier::new(2, 2);
                let came = barrier.come(1).unwrap();
                let sleeper = waiter(&barrier, 0);
                act(&barrier);
                if barrier.look(&came).is_err() {
                    barrier.abort(); // it may have come after the reset
                }
                seen.saw(sleeper.join().unwrap().err());
            })
        });
        outcomes.are_exactly(&[None, Some(Failure::Broken)]);
    }
}

/// A reset that is late finds arrivals of before, and a place that is in use again.
#[test]
fn two_resets_leave_a_barrier_that_works() {
    let seen = Outcomes::new();
    let outcomes = seen.clone();
    report("a barrier, two resets", move || {
        explore(2, move || {
            let barrier = Barrier::new(1, 1);
            let other = barrier.clone();
            let party = spawn(move || {
                other.reset();
                [other.wait_briefly(0).is_ok(), other.wait_briefly(0) != Err(Failure::Corrupt)]
            });
            barrier.reset();
            let [goes_on, is_whole] = party.join().unwrap();
            assert!(is_whole);
            assert_eq!(barrier.wait_briefly(0), Ok(0));
            seen.saw(goes_on);
        })
    });
    outcomes.are_exactly(&[false, true]);
}

// --- deaths ----------------------------------------------------------------------------------------------------------

/// One of two is killed before each of its steps: the other one has gone on with it, or is told, by itself.
#[test]
fn a_killed_waiter_holds_up_nobody() {
    let seen = Outcomes::new();
    let outcomes = seen.clone();
    report("a barrier, killed waiter", move || {
        kill_at_every_step(2, move |k| {
            let barrier = two_of_four();
            let other = barrier.clone();
            let other = spawn(move || other.wait_and_mend(1));
            let lived = process(k, || barrier.wait(0).unwrap());
            if lived.is_none() {
                barrier.died(0);
            }
            let other = other.join().unwrap();
            seen.saw((lived.is_some(), other.err()));
            lived.is_none()
        })
    });
    outcomes.are_exactly(&[(false, None), (false, Some(Failure::Incomplete(1))), (true, None)]);
}

/// The same, its time being over at once.
#[test]
fn a_killed_withdrawer_holds_up_nobody() {
    let seen = Outcomes::new();
    let outcomes = seen.clone();
    report("a barrier, killed withdrawer", move || {
        kill_at_every_step(2, move |k| {
            let barrier = two_of_four();
            let other = barrier.clone();
            let other = spawn(move || other.wait_and_mend(1));
            let lived = process(k, || barrier.wait_briefly(0).is_ok());
            match lived {
                None => barrier.died(0),
                Some(true) => {}
                Some(false) => barrier.abort(),
            }
            let other = other.join().unwrap();
            seen.saw((lived, other.err()));
            lived.is_none()
        })
    });
    outcomes.are_exactly(&[
        (None, None),
        (None, Some(Failure::Incomplete(1))),
        (Some(false), Some(Failure::Broken)),
        (Some(true), None),
    ]);
}

/// Two of three have come, and the third is killed on its way through: the two agree.
#[test]
fn a_killed_completer_leaves_the_others_agreed() {
    let seen = Outcomes::new();
    let outcomes = seen.clone();
    report("a barrier, killed completer of three", move || {
        kill_at_every_step(1, move |k| {
            let barrier = Barrier::new(3, 3);
            let [first, second] = [1, 2].map(|me| barrier.come(me).unwrap());
            let other = barrier.clone();
            let first = spawn(move || other.look(&first).is_ok());
            let lived = process(k, || barrier.wait_briefly(0).is_ok());
            if lived.is_none() {
                barrier.died(0);
            }
            let second = barrier.look(&second).is_ok();
            assert_eq!(first.join().unwrap(), second);
            assert!(lived.is_none_or(|lived| lived == second));
            seen.saw((lived.is_some(), second));
            lived.is_none()
        })
    });
    outcomes.are_exactly(&[(false, false), (false, true), (true, false), (true, true)]);
}

/// A mender is killed before each of its steps, beside a waiter, and another one mends: the waiter is told.
#[test]
fn a_killed_mender_leaves_a_lost_place() {
    report("a barrier, killed mender", || {
        kill_at_every_step(2, |k| {
            let barrier = two_of_four();
            barrier.died(0);
            let other = waiter(&barrier, 1);
            let killed = process(k, || barrier.mend(0)).is_none();
            barrier.mend(0);
            assert_eq!(other.join().unwrap(), Err(Failure::Incomplete(1)));
            assert_eq!(barrier.wait_briefly(3), Err(Failure::Timeout)); // it has taken the lost place
            killed
        })
    });
}

/// One dies while it is counted, and another one takes its place at once: if both of the living go on together, each has seen what the other one wrote before.
#[test]
fn a_newcomer_is_not_counted_unseen() {
    let seen = Outcomes::new();
    let outcomes = seen.clone();
    report("a barrier, newcomer", move || {
        explore(2, move || {
            let barrier = Barrier::new(2, 3);
            let _dying = barrier.come(0).unwrap();
            let written = Arc::new(AtomicU32::new(0));
            let (other, writes) = (barrier.clone(), written.clone());
            let newcomer = spawn(move || {
                other.died(0);
                other.mend(0);
                writes.store(1, Relaxed);
                other.wait_briefly(2).is_ok()
            });
            let goes_on = barrier.wait_briefly(1).is_ok();
            let has_seen = written.load(Relaxed) == 1;
            let with_newcomer = newcomer.join().unwrap();
            assert!(!with_newcomer || goes_on && has_seen);
            seen.saw((goes_on, with_newcomer));
        })
    });
    outcomes.are_exactly(&[(false, false), (true, false), (true, true)]);
}

/// A newcomer is killed before each of its steps, and another one takes the place: nobody is counted for two.
#[test]
fn a_killed_newcomer_leaves_its_place_to_the_next() {
    report("a barrier, killed newcomer", || {
        kill_at_every_step(1, |k| {
            let barrier = two_of_four();
            barrier.died(0);
            barrier.mend(0);
            let other = barrier.clone();
            let other = spawn(move || other.wait_briefly(1).is_ok());
            let lived = process(k, || barrier.wait_briefly(2).is_ok());
            if lived.is_none() {
                barrier.died(2);
                barrier.mend(2);
                let next = barrier.wait_briefly(3);
                assert!(matches!(next, Ok(_) | Err(Failure::Timeout)), "{next:?}");
            } else {
                assert_eq!(Some(other.join().unwrap()), lived);
            }
            lived.is_none()
        })
    });
}

/// Who aborts or resets is killed before each of its steps, beside a sleeper; what it has begun is told, and the next reset finishes it.
#[test]
fn a_killed_abort_or_reset_holds_up_nobody() {
    for act in [Barrier::abort, Barrier::reset] {
        report("a barrier, killed abort or reset", move || {
            kill_at_every_step(1, move |k| {
                let barrier = two_of_four();
                let sleeper = waiter(&barrier, 0);
                let killed = process(k, || act(&barrier)).is_none();
                if killed {
                    barrier.died(2);
                }
                // Killed before it began, or the sleeper came only afterwards.
                barrier.abort();
                assert_eq!(sleeper.join().unwrap(), Err(Failure::Broken));
                barrier.reset();
                assert_eq!(barrier.wait_briefly(1), Err(Failure::Timeout));
                killed
            })
        });
    }
}

#[test]
fn who_came_before_a_reset_is_told() {
    explore(0, || {
        let barrier = Barrier::new(2, 2);
        let came = [0, 1].map(|me| barrier.come(me).unwrap());
        barrier.reset();
        assert_eq!(came.map(|c| barrier.look(&c)), [Err(Failure::Broken); 2]);
    });
}

#[test]
fn the_dead_do_not_count() {
    explore(0, || {
        let barrier = Barrier::new(2, 2);
        let _dead = barrier.come(0).unwrap();
        barrier.died(0);
        assert_eq!(barrier.wait_briefly(1), Err(Failure::Timeout));
        barrier.mend(0);
        assert_eq!(barrier.wait_briefly(1), Err(Failure::Incomplete(1)));
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

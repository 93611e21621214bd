//! The semaphore: permits are conserved, whatever dies.

use crate::support::{Outcomes, report, spawn};
use skep::model::{Explored, Semaphore, SemaphorePeer, explore, kill_at_every_step, process};

/// Everybody is mended for: all permits are free, and can be taken.
fn whole(semaphore: &Semaphore, last: &SemaphorePeer, permits: u32) {
    last.recover();
    assert_eq!(semaphore.pool(), (permits, permits));
    assert!(last.try_acquire(permits), "free permits can be taken");
    last.give_back(permits);
}

/// Two want the one permit, and whoever gets it gives it back: both, or one.
#[test]
fn a_permit_is_held_by_one_at_a_time() {
    report("one permit, two who try", || {
        let outcomes = Outcomes::new();
        let seen = outcomes.clone();
        let explored = explore(2, move || {
            let semaphore = Semaphore::new(1, 1, 2);
            let (a, b) = (semaphore.take_part(0), semaphore.take_part(1));
            let a = spawn(move || a.try_acquire(1));
            let b = b.try_acquire(1);
            let got = (a.join().unwrap(), b);
            assert_eq!(semaphore.pool(), (0, 1));
            seen.saw(got);
        });
        // Whichever CAS is first.
        outcomes.are_exactly(&[(false, true), (true, false)]);
        explored
    });
}

#[test]
fn permits_are_conserved_among_the_living() {
    report("two permits, taken and given by two, one released and spent", || {
        explore(2, || {
            let semaphore = Semaphore::new(2, 3, 2);
            let (a, b) = (semaphore.take_part(0), semaphore.take_part(1));
            let other = spawn(move || {
                let got = u32::from(a.try_acquire(1));
                assert_eq!(a.held(), got);
                a.give_back(got);
                assert!(a.release(1), "two, and one more");
            });
            if b.try_acquire(2) {
                assert_eq!(b.held(), 2);
                b.spend(1);
                b.give_back(1);
            } else {
                assert!(b.try_acquire(1), "the other one takes only one");
                b.spend(1);
            }
            other.join().unwrap();
            assert_eq!(semaphore.pool(), (2, 2));
        })
    });
}

#[test]
fn a_release_wakes_a_sleeper() {
    report("a sleeper for one permit, and one for two", || {
        explore(1, || {
            let semaphore = Semaphore::new(0, 3, 3);
            let [a, b, c] = [0, 1, 2].map(|n| semaphore.take_part(n));
            let one = spawn(move || a.acquire(1));
            let two = spawn(move || b.acquire(2));
            assert!(c.release(1));
            assert!(c.release(2));
            one.join().unwrap();
            two.join().unwrap();
            assert_eq!(semaphore.pool(), (0, 3));
        })
    });
}

/// A holder gives back while two sleep, one after the other.
#[test]
fn a_permit_goes_from_hand_to_hand() {
    report("one permit, a holder and a sleeper", || {
        explore(2, || {
            let semaphore = Semaphore::new(1, 1, 2);
            let (a, b) = (semaphore.take_part(0), semaphore.take_part(1));
            a.acquire(1);
            let sleeper = spawn(move || {
                b.acquire(1);
                b.give_back(1);
            });
            a.give_back(1);
            sleeper.join().unwrap();
            assert_eq!(semaphore.pool(), (1, 1));
        })
    });
}

/// Peer 0 runs `life` and is killed at step k, beside peer 1's `beside`; peer 2 mends. Then all that is left are the permits that there should be.
fn killed(
    preemptions: usize,
    permits: u32,
    life: impl Fn(&SemaphorePeer) + Send + Sync + Clone + 'static,
    beside: impl Fn(&SemaphorePeer) + Send + Sync + Clone + 'static,
) -> Explored {
    kill_at_every_step(preemptions, move |k| {
        let semaphore = Semaphore::new(permits, permits, 3);
        let [a, b, c] = [0, 1, 2].map(|n| semaphore.take_part(n));
        let (kernel, life) = (semaphore.clone(), life.clone());
        let mortal = spawn(move || {
            let lived = process(k, || life(&a));
            kernel.died(0);
            lived.is_none()
        });
        beside(&b);
        let was_killed = mortal.join().unwrap();
        whole(&semaphore, &c, permits);
        was_killed
    })
}

#[test]
fn a_killed_holder_gives_back_what_it_held() {
    let take_and_give = |p: &SemaphorePeer| {
        if p.try_acquire(1) {
            p.give_back(1);
        }
    };
    report("killed: take and give, beside take and give", || killed(2, 1, take_and_give, take_and_give));
    report("killed: take two of two, beside take and give", || {
        killed(2, 2, |p| assert!(p.try_acquire(2) || p.try_acquire(1)), take_and_give)
    });
}

/// Peer 0 takes, gives and takes again, so that the word could be the same as before; peer 1 changes it in between.
#[test]
fn a_change_is_not_taken_for_an_earlier_one() {
    let to_and_fro = |p: &SemaphorePeer| {
        p.try_acquire(1);
        p.give_back(1);
        p.try_acquire(1);
    };
    report("killed: take, give, take, beside take and give", || {
        killed(1, 2, to_and_fro, |p| {
            assert!(p.try_acquire(1));
            p.give_back(1);
        })
    });
}

/// Peer 0 takes one, gives it back, and is about to take both: until it has, there is one for peer 1.
#[test]
fn nobody_is_refused_for_a_change_that_was_not_made() {
    report("killed: take, give, take two, beside take", || {
        kill_at_every_step(1, |k| {
            let semaphore = Semaphore::new(2, 2, 3);
            let [a, b, c] = [0, 1, 2].map(|n| semaphore.take_part(n));
            let kernel = semaphore.clone();
            let mortal = spawn(move || {
                let lived = process(k, || {
                    a.try_acquire(1);
                    a.give_back(1);
                    a.try_acquire(2);
                });
                kernel.died(0);
                lived.is_none()
            });
            let got = b.try_acquire(1);
            let was_killed = mortal.join().unwrap();
            assert!(got || semaphore.pool() == (0, 2), "refused, with a permit free all the time");
            b.give_back(u32::from(got));
            whole(&semaphore, &c, 2);
            was_killed
        })
    });
}

/// Peer 0 is killed while it releases one: there are two permits then, or one.
#[test]
fn a_killed_releaser_has_released_or_not() {
    report("killed: release, beside take and give", || {
        let outcomes = Outcomes::new();
        let seen = outcomes.clone();
        let explored = kill_at_every_step(2, move |k| {
            let semaphore = Semaphore::new(1, 2, 3);
            let [a, b, c] = [0, 1, 2].map(|n| semaphore.take_part(n));
            let kernel = semaphore.clone();
            let mortal = spawn(move || {
                let lived = process(k, || a.release(1));
                kernel.died(0);
                lived
            });
            assert!(b.try_acquire(1));
            b.give_back(1);
            let lived = mortal.join().unwrap();
            c.recover();
            let (available, total) = semaphore.pool();
            assert_eq!(available, total);
            if lived.is_some() {
                assert_eq!((lived, total), (Some(true), 2));
            } else {
                seen.saw(total);
            }
            whole(&semaphore, &c, total);
            lived.is_none()
        });
        outcomes.are_exactly(&[1, 2]);
        explored
    });
}

/// Peer 0 dies at any step of taking a permit, or with it in its hands; a mender is killed at step k, beside another participant; a last one mends again.
#[test]
fn a_mender_killed_at_any_step_is_followed_by_another() {
    // The last of them are after the end.
    for death in 0..13 {
        report(&format!("killed mender, for one killed at step {death}"), || {
            kill_at_every_step(1, move |k| {
                let semaphore = Semaphore::new(2, 2, 3);
                let [a, b, c] = [0, 1, 2].map(|n| semaphore.take_part(n));
                process(Some(death), || a.try_acquire(1));
                semaphore.died(0);
                let mending = semaphore.clone();
                let mender = spawn(move || process(k, || mending.mend(0)).is_none());
                if b.try_acquire(1) {
                    b.give_back(1);
                }
                let was_killed = mender.join().unwrap();
                whole(&semaphore, &c, 2);
                was_killed
            })
        });
    }
}

/// A sleeper waits for the permit of a holder that is killed at any step, while it gives it back too.
#[test]
fn a_killed_holder_leaves_nobody_asleep() {
    report("killed holder, a sleeper", || {
        kill_at_every_step(1, |k| {
            let semaphore = Semaphore::new(1, 1, 3);
            let [a, b, c] = [0, 1, 2].map(|n| semaphore.take_part(n));
            a.acquire(1);
            let sleeper = spawn(move || {
                b.acquire(1);
                b.give_back(1);
            });
            let lived = process(k, || a.give_back(1));
            semaphore.died(0);
            c.recover();
            sleeper.join().unwrap();
            assert_eq!(semaphore.pool(), (1, 1));
            lived.is_none()
        })
    });
}

/// Of two sleepers one is killed, woken or not: the other one gets the permit.
#[test]
fn a_killed_sleeper_does_not_keep_a_permit_from_another() {
    report("killed sleeper beside a sleeper", || {
        kill_at_every_step(0, |k| {
            let semaphore = Semaphore::new(0, 1, 3);
            let [a, b, c] = [0, 1, 2].map(|n| semaphore.take_part(n));
            let kernel = semaphore.clone();
            let mortal = spawn(move || {
                let lived = process(k, || {
                    a.acquire(1);
                    a.give_back(1);
                });
                kernel.died(0);
                lived.is_none()
            });
            let sleeper = spawn(move || {
                b.acquire(1);
                b.give_back(1);
            });
            assert!(c.release(1));
            let was_killed = mortal.join().unwrap();
            c.recover();
            sleeper.join().unwrap();
            whole(&semaphore, &c, 1);
            was_killed
        })
    });
}

/// A place goes on to somebody else: the numbers of its changes go on too.
#[test]
fn a_successor_at_a_place_goes_on_with_its_numbers() {
    report("leave with a permit, join, take; beside take and give", || {
        explore(2, || {
            let semaphore = Semaphore::new(1, 1, 2);
            let (a, b) = (semaphore.take_part(0), semaphore.take_part(1));
            let places = semaphore.clone();
            let changes = spawn(move || {
                a.try_acquire(1);
                a.leave();
                let next = places.take_part(0);
                assert_eq!(next.held(), 0);
                next.try_acquire(1);
                next.leave();
            });
            if b.try_acquire(1) {
                b.give_back(1);
            }
            changes.join().unwrap();
            whole(&semaphore, &b, 1);
        })
    });
}

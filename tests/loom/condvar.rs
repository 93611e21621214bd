//! The condition variable: no notification is lost, whatever dies. The mutex guards a number of items, and `STOP`.

use crate::support::{Outcomes, report, spawn};
use skep::model::{Condvar, explore, kill_at_every_step, process};

const STOP: u32 = 100;

/// Takes an item under the mutex, or sees that there will be none. Then nobody else shall wait either.
fn take(condvar: &Condvar, me: usize, hold: &skep::model::Hold<'_>) -> bool {
    hold.lock();
    while hold.with(|items| *items == 0) {
        condvar.wait(me, hold);
    }
    let took = hold.with(|items| {
        let took = *items < STOP;
        *items = STOP;
        took
    });
    condvar.notify(usize::MAX);
    hold.unlock();
    took
}

fn put(condvar: &Condvar) -> usize {
    let hold = condvar.hold();
    hold.lock();
    hold.with(|items| *items = 1);
    hold.unlock();
    condvar.notify(1)
}

fn waiter(condvar: &Condvar, me: usize) -> loom::thread::JoinHandle<bool> {
    let condvar = condvar.clone();
    spawn(move || take(&condvar, me, &condvar.hold()))
}

/// The mutex is unlocked before anybody is notified: what is put is not slept through.
#[test]
fn a_waiter_does_not_sleep_through_a_notification() {
    let seen = Outcomes::new();
    let outcomes = seen.clone();
    report("a condvar, waiter and notifier", move || {
        explore(3, move || {
            let condvar = Condvar::new(2);
            let other = waiter(&condvar, 0);
            seen.saw(put(&condvar));
            assert!(other.join().unwrap());
        })
    });
    // 0: it takes the item before it waits. 1: it waits.
    outcomes.are_exactly(&[0, 1]);
}

#[test]
fn the_one_that_has_waited_longest_is_notified_first() {
    explore(0, || {
        let condvar = Condvar::new(4);
        let begun = [2, 0, 1].map(|number| condvar.begin(number));
        assert_eq!(condvar.notify(2), 2);
        assert_eq!(begun.map(|b| condvar.give_up(&b)), [false, false, true]);
        let begun = [0, 2, 1].map(|number| condvar.begin(number));
        assert_eq!(condvar.notify(usize::MAX), 3);
        assert_eq!(begun.map(|b| condvar.give_up(&b)), [false; 3]);
    });
}

/// Two wait, and both are to go on: by a notification each, or by one for all.
#[test]
fn all_who_are_notified_wake() {
    report("a condvar, two waiters", || {
        explore(2, || {
            let condvar = Condvar::new(3);
            let waiters = [waiter(&condvar, 0), waiter(&condvar, 1)];
            put(&condvar);
            let took = waiters.map(|w| w.join().unwrap());
            assert_eq!(took.into_iter().filter(|&t| t).count(), 1);
        })
    });
}

/// One of two gives up while somebody notifies once: the notification is its own, or the other's.
#[test]
fn a_timeout_does_not_swallow_a_notification() {
    let seen = Outcomes::new();
    let outcomes = seen.clone();
    report("a condvar, timeout beside a notification", move || {
        explore(3, move || {
            let condvar = Condvar::new(3);
            let [first, second] = [0, 1].map(|number| condvar.begin(number));
            let other = condvar.clone();
            let impatient = spawn(move || other.give_up(&first));
            assert_eq!(condvar.notify(1), 1);
            let gave_up = impatient.join().unwrap();
            assert_eq!(condvar.give_up(&second), !gave_up);
            seen.saw(gave_up);
        })
    });
    outcomes.are_exactly(&[false, true]);
}

/// A dead one waits, and somebody mends for it beside a notifier: the notification goes to one who lives.
#[test]
fn no_notification_is_spent_on_the_dead() {
    report("a condvar, notifier and mender beside a dead waiter", || {
        explore(3, || {
            let condvar = Condvar::new(3);
            let [_dead, living] = [0, 1].map(|number| condvar.begin(number));
            condvar.died(0);
            let other = condvar.clone();
            let mender = spawn(move || other.mend(0));
            assert_eq!(condvar.notify(1), 1);
            mender.join().unwrap();
            assert!(!condvar.give_up(&living));
        })
    });
}

/// It dies while it is being notified: the notification is passed on, not lost. Who notifies once and thinks it lives, and who mends, race.
#[test]
fn a_waiter_dying_under_its_notification_passes_it_on() {
    report("a condvar, a death under a notification", || {
        explore(3, || {
            let condvar = Condvar::new(3);
            let [_dying, living] = [0, 1].map(|number| condvar.begin(number));
            let other = condvar.clone();
            let mender = spawn(move || {
                other.died(0);
                other.mend(0);
            });
            assert_eq!(condvar.notify(1), 1);
            mender.join().unwrap();
            assert!(!condvar.give_up(&living));
        })
    });
}

/// One of two waiters is killed before each of its steps; one item is put, once. If the dead one has not taken it, the other one does.
#[test]
fn a_killed_waiters_notification_is_anothers() {
    report("a condvar, killed waiter", || {
        kill_at_every_step(2, |k| {
            let condvar = Condvar::new(3);
            let other = condvar.clone();
            let mortal = spawn(move || {
                let hold = other.hold();
                let lived = process(k, || take(&other, 0, &hold));
                drop(hold); // the kernel lets go
                if lived.is_none() {
                    other.died(0);
                }
                lived
            });
            let living = waiter(&condvar, 1);
            put(&condvar);
            let lived = mortal.join().unwrap();
            condvar.recover(2);
            let hold = condvar.hold();
            hold.lock();
            let is_taken = hold.with(|items| *items == STOP);
            hold.unlock();
            if lived.is_none() && is_taken {
                condvar.notify(usize::MAX); // in place of the one that took it and died
            }
            let other_took = living.join().unwrap();
            assert!(lived.is_none() || lived != Some(other_took));
            lived.is_none()
        })
    });
}

/// The notifier is killed before each of its steps. Whoever it has notified gets on by itself, and is not notified again.
#[test]
fn a_killed_notifier_leaves_nobody_asleep() {
    report("a condvar, killed notifier", || {
        kill_at_every_step(2, |k| {
            let condvar = Condvar::new(3);
            let sleeper = waiter(&condvar, 0);
            let hold = condvar.hold();
            hold.lock();
            hold.with(|items| *items = 1);
            let lived = process(k, || condvar.notify(1));
            drop(hold);
            if lived.is_none() {
                condvar.died(2);
                condvar.notify(1);
            }
            assert!(sleeper.join().unwrap());
            lived.is_none()
        })
    });
}

/// The mender of a notified one is killed before each of its steps, and another one mends. Of two others, one is notified, or both: never none.
#[test]
fn a_killed_mender_loses_no_notification() {
    let seen = Outcomes::new();
    let outcomes = seen.clone();
    report("a condvar, killed mender", move || {
        kill_at_every_step(2, move |k| {
            let condvar = Condvar::new(4);
            let [_dead, first, second] = [0, 1, 2].map(|number| condvar.begin(number));
            assert_eq!(condvar.notify(1), 1);
            condvar.died(0);
            let killed = process(k, || condvar.mend(0)).is_none();
            let other = condvar.clone();
            let impatient = spawn(move || other.give_up(&first));
            condvar.mend(0);
            let notified = [!impatient.join().unwrap(), !condvar.give_up(&second)];
            seen.saw((killed, notified));
            killed
        })
    });
    outcomes.are_exactly(&[
        (false, [true, false]),
        (true, [false, true]), // the first gave up in time
        (true, [true, false]),
        (true, [true, true]), // killed after it had passed the notification on
    ]);
}

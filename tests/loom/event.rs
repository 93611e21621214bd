//! The event: nobody sleeps through a `set`, whatever dies.

use crate::support::{report, spawn};
use skep::model::{Event, World, explore, kill_at_every_step, process};

#[test]
fn a_sleeper_wakes_when_the_event_is_set() {
    report("an event, two sleepers", || {
        explore(2, || {
            let event = Event::new();
            let sleepers: Vec<_> = (0..2).map(|_| event.clone()).map(|e| spawn(move || e.wait())).collect();
            event.set();
            sleepers.into_iter().for_each(|s| s.join().unwrap());
        })
    });
}

/// Set and cleared at once: whoever had begun to wait goes on all the same.
#[test]
fn a_waiter_does_not_miss_an_event_that_is_cleared_again() {
    report("an event, set and cleared beside a sleeper", || {
        explore(3, || {
            let event = Event::new();
            let other = event.clone();
            let begun = event.begin();
            let sleeper = spawn(move || other.wait_since(begun));
            event.set();
            event.clear();
            sleeper.join().unwrap();
        })
    });
}

/// The setter is killed before each of its steps; another one sets it after that.
#[test]
fn a_killed_setter_leaves_nobody_asleep() {
    report("an event, killed setter", || {
        kill_at_every_step(2, |k| {
            let (event, world) = (Event::new(), World::new(1));
            let (sleeping, setting) = (event.clone(), event.clone());
            let sleeper = spawn(move || sleeping.wait());
            let lived = process(k, || setting.set());
            world.died(0);
            if lived.is_none() {
                event.set();
            }
            sleeper.join().unwrap();
            lived.is_none()
        })
    });
}

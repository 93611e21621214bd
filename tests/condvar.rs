//! The condition variable, with real processes that are killed for real.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Other, Random, Unlink, end_after, fresh_name, in_forked_child, role};
use skep::{Condvar, Event, LockError, Mutex, Part, PartOptions, WaitError, Wakeup, shared_struct};
use std::time::Duration;

/// So long that only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);

/// The value: how many began to wait, and how many came back; items to take; whether it is all over.
type Shop = [u64; 4];
const WAITING: usize = 0;
const BACK: usize = 1;
const ITEMS: usize = 2;
const CLOSED: usize = 3;

struct Scene {
    shop: Mutex<Shop>,
    changed: Condvar,
    name: String,
    _unlink: [Unlink; 2],
}

impl Scene {
    fn new(test: &str) -> Scene {
        end_after(2 * HANG);
        let name = fresh_name(test);
        let changed = format!("{name}-changed");
        Scene {
            shop: Mutex::create(&name, [0; 4]).unwrap(),
            changed: PartOptions::new().peers(8).create(&changed, ()).unwrap(),
            name: name.clone(),
            _unlink: [name, changed].map(Unlink),
        }
    }

    fn start(&self, role: &str) -> Other {
        Other::start(role, &self.name)
    }

    /// Returns with the mutex once so many have begun to wait.
    fn until_waiting(&self, n: u64) -> skep::MutexGuard<'_, Shop> {
        loop {
            let shop = self.shop.lock().unwrap();
            if shop[WAITING] == n {
                return shop;
            }
            drop(shop);
            std::thread::yield_now();
        }
    }
}

/// A death leaves nothing in this value that is out of order.
fn lock(shop: &Mutex<Shop>) -> skep::MutexGuard<'_, Shop> {
    shop.lock().or_else(|e| e.recover(|_| ())).unwrap()
}

#[test]
fn the_other_process() {
    let Some((role, name)) = role() else { return };
    let shop = Mutex::<Shop>::open(&name).unwrap();
    let changed = Condvar::open(&format!("{name}-changed")).unwrap();
    match role.as_str() {
        "wait once" => {
            let mut guard = shop.lock().unwrap();
            guard[WAITING] += 1;
            guard = changed.wait(guard).unwrap();
            guard[BACK] += 1;
        }
        "wait until it is closed" => {
            let mut guard = lock(&shop);
            guard[WAITING] += 1;
            drop(changed.wait_for(guard, |shop| shop[CLOSED] != 0));
        }
        "take items" => {
            let mut guard = lock(&shop);
            guard[WAITING] += 1;
            while guard[CLOSED] == 0 {
                if guard[ITEMS] > 0 {
                    guard[ITEMS] -= 1;
                    guard[BACK] += 1;
                    changed.notify_all().unwrap();
                }
                // A death under the mutex loses the notification that the dead one had: who repairs passes it on.
                guard = changed.wait_while(guard, |s| s[ITEMS] == 0 && s[CLOSED] == 0).unwrap_or_else(|e| {
                    changed.notify_all().unwrap();
                    Err(e).or_else(|e: LockError<_>| e.recover(|_| ())).unwrap()
                });
            }
        }
        other => panic!("no such role: {other}"),
    }
    std::process::exit(0);
}

#[test]
fn a_waiter_is_counted_and_wakes() {
    let scene = Scene::new("condvar-counted");
    assert_eq!(scene.changed.notify_all(), Ok(0));
    let others = [scene.start("wait once"), scene.start("wait once")];
    let guard = scene.until_waiting(2);
    assert_eq!(scene.changed.notify_one(), Ok(1));
    assert_eq!(scene.changed.notify(5), Ok(1));
    drop(guard);
    others.into_iter().for_each(Other::finish);
}

#[test]
fn the_dead_are_not_counted() {
    let scene = Scene::new("condvar-dead");
    let dead = scene.start("wait once");
    drop(scene.until_waiting(1));
    let living = scene.start("wait once");
    drop(scene.until_waiting(2));
    dead.kill();
    assert_eq!(scene.changed.notify_one(), Ok(1));
    living.finish();
    assert_eq!(scene.changed.notify_all(), Ok(0));
}

#[test]
fn a_stopped_waiter_is_alive() {
    let scene = Scene::new("condvar-stopped");
    let other = scene.start("wait once");
    drop(scene.until_waiting(1));
    other.signal(libc::SIGSTOP);
    assert_eq!(scene.changed.notify_one(), Ok(1));
    other.signal(libc::SIGCONT);
    other.finish();
}

/// It is notified, and killed before it has the mutex again: the other one gets the notification, by itself.
#[test]
fn a_notification_of_the_dead_is_passed_on() {
    let scene = Scene::new("condvar-passed-on");
    let notified = scene.start("wait once");
    drop(scene.until_waiting(1));
    let heir = scene.start("wait once");
    let guard = scene.until_waiting(2);
    assert_eq!(scene.changed.notify_one(), Ok(1));
    notified.kill();
    drop(guard);
    heir.finish();
    assert_eq!(lock(&scene.shop)[BACK], 1);
}

/// The notified one leaves no heir, and its place is free again.
#[test]
fn a_dead_waiters_place_is_free_again() {
    let scene = Scene::new("condvar-places");
    for n in 1..=10 {
        let other = scene.start("wait until it is closed");
        let guard = scene.until_waiting(n);
        // It may have the notification of the one before already.
        scene.changed.notify_one().unwrap();
        other.kill();
        drop(guard);
    }
    assert_eq!(scene.changed.notify_all(), Ok(0));
}

#[test]
fn time_is_over_without_a_notification() {
    let scene = Scene::new("condvar-timeout");
    let guard = scene.shop.lock().unwrap();
    let (guard, wakeup) = scene.changed.wait_timeout(guard, Duration::from_millis(5)).unwrap();
    assert_eq!(wakeup, Wakeup::TimedOut);
    let never = |_: &mut Shop| true;
    let (guard, wakeup) = scene.changed.wait_timeout_while(guard, Duration::from_millis(5), never).unwrap();
    assert_eq!(wakeup, Wakeup::TimedOut);
    let (guard, wakeup) = scene.changed.wait_timeout_while(guard, Duration::ZERO, |_| false).unwrap();
    assert_eq!(wakeup, Wakeup::Notified);
    assert!(matches!(scene.shop.try_lock(), Err(LockError::WouldBlock | LockError::WouldDeadlock)));
    drop(guard);
    assert_eq!(scene.changed.notify_all(), Ok(0));
}

#[test]
fn a_forked_childs_copy_refuses() {
    let scene = Scene::new("condvar-forked");
    let guard = scene.shop.lock().unwrap();
    let status = in_forked_child(|| {
        assert_eq!(scene.changed.notify_all(), Err(WaitError::Forked));
        // SAFETY: a copy, which the child uses instead of the one that it inherited.
        let copy = unsafe { std::ptr::read(&guard) };
        assert!(matches!(scene.changed.wait(copy), Err(LockError::Forked)));
        0
    });
    assert!(status.success());
    drop(guard);
    assert!(scene.shop.try_lock().is_ok());
}

/// Takers are killed at random, 100 times; whatever is put is taken by somebody, as long as one lives.
#[test]
fn killed_takers_hold_up_nobody() {
    let scene = Scene::new("condvar-load");
    let mut random = Random(7);
    let survivor = scene.start("take items");
    let mut mortals: Vec<_> = (0..3).map(|_| scene.start("take items")).collect();
    let mut kills = 0;
    while kills < 100 {
        let mut guard = lock(&scene.shop);
        guard[ITEMS] += 1;
        scene.changed.notify_one().unwrap();
        // None is killed before it takes part.
        if guard[WAITING] == 4 + kills && random.below(3) == 0 {
            drop(guard);
            (0..random.below(2000)).for_each(|_| std::hint::spin_loop());
            mortals.remove(random.below(3) as usize).kill();
            kills += 1;
            mortals.push(scene.start("take items"));
            guard = lock(&scene.shop);
            // Should it have died under the mutex.
            scene.changed.notify_all().unwrap();
        }
        let result = scene.changed.wait_timeout_while(guard, HANG, |shop| shop[ITEMS] > 0);
        let wakeup = result.map_or_else(
            |e| match e {
                LockError::OwnerDied((mut guard, wakeup)) => {
                    guard.mark_consistent();
                    scene.changed.notify_all().unwrap();
                    wakeup
                }
                other => panic!("{other:?}"),
            },
            |(_, wakeup)| wakeup,
        );
        assert_eq!(wakeup, Wakeup::Notified, "an item was not taken");
    }
    lock(&scene.shop)[CLOSED] = 1;
    // A mortal may have been notified of it and killed, or begin to wait only now: it looks at the value first.
    scene.changed.notify_all().unwrap();
    survivor.finish();
    mortals.into_iter().for_each(Other::finish);
}

#[test]
fn a_condvar_works_in_a_struct() {
    shared_struct! {
        struct Signals { first: Condvar, ready: Event, second: Condvar }
    }
    let mutex = Mutex::new(0_u64).unwrap();
    let here = Signals::anonymous(((), (), ())).unwrap();
    let there = here.try_clone().unwrap();
    std::thread::scope(|threads| {
        let mutex = &mutex;
        threads.spawn(move || {
            let guard = mutex.lock().unwrap();
            there.ready.set().unwrap();
            drop(there.second.wait(guard).unwrap());
        });
        here.ready.wait_timeout(HANG).unwrap();
        drop(mutex.lock().unwrap());
        assert_eq!(here.first.notify_all(), Ok(0));
        assert_eq!(here.second.notify_all(), Ok(1));
    });
}

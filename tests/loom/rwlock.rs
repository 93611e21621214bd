//! The readers-writer lock: one writes or many read, nobody sleeps for ever, and a value that is torn is suspect, whoever dies.
//!
//! Loom itself sees to it that nobody reads while another one writes, and that each reader sees a write whole.

use crate::support::{Outcomes, report, spawn};
use skep::model::{Explored, RwLock, RwLockPeer, explore, kill_at_every_step, process};

fn peers<const N: usize>(lock: &RwLock<u64>) -> [RwLockPeer<u64>; N] {
    std::array::from_fn(|number| lock.peer(number))
}

/// Runs participant 0 as a process that is killed at step `k`; the kernel hears of its death.
///
/// It is borrowed, so that the dying one drops nothing: loom may run another thread there, whose mutexes would take the unwinding for theirs.
fn mortal<R: 'static>(
    lock: &RwLock<u64>,
    peer: RwLockPeer<u64>,
    k: Option<u64>,
    life: impl FnOnce(&RwLockPeer<u64>) -> R + 'static,
) -> loom::thread::JoinHandle<Option<R>> {
    let kernel = lock.clone();
    spawn(move || {
        let lived = process(k, || life(&peer));
        if lived.is_none() {
            kernel.died(0);
        }
        lived
    })
}

#[test]
fn a_reader_beside_a_writer_sees_the_value_before_or_after() {
    report("rwlock, a reader and a writer", || {
        let outcomes = Outcomes::new();
        let seen = outcomes.clone();
        let explored = explore(3, move || {
            let lock = RwLock::new(0, 2);
            let [a, b] = peers(&lock);
            let writer = spawn(move || a.write(1));
            seen.saw(b.read());
            assert!(!writer.join().unwrap());
        });
        outcomes.are_exactly(&[
            Some(0), // in before the writer drained
            Some(1), // slept until it had written, or came later
        ]);
        explored
    });
}

/// Without sleepers, whose announcements bring fences of their own.
#[test]
fn attempts_exclude_each_other() {
    report("rwlock, try_read beside try_write", || {
        let outcomes = Outcomes::new();
        let seen = outcomes.clone();
        let explored = explore(3, move || {
            let lock = RwLock::new(0, 2);
            let [a, b] = peers(&lock);
            let writer = spawn(move || a.try_write(1).is_some());
            let read = b.try_read().flatten();
            seen.saw((read, writer.join().unwrap()));
        });
        outcomes.are_exactly(&[
            (Some(0), true),  // read, then written
            (Some(1), true),  // written, then read
            (None, true),     // the reader met the writer
            (Some(0), false), // the writer met the reader
            (None, false),    // each met the other
        ]);
        explored
    });
}

#[test]
fn writers_exclude_each_other() {
    report("rwlock, two writers that add", || {
        explore(3, || {
            let lock = RwLock::new(0, 2);
            let add = |peer: &RwLockPeer<u64>| {
                peer.begin_write();
                peer.set(peer.get() + 1);
                peer.end_write();
            };
            let [a, b] = peers(&lock);
            let a = spawn(move || add(&a));
            add(&b);
            a.join().unwrap();
            assert_eq!(b.read(), Some(2));
        })
    });
    report("rwlock, two writers and a reader", || {
        explore(2, || {
            let lock = RwLock::new(0, 3);
            let [a, b, c] = peers(&lock);
            let (a, b) = (spawn(move || a.write(1)), spawn(move || b.write(2)));
            c.read();
            a.join().unwrap();
            b.join().unwrap();
            assert!(matches!(c.read(), Some(1 | 2)));
        })
    });
}

#[test]
fn readers_do_not_wait_for_each_other() {
    report("rwlock, two readers in at a time, and a writer", || {
        explore(2, || {
            let lock = RwLock::new(0, 3);
            let [a, b, c] = peers(&lock);
            a.begin_read();
            assert_eq!(b.try_read(), Some(Some(0)), "a reader keeps no reader out");
            let writer = spawn(move || c.write(1));
            let reader = spawn(move || b.read());
            assert_eq!(a.get(), 0);
            a.end_read();
            writer.join().unwrap();
            reader.join().unwrap();
        })
    });
}

/// A writer drains meanwhile: the second guard must not wait for it.
#[test]
fn a_reader_may_read_once_more_while_a_writer_waits_for_it() {
    report("rwlock, a reader that reads once more beside a writer", || {
        explore(3, || {
            let lock = RwLock::new(0, 2);
            let [a, b] = peers(&lock);
            a.begin_read();
            let writer = spawn(move || b.write(1));
            a.begin_read();
            a.end_read();
            assert_eq!(a.get(), 0, "the first guard still holds");
            a.end_read();
            writer.join().unwrap();
        })
    });
}

/// Where a reader is in, `try_write` is refused; who came to sleep because of it, wakes.
#[test]
fn a_refused_try_write_leaves_nothing() {
    report("rwlock, a refused try_write beside readers", || {
        explore(3, || {
            let lock = RwLock::new(0, 3);
            let [a, b, c] = peers(&lock);
            let reader = spawn(move || {
                assert_eq!(b.read(), Some(0));
                b
            });
            a.begin_read();
            let writer = spawn(move || {
                assert_eq!(c.try_write(1), None);
                c
            });
            let (b, c) = (reader.join().unwrap(), writer.join().unwrap());
            assert_eq!(b.try_read(), Some(Some(0)));
            a.end_read();
            assert_eq!(c.try_write(1), Some(false));
        })
    });
    report("rwlock, try_write beside a reader that comes and a writer that waits", || {
        explore(1, || {
            let lock = RwLock::new(0, 3);
            let [a, b, c] = peers(&lock);
            let trying = spawn(move || a.try_write(1));
            let writer = spawn(move || b.write(2));
            c.read();
            trying.join().unwrap();
            writer.join().unwrap();
            assert!(c.try_read().is_some());
        })
    });
}

#[test]
fn a_writer_gets_in_once_a_reader_killed_at_any_step_is_mended_for() {
    report("rwlock, killed reader, sleeping writer", || {
        kill_at_every_step(1, |k| {
            let lock = RwLock::new(0, 3);
            let [a, b, c] = peers(&lock);
            let reader = mortal(&lock, a, k, |a| a.try_read());
            let writer = spawn(move || b.write(1));
            let lived = reader.join().unwrap();
            c.recover();
            assert!(!writer.join().unwrap(), "a reader breaks nothing");
            c.recover();
            assert_eq!(lock.is_vacant(0), lived.is_none());
            assert_eq!(c.try_read(), Some(Some(1)));
            lived.is_none()
        })
    });
}

/// The value is read only where nobody says that it is suspect; a torn one would be noticed then.
fn killed_writer(life: fn(&RwLockPeer<u64>) -> bool) -> Explored {
    kill_at_every_step(1, move |k| {
        let lock = RwLock::new(0, 3);
        let [a, b, c] = peers(&lock);
        let writer = mortal(&lock, a, k, life);
        let reader = spawn(move || b.read());
        let lived = writer.join().unwrap();
        c.recover();
        let read = reader.join().unwrap();
        assert!(lived.is_none() || read.is_some(), "nobody died");
        c.recover();
        assert_eq!(lock.is_vacant(0), lived.is_none());
        c.try_write(2).expect("wedged for writers");
        assert_eq!(c.try_read(), Some(Some(2)), "wedged for readers, or not marked");
        lived.is_none()
    })
}

#[test]
fn what_a_writer_killed_at_any_step_leaves_is_whole_or_suspect() {
    report("rwlock, killed writer, sleeping reader", || killed_writer(|writer| writer.write(1)));
    report("rwlock, killed try_write, sleeping reader", || {
        killed_writer(|writer| writer.try_write(1).unwrap_or(false))
    });
}

/// It has touched nothing, so nobody is told, nor held up; nor by one that gives up.
#[test]
fn a_writer_that_is_killed_while_it_waits_for_a_reader_breaks_nothing() {
    report("rwlock, writer killed while a reader is in", || {
        kill_at_every_step(1, |k| {
            let lock = RwLock::new(0, 3);
            let [a, b, c] = peers(&lock);
            b.begin_read();
            let writer = mortal(&lock, a, k, RwLockPeer::begin_write_and_give_up);
            let late = spawn(move || c.read());
            let lived = writer.join().unwrap();
            b.recover();
            assert_eq!(late.join().unwrap(), Some(0), "suspect, or held up");
            b.end_read();
            lived.is_none()
        })
    });
}

#[test]
fn a_writer_killed_between_writers_holds_up_none() {
    report("rwlock, killed writer, sleeping writer", || {
        kill_at_every_step(1, |k| {
            let lock = RwLock::new(0, 3);
            let [a, b, c] = peers(&lock);
            let first = mortal(&lock, a, k, |a| a.try_write(1));
            let second = spawn(move || b.write(2));
            let lived = first.join().unwrap();
            c.recover();
            assert!(!second.join().unwrap() || lived.is_none());
            // The first may have died after the second was done.
            assert!(c.try_write(3).is_some());
            assert_eq!(c.try_read(), Some(Some(3)));
            lived.is_none()
        })
    });
}

/// Participant 0 is dead, with a reader asleep because of it. The mender is killed at every step, and another one mends for both.
#[test]
fn a_mender_killed_at_any_step_is_replaced() {
    report("rwlock, a dead writer, killed mender", || {
        kill_at_every_step(1, |k| {
            let lock = RwLock::new(0, 4);
            let [a, b, c, d] = peers(&lock);
            a.begin_write();
            a.set(1);
            let sleeper = spawn(move || c.read());
            lock.died(0);
            let lived = process(k, || b.recover());
            if lived.is_none() {
                lock.died(1);
            }
            d.recover();
            assert_eq!(sleeper.join().unwrap(), None, "told");
            d.recover();
            assert!(lock.is_vacant(0) && lock.is_vacant(1) == lived.is_none());
            assert_eq!(d.try_write(2), Some(true));
            lived.is_none()
        })
    });
    report("rwlock, a dead reader, killed mender", || {
        kill_at_every_step(1, |k| {
            let lock = RwLock::new(0, 4);
            let [a, b, c, d] = peers(&lock);
            a.begin_read();
            let sleeper = spawn(move || c.write(1));
            lock.died(0);
            let lived = process(k, || b.recover());
            if lived.is_none() {
                lock.died(1);
            }
            d.recover();
            assert!(!sleeper.join().unwrap(), "a reader breaks nothing");
            d.recover();
            assert!(lock.is_vacant(0) && lock.is_vacant(1) == lived.is_none());
            assert_eq!(d.try_read(), Some(Some(1)));
            lived.is_none()
        })
    });
}

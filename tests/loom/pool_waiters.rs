//! Who waits, collects: leaders, followers, and those that wait for a free record. What nobody wakes is a deadlock, which loom reports.

use crate::support::{report, spawn};
use skep::model::explore;
use skep_pool::model::{Calls, Came, Pool};

fn call(argument: u8) -> Calls {
    Calls { arguments: vec![argument], ..Calls::default() }
}

/// Submits one call and waits for it.
fn apply(pool: &Pool, argument: u8) {
    let job = pool.submit(&call(argument)).expect("nobody ends it");
    assert_eq!(pool.wait(&job), [Came::Result]);
}

/// Two threads wait for an outcome each: whoever leads delivers the other's, and hands over when its own is there (L1, L2).
#[test]
fn of_two_that_wait_one_collects_for_both() {
    report("pool: two that wait, two results", || {
        explore(2, || {
            let pool = Pool::new(2, 4, 0);
            let first = pool.submit(&call(1)).expect("nobody ends it");
            let second = pool.submit(&call(2)).expect("nobody ends it");
            let (waits, works) = (pool.clone(), pool.clone());
            let other = spawn(move || assert_eq!(waits.wait(&second), [Came::Result]));
            let worker = spawn(move || works.worker(1).work());
            assert_eq!(pool.wait(&first), [Came::Result]);
            other.join().unwrap();
            pool.close_ring();
            worker.join().unwrap();
        })
    });
}

/// There is one record for two callers: one of them waits for it to be free, and collects meanwhile.
#[test]
fn of_two_that_submit_one_waits_for_the_others_record() {
    report("pool: two that submit, one record", || {
        explore(1, || {
            let pool = Pool::new(1, 4, 0);
            let (submits, works) = (pool.clone(), pool.clone());
            let other = spawn(move || apply(&submits, 2));
            let worker = spawn(move || works.worker(1).work());
            apply(&pool, 1);
            other.join().unwrap();
            pool.close_ring();
            worker.join().unwrap();
        })
    });
}

/// One thread looks whether its outcome is there, and leads for that moment, while another one begins to wait.
#[test]
fn a_look_beside_a_wait_hands_the_lead_over() {
    report("pool: a look beside a wait", || {
        explore(2, || {
            let pool = Pool::new(1, 4, 0);
            let job = pool.submit(&call(1)).expect("nobody ends it");
            let (looks, works) = (pool.clone(), pool.clone());
            let look = spawn(move || looks.collect());
            let worker = spawn(move || works.worker(1).work());
            assert_eq!(pool.wait(&job), [Came::Result]);
            look.join().unwrap();
            pool.close_ring();
            worker.join().unwrap();
        })
    });
}

/// The pool ends beside those that wait for an outcome, and for a free record: both are told.
#[test]
fn the_end_wakes_whoever_waits() {
    report("pool: the end beside two that wait", || {
        explore(2, || {
            let pool = Pool::new(1, 4, 0);
            let job = pool.submit(&call(1)).expect("nobody ends it yet");
            let (waits, submits) = (pool.clone(), pool.clone());
            let first = spawn(move || assert_eq!(waits.wait(&job), [Came::Ended]));
            let second = spawn(move || {
                if let Ok(job) = submits.submit(&call(2)) {
                    assert_eq!(submits.wait(&job), [Came::Ended]);
                }
            });
            pool.end();
            first.join().unwrap();
            second.join().unwrap();
        })
    });
}

/// A pool is joined beside a call that submits more than once: it is waited for, to its last batch.
#[test]
fn a_join_waits_for_an_open_call() {
    report("pool: a join beside an open call of two batches", || {
        explore(1, || {
            let pool = Pool::new(1, 4, 0);
            let (calls, works) = (pool.clone(), pool.clone());
            let worker = spawn(move || works.worker(1).work());
            let caller = spawn(move || {
                let open = calls.open_call();
                let is_open = open.is_some();
                let batch = |argument| {
                    let batch = Calls { is_continued: true, ..call(argument) };
                    calls.submit(&batch).expect("nobody ends it")
                };
                if is_open {
                    let jobs = [1, 2].map(batch); // the second one waits for the first one's record
                    jobs.iter().for_each(|job| assert_eq!(calls.wait(job), [Came::Result]));
                }
                drop(open);
            });
            pool.close();
            pool.wait_for_all();
            pool.close_ring();
            worker.join().unwrap();
            pool.end();
            caller.join().unwrap();
        })
    });
}

/// The joining thread leads for as long as the call is open. So whatever the caller waits for, a free record and then each outcome, has to wake it.
#[test]
fn whoever_follows_is_woken_by_what_it_waits_for() {
    report("pool: an open call of two batches beside a leader that stays", || {
        explore(1, || {
            let pool = Pool::new(1, 4, 0);
            let open = pool.open_call().expect("nobody closes it yet");
            let (joins, works) = (pool.clone(), pool.clone());
            let worker = spawn(move || works.worker(1).work());
            let join = spawn(move || {
                joins.close();
                joins.wait_for_all();
                joins.close_ring();
            });
            loom::thread::yield_now(); // now it may lead
            let jobs = [1, 2].map(|argument| {
                let batch = Calls { is_continued: true, ..call(argument) };
                pool.submit(&batch).expect("nobody ends it")
            });
            jobs.iter().for_each(|job| assert_eq!(pool.wait(job), [Came::Result]));
            drop(open);
            join.join().unwrap();
            worker.join().unwrap();
        })
    });
}

//! The pool's protocol: records from submission to delivery, workers killed before each of their steps, and what becomes of what they had.

use crate::support::{Outcomes, report, spawn};
use Came::{Died, Ended, Result};
use skep::model::{Explored, explore, kill_at_every_step, kill_two_at_every_step, process};
use skep_pool::model::{Calls, Came, Pool};

fn calls(arguments: &[u8]) -> Calls {
    Calls { arguments: arguments.to_vec(), ..Calls::default() }
}

/// Runs workers one after the other, each killed before its step, until one lives until the ring of tasks is closed. Each death is settled before the next begins.
/// Says of each that was killed how many items of record 0 were counted then.
fn workers<const N: usize>(
    pool: &Pool,
    first: u32,
    kills: [Option<u64>; N],
) -> loom::thread::JoinHandle<[Option<u32>; N]> {
    let pool = pool.clone();
    spawn(move || {
        let mut killed = [None; N];
        for (n, k) in kills.into_iter().enumerate() {
            let number = first + n as u32;
            let mut worker = pool.worker(number);
            if process(k, || worker.work()).is_some() {
                return killed;
            }
            killed[n] = Some(pool.counted(0));
            pool.settle(number);
        }
        pool.worker(first + N as u32).work();
        killed
    })
}

/// Whatever happened: nothing is left, and the pool works.
fn is_idle(pool: &Pool) {
    pool.wait_for_all();
    assert_eq!(pool.blocks_in_use(), 0, "a block leaks");
}

/// One record of some items, whose worker is killed at each step.
fn killed_worker(preemptions: usize, calls: Calls, blocks: usize) -> (Explored, Outcomes<Vec<Came>>) {
    let outcomes = Outcomes::new();
    let seen = outcomes.clone();
    let explored = kill_at_every_step(preemptions, move |k| {
        let pool = Pool::new(1, 4, blocks);
        let workers = workers(&pool, 1, [k]);
        let job = pool.submit(&calls).expect("nobody ends it");
        seen.saw(pool.wait(&job));
        is_idle(&pool);
        pool.close_ring();
        workers.join().unwrap()[0].is_some()
    });
    (explored, outcomes)
}

#[test]
fn a_death_costs_the_item_that_ran() {
    report("pool: killed worker, two items", || {
        let (explored, outcomes) = killed_worker(1, calls(&[1, 2]), 0);
        outcomes.are_exactly(&[
            vec![Died(1), Result], // before the first item counts
            vec![Result, Died(1)], // between the two counts
            vec![Result, Result],  // before the claim, or after the second count
        ]);
        explored
    });
}

#[test]
fn an_item_that_may_be_retried_costs_nothing() {
    report("pool: killed worker, two items that may be retried", || {
        let (explored, outcomes) = killed_worker(1, Calls { retries: 1, ..calls(&[1, 2]) }, 0);
        outcomes.are_exactly(&[vec![Result, Result]]);
        explored
    });
}

#[test]
fn blocks_of_a_killed_worker_are_its_records_or_free() {
    report("pool: killed worker, an item with a block", || {
        let (explored, outcomes) = killed_worker(1, Calls { with_blocks: true, ..calls(&[1]) }, 3);
        outcomes.are_exactly(&[vec![Died(1)], vec![Result]]);
        explored
    });
    report("pool: killed worker, an item with a block that may be retried", || {
        let calls = Calls { with_blocks: true, retries: 1, ..calls(&[1]) };
        let (explored, outcomes) = killed_worker(1, calls, 4);
        outcomes.are_exactly(&[vec![Result]]);
        explored
    });
    report("pool: killed worker, two items with blocks", || {
        let (explored, outcomes) = killed_worker(0, Calls { with_blocks: true, ..calls(&[1, 2]) }, 6);
        outcomes.are_exactly(&[vec![Died(1), Result], vec![Result, Died(1)], vec![Result, Result]]);
        explored
    });
}

/// The worker that goes on with a record is killed as well: deaths count against the item, not the record.
#[test]
fn two_deaths_cost_an_item_each_or_the_same_one_twice() {
    let two_deaths = |retries, permitted: &[Vec<Came>]| {
        let outcomes = Outcomes::new();
        let seen = outcomes.clone();
        let explored = kill_two_at_every_step(0, move |k, j| {
            let pool = Pool::new(1, 4, 0);
            let workers = workers(&pool, 1, [k, j]);
            let job = pool.submit(&Calls { retries, ..calls(&[1, 2]) }).expect("nobody ends it");
            let came = pool.wait(&job);
            is_idle(&pool);
            pool.close_ring();
            let killed = workers.join().unwrap();
            if let [Some(first), Some(second)] = killed {
                let died = came.iter().filter(|came| **came != Result).count();
                assert!(first == second || retries == 0 || died == 0, "deaths count against the item");
                seen.saw(came);
            }
            killed.map(|counted| counted.is_some())
        });
        outcomes.are_exactly(permitted);
        explored
    };
    report("pool: two killed workers, two items", || {
        two_deaths(
            0,
            &[
                vec![Died(1), Died(2)], // each in one item
                vec![Died(1), Result],  // the second one before it claims, or after the last count
                vec![Died(2), Result],  // the first one before it claims
                vec![Result, Died(1)],
                vec![Result, Died(2)],
                vec![Result, Result], // both outside of items
            ],
        )
    });
    report("pool: two killed workers, two items that may be retried", || {
        two_deaths(
            1,
            &[
                vec![Died(2), Result], // both in the first item
                vec![Result, Died(2)], // both in the second one
                vec![Result, Result],  // in one item each, or outside
            ],
        )
    });
}

/// A worker is killed beside one that lives, which may take what the dead one had, by an id from before the death.
#[test]
fn a_death_beside_a_living_worker_costs_at_most_its_item() {
    report("pool: killed worker beside another one", || {
        let outcomes = Outcomes::new();
        let seen = outcomes.clone();
        let explored = kill_at_every_step(1, move |k| {
            let pool = Pool::new(1, 5, 0);
            let job = pool.submit(&calls(&[1, 2])).expect("nobody ends it");
            let (dies, lives) = (pool.clone(), pool.clone());
            let dies = spawn(move || {
                let is_dead = process(k, || dies.worker(1).work()).is_none();
                if is_dead {
                    dies.settle(1);
                }
                is_dead
            });
            let lives = spawn(move || lives.worker(2).work());
            seen.saw(pool.wait(&job));
            pool.close_ring();
            lives.join().unwrap();
            dies.join().unwrap()
        });
        outcomes.are_exactly(&[vec![Died(1), Result], vec![Result, Died(1)], vec![Result, Result]]);
        explored
    });
}

/// Ids are hints: of two workers that take one of the same record each, one claims it.
#[test]
fn a_doubled_id_is_run_once() {
    report("pool: a doubled id, two workers", || {
        explore(2, || {
            let pool = Pool::new(1, 4, 0);
            pool.hint_at(0, 0);
            let job = pool.submit(&calls(&[1])).expect("nobody ends it");
            pool.close_ring();
            let works = pool.clone();
            let worker = spawn(move || works.worker(1).work());
            pool.worker(2).work();
            assert_eq!(pool.wait(&job), [Result]);
            worker.join().unwrap();
            is_idle(&pool);
        })
    });
}

/// Ids of a record's former life, and one that comes before its time, are skipped by workers and by the leader.
#[test]
fn stale_ids_are_skipped() {
    report("pool: stale and early ids, one record twice", || {
        explore(1, || {
            let pool = Pool::new(1, 6, 0);
            let worker = workers(&pool, 1, []);
            pool.announce(0, 0);
            let first = pool.submit(&calls(&[1])).expect("nobody ends it");
            assert_eq!(pool.wait(&first), [Result]);
            pool.hint_at(0, 0);
            pool.announce(0, 0);
            let second = pool.submit(&calls(&[2])).expect("nobody ends it");
            assert_eq!(pool.wait(&second), [Result]);
            is_idle(&pool);
            assert_eq!(pool.tasks_done(), 2);
            pool.close_ring();
            worker.join().unwrap();
        })
    });
}

/// A pool ends beside a submission (C2): whoever is refused is told at once, and whoever is let in gets one outcome.
#[test]
fn a_submission_beside_the_end_is_refused_or_told() {
    report("pool: the end beside a submission and a worker", || {
        let outcomes = Outcomes::new();
        let seen = outcomes.clone();
        let explored = explore(2, move || {
            let pool = Pool::new(1, 4, 0);
            let worker = workers(&pool, 1, []);
            let ends = pool.clone();
            let end = spawn(move || {
                ends.end();
                ends.close_ring();
            });
            let came = pool.submit(&calls(&[1])).map(|job| {
                let came = pool.wait(&job);
                (came, job)
            });
            end.join().unwrap();
            worker.join().unwrap();
            seen.saw(came.map(|(came, job)| {
                pool.collect();
                assert_eq!(job.outcome(), None, "it is told twice");
                came
            }));
        });
        outcomes.are_exactly(&[
            Err(Ended),       // it is refused
            Ok(vec![Ended]),  // it is let in, and told before its result is delivered
            Ok(vec![Result]), // it is delivered before
        ]);
        explored
    });
}

/// A pool is closed and joined beside a submission: whoever is let in gets one outcome, though the workers may be gone.
#[test]
fn a_submission_beside_a_join_is_refused_or_told() {
    report("pool: a join beside a submission", || {
        let outcomes = Outcomes::new();
        let seen = outcomes.clone();
        let explored = explore(2, move || {
            let pool = Pool::new(1, 4, 0);
            let worker = workers(&pool, 1, []);
            let submits = pool.clone();
            let submission = spawn(move || submits.submit(&calls(&[1])).map(|job| (submits.wait(&job), job)));
            pool.close();
            pool.wait_for_all();
            pool.close_ring();
            worker.join().unwrap();
            pool.collect();
            pool.end();
            seen.saw(submission.join().unwrap().map(|(came, job)| {
                assert_eq!(job.outcome(), None, "it is told twice");
                came
            }));
        });
        outcomes.are_exactly(&[
            Err(Ended),       // it is refused
            Ok(vec![Ended]),  // it is let in before the close, and no worker is left to take it
            Ok(vec![Result]), // it is waited for
        ]);
        explored
    });
}

/// A pool ends beside a worker that has blocks, and is killed then: when no process is left, every block is free.
#[test]
fn an_ended_pool_keeps_no_block() {
    report("pool: the end beside a killed worker with a block", || {
        kill_at_every_step(1, |k| {
            let pool = Pool::new(1, 4, 2);
            let job = pool.submit(&Calls { with_blocks: true, ..calls(&[1]) }).expect("nobody ends it yet");
            let works = pool.clone();
            let worker = spawn(move || process(k, || works.worker(1).work()).is_none());
            pool.end();
            pool.close_ring();
            let was_killed = worker.join().unwrap();
            pool.died(1);
            pool.bury_all();
            drop(job);
            assert_eq!(pool.blocks_in_use(), 0, "a block leaks");
            was_killed
        })
    });
}

/// More is submitted than the ring of tasks has room for: what finds none is put later.
#[test]
fn what_finds_no_room_in_the_ring_is_put_later() {
    report("pool: a ring of tasks with room for one id, two records", || {
        explore(1, || {
            let pool = Pool::new(2, 1, 0);
            let first = pool.submit(&calls(&[1])).expect("nobody ends it");
            let second = pool.submit(&calls(&[2])).expect("nobody ends it");
            let worker = workers(&pool, 1, []);
            assert_eq!(pool.wait(&first), [Result]);
            while !pool.flush() {
                loom::thread::yield_now();
            }
            assert_eq!(pool.wait(&second), [Result]);
            pool.close_ring();
            worker.join().unwrap();
        })
    });
}

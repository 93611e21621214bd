//! Tasks that close their process's descriptors: that costs nobody else anything.

use crate::death::{Stop, kill_workers};
use crate::support::{pool, printed, program, this_program, until};
use crate::tasks::*;
use skep::{Cause, Pool, TaskError};
use std::sync::atomic::AtomicBool;
use std::thread;

crate::laws!(
    a_task_that_closes_all_descriptors_costs_no_other_task_anything,
    tasks_behind_one_that_closes_all_descriptors_have_outcomes_while_workers_are_killed,
    a_task_that_reuses_the_numbers_it_closed_keeps_its_files,
    a_task_that_was_not_begun_is_not_charged_for_another_ones_descriptors,
    a_program_that_closes_all_descriptors_can_end_its_pool,
);

/// More than lies in a record.
fn large(n: usize) -> Vec<u8> {
    (0..1000 + n % 4000).map(|byte| (byte + n) as u8).collect()
}

fn reversed(n: usize) -> Vec<u8> {
    large(n).into_iter().rev().collect()
}

fn a_task_that_closes_all_descriptors_costs_no_other_task_anything() {
    let pool = pool(1);
    for round in 0..20 {
        assert_eq!(pool.apply(close_all_descriptors, ()), Ok(()));
        assert_eq!(pool.apply(reverse, large(round)), Ok(reversed(round)));
        assert_eq!(pool.apply(square, 3), Ok(9));
        // In the middle of a chunk, too, whose results do not fit into the record.
        let outcomes = pool.map(close_all_descriptors_at, (0..200).map(|n| (n, 50)));
        assert!(outcomes.unwrap().into_iter().eq((0..200_u64).map(|n| vec![n as u8; 100])));
    }
    assert_eq!(pool.stats().workers_lost, 0);
    pool.close();
    pool.join().unwrap();
    assert_eq!(pool.stats().workers_lost, 0, "the worker has not ended by itself");
}

fn tasks_behind_one_that_closes_all_descriptors_have_outcomes_while_workers_are_killed() {
    let pool = Pool::builder().workers(3).queue_depth(64).build().unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stopping = Stop(&stop);
        let killer = scope.spawn(|| kill_workers(&pool, &stop, 60));
        for round in 0..10 {
            let closing: Vec<_> = (0..5).map(|_| pool.apply_async(close_all_descriptors, ())).collect();
            let small: Vec<_> = (0..200).map(|n| pool.apply_async(square, n)).collect();
            let large_ones: Vec<_> = (0..200).map(|n| (n, pool.apply_async(reverse, large(n)))).collect();
            for future in closing {
                assert!(lost_by_kill(&future.get()), "round {round}");
            }
            for (n, future) in small.into_iter().enumerate() {
                let outcome = future.get();
                assert!(
                    outcome == Ok((n * n) as u64) || lost_by_kill(&outcome),
                    "round {round}: {outcome:?}"
                );
            }
            for (n, future) in large_ones {
                let outcome = future.get();
                assert!(outcome == Ok(reversed(n)) || lost_by_kill(&outcome), "round {round}: {outcome:?}");
            }
        }
        drop(stopping);
        killer.join().unwrap();
    });
    until("all workers are back", || pool.stats().worker_pids.len() == 3);
    for n in 0..2000 {
        assert_eq!(pool.apply(square, n), Ok(n * n));
    }
    end(pool);
}

/// Killed from outside, which is this test's doing; or it was well.
fn lost_by_kill<T>(outcome: &Result<T, TaskError>) -> bool {
    match outcome {
        Ok(_) => true,
        Err(TaskError::WorkerDied { cause, .. }) => *cause == Cause::Signal(libc::SIGKILL),
        Err(_) => false,
    }
}

fn a_task_that_reuses_the_numbers_it_closed_keeps_its_files() {
    let pool = pool(1);
    let directory = tempfile::tempdir().unwrap();
    let files = pool.apply(reuse_all_descriptors, directory.path().to_path_buf()).unwrap();
    assert!(files > 10);
    for n in 0..20 {
        assert_eq!(pool.apply(reverse, large(n)), Ok(reversed(n)));
    }
    let slices: Vec<u8> = pool.map(small_square, 0..100_u8).unwrap();
    assert_eq!(slices.len(), 100);
    end(pool);
    for n in 0..files {
        let text = std::fs::read_to_string(directory.path().join(n.to_string())).unwrap();
        assert_eq!(text, n.to_string(), "file {n}");
    }
}

/// Its worker finds no way to the bytes of a task: that one goes to another worker, and is told of nothing.
fn a_task_that_was_not_begun_is_not_charged_for_another_ones_descriptors() {
    let pool = pool(1);
    for n in 0..5 {
        let first = pool.stats().worker_pids;
        assert_eq!(pool.apply(close_all_descriptors_and_hide, ()), Ok(()));
        assert_eq!(pool.apply(square, 3), Ok(9), "it needs none");
        assert_eq!(pool.apply(reverse, large(n)), Ok(reversed(n)));
        assert_ne!(pool.stats().worker_pids, first, "the worker found its way: this law has not been tried");
    }
    end(pool);
}

/// By each of the ways to end it, in the middle of a task.
fn a_program_that_closes_all_descriptors_can_end_its_pool() {
    let said = printed(program(&this_program(), "close-all-and-end", &[]));
    assert_eq!(said, "joined\nterminated\ndropped\nbroken");
}

fn end(pool: Pool) {
    pool.close();
    pool.join().unwrap();
}

//! Handles of the pool's arena, and what becomes of them when workers die.

use crate::arena::{boxed_square, boxes, increment, until_all_is_free};
use crate::death::{Stop, kill_workers};
use crate::support::{numbers_in, pool, until};
use crate::tasks::note;
use skep::{Cause, ShmArc, ShmBox, TaskError};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::thread;

crate::laws!(
    a_dead_worker_costs_the_handles_of_its_item_alone,
    a_retried_task_has_its_handles_again,
    a_retry_without_its_handles_is_an_error,
    kills_of_tasks_with_handles_neither_lose_nor_double_one,
    kills_leave_nothing_in_the_arena,
);

#[skep::task(retry = 200)]
fn boxed_square_again(n: ShmBox<u64>, shared: ShmArc<[u64]>) -> ShmBox<u64> {
    let square = *n * shared[*n as usize];
    drop((n, shared)); // so that a death from here on finds them dropped
    skep::arena().unwrap().boxed(square).unwrap()
}

#[skep::task]
pub fn boxed_square_unless_13(n: ShmBox<u64>) -> ShmBox<u64> {
    let own = skep::arena().unwrap().slice(&[0_u8; 1000]).unwrap();
    if *n == 13 {
        std::process::abort();
    }
    drop(own);
    boxed_square(n)
}

/// Dies until it was started so often; each time it adds one to its own number, and drops both.
#[skep::task(retry)]
fn count_until(starts: PathBuf, times: usize, mut own: ShmBox<u64>, shared: ShmArc<[u64]>) -> u64 {
    note(starts.clone());
    *own += 1;
    let sum = *own + shared[0];
    drop((own, shared));
    if numbers_in(&starts, 1).len() < times {
        std::process::abort();
    }
    sum
}

/// Dies without its argument, which another thread has dropped.
#[skep::task(retry)]
fn lose_and_die(own: ShmBox<u64>) {
    let _ = thread::spawn(move || drop(own)).join();
    std::process::abort();
}

fn a_dead_worker_costs_the_handles_of_its_item_alone() {
    let pool = pool(2);
    let results: Vec<_> = pool.imap_unordered(boxed_square_unless_13, boxes(&pool, 0..40)).collect();
    let mut good: Vec<u64> = results.iter().filter_map(|r| r.as_ref().ok()).map(|b| **b).collect();
    good.sort_unstable();
    assert!(good.into_iter().eq((0..40).filter(|n| *n != 13).map(|n| n * n)));
    drop(results);
    until_all_is_free(pool.arena());
    // In a chunk as well, whose others go on.
    let died = pool.map(boxed_square_unless_13, boxes(&pool, 0..40)).unwrap_err();
    assert!(matches!(died.error, TaskError::WorkerDied { cause: Cause::Signal(libc::SIGABRT), .. }));
    until_all_is_free(pool.arena());
}

fn a_retried_task_has_its_handles_again() {
    let directory = tempfile::tempdir().unwrap();
    let pool = pool(2);
    let own = pool.arena().boxed(0).unwrap();
    let shared = pool.arena().slice(&[100_u64]).unwrap().share().unwrap();
    let argument = (directory.path().join("starts"), 3, own, shared.try_clone().unwrap());
    // What the two that died have written is there.
    assert_eq!(pool.apply(count_until, argument), Ok(103));
    until("its reference is dropped", || shared.count() == 1);
    drop(shared);
    until_all_is_free(pool.arena());
}

fn a_retry_without_its_handles_is_an_error() {
    let pool = pool(1);
    let lost = pool.apply(lose_and_die, pool.arena().boxed(1).unwrap()).unwrap_err();
    assert!(matches!(lost, TaskError::ArgumentNotDecoded { .. }), "{lost}");
    until_all_is_free(pool.arena());
}

fn kills_of_tasks_with_handles_neither_lose_nor_double_one() {
    let pool = pool(2);
    let stop = AtomicBool::new(false);
    let shared = pool.arena().slice_with(100, |n| n as u64).unwrap().share().unwrap();
    thread::scope(|scope| {
        let stopping = Stop(&stop);
        let killer = scope.spawn(|| kill_workers(&pool, &stop, u32::MAX));
        until("there were enough kills", || {
            let inputs = boxes(&pool, 0..100).into_iter().map(|b| (b, shared.try_clone().unwrap()));
            let results = pool.imap_unordered(boxed_square_again, inputs);
            let mut squares: Vec<u64> = results.map(|b| *b.unwrap()).collect();
            squares.sort_unstable();
            assert!(squares.into_iter().eq((0..100).map(|n| n * n)));
            let inputs = boxes(&pool, 0..100).into_iter().map(|b| (b, shared.try_clone().unwrap()));
            let squares = pool.map(boxed_square_again, inputs).unwrap();
            assert!(squares.iter().map(|b| **b).eq((0..100).map(|n| n * n)));
            pool.stats().workers_lost > 200
        });
        drop(stopping);
        assert!(killer.join().unwrap() > 200);
    });
    until("no reference is left", || shared.count() == 1);
    drop(shared);
    until_all_is_free(pool.arena());
}

fn kills_leave_nothing_in_the_arena() {
    let pool = pool(2);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stopping = Stop(&stop);
        let killer = scope.spawn(|| kill_workers(&pool, &stop, u32::MAX));
        until("there were enough kills", || {
            for result in pool.imap_unordered(increment, (0..200).map(|n| pool.arena().slice(&[n]).unwrap()))
            {
                match result {
                    Ok(numbers) => assert!(numbers.len() == 1 && (1..=200).contains(&numbers[0])),
                    Err(error) => assert!(matches!(error.error, TaskError::WorkerDied { .. }), "{error}"),
                }
            }
            pool.stats().workers_lost > 100
        });
        drop(stopping);
        assert!(killer.join().unwrap() > 100);
    });
    until_all_is_free(pool.arena());
}

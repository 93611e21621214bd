//! What happens when processes die.

use crate::support::{
    CAP, is_dead, kill, numbers_in, pool, printed, program, this_program, until, zygote_of,
};
use crate::tasks::*;
use skep::{Cause, Pool, TaskError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

crate::laws!(
    a_task_that_forks_returns_once,
    a_task_that_ends_its_worker_is_told_how,
    only_the_item_that_was_running_is_lost,
    a_lost_worker_is_replaced,
    a_task_declared_retry_is_run_again,
    a_task_is_not_retried_for_ever,
    a_map_of_retry_tasks_survives_any_number_of_kills,
    kills_between_tasks_neither_lose_nor_double_one,
    a_killed_worker_costs_at_most_one_task,
    killing_idle_workers_is_no_crash_loop,
    any_number_of_workers_may_die_at_once,
    a_worker_is_known_also_without_a_descriptor_for_it,
    a_killed_zygote_is_replaced,
    a_stopped_worker_is_not_a_dead_one,
    when_the_program_is_killed_all_its_processes_die,
    grandchildren_die_with_the_pool,
    what_a_task_has_started_dies_with_its_worker,
    what_a_task_has_started_dies_with_its_zygote,
    a_program_and_its_zygote_that_are_killed_together_leave_nothing,
    a_stopped_zygote_ends_with_its_program,
    workers_that_cannot_start_are_an_error,
    workers_that_hang_when_they_start_are_an_error,
    workers_that_cannot_be_replaced_break_the_pool,
    a_pool_is_not_broken_while_one_worker_lives,
    many_workers_that_die_at_once_are_one_failure,
);

#[track_caller]
fn cause<T: std::fmt::Debug, E: Into<TaskError>>(result: Result<T, E>) -> Cause {
    match result.map_err(Into::into) {
        Err(TaskError::WorkerDied { cause, .. }) => cause,
        other => panic!("no worker died: {other:?}"),
    }
}

fn a_task_that_ends_its_worker_is_told_how() {
    let pool = pool(2);
    assert_eq!(cause(pool.apply(exit_with, 3)), Cause::Exited(3));
    assert_eq!(cause(pool.apply(exit_with, 0)), Cause::Exited(0));
    assert_eq!(cause(pool.apply(abort, ())), Cause::Signal(libc::SIGABRT));
    assert_eq!(cause(pool.apply(kill_self_with, libc::SIGKILL)), Cause::Signal(libc::SIGKILL));
    assert_eq!(cause(pool.apply(kill_self_with, libc::SIGTERM)), Cause::Signal(libc::SIGTERM));
    let error = pool.apply(segfault, ()).unwrap_err();
    assert!(error.to_string().contains("was killed by SIGSEGV"), "{error}");
    assert_eq!(pool.apply(square, 3), Ok(9));
    until("all six are buried", || pool.stats().workers_lost == 6);
}

fn only_the_item_that_was_running_is_lost() {
    let pool = pool(2);
    let results: Vec<_> = pool.imap_unordered(square_unless_13, 0..40).collect();
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 39);
    let lost: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert_eq!(lost.iter().map(|error| error.input).collect::<Vec<_>>(), [Some(13)]);
    // In a chunk as well: 13 shares one with its neighbours.
    let lost = pool.map(square_unless_13, 0..40).unwrap_err();
    assert_eq!(lost.input, Some(13));
    let text = lost.to_string();
    assert!(text.starts_with("input 13: worker ") && text.ends_with("tasks::square_unless_13"), "{text}");
    assert_eq!(cause::<(), _>(Err(lost)), Cause::Signal(libc::SIGABRT));
    assert_eq!(pool.stats().tasks_done, 80);
}

fn a_lost_worker_is_replaced() {
    let pool = pool(2);
    let before = pool.stats().worker_pids;
    kill(before[0], libc::SIGKILL);
    until("there are two again", || {
        let pids = pool.stats().worker_pids;
        pids.len() == 2 && !pids.contains(&before[0])
    });
    assert_eq!(pool.stats().workers_lost, 1);
}

fn a_task_declared_retry_is_run_again() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(pool(2).apply(die_at_first, (directory.path().join("starts"), 3)), Ok(3));
}

fn a_task_is_not_retried_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("starts");
    let pool = pool(2);
    assert_eq!(cause(pool.apply(die_at_first, (file.clone(), 100))), Cause::Signal(libc::SIGABRT));
    assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), 4); // once, and three more times
}

/// Kills workers as they come until told to stop; tells how many.
pub fn kill_workers(pool: &Pool, stop: &AtomicBool, at_most: u32) -> u32 {
    let mut killed = 0;
    let mut last = Vec::new();
    while !stop.load(Ordering::Relaxed) && killed < at_most {
        for pid in pool.stats().worker_pids {
            if !last.contains(&pid) {
                kill(pid, libc::SIGKILL);
                last.push(pid);
                killed += 1;
            }
        }
        thread::sleep(Duration::from_micros(u64::from(killed % 7) * 500)); // other phases each time
    }
    killed
}

/// Stops the killer also when the test fails.
pub struct Stop<'a>(pub &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn a_map_of_retry_tasks_survives_any_number_of_kills() {
    let pool = pool(2);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stopping = Stop(&stop);
        let killer = scope.spawn(|| kill_workers(&pool, &stop, 150));
        let results = pool.map(square_slowly, 0..500);
        drop(stopping);
        assert_eq!(results.unwrap(), (0..500).map(|n| n * n).collect::<Vec<_>>());
        assert!(killer.join().unwrap() > 0);
    });
}

fn kills_between_tasks_neither_lose_nor_double_one() {
    let pool = Pool::builder().workers(2).queue_depth(16).build().unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stopping = Stop(&stop);
        let killer = scope.spawn(|| kill_workers(&pool, &stop, u32::MAX));
        let mut rounds = 0;
        until("there were enough kills", || {
            let mut results: Vec<u64> =
                pool.imap_unordered(square_quickly, 0..2000).map(Result::unwrap).collect();
            results.sort_unstable();
            assert!(results.into_iter().eq((0..2000).map(|n| n * n)));
            assert_eq!(pool.map(square_quickly, 0..2000).unwrap()[1999], 1999 * 1999);
            rounds += 1;
            pool.stats().workers_lost > 300
        });
        drop(stopping);
        killer.join().unwrap();
        assert_eq!(pool.stats().tasks_done, rounds * 4000);
    });
}

fn a_killed_worker_costs_at_most_one_task() {
    let pool = pool(2);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stopping = Stop(&stop);
        let killer = scope.spawn(|| kill_workers(&pool, &stop, 100));
        let results: Vec<_> = pool.imap_unordered(nap, (0..300).map(|n| n % 3)).collect();
        drop(stopping);
        let killed = killer.join().unwrap();
        let lost = results.iter().filter(|r| r.is_err()).count();
        assert_eq!(results.len(), 300);
        assert!(lost <= killed as usize, "{lost} tasks lost by {killed} kills");
        assert!(results.into_iter().all(|r| r.is_ok() || cause(r) == Cause::Signal(libc::SIGKILL)));
    });
}

fn killing_idle_workers_is_no_crash_loop() {
    let pool = pool(2);
    kill_workers(&pool, &AtomicBool::new(false), 60);
    assert_eq!(pool.apply(square, 3), Ok(9));
}

fn any_number_of_workers_may_die_at_once() {
    assert_eq!(printed(program(&this_program(), "mass-death", &[])), "49");
}

fn a_worker_is_known_also_without_a_descriptor_for_it() {
    let said = printed(program(&this_program(), "no-descriptors", &[]));
    assert!(said.contains("was killed by SIGABRT") && said.ends_with("\n49"), "{said}");
    let directory = tempfile::tempdir().unwrap();
    let said = printed(program(&this_program(), "few-descriptors", &[&directory.path().join("runs")]));
    assert!(said.contains("ended for an unknown reason") && said.ends_with("\n49"), "{said}");
}

fn a_killed_zygote_is_replaced() {
    let pool = pool(2);
    for round in 0..5 {
        until("there are two workers", || pool.stats().worker_pids.len() == 2);
        let (old, zygote) = (pool.stats().worker_pids, zygote_of(&pool));
        let future = pool.apply_async(nap, 100);
        kill(zygote, libc::SIGKILL);
        // Permitted: it was running and is lost; or it was queued still, and runs in a new worker.
        let result = future.get();
        assert!(result.is_ok() || cause(result) == Cause::Unknown);
        assert_eq!(pool.apply(square, round), Ok(round * round));
        until("the old workers are gone", || old.iter().copied().all(is_dead));
    }
}

fn a_stopped_worker_is_not_a_dead_one() {
    let pool = pool(1);
    let worker = pool.stats().worker_pids[0];
    kill(worker, libc::SIGSTOP);
    let future = pool.apply_async(square, 3).get_timeout(Duration::from_millis(300)).unwrap_err();
    assert_eq!(pool.stats().workers_lost, 0);
    kill(worker, libc::SIGCONT);
    assert_eq!(future.get(), Ok(9));
}

fn when_the_program_is_killed_all_its_processes_die() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pids");
    let mut program = program(&this_program(), "hang", &[&file]).spawn().unwrap();
    let pids = numbers_in(&file, 2); // a worker and a grandchild
    let zygote = crate::support::process(pids[0]).unwrap().1;
    program.kill().unwrap();
    program.wait().unwrap();
    let killed = Instant::now();
    until("they are gone", || [pids[0], pids[1], zygote].into_iter().all(is_dead));
    assert!(killed.elapsed() < CAP);
}

fn grandchildren_die_with_the_pool() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pids");
    let pool = pool(1);
    drop(pool.apply_async(announce_grandchild_and_hang, file.clone()));
    let pids = numbers_in(&file, 2);
    drop(pool);
    until("they are gone", || pids.iter().copied().all(is_dead));
}

fn workers_that_cannot_start_are_an_error() {
    let said = printed(program(&this_program(), "stillborn", &[]));
    assert!(
        said.ends_with("0 of 2 were ready, and for 1s no other: the last one was killed by SIGABRT"),
        "{said}"
    );
}

fn workers_that_hang_when_they_start_are_an_error() {
    let said = printed(program(&this_program(), "stuck", &[]));
    assert!(said.contains("1 of 2 were ready") && said.ends_with("; 0 children"), "{said}");
}

fn workers_that_cannot_be_replaced_break_the_pool() {
    let directory = tempfile::tempdir().unwrap();
    let said = printed(program(&this_program(), "barren", &[&directory.path().join("abort")]));
    assert!(said.contains("the pool is broken: for 1s no worker could be started"), "{said}");
}

fn a_task_that_forks_returns_once() {
    let directory = tempfile::tempdir().unwrap();
    let [twice, runs, on] = ["twice", "runs", "on"].map(|name| directory.path().join(name));
    let pool = pool(1);
    let forks = pool.apply_async(fork_and_return_twice, twice.clone());
    let busy = pool.apply_async(announce_and_wait, (runs.clone(), on.clone()));
    let child = forks.get().unwrap();
    // Waits in the record that the child has inherited.
    let queued = pool.apply_async(square, 5);
    numbers_in(&runs, 1);
    std::fs::write(twice, "").unwrap();
    until("the child is gone", || is_dead(child));
    std::fs::write(on, "").unwrap();
    assert_eq!(busy.get(), Ok(()));
    assert_eq!(queued.get_timeout(CAP / 8).expect("an outcome"), Ok(25));
}

fn a_pool_is_not_broken_while_one_worker_lives() {
    let directory = tempfile::tempdir().unwrap();
    let said = printed(program(&this_program(), "short-of-one", &[&directory.path().join("aborts")]));
    assert_eq!(said, "Ok(49)");
}

fn many_workers_that_die_at_once_are_one_failure() {
    let directory = tempfile::tempdir().unwrap();
    let said = printed(program(&this_program(), "short-of-all", &[&directory.path().join("aborts")]));
    assert_eq!(said, "Ok(49)");
}

/// A program with a pool of one worker, whose task has started a process: the program, its zygote, and the two others.
fn hanging() -> (tempfile::TempDir, std::process::Child, u32, Vec<u32>) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pids");
    let program = program(&this_program(), "hang", &[&file]).spawn().unwrap();
    let pids = numbers_in(&file, 2);
    let zygote = crate::support::process(pids[0]).unwrap().1;
    (directory, program, zygote, pids)
}

fn what_a_task_has_started_dies_with_its_worker() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pids");
    let pool = pool(1);
    let task = pool.apply_async(announce_grandchild_and_hang, file.clone());
    let pids = numbers_in(&file, 2);
    kill(pids[0], libc::SIGKILL);
    assert_eq!(cause(task.get()), Cause::Signal(libc::SIGKILL));
    until("what it had started is gone", || is_dead(pids[1]));
    assert_eq!(pool.apply(square, 3), Ok(9));
}

fn what_a_task_has_started_dies_with_its_zygote() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pids");
    let pool = pool(1);
    let task = pool.apply_async(announce_grandchild_and_hang, file.clone());
    let pids = numbers_in(&file, 2);
    kill(zygote_of(&pool), libc::SIGKILL);
    assert_eq!(cause(task.get()), Cause::Unknown);
    until("what it had started is gone", || is_dead(pids[1]));
    assert_eq!(pool.apply(square, 3), Ok(9));
}

fn a_program_and_its_zygote_that_are_killed_together_leave_nothing() {
    for zygote_first in [true, false] {
        let (_directory, mut program, zygote, pids) = hanging();
        // Nothing of either can act in between.
        kill(program.id(), libc::SIGSTOP);
        kill(zygote, libc::SIGSTOP);
        let both = if zygote_first { [zygote, program.id()] } else { [program.id(), zygote] };
        both.into_iter().for_each(|pid| kill(pid, libc::SIGKILL));
        program.wait().unwrap();
        until("they are gone", || [pids[0], pids[1], zygote].into_iter().all(is_dead));
    }
}

fn a_stopped_zygote_ends_with_its_program() {
    let (_directory, mut program, zygote, pids) = hanging();
    // Orphans come to this process, which is in their session: else the kernel lets a stopped group go on that loses its parent.
    // SAFETY: takes no pointer.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    kill(zygote, libc::SIGSTOP);
    until("it is stopped", || crate::support::process(zygote).is_some_and(|(state, _)| state == 'T'));
    program.kill().unwrap();
    program.wait().unwrap();
    until("they are gone", || [pids[0], pids[1], zygote].into_iter().all(is_dead));
}

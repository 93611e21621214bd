//! How pools begin and end.

use crate::support::{is_dead, pool, printed, program, this_program, until, zygote_of};
use crate::tasks::*;
use skep::{MapError, Pool, PoolError, TaskError};
use std::thread;

crate::laws!(
    impossible_numbers_are_refused,
    close_finishes_what_is_queued_and_refuses_more,
    a_map_that_is_refused_midway_tells_the_error_of_an_earlier_input,
    join_waits_for_results_and_processes,
    join_needs_close_or_terminate,
    terminate_ends_what_runs_and_what_waits,
    ending_twice_is_ending_once,
    drop_ends_running_tasks,
    a_future_may_outlive_its_pool,
    a_finished_task_keeps_its_result_through_terminate,
    waiting_threads_are_told_of_the_end,
    imap_unordered_ends_when_its_pool_does,
    a_pool_leaves_no_process_thread_or_descriptor,
    a_forked_childs_copy_ends_nothing,
    a_forked_childs_copy_runs_nothing_and_never_blocks,
    an_idle_pool_burns_no_cpu,
);

fn impossible_numbers_are_refused() {
    assert!(matches!(Pool::builder().workers(0).build(), Err(PoolError::Workers { workers: 0, .. })));
    assert!(matches!(Pool::builder().queue_depth(0).build(), Err(PoolError::QueueDepth { depth: 0, .. })));
}

fn close_finishes_what_is_queued_and_refuses_more() {
    let pool = pool(2);
    let futures: Vec<_> = (0..500).map(|n| pool.apply_async(square, n)).collect();
    pool.close();
    assert_eq!(pool.apply(square, 1), Err(TaskError::Closed));
    assert_eq!(pool.apply_async(square, 1).get(), Err(TaskError::Closed));
    assert_eq!(pool.map(square, 0..3).unwrap_err().error, TaskError::Closed);
    let refused = pool.imap_unordered(square, 0..3).next();
    assert_eq!(refused, Some(Err(MapError { input: Some(0), error: TaskError::Closed })));
    pool.join().unwrap();
    assert!(futures.into_iter().enumerate().all(|(n, future)| future.get() == Ok((n * n) as u64)));
}

fn a_map_that_is_refused_midway_tells_the_error_of_an_earlier_input() {
    let directory = tempfile::tempdir().unwrap();
    let [runs, end] = ["runs", "end"].map(|name| directory.path().join(name));
    let pool = Pool::builder().workers(1).queue_depth(1).build().unwrap();
    thread::scope(|scope| {
        // Four chunks of one input, of which the one record holds one at a time.
        let inputs: Vec<_> = (0..4).map(|n| (n == 0, runs.clone(), end.clone())).collect();
        let mapped = scope.spawn(|| pool.map(panic_or_wait, inputs));
        until("the second one runs", || runs.exists());
        pool.close();
        std::fs::write(&end, "").unwrap();
        let TaskError::Panicked { message, .. } = mapped.join().unwrap().unwrap_err().error else {
            panic!("another error")
        };
        assert_eq!(message, "the first one");
    });
}

fn join_waits_for_results_and_processes() {
    let pool = pool(2);
    let processes = [pool.stats().worker_pids, vec![zygote_of(&pool)]].concat();
    let future = pool.apply_async(nap, 50);
    pool.close();
    pool.join().unwrap();
    assert!(future.is_ready());
    assert!(processes.into_iter().all(is_dead));
    assert_eq!(pool.stats().workers_lost, 0);
}

fn join_needs_close_or_terminate() {
    let pool = pool(1);
    assert!(matches!(pool.join(), Err(PoolError::StillOpen)));
    assert_eq!(pool.apply(square, 2), Ok(4));
}

fn terminate_ends_what_runs_and_what_waits() {
    let pool = pool(2);
    let processes = [pool.stats().worker_pids, vec![zygote_of(&pool)]].concat();
    let futures: Vec<_> = (0..10).map(|_| pool.apply_async(sleep_forever, ())).collect();
    pool.terminate();
    for future in futures {
        assert_eq!(future.get(), Err(TaskError::Terminated));
    }
    assert_eq!(pool.apply(square, 1), Err(TaskError::Terminated));
    pool.join().unwrap();
    assert!(processes.into_iter().all(is_dead));
}

fn ending_twice_is_ending_once() {
    let pool = pool(1);
    pool.close();
    pool.close();
    pool.join().unwrap();
    pool.join().unwrap();
    pool.terminate();
    pool.terminate();
    pool.join().unwrap();
}

fn drop_ends_running_tasks() {
    let pool = pool(2);
    let processes = [pool.stats().worker_pids, vec![zygote_of(&pool)]].concat();
    drop(pool.apply_async(sleep_forever, ()));
    drop(pool);
    assert!(processes.into_iter().all(is_dead));
}

fn a_future_may_outlive_its_pool() {
    let pool = pool(1);
    let finished = pool.apply_async(square, 3);
    until("the first is done", || finished.is_ready());
    let running = pool.apply_async(sleep_forever, ());
    drop(pool);
    assert_eq!(finished.get(), Ok(9));
    assert!(running.is_ready());
    assert_eq!(running.get(), Err(TaskError::Terminated));
}

fn a_finished_task_keeps_its_result_through_terminate() {
    let pool = pool(1);
    let first = pool.apply_async(square, 3);
    // One worker takes tasks in order: when it has said that it hangs, the first is finished, and nobody has collected it.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("hangs");
    let second = pool.apply_async(announce_and_hang, file.clone());
    crate::support::numbers_in(&file, 1);
    pool.terminate();
    assert_eq!(first.get(), Ok(9));
    assert_eq!(second.get(), Err(TaskError::Terminated));
}

fn waiting_threads_are_told_of_the_end() {
    let pool = Pool::builder().workers(1).queue_depth(4).build().unwrap();
    thread::scope(|scope| {
        // Permitted outcomes: submitted before the end, waiting for a record at the end, or refused after it: the same error.
        let waiting: Vec<_> = (0..6).map(|_| scope.spawn(|| pool.apply(sleep_forever, ()))).collect();
        thread::yield_now();
        pool.terminate();
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), Err(TaskError::Terminated));
        }
    });
}

fn imap_unordered_ends_when_its_pool_does() {
    let pool = pool(1);
    let mut results = pool.imap_unordered(square, std::iter::repeat(2));
    assert_eq!(results.next(), Some(Ok(4)));
    pool.terminate();
    // Those in flight, finished or not, then the refusal of one more, then the end of an endless input.
    let rest: Vec<_> = results.collect();
    assert!(rest.len() <= 1 + 8);
    assert!(rest.iter().all(|r| matches!(r, Ok(4) | Err(MapError { error: TaskError::Terminated, .. }))));
}

fn a_pool_leaves_no_process_thread_or_descriptor() {
    assert_eq!(printed(program(&this_program(), "leave-nothing", &[])), "nothing left");
}

fn a_forked_childs_copy_ends_nothing() {
    assert_eq!(printed(program(&this_program(), "fork", &[])), "49");
}

fn a_forked_childs_copy_runs_nothing_and_never_blocks() {
    let said = printed(program(&this_program(), "fork-and-use", &[]));
    assert_eq!(said, "child: 0, parent: Ok(()) Ok(25) Ok(64)");
}

fn an_idle_pool_burns_no_cpu() {
    let percent: f64 = printed(program(&this_program(), "idle", &[])).parse().unwrap();
    assert!(percent < 5.0, "an idle pool used {percent} % of a core");
}

//! What callers see when nothing dies.

use crate::support::{CAP, pool, until};
use crate::tasks::*;
use skep::{Cause, MapError, Pool, PoolError, TaskError};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

crate::laws!(
    a_task_is_still_a_function,
    apply_passes_no_one_or_several_parameters,
    tasks_run_in_other_processes,
    a_task_that_returns_a_result_keeps_its_error,
    map_keeps_the_order,
    map_reports_the_first_error_and_finishes_the_rest,
    map_takes_more_inputs_than_there_are_records,
    imap_unordered_gives_each_result_once,
    imap_unordered_takes_its_input_lazily,
    imap_unordered_gives_a_result_before_it_takes_an_input,
    inputs_of_imap_unordered_may_wait_for_results,
    an_unpark_of_the_hosts_is_left_to_the_host,
    a_hundred_thousand_futures_may_be_outstanding,
    get_timeout_gives_the_future_back,
    each_waiting_call_has_a_form_with_a_timeout,
    a_call_that_finds_no_record_in_time_is_not_submitted,
    errors_read_the_same_when_they_are_debugged,
    a_future_that_timed_out_here_is_got_there,
    is_ready_makes_progress_by_itself,
    threads_share_a_pool,
    one_record_is_enough,
    payloads_may_be_large,
    chunks_may_have_large_results,
    a_result_without_room_is_its_tasks_error,
    what_was_half_written_is_given_back,
    a_panic_is_its_tasks_error_with_message_and_place,
    a_panic_that_is_raised_again_keeps_its_message,
    a_panic_that_kills_its_worker_is_shown,
    what_cannot_be_encoded_or_decoded_is_its_tasks_error,
    an_argument_that_cannot_be_encoded_stops_a_map_before_it_starts,
    what_a_task_prints_goes_to_the_programs_output,
);

fn a_task_is_still_a_function() {
    assert_eq!(square(12), 144);
    assert_eq!(subtract(5, 7), -2);
    assert!(square.name().ends_with("tasks::square"));
}

fn apply_passes_no_one_or_several_parameters() {
    let pool = pool(1);
    assert_eq!(pool.apply(square, 12), Ok(144));
    assert_eq!(pool.apply(subtract, (5, 7)), Ok(-2));
    assert_eq!(pool.apply(worker_pid, ()), Ok(pool.stats().worker_pids[0]));
}

fn tasks_run_in_other_processes() {
    let pool = pool(2);
    let pids: BTreeSet<u32> = pool.stats().worker_pids.into_iter().collect();
    assert_eq!(pids.len(), 2);
    assert!(!pids.contains(&std::process::id()));
    assert!(pids.contains(&pool.apply(worker_pid, ()).unwrap()));
}

fn a_task_that_returns_a_result_keeps_its_error() {
    let pool = pool(1);
    assert_eq!(pool.apply(parse, "7".into()), Ok(Ok(7)));
    assert_eq!(pool.apply(parse, "seven".into()), Ok(Err("\"seven\" is no number".into())));
}

fn map_keeps_the_order() {
    let pool = pool(2);
    for length in [0, 1, 2, 7, 8, 9, 100, 10_000] {
        assert_eq!(pool.map(square, 0..length).unwrap(), (0..length).map(|n| n * n).collect::<Vec<_>>());
    }
}

fn map_reports_the_first_error_and_finishes_the_rest() {
    let pool = pool(2);
    let texts: Vec<String> = (0..50).map(|n| format!("panic {n}")).collect();
    let failed = pool.map(panic_with, texts).unwrap_err();
    let TaskError::Panicked { message, .. } = failed.error else { panic!("another error") };
    assert_eq!((failed.input, &*message), (Some(0), "panic 0"));
    assert_eq!(pool.stats().tasks_done, 50);
}

fn map_takes_more_inputs_than_there_are_records() {
    let pool = Pool::builder().workers(2).queue_depth(3).build().unwrap();
    assert_eq!(pool.map(square, 0..1000).unwrap()[999], 999 * 999);
}

fn imap_unordered_gives_each_result_once() {
    let pool = pool(2);
    let results: Result<Vec<u64>, _> = pool.imap_unordered(square, 0..1000).collect();
    let mut results = results.unwrap();
    results.sort_unstable();
    assert_eq!(results, (0..1000).map(|n| n * n).collect::<Vec<_>>());
}

fn imap_unordered_takes_its_input_lazily() {
    let pool = pool(2);
    let taken = Cell::new(0);
    let endless = std::iter::repeat_with(|| {
        taken.set(taken.get() + 1);
        3
    });
    let results: Vec<_> = pool.imap_unordered(square, endless).take(10).collect();
    assert_eq!(results, vec![Ok(9); 10]);
    assert!(taken.get() <= 10 + 8 * 2, "{} inputs were taken for 10 results", taken.get());
    assert_eq!(pool.apply(square, 4), Ok(16));
}

fn imap_unordered_gives_a_result_before_it_takes_an_input() {
    let pool = pool(1);
    let taken = Cell::new(0);
    let endless = std::iter::repeat_with(|| {
        taken.set(taken.get() + 1);
        3
    });
    let mut results = pool.imap_unordered(square, endless).in_flight(4);
    assert_eq!(results.next(), Some(Ok(9)));
    // It runs behind the others, so they have their results when it has its own.
    assert_eq!(pool.apply(square, 1), Ok(1));
    let before = taken.get();
    for _ in 1..before {
        assert_eq!(results.next(), Some(Ok(9)));
    }
    assert_eq!(taken.get(), before, "an input was taken before a result that was there was given");
}

fn inputs_of_imap_unordered_may_wait_for_results() {
    let pool = pool(2);
    for in_flight in [1, 3] {
        let (sender, inputs) = mpsc::channel();
        (0..in_flight).for_each(|_| sender.send(1).unwrap());
        let (mut left, mut sum) = (20, 0);
        for result in pool.imap_unordered(square, inputs).in_flight(in_flight) {
            let n = result.unwrap();
            sum += n;
            left -= 1;
            if left == 0 {
                break;
            }
            sender.send(n).unwrap();
        }
        assert_eq!(sum, 20);
    }
}

fn an_unpark_of_the_hosts_is_left_to_the_host() {
    let directory = tempfile::tempdir().unwrap();
    let [runs, end] = ["runs", "end"].map(|name| directory.path().join(name));
    let pool = pool(2);
    thread::scope(|scope| {
        // It collects as long as it waits itself, so the other one sleeps.
        scope.spawn(|| pool.apply(panic_or_wait, (false, runs.clone(), end.clone())).unwrap());
        until("the first task runs", || runs.exists());
        let follower = scope.spawn(|| {
            // What a host does that wakes one of its threads before that thread sleeps.
            thread::current().unpark();
            pool.apply(nap, 100).unwrap();
            thread::park();
        });
        until("the host's thread goes on", || follower.is_finished());
        std::fs::write(&end, "").unwrap();
    });
}

/// Ends the tasks of a pool, and so what waits for them, however the test goes.
struct Release<'a>(&'a std::path::Path);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        std::fs::write(self.0, "").unwrap();
    }
}

fn each_waiting_call_has_a_form_with_a_timeout() {
    let directory = tempfile::tempdir().unwrap();
    let [runs, end] = ["runs", "end"].map(|name| directory.path().join(name));
    let pool = pool(1);
    let release = Release(&end);
    let hanging = pool.apply_async(panic_or_wait, (false, runs.clone(), end.clone()));
    until("it runs", || runs.exists());
    let short = Duration::from_millis(20);
    let timed_out = |input| MapError { input, error: TaskError::TimedOut };

    assert_eq!(pool.apply_timeout(square, 2, short), Err(TaskError::TimedOut));
    assert_eq!(pool.map_timeout(square, 0..9, short), Err(timed_out(Some(0))));
    let mut results = pool.imap_unordered(square, 3..4);
    assert_eq!(results.next_timeout(short), Some(Err(timed_out(None))));
    let hanging = hanging.get_timeout(short).unwrap_err();
    pool.close();
    assert!(matches!(pool.join_timeout(short), Err(PoolError::TimedOut)));

    // Nothing of it was lost.
    drop(release);
    assert_eq!(hanging.get_timeout(CAP).unwrap(), Ok(()));
    assert_eq!(results.next_timeout(CAP), Some(Ok(9)));
    assert_eq!(results.next_timeout(CAP), None);
    pool.join_timeout(CAP).unwrap();
    assert_eq!(pool.stats().tasks_done, 12);
}

fn a_call_that_finds_no_record_in_time_is_not_submitted() {
    let directory = tempfile::tempdir().unwrap();
    let [runs, end] = ["runs", "end"].map(|name| directory.path().join(name));
    let pool = Pool::builder().workers(1).queue_depth(1).build().unwrap();
    let release = Release(&end);
    let hanging = pool.apply_async(panic_or_wait, (false, runs.clone(), end.clone()));
    let short = Duration::from_millis(20);
    assert_eq!(pool.apply_timeout(square, 2, short), Err(TaskError::Full));
    assert_eq!(pool.apply_async_timeout(square, 2, short).unwrap_err(), TaskError::Full);
    let full = MapError { input: Some(0), error: TaskError::Full };
    assert_eq!(pool.map_timeout(square, 0..9, short), Err(full));
    let input = pool.arena().slice(&[1_u32]).unwrap();
    let mut output = pool.arena().slice_zeroed(1).unwrap();
    let slices = pool.map_slice_into_timeout(crate::slices::add_squares, &input, &mut output, 1, short);
    assert_eq!(slices, Err(TaskError::Full.into()));
    let mut results = pool.imap_unordered(square, 3..5);
    let timed_out = MapError { input: Some(0), error: TaskError::TimedOut };
    assert_eq!(results.next_timeout(short), Some(Err(timed_out)));
    drop(release);
    // The input that it had taken is not lost.
    assert_eq!(results.collect::<Vec<_>>(), [Ok(9), Ok(16)]);
    assert_eq!(hanging.get(), Ok(()));
    assert_eq!(pool.stats().tasks_done, 3);
}

fn errors_read_the_same_when_they_are_debugged() {
    let task = TaskError::WorkerDied { task: "a::b".into(), pid: 7, cause: Cause::Exited(1) };
    assert_eq!(format!("{task:?}"), "worker 7 exited with status 1 while it ran a::b");
    assert_eq!(format!("{:?}", PoolError::StillOpen), PoolError::StillOpen.to_string());
    let input = MapError { input: Some(4), error: task };
    assert_eq!(format!("{input:?}"), format!("input 4: {}", input.error));
}

fn a_hundred_thousand_futures_may_be_outstanding() {
    let pool = pool(2);
    let futures: Vec<_> = (0..100_000).map(|n| pool.apply_async(square, n)).collect();
    for (n, future) in futures.into_iter().enumerate() {
        assert_eq!(future.get(), Ok((n * n) as u64));
    }
}

fn get_timeout_gives_the_future_back() {
    let pool = pool(1);
    let future = pool.apply_async(sleep_forever, ());
    let future = future.get_timeout(Duration::from_millis(20)).unwrap_err();
    assert!(!future.is_ready());
    let quick = self::pool(1).apply_async(square, 3);
    drop(quick);
    pool.terminate();
    assert_eq!(future.get_timeout(Duration::from_secs(60)).unwrap(), Err(TaskError::Terminated));
}

fn a_future_that_timed_out_here_is_got_there() {
    let pool = pool(1);
    let future = pool.apply_async(nap, 50);
    let future = future.get_timeout(Duration::ZERO).unwrap_err();
    thread::scope(|scope| {
        // One leads, the other follows, whoever comes first.
        let there = scope.spawn(|| future.get());
        assert_eq!(pool.apply(square, 2), Ok(4));
        assert_eq!(there.join().unwrap(), Ok(()));
    });
}

fn is_ready_makes_progress_by_itself() {
    let pool = pool(1);
    let future = pool.apply_async(square, 3);
    until("the future is ready", || future.is_ready());
    assert_eq!(future.get(), Ok(9));
}

fn threads_share_a_pool() {
    let pool = Pool::builder().workers(2).queue_depth(5).build().unwrap();
    thread::scope(|scope| {
        for thread in 0..8 {
            let pool = &pool;
            scope.spawn(move || {
                for n in 0..300 {
                    match (thread + n) % 3 {
                        0 => assert_eq!(pool.apply(square, n), Ok(n * n)),
                        1 => assert_eq!(pool.map(square, n..n + 20).unwrap()[19], (n + 19) * (n + 19)),
                        _ => assert_eq!(pool.imap_unordered(square, n..n + 9).count(), 9),
                    }
                }
            });
        }
    });
}

fn one_record_is_enough() {
    let pool = Pool::builder().workers(2).queue_depth(1).build().unwrap();
    let futures: Vec<_> = (0..100).map(|n| pool.apply_async(square, n)).collect();
    assert_eq!(pool.map(square, 0..100).unwrap().len(), 100);
    assert_eq!(pool.imap_unordered(square, 0..100).count(), 100);
    assert!(futures.into_iter().enumerate().all(|(n, future)| future.get() == Ok((n * n) as u64)));
}

fn payloads_may_be_large() {
    let pool = pool(2);
    // Around the borders of the inline areas, of a page, and far beyond.
    for length in [0, 1, 170, 179, 180, 183, 184, 185, 234, 235, 236, 240, 241, 4095, 4096, 20_000_000] {
        let bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
        let mut backwards = bytes.clone();
        backwards.reverse();
        assert!(pool.apply(reverse, bytes) == Ok(backwards), "{length} bytes came back changed");
    }
}

fn chunks_may_have_large_results() {
    let pool = pool(2);
    let inputs = (0..3000_usize).map(|n| vec![n as u8; n]);
    for (n, bytes) in pool.map(reverse, inputs).unwrap().into_iter().enumerate() {
        assert_eq!(bytes, vec![n as u8; n]);
    }
}

fn a_result_without_room_is_its_tasks_error() {
    let pool = pool(1);
    let refused = pool.apply(zeroes_without_room, 100_000);
    let is_told = |reason: &str| reason.contains("ulimit -f");
    assert!(matches!(&refused, Err(TaskError::NoMemory { reason }) if is_told(reason)), "{refused:?}");
    assert_eq!(pool.apply(zeroes_without_room, 100), Ok(vec![0; 100]));
    assert_eq!(pool.stats().workers_lost, 0);
}

fn what_was_half_written_is_given_back() {
    use crate::support::{printed, program, this_program};
    let said = printed(program(&this_program(), "half-written", &[]));
    let is_told =
        |what: &str| said.contains(&format!("{what}: Err(no shared memory for the argument or result:"));
    assert!(is_told("argument") && is_told("result"), "{said}");
    assert_eq!(said.matches("ulimit -f").count(), 2, "{said}");
    assert_eq!(said.matches(", 0 MiB").count(), 2, "{said}");
}

fn a_panic_is_its_tasks_error_with_message_and_place() {
    let pool = pool(1);
    let before = pool.stats();
    let Err(TaskError::Panicked { message, location }) = pool.apply(panic_with, "no such thing".into())
    else {
        panic!("the task did not panic")
    };
    assert_eq!(message, "no such thing");
    assert!(location.contains("tasks.rs:"), "{location}");
    assert_eq!(pool.apply(square, 3), Ok(9));
    assert_eq!(pool.stats().worker_pids, before.worker_pids);
}

fn a_panic_that_is_raised_again_keeps_its_message() {
    let pool = pool(1);
    let panicked = |raised: &str| match pool.apply(panic_and_raise, raised.into()) {
        Err(TaskError::Panicked { message, location }) => (message, location),
        other => panic!("{other:?}"),
    };
    let (message, location) = panicked("caught");
    assert_eq!(message, "caught");
    assert!(location.contains("tasks.rs:"), "{location}");
    // Nobody knows where this one was made: not where the one was that the task has caught.
    assert_eq!(panicked("another"), ("another".into(), "an unknown place".into()));
}

fn a_panic_that_kills_its_worker_is_shown() {
    use crate::support::{program, this_program};
    let output = program(&this_program(), "panic-where-none-may", &[]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("was killed by SIGABRT while it ran"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the real reason") && said.contains("cannot unwind"), "{said}");
}

fn what_cannot_be_encoded_or_decoded_is_its_tasks_error() {
    let pool = pool(1);
    let before = pool.stats().worker_pids;
    assert!(matches!(pool.apply(take, Stubborn::In), Err(TaskError::ArgumentNotEncoded { .. })));
    assert!(matches!(pool.apply(take, Stubborn::Out), Err(TaskError::ArgumentNotDecoded { .. })));
    assert!(matches!(pool.apply(give, 0), Err(TaskError::ResultNotEncoded { .. })));
    assert!(matches!(pool.apply(give, 1), Err(TaskError::ResultNotDecoded { .. })));
    assert_eq!(pool.apply(give, 2), Ok(Stubborn::Neither));
    assert_eq!(pool.stats().worker_pids, before);
}

fn an_argument_that_cannot_be_encoded_stops_a_map_before_it_starts() {
    let pool = pool(1);
    let inputs = [Stubborn::Neither, Stubborn::In];
    let refused = pool.map(take, inputs).unwrap_err();
    assert!(matches!(refused.error, TaskError::ArgumentNotEncoded { .. }));
    assert_eq!(refused.input, Some(1));
    assert_eq!(pool.stats().tasks_done, 0);
}

fn what_a_task_prints_goes_to_the_programs_output() {
    use crate::support::{printed, program, this_program};
    assert_eq!(printed(program(&this_program(), "say", &[])), "said by a task");
    assert_eq!(printed(program(&this_program(), "say-no-newline", &[])), "no newline");
}

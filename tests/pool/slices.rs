//! `map_slice` and `map_slice_into`.

use crate::arena::until_all_is_free;
use crate::death::{Stop, kill_workers};
use crate::support::{is_dead, kill, numbers_in, pool, until};
use crate::tasks::square;
use skep::{Cause, Pool, ShmSlice, TaskError};
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::thread;

crate::laws!(
    a_task_on_slices_is_still_a_function,
    map_slice_gives_a_result_a_chunk_in_order,
    map_slice_into_writes_each_chunk_once,
    any_slice_of_the_arena_will_do,
    slices_that_will_not_do_are_refused,
    a_call_on_slices_leaves_nothing_in_the_arena,
    a_panic_in_a_chunk_is_the_calls_error,
    a_killed_workers_chunk_is_run_again,
    a_chunk_that_kills_three_workers_is_an_error,
    a_task_says_how_many_workers_its_chunk_may_kill,
    a_chunk_that_always_kills_is_an_error_however_much_its_task_may,
    kills_neither_skip_a_chunk_nor_run_it_by_two_at_once,
    a_call_that_failed_waits_for_a_stopped_worker,
    a_call_on_slices_returns_when_its_workers_are_gone,
    a_call_on_slices_goes_on_in_a_closed_pool,
    a_chunk_that_forks_returns_once,
    a_call_on_slices_whose_time_is_over_begins_no_more_chunks,
);

#[skep::task]
fn sum(values: &[u64]) -> u64 {
    values.iter().sum()
}

/// Not by itself, so that a chunk that was run twice shows.
#[skep::task]
pub fn add_squares(input: &[u32], output: &mut [u64]) {
    input.iter().zip(output).for_each(|(n, to)| *to += u64::from(*n) * u64::from(*n));
}

#[skep::task]
fn sum_unless_13(values: &[u64]) -> u64 {
    assert!(!values.contains(&13), "13 is among them");
    sum(values)
}

/// Counts its runs in the output; where the input says so, it dies unless this is the run after so many.
#[skep::task]
fn die_so_often(input: &[u64], output: &mut [u64]) {
    output[0] += 1;
    if output[0] <= input[0] {
        std::process::abort();
    }
}

#[skep::task(retry = 255)]
fn die_always(_values: &[u64]) -> u64 {
    std::process::abort()
}

#[skep::task(retry = 5)]
fn die_more_often(input: &[u64], output: &mut [u64]) {
    die_so_often(input, output);
}

/// Panics if anybody else writes to the chunk meanwhile.
#[skep::task]
fn squares_alone(input: &[u64], output: &mut [u64]) {
    let me = u64::from(std::process::id()) << 32;
    // SAFETY: a place of the slice; volatile, since somebody else is suspected there.
    output.iter_mut().for_each(|to| unsafe { (&raw mut *to).write_volatile(me) });
    thread::sleep(std::time::Duration::from_micros(100));
    for (n, to) in input.iter().zip(output) {
        // SAFETY: as above.
        assert_eq!(unsafe { (&raw const *to).read_volatile() }, me, "two run one chunk");
        *to = n * n;
    }
}

/// Says its pid in the file of that name, and ends when there is another one beside it.
#[skep::task]
fn wait_at(name: &[u8]) -> u8 {
    let name: Vec<u8> = name.iter().copied().take_while(|byte| *byte != 0).collect();
    assert!(!name.is_empty(), "no name");
    let path = Path::new(OsStr::from_bytes(&name));
    let mut file = std::fs::File::options().append(true).create(true).open(path).unwrap();
    writeln!(file, "{}", std::process::id()).unwrap();
    while !path.with_extension("end").exists() {
        thread::sleep(std::time::Duration::from_millis(1));
    }
    1
}

/// Forks; the child returns as well.
#[skep::task]
fn fork_and_add(input: &[u64], output: &mut [u64]) {
    // SAFETY: the child does nothing but return from here.
    if unsafe { libc::fork() } == 0 {
        output[0] += 100; // to its own copy of nothing: the memory is shared, so this shows if it is not overwritten
    } else {
        // SAFETY: waits for the child, touches no memory.
        unsafe { libc::wait(std::ptr::null_mut()) };
        output[0] = input[0];
    }
}

const NAME: usize = 256;

/// Chunks of `NAME` bytes: a file's name, or none.
fn names(pool: &Pool, names: &[&Path]) -> ShmSlice<u8> {
    let mut all = pool.arena().slice_zeroed::<u8>(names.len() * NAME).unwrap();
    for (chunk, name) in all.chunks_mut(NAME).zip(names) {
        chunk[..name.as_os_str().len()].copy_from_slice(name.as_os_str().as_bytes());
    }
    all
}

fn a_task_on_slices_is_still_a_function() {
    assert_eq!(sum(&[1, 2, 3]), 6);
    let mut output = [0; 2];
    add_squares(&[3, 4], &mut output);
    assert_eq!((output, add_squares.retries(), die_more_often.retries()), ([9, 16], 0, 5));
}

fn map_slice_gives_a_result_a_chunk_in_order() {
    let pool = pool(2);
    for length in [0, 1, 2, 99, 1000] {
        let input = pool.arena().slice_with(length, |n| n as u64).unwrap();
        for chunk in [1, 7, 100, 5000] {
            let expected: Vec<u64> = input.chunks(chunk).map(*sum).collect();
            assert_eq!(pool.map_slice(sum, &input, chunk), Ok(expected), "{length} by {chunk}");
        }
        let sums = pool.map_slice(sum, &input, 0).unwrap();
        assert_eq!(sums.iter().sum::<u64>(), sum(&input));
    }
}

fn map_slice_into_writes_each_chunk_once() {
    let pool = pool(2);
    let input = pool.arena().slice_with(100_000, |n| n as u32).unwrap();
    let mut output = pool.arena().slice_zeroed::<u64>(100_000).unwrap();
    let place = output.as_ptr();
    for (times, chunk) in (1..).zip([1, 10, 99_999, 0]) {
        pool.map_slice_into(add_squares, &input, &mut output, chunk).unwrap();
        assert!(output.iter().zip(0_u64..).all(|(to, n)| *to == times * n * n), "by {chunk}");
    }
    assert_eq!(output.as_ptr(), place);
}

fn any_slice_of_the_arena_will_do() {
    let pool = pool(2);
    let mut values = pool.arena().vec(10).unwrap();
    values.extend_from_slice(&[1, 2, 3, 4, 5]).unwrap();
    assert_eq!(pool.map_slice(sum, &values, 2), Ok(vec![3, 7, 5]));
    assert_eq!(pool.map_slice(sum, &values[1..4], 3), Ok(vec![9]));
    let shared = values.share().unwrap();
    assert_eq!(pool.map_slice(sum, &shared, 4), Ok(vec![10, 5]));
    let mut both = pool.arena().slice_zeroed::<u64>(4).unwrap();
    let (input, output) = both.split_at_mut(2);
    input[0] = 0;
    pool.map_slice_into(die_so_often, input, output, 2).unwrap();
    assert_eq!(both[..], [0, 0, 1, 0]);
}

#[skep::task]
fn mark_slowly(input: &[u64], output: &mut [u64]) {
    thread::sleep(std::time::Duration::from_millis(input[0]));
    output[0] = 1;
}

fn a_call_on_slices_whose_time_is_over_begins_no_more_chunks() {
    let pool = pool(1);
    let input = pool.arena().slice(&[20_u64; 500]).unwrap();
    let mut marks = pool.arena().slice_zeroed(500).unwrap();
    let time = std::time::Duration::from_millis(50);
    let timed_out = pool.map_slice_into_timeout(mark_slowly, &input, &mut marks, 1, time);
    assert_eq!(timed_out, Err(TaskError::TimedOut.into()));
    let begun = marks.iter().sum::<u64>();
    assert!(begun < 500, "all were run");
    assert_eq!(pool.apply(square, 3), Ok(9));
    assert_eq!(marks.iter().sum::<u64>(), begun, "a chunk was run after the call had returned");
}

fn slices_that_will_not_do_are_refused() {
    let pool = pool(1);
    assert_eq!(pool.map_slice(sum, &[1, 2, 3], 1), Err(TaskError::NotInArena.into()));
    let input = pool.arena().slice(&[1_u32, 2, 3]).unwrap();
    assert_eq!(pool.map_slice_into(add_squares, &input, &mut [0; 3], 1), Err(TaskError::NotInArena.into()));
    let mut output = pool.arena().slice_zeroed(2).unwrap();
    let lengths = pool.map_slice_into(add_squares, &input, &mut output, 1);
    assert_eq!(lengths, Err(TaskError::Lengths { input: 3, output: 2 }.into()));
    let values = pool.arena().slice(&[1_u64]).unwrap();
    pool.close();
    assert_eq!(pool.map_slice(sum, &values, 1), Err(TaskError::Closed.into()));
    pool.terminate();
    assert_eq!(pool.map_slice(sum, &values, 1), Err(TaskError::Terminated.into()));
}

fn a_call_on_slices_leaves_nothing_in_the_arena() {
    let pool = pool(2);
    let input = pool.arena().slice_with(1000, |n| n as u64).unwrap();
    let free = pool.arena().free_bytes();
    pool.map_slice(sum, &input, 1).unwrap();
    assert!(pool.map_slice(sum_unless_13, &input, 1).is_err());
    assert_eq!(pool.arena().free_bytes(), free);
    drop(input);
    until_all_is_free(pool.arena());
}

fn a_panic_in_a_chunk_is_the_calls_error() {
    let pool = pool(2);
    let input = pool.arena().slice_with(1000, |n| n as u64).unwrap();
    let failed = pool.map_slice(sum_unless_13, &input, 5).unwrap_err();
    assert_eq!(failed.input, Some(13 / 5));
    let TaskError::Panicked { message, .. } = failed.error else { panic!("{failed}") };
    assert_eq!(message, "13 is among them");
    assert_eq!(pool.map_slice(sum, &input, 1000), Ok(vec![499_500]));
    assert_eq!(pool.stats().workers_lost, 0);
}

fn a_killed_workers_chunk_is_run_again() {
    let pool = pool(2);
    let input = pool.arena().slice(&[0_u64, 2, 0, 1, 0, 0, 2, 0]).unwrap();
    let mut runs = pool.arena().slice_zeroed::<u64>(8).unwrap();
    pool.map_slice_into(die_so_often, &input, &mut runs, 1).unwrap();
    assert_eq!(runs[..], [1, 3, 1, 2, 1, 1, 3, 1]);
    until("all five are buried", || pool.stats().workers_lost == 5);
}

fn a_chunk_that_kills_three_workers_is_an_error() {
    let pool = pool(2);
    let input = pool.arena().slice(&[0_u64, 0, 9]).unwrap();
    let mut runs = pool.arena().slice_zeroed::<u64>(3).unwrap();
    let died = pool.map_slice_into(die_so_often, &input, &mut runs, 1).unwrap_err();
    assert!(
        matches!(died.error, TaskError::WorkerDied { cause: Cause::Signal(libc::SIGABRT), .. }),
        "{died}"
    );
    assert_eq!(runs[2], 3);
    assert_eq!(pool.apply(square, 3), Ok(9));
}

fn a_task_says_how_many_workers_its_chunk_may_kill() {
    let pool = pool(2);
    let input = pool.arena().slice(&[5_u64, 6]).unwrap();
    let mut runs = pool.arena().slice_zeroed::<u64>(2).unwrap();
    pool.map_slice_into(die_more_often, &input[..1], &mut runs[..1], 1).unwrap();
    assert!(pool.map_slice_into(die_more_often, &input[1..], &mut runs[1..], 1).is_err());
    assert_eq!(runs[..], [6, 6]);
}

fn a_chunk_that_always_kills_is_an_error_however_much_its_task_may() {
    let pool = pool(1);
    let input = pool.arena().slice(&[1_u64]).unwrap();
    let died = pool.map_slice(die_always, &input, 1).unwrap_err();
    assert!(matches!(died.error, TaskError::WorkerDied { .. }), "{died}");
    until("one more than it may", || pool.stats().workers_lost == 256);
}

fn kills_neither_skip_a_chunk_nor_run_it_by_two_at_once() {
    let pool = pool(3);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stopping = Stop(&stop);
        let killer = scope.spawn(|| kill_workers(&pool, &stop, u32::MAX));
        let input = pool.arena().slice_with(2000, |n| n as u64).unwrap();
        let mut output = pool.arena().slice_zeroed(2000).unwrap();
        let mut unlucky = 0;
        until("there were enough kills", || {
            output.fill(u64::MAX);
            match pool.map_slice_into(squares_alone, &input, &mut output, 10) {
                Ok(()) => assert!(output.iter().zip(0..).all(|(to, n)| *to == n * n)),
                // Three kills may meet one chunk.
                Err(error) => {
                    assert!(matches!(error.error, TaskError::WorkerDied { .. }), "{error}");
                    unlucky += 1;
                }
            }
            pool.stats().workers_lost > 300
        });
        drop(stopping);
        assert!(killer.join().unwrap() > 300 && unlucky < 30, "{unlucky}");
    });
    until_all_is_free(pool.arena());
}

fn a_call_that_failed_waits_for_a_stopped_worker() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let pool = pool(2);
    let input = names(&pool, &[&file, Path::new("")]);
    thread::scope(|scope| {
        let call = scope.spawn(|| pool.map_slice(wait_at, &input, NAME));
        let pid = numbers_in(&file, 1)[0];
        kill(pid, libc::SIGSTOP);
        std::fs::write(file.with_extension("end"), "").unwrap();
        until("the other worker has nothing to do", || pool.apply(square, 3) == Ok(9));
        assert!(!call.is_finished());
        kill(pid, libc::SIGCONT);
        assert!(matches!(call.join().unwrap().unwrap_err().error, TaskError::Panicked { .. }));
    });
}

fn a_call_on_slices_returns_when_its_workers_are_gone() {
    let directory = tempfile::tempdir().unwrap();
    let files = ["a", "b"].map(|name| directory.path().join(name));
    let pool = pool(2);
    let input = names(&pool, &[&files[0], &files[1]]);
    thread::scope(|scope| {
        let call = scope.spawn(|| {
            let result = pool.map_slice(wait_at, &input, NAME);
            (result, files.each_ref().map(|file| is_dead(numbers_in(file, 1)[0])))
        });
        let pids = files.each_ref().map(|file| numbers_in(file, 1)[0]);
        kill(pids[1], libc::SIGSTOP);
        pool.terminate();
        assert_eq!(call.join().unwrap(), (Err(TaskError::Terminated.into()), [true, true]));
    });
}

fn a_call_on_slices_goes_on_in_a_closed_pool() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let pool = pool(1);
    let input = names(&pool, &[&file, &file]);
    thread::scope(|scope| {
        let call = scope.spawn(|| pool.map_slice(wait_at, &input, NAME));
        let pid = numbers_in(&file, 1)[0];
        pool.close();
        let join = scope.spawn(|| pool.join());
        kill(pid, libc::SIGKILL);
        numbers_in(&file, 2); // another one is at it
        std::fs::write(file.with_extension("end"), "").unwrap();
        assert_eq!(call.join().unwrap(), Ok(vec![1, 1]));
        join.join().unwrap().unwrap();
    });
}

fn a_chunk_that_forks_returns_once() {
    let pool = pool(1);
    let input = pool.arena().slice(&[5_u64, 6, 7]).unwrap();
    let mut output = pool.arena().slice_zeroed(3).unwrap();
    pool.map_slice_into(fork_and_add, &input, &mut output, 1).unwrap();
    assert_eq!(output[..], [5, 6, 7]);
}

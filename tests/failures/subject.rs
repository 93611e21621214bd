//! The program whose system calls fail: it makes a pool, works with it, and ends it.

use crate::notify;
use crate::page::{Page, Phase};
use skep::{Pool, ShmSlice, Start, TaskError};
use std::fmt::Debug;
use std::fs;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

/// The variable that says that workers are executed and not forked.
pub const EXECUTE: &str = "FAILURES_EXECUTE";

/// No outcome takes as long; what does never comes.
const PATIENCE: Duration = Duration::from_secs(10);

#[skep::task]
fn square(n: u64) -> u64 {
    n * n
}

/// Long enough that a death comes in between.
#[skep::task]
fn square_slowly(n: u64) -> u64 {
    thread::sleep(Duration::from_millis(2));
    n * n
}

#[skep::task]
fn reverse(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.reverse();
    bytes
}

#[skep::task]
fn double(mut numbers: ShmSlice<u64>) -> ShmSlice<u64> {
    numbers.iter_mut().for_each(|n| *n *= 2);
    numbers
}

#[skep::task]
fn sum(numbers: &[u64]) -> u64 {
    numbers.iter().sum()
}

#[skep::task]
fn abort() {
    std::process::abort();
}

/// Before `init`: asks about system calls from here on, once somebody answers.
pub fn before_init(only: Option<i64>) {
    if std::env::var_os("SKEP_ZYGOTE").is_some() {
        return; // it has inherited the filter
    }
    let page = Page::map(&std::io::stdin());
    match notify::ask(only) {
        Ok(listener) => page.listener.store(listener, Ordering::SeqCst),
        Err(error) => {
            page.listener.store(-error.raw_os_error().unwrap_or(1), Ordering::SeqCst);
            std::process::exit(0);
        }
    }
    while page.is_heard.load(Ordering::SeqCst) == 0 {
        std::hint::spin_loop();
    }
}

/// After `init`. Prints what came of it; a panic is a broken law.
pub fn run() {
    let page = Page::map(&std::io::stdin());
    let before = entries("/proc/self/fd");
    page.enter(Phase::Start);
    let start = if std::env::var_os(EXECUTE).is_some() { Start::Execute } else { Start::Fork };
    let pool = Pool::builder().workers(2).queue_depth(64).start_by(start).build();
    match pool {
        Err(error) => {
            page.enter(Phase::Aside);
            println!("refused: {error}");
        }
        Ok(pool) => {
            page.enter(Phase::Load);
            let broken = work(&pool, page);
            page.enter(Phase::End);
            pool.close();
            pool.join().unwrap();
            page.enter(Phase::Aside);
            println!("{}", broken.map_or("worked".into(), |error| format!("broken: {error}")));
            drop(pool);
        }
    }
    assert_eq!(children(), "", "processes are left");
    assert_eq!(entries("/proc/self/fd"), before, "descriptors are left");
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains("memfd:skep"), "shared memory is left:\n{maps}");
}

/// Gives tasks of each kind, and kills whom they run in. Returns how the pool has broken, if it has.
fn work(pool: &Pool, page: &Page) -> Option<TaskError> {
    let mut broken = None;
    let mut note = |error: TaskError| match error {
        TaskError::PoolBroken { .. } => broken = Some(error),
        // An error of one task. A panic is not: nothing in here panics.
        TaskError::Panicked { .. } => panic!("{error}"),
        _ => {}
    };
    let slow: Vec<_> = (0..8).map(|n| (n * n, pool.apply_async(square_slowly, n))).collect();
    let dead: Vec<_> = (0..2).map(|_| ((), pool.apply_async(abort, ()))).collect();
    let long: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    let reversed = || long.iter().rev().copied().collect();
    let longs: Vec<_> = (0..2).map(|_| (reversed(), pool.apply_async(reverse, long.clone()))).collect();
    slow.into_iter().for_each(|(n, future)| outcome(future, n, &mut note));
    dead.into_iter().for_each(|(n, future)| outcome(future, n, &mut note));
    longs.into_iter().for_each(|(n, future)| outcome(future, n, &mut note));
    if let Ok(numbers) = pool.arena().slice_with(1000, |n| n as u64) {
        match pool.map_slice(sum, &numbers, 100) {
            Ok(sums) => assert_eq!(sums.iter().sum::<u64>(), 499_500),
            Err(error) => note(error.error),
        }
        match pool.apply_async(double, numbers).get_timeout(PATIENCE) {
            Ok(Ok(doubled)) => assert_eq!(doubled[999], 1998),
            Ok(Err(error)) => note(error),
            Err(_) => panic!("no outcome"),
        }
    }
    let kill = |pid: u32| {
        // SAFETY: sends a signal, touches no memory.
        unsafe { libc::kill(pid as i32, libc::SIGKILL) };
    };
    page.enter(Phase::Aside); // its own calls
    let children = children();
    page.enter(Phase::Load);
    // The one that forks them.
    children.split_whitespace().for_each(|pid| kill(pid.parse().unwrap()));
    match pool.map(square, 0..64) {
        Ok(squares) => assert_eq!(squares[63], 63 * 63),
        Err(error) => note(error.error),
    }
    pool.stats().worker_pids.first().copied().map(kill);
    let last: Vec<_> = (0..8).map(|n| (n * n, pool.apply_async(square_slowly, n))).collect();
    last.into_iter().for_each(|(n, future)| outcome(future, n, &mut note));
    broken
}

/// It comes, and is right if it is no error.
fn outcome<R>(future: skep::Future<R>, right: R, note: &mut impl FnMut(TaskError))
where
    R: Debug + PartialEq + serde::de::DeserializeOwned,
{
    match future.get_timeout(PATIENCE) {
        Ok(Ok(result)) => assert!(result == right, "a wrong result"),
        Ok(Err(error)) => note(error),
        Err(_) => panic!("no outcome"),
    }
}

/// The processes that this one has started and not reaped.
fn children() -> String {
    let threads = fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path());
    threads.map(|path| fs::read_to_string(path.join("children")).unwrap_or_default()).collect()
}

fn entries(directory: &str) -> usize {
    fs::read_dir(directory).unwrap().count()
}

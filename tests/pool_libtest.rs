//! A pool under the standard test harness, whose `main` is not ours.
#![allow(missing_docs, clippy::unwrap_used)]

use skep::{Cause, Pool, TaskError};

skep::test_entry!();

#[skep::task]
fn double(n: u32) -> u32 {
    2 * n
}

#[skep::task]
fn abort() {
    std::process::abort();
}

#[test]
fn tests_can_have_pools() {
    let pool = Pool::builder().workers(2).build().unwrap();
    assert_eq!(pool.map(double, 0..100).unwrap()[99], 198);
}

#[test]
fn a_dead_worker_costs_one_task_here_too() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let Err(TaskError::WorkerDied { cause, .. }) = pool.apply(abort, ()) else { panic!("it lives") };
    assert_eq!(cause, Cause::Signal(libc::SIGABRT));
    assert_eq!(pool.apply(double, 4), Ok(8));
}

#[test]
fn workers_may_be_executed_here_too() {
    let pool = Pool::builder().workers(1).start_by(skep::Start::Execute).build().unwrap();
    assert!(pool.apply(abort, ()).is_err());
    assert_eq!(pool.apply(double, 4), Ok(8));
}

mod inner {
    use super::double;

    #[test]
    fn tests_in_modules_can_have_pools() {
        assert_eq!(skep::Pool::builder().workers(1).build().unwrap().apply(double, 4), Ok(8));
    }
}

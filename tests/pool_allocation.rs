//! What a task costs in memory when a pool has run for a while.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "common/counting.rs"]
mod counting;

use counting::allocations;
use skep::Pool;
use std::time::Instant;

skep::test_entry!();

/// Gives how often its worker has allocated so far.
#[skep::task]
fn count(_argument: u64) -> u64 {
    counting::so_far()
}

/// The allocations of a call. Long arguments take memory of the overflow file, and at most once in a tenth of a
/// second the caller looks how much there is, which is left out.
fn fewest(call: impl Fn()) -> u64 {
    (0..5).map(|_| allocations(&call)).min().unwrap()
}

fn warm_pool() -> Pool {
    let pool = Pool::builder().workers(1).build().unwrap();
    pool.map(count, 0..10_000).unwrap();
    pool
}

#[test]
fn a_worker_allocates_nothing_for_tasks_with_small_arguments_and_results() {
    let pool = warm_pool();
    let first = pool.apply(count, 0).unwrap();
    (0..100).for_each(|n| assert_eq!(pool.apply(count, n), Ok(first)));
    assert!(pool.imap_unordered(count, 0..1000).all(|seen| seen == Ok(first)));
    // Long results take memory of the overflow file, and now and then the worker looks how much there is.
    let start = Instant::now();
    let mut seen = pool.map(count, 0..10_000).unwrap();
    seen.sort_unstable();
    seen.dedup();
    let looks = 1 + start.elapsed().as_millis() / 100;
    assert!(seen.len() as u128 <= 1 + looks, "it has allocated {} times", seen.len() - 1);
}

#[test]
fn a_call_allocates_nothing_when_another_came_before_it() {
    let pool = warm_pool();
    let warm = || pool.apply_async(count, 0).get().unwrap();
    warm();
    assert_eq!(allocations(|| (0..1000).for_each(|n| _ = pool.apply(count, n).unwrap())), 0);
    assert_eq!(allocations(|| (0..1000).for_each(|n| _ = pool.apply_async(count, n).get().unwrap())), 0);
}

/// There are as many buffers as tasks are in flight at a time.
#[test]
fn many_results_in_any_order_allocate_no_more_than_few() {
    let pool = warm_pool();
    let of = |n: u64| fewest(|| assert_eq!(pool.imap_unordered(count, 0..n).count() as u64, n));
    let many = of(20_000);
    assert!(many < 100, "{many} for 20000 tasks");
}

/// What is left is the vector of results, which doubles.
#[test]
fn ten_times_the_tasks_of_a_map_are_not_ten_times_the_allocations() {
    let pool = warm_pool();
    let of = |n: u64| fewest(|| assert_eq!(pool.map(count, 0..n).unwrap().len() as u64, n));
    let (few, many) = (of(2_000), of(20_000));
    assert!(many < 2 * few, "{few} for 2000 tasks, {many} for 20000");
}

#[test]
fn tasks_with_small_arguments_and_results_take_nothing_of_the_arena() {
    let pool = warm_pool();
    let (size, free) = (pool.arena().size(), pool.arena().free_bytes());
    let mut arguments = 0..1000;
    let mut results = pool.imap_unordered(count, &mut arguments);
    // While tasks are on their way, too.
    while results.next().is_some() {
        assert_eq!((pool.arena().size(), pool.arena().free_bytes()), (size, free));
    }
}

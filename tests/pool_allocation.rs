//! What a task costs in memory when a pool has run for a while.
#![allow(missing_docs, clippy::unwrap_used)]

use skep::Pool;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

skep::test_entry!();

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, with a count of the calls that each thread makes.
struct Counting;

// SAFETY: every call is passed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// Gives how often its worker has allocated so far.
#[skep::task]
fn count(_argument: u64) -> u64 {
    ALLOCATIONS.get()
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
    assert!(pool.map(count, 0..10_000).unwrap().iter().all(|seen| *seen == first));
}

/// What is left is the vector of results, which doubles.
#[test]
fn ten_times_the_tasks_of_a_map_are_not_ten_times_the_allocations() {
    let pool = warm_pool();
    let of = |n: u64| allocations(|| assert_eq!(pool.map(count, 0..n).unwrap().len() as u64, n));
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

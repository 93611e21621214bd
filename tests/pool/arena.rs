//! Handles of the pool's arena in arguments and results.

use crate::arena_deaths::boxed_square_unless_13;
use crate::support::{numbers_in, pool, until};
use crate::tasks::{Stubborn, announce_and_wait, square};
use serde::{Deserialize, Serialize};
use skep::__private::{TaskEntry, new_task, run};
use skep::{Arena, Pool, PoolError, Queue, ShmArc, ShmBox, ShmSlice, ShmString, ShmVec, Task, TaskError};
use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

crate::laws!(
    handles_move_through_tasks_and_nothing_is_copied,
    handles_may_be_anywhere_in_arguments_and_results,
    a_task_allocates_in_its_pools_arena,
    a_task_opens_and_drops_queues_as_often_as_it_likes,
    every_way_of_calling_takes_handles_and_gives_them,
    what_nobody_looks_at_is_freed,
    a_result_with_handles_outlives_its_pool,
    what_cannot_be_decoded_is_freed,
    what_a_panicking_task_held_is_freed,
    an_unknown_task_frees_its_argument,
    a_handle_that_is_kept_is_the_calls_error,
    handles_of_another_arena_are_refused,
    a_terminated_pool_leaves_nothing_in_its_arena,
    small_payloads_leave_the_arena_alone,
    the_arena_is_as_large_as_asked,
);

/// Workers free what they held after they have answered.
#[track_caller]
pub fn until_all_is_free(arena: &Arena) {
    until("all of the arena is free", || arena.free_bytes() == arena.size());
}

pub fn boxes(pool: &Pool, numbers: std::ops::Range<u64>) -> Vec<ShmBox<u64>> {
    numbers.map(|n| pool.arena().boxed(n).unwrap()).collect()
}

// --- the tasks -----------------------------------------------------------------------------------------------------

#[skep::task]
pub fn increment(mut numbers: ShmSlice<u64>) -> ShmSlice<u64> {
    numbers.iter_mut().for_each(|n| *n += 1);
    numbers
}

#[derive(Serialize, Deserialize)]
struct Letter {
    name: String,
    body: Option<ShmString>,
    numbers: Vec<(u8, ShmVec<u32>)>,
    table: ShmArc<[u64]>,
}

#[skep::task]
fn answer(letter: Letter, times: u32) -> Vec<Result<Letter, String>> {
    let again = || {
        let body = skep::arena().unwrap().string(&format!("{} back", letter.name)).unwrap();
        let table = letter.table.try_clone().unwrap();
        Letter { name: letter.body.as_ref().unwrap().to_string(), body: Some(body), numbers: vec![], table }
    };
    let mut answers: Vec<_> = (0..times).map(|_| Ok(again())).collect();
    answers.push(Err("no more".into()));
    answers.push(Ok(letter));
    answers
}

#[skep::task]
pub fn boxed_square(n: ShmBox<u64>) -> ShmBox<u64> {
    skep::arena().unwrap().boxed(*n * *n).unwrap()
}

#[skep::task]
fn panic_with(numbers: ShmSlice<u64>, _shared: ShmArc<[u64]>) -> ShmSlice<u64> {
    let _own = skep::arena().unwrap().slice(&numbers).unwrap();
    panic!("{} numbers", numbers.len());
}

#[skep::task]
fn take_both(_: ShmBox<u64>, _: Stubborn) {}

#[skep::task]
fn give_both() -> (ShmBox<u64>, Stubborn) {
    (skep::arena().unwrap().boxed(1).unwrap(), Stubborn::Out)
}

#[skep::task]
fn wait_with(starts: PathBuf, end: PathBuf, own: ShmBox<u64>) -> ShmBox<u64> {
    announce_and_wait(starts, end);
    own
}

/// A value that does not own its handle alone.
#[derive(Clone)]
struct Kept(Rc<ShmBox<u64>>);

impl Serialize for Kept {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Kept(Rc::new(ShmBox::deserialize(from)?)))
    }
}

thread_local! {
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

#[skep::task]
fn keep_and_give(kept: Kept) -> Kept {
    KEPT.set(Some(kept.clone()));
    kept
}

#[skep::task]
fn drop_kept() -> Option<u64> {
    KEPT.take().map(|kept| **kept.0)
}

// --- the laws ------------------------------------------------------------------------------------------------------

fn handles_move_through_tasks_and_nothing_is_copied() {
    let pool = pool(1);
    let numbers = pool.arena().slice_with(100_000, |n| n as u64).unwrap();
    let place = numbers.as_ptr();
    let numbers = pool.apply(increment, numbers).unwrap();
    assert_eq!((numbers.as_ptr(), numbers.len(), numbers[99_999]), (place, 100_000, 100_000));
    drop(numbers);
    until_all_is_free(pool.arena());
}

fn handles_may_be_anywhere_in_arguments_and_results() {
    let pool = pool(2);
    let arena = pool.arena();
    let mut numbers = arena.vec(1).unwrap();
    numbers.extend_from_slice(&[1, 2, 3]).unwrap();
    let table = arena.slice(&[5_u64; 100]).unwrap().share().unwrap();
    let letter = Letter {
        name: "Ann".into(),
        body: Some(arena.string("a text").unwrap()),
        numbers: vec![(1, arena.vec(4).unwrap()), (2, numbers)],
        table: table.try_clone().unwrap(),
    };
    let mut answers = pool.apply(answer, (letter, 3)).unwrap();
    assert_eq!((answers.len(), table.count()), (5, 5));
    let own = answers.pop().unwrap().ok().unwrap();
    assert_eq!((own.numbers[1].1[..].to_vec(), own.table[99]), (vec![1, 2, 3], 5));
    let first = answers.remove(0).ok().unwrap();
    assert_eq!((&first.name[..], first.body.as_deref().unwrap()), ("a text", "Ann back"));
    drop((own, first, answers));
    assert_eq!(table.count(), 1);
    drop(table);
    until_all_is_free(arena);
}

fn a_task_allocates_in_its_pools_arena() {
    assert!(matches!(skep::arena(), Err(PoolError::NotAWorker)));
    let pool = pool(1);
    let result = pool.apply(boxed_square, pool.arena().boxed(12).unwrap()).unwrap();
    assert_eq!(*result, 144);
    assert!(pool.arena().free_bytes() < pool.arena().size());
    drop(result);
    until_all_is_free(pool.arena());
}

/// Each handle of a queue is a participant of the arena, and a worker is none that repairs.
#[skep::task]
fn open_and_drop_queues(times: u32) {
    for n in 0..times {
        let mut queue = Queue::<(u32, ShmBox<u64>)>::open_in(skep::arena().unwrap(), "often").unwrap();
        if n % 8 == 0 {
            let handle = queue.arena().boxed(u64::from(n)).unwrap();
            queue.put((n, handle)).map_err(|e| e.to_string()).unwrap();
            drop(queue);
            queue = Queue::open_in(skep::arena().unwrap(), "often").unwrap();
            assert_eq!(*queue.get().unwrap().1, u64::from(n));
        }
    }
}

fn a_task_opens_and_drops_queues_as_often_as_it_likes() {
    let pool = pool(2);
    let mut queue = Queue::<(u32, ShmBox<u64>)>::create_in(pool.arena(), "often", 4).unwrap();
    let free = pool.arena().free_bytes();
    pool.apply(open_and_drop_queues, 10_000).unwrap();
    assert!(queue.try_get().is_err());
    assert_eq!(pool.arena().free_bytes(), free);
}

fn every_way_of_calling_takes_handles_and_gives_them() {
    let pool = pool(2);
    let future = pool.apply_async(boxed_square, pool.arena().boxed(7).unwrap());
    let all = pool.map(boxed_square, boxes(&pool, 0..1000)).unwrap();
    assert!(all.iter().map(|b| **b).eq((0..1000).map(|n| n * n)));
    let results = pool.imap_unordered(boxed_square, boxes(&pool, 0..1000));
    assert_eq!(results.map(|b| *b.unwrap()).sum::<u64>(), all.iter().map(|b| **b).sum());
    assert_eq!(*future.get().unwrap(), 49);
    drop(all);
    until_all_is_free(pool.arena());
}

fn what_nobody_looks_at_is_freed() {
    let pool = pool(2);
    let boxed = |n| pool.arena().boxed(n).unwrap();
    drop(pool.apply_async(boxed_square, boxed(2))); // in flight
    let future = pool.apply_async(boxed_square, boxed(3));
    until("the result is there", || future.is_ready());
    drop(future);
    let mut some = pool.imap_unordered(boxed_square, boxes(&pool, 0..100));
    assert!(some.next().is_some());
    drop(some);
    assert!(pool.map(boxed_square_unless_13, boxes(&pool, 0..100)).is_err());
    until("all of the arena is free", || {
        assert_eq!(pool.apply(square, 3), Ok(9)); // whoever waits, collects
        pool.arena().free_bytes() == pool.arena().size()
    });
}

fn a_result_with_handles_outlives_its_pool() {
    let pool = pool(1);
    let future = pool.apply_async(boxed_square, pool.arena().boxed(5).unwrap());
    let result = pool.apply(boxed_square, pool.arena().boxed(4).unwrap()).unwrap();
    pool.close();
    pool.join().unwrap();
    drop(pool);
    assert_eq!((*result, *future.get().unwrap()), (16, 25));
}

fn what_cannot_be_decoded_is_freed() {
    let pool = pool(1);
    let argument = (pool.arena().boxed(1).unwrap(), Stubborn::Out);
    assert!(matches!(pool.apply(take_both, argument), Err(TaskError::ArgumentNotDecoded { .. })));
    let argument = (pool.arena().boxed(1).unwrap(), Stubborn::In);
    assert!(matches!(pool.apply(take_both, argument), Err(TaskError::ArgumentNotEncoded { .. })));
    assert!(matches!(pool.apply(give_both, ()), Err(TaskError::ResultNotDecoded { .. })));
    until_all_is_free(pool.arena());
}

fn what_a_panicking_task_held_is_freed() {
    let pool = pool(1);
    let numbers = pool.arena().slice(&[1, 2, 3]).unwrap();
    let shared = pool.arena().slice(&[4_u64]).unwrap().share().unwrap();
    let Err(TaskError::Panicked { message, .. }) = pool.apply(panic_with, (numbers, shared)) else {
        panic!()
    };
    assert_eq!(message, "3 numbers");
    until_all_is_free(pool.arena());
}

fn an_unknown_task_frees_its_argument() {
    static NOWHERE: TaskEntry =
        TaskEntry::new("nowhere", "fn (ShmBox<u64>)", "here", 0, |call| run(call, drop::<ShmBox<u64>>));
    let unknown: Task<ShmBox<u64>, (), fn(ShmBox<u64>)> = new_task(&NOWHERE, drop::<ShmBox<u64>>);
    let pool = pool(1);
    let unknown = pool.apply(unknown, pool.arena().boxed(1).unwrap());
    assert!(matches!(unknown, Err(TaskError::UnknownTask { .. })), "{unknown:?}");
    until_all_is_free(pool.arena());
}

fn a_handle_that_is_kept_is_the_calls_error() {
    let pool = pool(1);
    let kept = Kept(Rc::new(pool.arena().boxed(7).unwrap()));
    assert!(matches!(pool.apply(keep_and_give, kept.clone()), Err(TaskError::HandleKept)));
    assert_eq!(**kept.0, 7);
    // In the worker as well: the task has it still, and nobody here does.
    assert!(matches!(pool.apply(keep_and_give, kept), Err(TaskError::HandleKept)));
    assert_eq!(pool.apply(drop_kept, ()), Ok(Some(7)));
    until_all_is_free(pool.arena());
}

fn handles_of_another_arena_are_refused() {
    let pool = pool(1);
    let other = Arena::new(1 << 16).unwrap();
    let refused = pool.apply(boxed_square, other.boxed(1).unwrap()).unwrap_err();
    assert!(matches!(&refused, TaskError::ArgumentNotEncoded { reason } if reason.contains("another arena")));
    assert_eq!(other.free_bytes(), other.size());
}

fn a_terminated_pool_leaves_nothing_in_its_arena() {
    let directory = tempfile::tempdir().unwrap();
    let [starts, end] = ["starts", "end"].map(|name| directory.path().join(name));
    let pool = pool(2);
    let arena = pool.arena().clone();
    let boxed = |n| arena.boxed(n).unwrap();
    let done = pool.apply_async(boxed_square, boxed(1));
    until("the result is there", || done.is_ready());
    let futures: Vec<_> =
        (0..10).map(|n| pool.apply_async(wait_with, (starts.clone(), end.clone(), boxed(n)))).collect();
    numbers_in(&starts, 2);
    drop(pool);
    drop(done);
    assert_eq!(arena.free_bytes(), arena.size());
    assert!(futures.into_iter().all(|future| matches!(future.get(), Err(TaskError::Terminated))));
}

fn small_payloads_leave_the_arena_alone() {
    let pool = pool(2);
    let (size, free) = (pool.arena().size(), pool.arena().free_bytes());
    assert_eq!(pool.map(square, 0..10_000).unwrap()[9_999], 9_999 * 9_999);
    assert_eq!((size, free, size), (pool.arena().size(), pool.arena().free_bytes(), free));
}

fn the_arena_is_as_large_as_asked() {
    let pool = Pool::builder().workers(1).arena(1 << 20).build().unwrap();
    assert_eq!(pool.arena().limit(), 1 << 20);
    let numbers = pool.arena().slice_zeroed::<u64>(1 << 16).unwrap(); // more than it begins with
    assert!(pool.arena().slice_zeroed::<u64>(1 << 17).is_err());
    assert_eq!(pool.apply(increment, numbers).unwrap()[..], [1; 1 << 16]);
}

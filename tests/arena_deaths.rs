//! What a process that is killed at any instruction leaves of an arena and its queues: what the living hold, and the rest free, byte for byte.

#![cfg(not(loom))]

mod common;
#[path = "common/stepped.rs"]
mod stepped;

use skep::{
    Arena, ArenaOptions, Descriptor, JoinableQueue, Queue, RecvValueError, ShmArc, ShmBox, ShmSlice, ShmVec,
    ValueLease,
};
use std::os::fd::AsFd;
use std::time::Duration;
use stepped::{Now, Step, Stepped};

const HANG: Duration = Duration::from_secs(240);
const SIZE: u64 = 1 << 16;
/// How many of the steps a process is killed after in a run: one somewhere in each part of its way, in every run others.
const POINTS: u64 = 3;

fn arena() -> Arena {
    ArenaOptions::new(SIZE).peers(6).anonymous().unwrap()
}

/// Another participant, in a process that does not have `arena` itself.
fn join(arena: &Arena) -> Arena {
    Arena::from_fd(arena.as_fd().try_clone_to_owned().unwrap()).unwrap()
}

/// A process that does `work` with what `prepare` gives, and ends without leaving.
fn worker<P>(prepare: impl FnOnce() -> P, work: fn(&mut P)) -> Stepped {
    Stepped::start(prepare, |mut prepared| {
        work(&mut prepared);
        std::mem::forget(prepared);
    })
}

/// Kills a process after some of its steps, each time in a scene of its own, and has `judge` look at what is left.
fn killed_after_each<S, P>(
    step: Step,
    scene: impl Fn() -> S,
    prepare: impl Fn(&S) -> P,
    work: fn(&mut P),
    judge: impl Fn(S, &str),
) {
    common::end_after(HANG);
    let all = {
        let scene = scene();
        let child = worker(|| prepare(&scene), work);
        let all = (1..).find(|_| child.step(step) == Now::Over).unwrap();
        judge(scene, "after it is over");
        all
    };
    let points = POINTS.min(all);
    let mut random = common::Random(u64::from(std::process::id()) + all);
    for point in 0..points {
        let steps = (all * point + random.below(all)) / points;
        let scene = scene();
        let child = worker(|| prepare(&scene), work);
        // Runs differ by some steps, so one may be over before that.
        if (0..steps).all(|_| child.step(step) == Now::Stopped) {
            child.kill();
        }
        judge(scene, &format!("killed after step {steps} of {all}"));
    }
}

/// Kills a process some instructions after one of its system calls. For work that asks the kernel what memory
/// there is: that reads whole files, of which not each instruction can be stepped through.
fn killed_behind_calls<S, P>(
    points: u64,
    scene: impl Fn() -> S,
    prepare: impl Fn(&S) -> P,
    work: fn(&mut P),
    judge: impl Fn(S, &str),
) {
    common::end_after(HANG);
    let calls = {
        let scene = scene();
        let child = worker(|| prepare(&scene), work);
        (1..).find(|_| child.step(Step::SystemCall) == Now::Over).unwrap()
    };
    let mut random = common::Random(u64::from(std::process::id()) + calls);
    for _ in 0..points {
        let (call, steps) = (random.below(calls), random.below(2000));
        let scene = scene();
        let child = worker(|| prepare(&scene), work);
        let is_there = (0..call).all(|_| child.step(Step::SystemCall) == Now::Stopped);
        if is_there && (0..steps).all(|_| child.step(Step::Instruction) == Now::Stopped) {
            child.kill();
        }
        judge(scene, &format!("killed {steps} steps behind call {call} of {calls}"));
    }
}

/// The dead are repaired for, nothing but `held` bytes is used, and what is free is one block again where the scene permits.
fn is_whole(arena: &Arena, held: u64, when: &str) {
    arena.recover().unwrap();
    assert_eq!(arena.recover().unwrap(), 0, "{when}");
    assert_eq!(arena.free_bytes(), arena.size() - held, "{when}");
    if held == 0 {
        let all = arena.slice_unfilled::<u8>(arena.limit() as usize);
        assert_eq!(all.map(|all| all.len() as u64), Ok(arena.limit()), "{when}");
    }
}

#[test]
fn a_process_killed_while_it_allocates_and_frees_costs_nothing() {
    let work = |arena: &mut Arena| {
        let small = arena.boxed(1_u8).unwrap();
        let large = arena.slice_unfilled::<u8>(5000).unwrap();
        drop(small);
        let mut vec = arena.vec::<u64>(8).unwrap();
        vec.resize(20, 7).unwrap();
        drop((large, vec));
        arena.slice_unfilled::<u8>(SIZE as usize).unwrap(); // merges all of it
    };
    let judge = |arena, when: &str| is_whole(&arena, 0, when);
    killed_after_each(Step::Instruction, arena, join, work, judge);
}

#[test]
fn a_process_killed_while_it_leaves_costs_nothing() {
    let prepare = |arena: &Arena| {
        let arena = join(arena);
        let queue = Queue::<ShmBox<u64>>::create_in(&arena, "boxes", 2).unwrap();
        Some((arena.boxed(1_u8).unwrap(), arena, queue))
    };
    type Own = Option<(ShmBox<u8>, Arena, Queue<ShmBox<u64>>)>;
    let work = |own: &mut Own| drop(own.take());
    let held = {
        let (arena, before) = (arena(), SIZE);
        let _queue = Queue::<ShmBox<u64>>::create_in(&arena, "boxes", 2).unwrap();
        before - arena.free_bytes()
    };
    killed_after_each(Step::Instruction, arena, prepare, work, |arena, when| is_whole(&arena, held, when));
}

#[test]
fn a_process_killed_while_the_arena_grows_costs_nothing() {
    let small = || ArenaOptions::new(1 << 12).limit(SIZE).peers(6).anonymous().unwrap();
    let work = |arena: &mut Arena| {
        let parts: [_; 3] = std::array::from_fn(|_| arena.slice_unfilled::<u8>(1 << 12).unwrap());
        drop(parts);
    };
    let judge = |arena: Arena, when: &str| is_whole(&arena, 0, when);
    killed_behind_calls(150, small, join, work, judge);
    killed_after_each(Step::SystemCall, small, join, work, judge);
}

#[test]
fn a_process_killed_while_it_shares_costs_its_references_alone() {
    let work = |arena: &mut Arena| {
        let first = arena.slice(&[1_u32, 2, 3]).unwrap().share().unwrap();
        let second = first.try_clone().unwrap();
        drop(first);
        assert_eq!((second[2], second.count()), (3, 1));
        drop(second);
    };
    killed_after_each(Step::Instruction, arena, join, work, |arena, when| is_whole(&arena, 0, when));
}

/// A shared value, and a descriptor of a second reference to it.
fn one_shared() -> (Arena, ShmArc<[u8]>, Descriptor) {
    let arena = arena();
    let first = arena.slice(b"shared").unwrap().share().unwrap();
    let second = first.try_clone().unwrap().into_descriptor().unwrap();
    (arena, first, second)
}

#[test]
fn a_process_killed_while_it_clones_and_drops_what_others_share_costs_its_references_alone() {
    let prepare = |(arena, _, second): &(Arena, ShmArc<[u8]>, Descriptor)| (join(arena), *second);
    let work = |(arena, second): &mut (Arena, Descriptor)| {
        let second = ShmArc::<[u8]>::from_descriptor(arena, second).unwrap();
        let third = second.try_clone().unwrap();
        drop(second);
        drop(third);
    };
    let judge = |(arena, first, second): (Arena, ShmArc<[u8]>, Descriptor), when: &str| {
        arena.recover().unwrap();
        let second = ShmArc::<[u8]>::from_descriptor(&arena, &second);
        assert_eq!(first.count(), 1 + usize::from(second.is_ok()), "{when}");
        assert_eq!(first[..], *b"shared", "{when}");
        drop(first);
        let held = if second.is_ok() { 128 } else { 0 };
        is_whole(&arena, held, when);
        assert!(second.is_err() || second.is_ok_and(|second| second[..] == *b"shared"), "{when}");
        is_whole(&arena, 0, when);
    };
    killed_after_each(Step::Instruction, one_shared, prepare, work, judge);
}

#[test]
fn a_process_killed_while_it_drops_the_last_reference_frees_the_value_once() {
    let scene = || {
        let (arena, first, second) = one_shared();
        drop(first);
        (arena, second)
    };
    let prepare = |(arena, second): &(Arena, Descriptor)| {
        let arena = join(arena);
        Some(ShmArc::<[u8]>::from_descriptor(&arena, second).unwrap())
    };
    let work = |second: &mut Option<ShmArc<[u8]>>| drop(second.take());
    killed_after_each(Step::Instruction, scene, prepare, work, |(arena, _), when| is_whole(&arena, 0, when));
}

#[test]
fn a_process_killed_while_it_makes_a_queue_leaves_it_whole_or_none() {
    let held = {
        let arena = arena();
        let _queue = Queue::<u64>::create_in(&arena, "numbers", 4).unwrap();
        SIZE - arena.free_bytes()
    };
    let work = |arena: &mut Arena| std::mem::forget(Queue::<u64>::create_in(arena, "numbers", 4).unwrap());
    let judge = |arena: Arena, when: &str| {
        let is_there = Queue::<u64>::open_in(&arena, "numbers").is_ok();
        is_whole(&arena, if is_there { held } else { 0 }, when);
        let mut queue = Queue::<u64>::open_or_create_in(&arena, "numbers", 4).unwrap();
        queue.put(7).unwrap();
        assert_eq!(queue.get(), Ok(7), "{when}");
        is_whole(&arena, held, when);
    };
    killed_after_each(Step::Instruction, arena, join, work, judge);
}

// --- through a queue -----------------------------------------------------------------------------------------------

/// A number, handles of all kinds, and as many bytes as make a block of their own.
type Value = (u32, ShmBox<u64>, Option<ShmArc<[u8]>>, ShmVec<u16>, Vec<u8>);

struct Scene {
    arena: Arena,
    from: Queue<Value>,
    to: Queue<Value>,
    shared: ShmArc<[u8]>,
    /// What is free without the values.
    free: u64,
}

const NUMBER: u32 = 5;

fn value(arena: &Arena, shared: &ShmArc<[u8]>) -> Value {
    let mut vec = arena.vec(1).unwrap();
    vec.extend_from_slice(&[1, 2, 3]).unwrap();
    (NUMBER, arena.boxed(55).unwrap(), Some(shared.try_clone().unwrap()), vec, vec![7; 100])
}

fn is_intact(value: &Value) -> bool {
    let (number, owned, counted, vec, bytes) = value;
    let counted = counted.as_ref().is_none_or(|counted| counted[..] == *b"shared");
    (*number, **owned) == (NUMBER, 55) && counted && vec[..] == [1, 2, 3] && bytes[..] == [7; 100]
}

/// Two queues in one arena; a value lies in the first.
fn one_value() -> Scene {
    let arena = ArenaOptions::new(SIZE).peers(8).anonymous().unwrap();
    let mut from = Queue::create_in(&arena, "from", 2).unwrap();
    let to = Queue::create_in(&arena, "to", 2).unwrap();
    let shared = arena.slice(b"shared").unwrap().share().unwrap();
    let free = arena.free_bytes();
    from.put(value(&arena, &shared)).map_err(|e| e.to_string()).unwrap();
    Scene { arena, from, to, shared, free }
}

fn both_ends(scene: &Scene) -> (Queue<Value>, Queue<Value>) {
    let arena = join(&scene.arena);
    (Queue::open_in(&arena, "from").unwrap(), Queue::open_in(&arena, "to").unwrap())
}

/// Repairs, takes out what is in a queue, each with how often it was delivered before; all of it must be intact.
fn drain(queue: &Queue<Value>, when: &str) -> Vec<u32> {
    queue.arena().recover().unwrap();
    let mut deliveries = vec![];
    loop {
        match queue.try_lease() {
            Ok(lease) => {
                assert!(is_intact(&lease), "{when}");
                deliveries.push(lease.deliveries());
                assert!(is_intact(&lease.ack().unwrap()), "{when}");
            }
            Err(RecvValueError::Empty) => return deliveries,
            Err(other) => panic!("{when}: {other}"),
        }
    }
}

/// Nobody but the scene has anything any more, and its queues work.
fn is_clean(scene: Scene, when: &str) {
    let Scene { arena, mut from, mut to, shared, free } = scene;
    assert_eq!((arena.recover().unwrap(), shared.count()), (0, 1), "{when}");
    assert_eq!(arena.free_bytes(), free, "{when}");
    for queue in [&mut from, &mut to] {
        for _ in 0..2 {
            queue.try_put(value(&arena, &shared)).map_err(|e| format!("{when}: {e}")).unwrap();
        }
        assert_eq!(drain(queue, when), [0, 0], "{when}");
        assert_eq!(queue.join_all(Some(Duration::ZERO)), Ok(true), "{when}");
    }
    assert_eq!((arena.free_bytes(), shared.count()), (free, 1), "{when}");
}

#[test]
fn a_process_killed_while_it_gets_and_puts_loses_what_it_had_in_its_hands_at_most() {
    let work = |(from, to): &mut (Queue<Value>, Queue<Value>)| {
        let value = from.get().unwrap();
        assert!(is_intact(&value));
        to.put(value).map_err(|e| e.to_string()).unwrap();
    };
    let judge = |scene: Scene, when: &str| {
        let left = [drain(&scene.from, when), drain(&scene.to, when)].concat();
        assert!(left.len() <= 1, "{when}: {left:?}");
        is_clean(scene, when);
    };
    killed_after_each(Step::Instruction, one_value, both_ends, work, judge);
}

#[test]
fn a_process_killed_between_a_lease_and_its_acknowledgement_loses_nothing() {
    let work = |(from, to): &mut (Queue<Value>, Queue<Value>)| {
        let lease = from.lease().unwrap();
        let arena = from.arena();
        let counted = lease.2.as_ref().map(|counted| counted.try_clone().unwrap());
        let mut vec = arena.vec(1).unwrap();
        vec.extend_from_slice(&lease.3).unwrap();
        let copy = (lease.0, arena.boxed(*lease.1).unwrap(), counted, vec, lease.4.clone());
        to.put(copy).map_err(|e| e.to_string()).unwrap();
        assert!(is_intact(&lease.ack().unwrap()));
    };
    let judge = |scene: Scene, when: &str| {
        let left = [drain(&scene.from, when), drain(&scene.to, when)];
        assert!(!left.concat().is_empty(), "{when}: lost");
        assert!(left.iter().all(|queue| queue.len() <= 1), "{when}: {left:?}");
        is_clean(scene, when);
    };
    killed_after_each(Step::Instruction, one_value, both_ends, work, judge);
}

#[test]
fn a_process_killed_while_it_gives_a_value_back_loses_nothing() {
    let work = |(from, _): &mut (Queue<Value>, Queue<Value>)| from.lease().unwrap().nack();
    let judge = |scene: Scene, when: &str| {
        let left = drain(&scene.from, when);
        assert!(left == [0] || left == [1], "{when}: {left:?}");
        is_clean(scene, when);
    };
    killed_after_each(Step::Instruction, one_value, both_ends, work, judge);
}

#[test]
fn a_value_taken_by_a_dead_consumer_is_whole_also_beside_a_repairer_that_stands_still() {
    type Held = ValueLease<'static, Value>;
    common::end_after(HANG);
    let prepare = |scene: &Scene| {
        let (from, _) = both_ends(scene);
        Some(Box::leak(Box::new(from)).lease().unwrap())
    };
    let work = |lease: &mut Option<Held>| std::mem::forget(lease.take().unwrap().ack());
    let repairer = |scene: &Scene| worker(|| join(&scene.arena), |arena| drop(arena.recover()));
    let steps_of = |child: Stepped| (1..).find(|_| child.step(Step::Instruction) == Now::Over).unwrap();
    let ack = steps_of(worker(|| prepare(&one_value()), work));
    let repair = {
        let scene = one_value();
        worker(|| prepare(&scene), work).kill();
        steps_of(repairer(&scene))
    };
    let mut came_back = 0;
    for (killed, stopped) in (0..4).flat_map(|k| (0..4).map(move |s| (ack * k / 4, repair * s / 4))) {
        let when = format!("killed after {killed} of {ack}, beside a repairer after {stopped} of {repair}");
        let mut scene = one_value();
        let consumer = worker(|| prepare(&scene), work);
        (0..killed).for_each(|_| assert_eq!(consumer.step(Step::Instruction), Now::Stopped));
        consumer.kill();
        // The ring is repaired: by who waits on it, which does not ask for the arena's blocks.
        assert!(scene.from.join_all(Some(Duration::ZERO)).is_ok());
        let repairer = repairer(&scene);
        let goes_on = (0..stopped).all(|_| repairer.step(Step::Instruction) == Now::Stopped);
        let got = scene.from.try_get();
        if goes_on {
            assert!(repairer.let_go().success());
        }
        if let Ok(mut value) = got {
            came_back += 1;
            assert!(is_intact(&value), "{when}");
            // It is ours: nobody gets its memory, and it is free when we drop it.
            let other: Vec<ShmSlice<u8>> =
                std::iter::from_fn(|| scene.arena.slice_with(64, |_| 0xff).ok()).collect();
            *value.1 = 55;
            assert!(is_intact(&value), "{when}");
            drop(other);
        }
        assert_eq!(drain(&scene.from, &when), [], "{when}");
        is_clean(scene, &when);
    }
    assert!(came_back > 0, "the consumer was never killed while it held the value");
}

#[test]
fn a_join_waits_for_the_work_of_a_dead_worker_to_be_done_again() {
    let work =
        |(from, _): &mut (Queue<Value>, Queue<Value>)| drop(from.lease().unwrap().task_done().unwrap());
    let judge = |scene: Scene, when: &str| {
        let Scene { arena, from, to, shared, free } = scene;
        arena.recover().unwrap();
        let joinable = JoinableQueue::from_queue(from);
        let is_done = joinable.join_timeout(Duration::ZERO).unwrap();
        match joinable.try_get() {
            Ok(work) => {
                assert!(!is_done, "{when}");
                assert!(is_intact(&work.task_done().unwrap()), "{when}");
            }
            Err(RecvValueError::Empty) => assert!(is_done, "{when}"),
            Err(other) => panic!("{when}: {other}"),
        }
        joinable.join().unwrap();
        let from = Queue::open_in(&arena, "from").unwrap();
        is_clean(Scene { arena, from, to, shared, free }, when);
    };
    killed_after_each(Step::Instruction, one_value, both_ends, work, judge);
}

#[test]
fn a_join_does_not_wait_for_what_a_killed_producer_did_not_put() {
    let scene = || {
        let mut scene = one_value();
        drop(scene.from.get().unwrap());
        scene
    };
    let prepare = |scene: &Scene| {
        let (from, _) = both_ends(scene);
        let mut vec = from.arena().vec(1).unwrap();
        vec.extend_from_slice(&[1, 2, 3]).unwrap();
        let value: Value = (NUMBER, from.arena().boxed(55).unwrap(), None, vec, vec![7; 100]);
        (from, Some(value))
    };
    let work = |(from, value): &mut (Queue<Value>, Option<Value>)| {
        from.put(value.take().unwrap()).map_err(|e| e.to_string()).unwrap();
    };
    let judge = |scene: Scene, when: &str| {
        scene.arena.recover().unwrap();
        let is_done = scene.from.join_all(Some(Duration::ZERO)).unwrap();
        assert_eq!(drain(&scene.from, when).is_empty(), is_done, "{when}");
        is_clean(scene, when);
    };
    killed_after_each(Step::Instruction, scene, prepare, work, judge);
}

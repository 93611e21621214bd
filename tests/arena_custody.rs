//! An arena whose carriers one process alone knows is repaired by that one alone: another one would free what lies in a carrier that it has not heard of.

#![cfg(not(loom))]

mod common;

use common::{Other, Unlink, fresh_name, given_fd, role};
use skep::{Arena, ArenaOptions, Array, Event, Mutex, Part, Queue, ShmBox, SimpleQueue};
use std::os::fd::AsFd;
use std::sync::Arc;

const SIZE: u64 = 1 << 16;

#[test]
fn the_other_process() {
    let Some((role, argument)) = role() else { return };
    match role.as_str() {
        "hold and wait" => {
            let arena = Arena::from_fd_of_another(given_fd()).unwrap();
            let held: Vec<ShmBox<u64>> = (0..10).map(|n| arena.boxed(n).unwrap()).collect();
            SimpleQueue::<u64>::open(&argument).unwrap().put(held.len() as u64).unwrap();
            loop {
                std::thread::park();
                std::hint::black_box(&held);
            }
        }
        "need memory" => {
            // Whoever opens such an arena as any other is told by the arena what it is.
            let as_any = Arena::from_fd(given_fd()).unwrap();
            let as_another = Arena::from_fd_of_another(given_fd()).unwrap();
            for arena in [as_any.another().unwrap(), as_any, as_another] {
                let free = arena.free_bytes();
                assert_eq!(arena.recover().unwrap(), 0);
                let all: Vec<_> = std::iter::from_fn(|| arena.boxed(1_u64).ok()).collect();
                assert_eq!(all.len() as u64 * 64, free);
                assert!(arena.within(std::time::Duration::from_millis(1)).boxed(1_u64).is_err());
                drop(all);
                assert_eq!(arena.free_bytes(), free);
            }
        }
        other => panic!("no such role: {other}"),
    }
    std::process::exit(0);
}

#[test]
fn a_process_that_does_not_know_the_carriers_of_an_arena_does_not_repair_it() {
    let name = fresh_name("custody");
    let _unlink = Unlink(name.clone());
    let mut held = SimpleQueue::<u64>::create(&name, 1).unwrap();
    let options = ArenaOptions::new(SIZE);
    let arena = options.anonymous_for(Arc::new(|_: &mut dyn FnMut(u32, u32)| {})).unwrap();
    let holder = Other::start_with_fd("hold and wait", &name, arena.as_fd());
    assert_eq!(held.get(), Ok(10));
    holder.kill();
    Other::start_with_fd("need memory", "", arena.as_fd()).finish();
    assert_eq!(arena.free_bytes(), SIZE - 640);
    assert_eq!(arena.recover().unwrap(), 1, "the others have left");
    assert_eq!(arena.free_bytes(), SIZE);
}

/// An arena of so many places that this process repairs, and a participant that does not.
fn private(peers: usize) -> (Arena, Arena) {
    let options = ArenaOptions::new(SIZE).peers(peers);
    let arena = options.anonymous_for(Arc::new(|_: &mut dyn FnMut(u32, u32)| {})).unwrap();
    let worker = Arena::from_fd_of_another(arena.as_fd().try_clone_to_owned().unwrap()).unwrap();
    (arena, worker)
}

/// What a process leaves that knows no carriers: its blocks, for whoever takes them. Its place is free at once.
#[test]
fn a_process_that_leaves_gives_what_it_sent_to_the_carriers_and_its_place_to_the_next() {
    let (arena, worker) = private(2);
    drop(worker);
    for _ in 0..100 {
        let worker = Arena::from_fd_of_another(arena.as_fd().try_clone_to_owned().unwrap()).unwrap();
        let descriptor = worker.boxed(7_u64).unwrap().into_descriptor().unwrap();
        drop(worker);
        assert_eq!(
            *ShmBox::<u64>::from_descriptor(&arena, &descriptor).unwrap(),
            7,
            "it was given to nobody"
        );
    }
    assert_eq!(arena.free_bytes(), SIZE);
}

type Sent = (u32, Option<ShmBox<u64>>, Vec<u8>);

/// Queue handles are participants of their arena: in a worker of a pool, ones that do not repair.
#[test]
fn queue_handles_that_come_and_go_where_nobody_repairs_lose_neither_place_nor_block() {
    let (arena, worker) = private(4);
    let mut queue = Queue::<Sent>::create_in(&arena, "queue", 2).unwrap();
    let free = arena.free_bytes();
    for n in 0..10_000 {
        let mut there = Queue::<Sent>::open_in(&worker, "queue").unwrap();
        match n % 4 {
            0 => {}
            1 => there.put((n, None, vec![])).unwrap(),
            // What it has sent outlives it, in the queue: with and without a message in a block of its own.
            2 => there.put((n, Some(there.arena().boxed(u64::from(n)).unwrap()), vec![])).unwrap(),
            _ => there.put((n, Some(there.arena().boxed(u64::from(n)).unwrap()), vec![1; 200])).unwrap(),
        }
        drop(there);
        if n % 4 > 0 {
            let (number, handle, bytes) = queue.get().unwrap();
            assert_eq!((number, bytes.len()), (n, if n % 4 == 3 { 200 } else { 0 }));
            assert_eq!(handle.as_deref().copied(), (n % 4 > 1).then_some(u64::from(n)));
        }
    }
    assert_eq!(arena.free_bytes(), free);
    assert_eq!(arena.recover().unwrap(), 0, "nobody has left anything to repair");
}

/// A queue that was made by such a participant outlives it.
#[test]
fn a_queue_made_where_nobody_repairs_stays_when_its_maker_leaves() {
    let (arena, worker) = private(3);
    for n in 0..20 {
        let name = format!("queue-{n}");
        Queue::<u64>::create_in(&worker, &name, 2).unwrap().put(n).unwrap();
        assert_eq!(arena.recover().unwrap(), 0);
        assert_eq!(Queue::<u64>::open_in(&arena, &name).unwrap().get().unwrap(), n);
    }
}

/// Descriptors and mappings of this process.
fn resources() -> (usize, usize) {
    let count = |path: &str| std::fs::read_dir(path).unwrap().count();
    (count("/proc/self/fd"), std::fs::read_to_string("/proc/self/maps").unwrap().lines().count())
}

/// Each has fewer places than it is opened times, so a place that is not free again shows; descriptors and mappings are
/// counted.
#[test]
fn handles_that_come_and_go_leave_no_place_no_descriptor_and_no_mapping() {
    const TIMES: usize = 10_000;
    let unlinks: Vec<Unlink> = (0..6).map(|n| Unlink(fresh_name(&format!("often-{n}")))).collect();
    let name = |n: usize| unlinks[n].0.as_str();
    let arena = ArenaOptions::new(SIZE).peers(4).create(name(0)).unwrap();
    let _queue = Queue::<u64>::create_in(&arena, "queue", 4).unwrap();
    let _values = Queue::<u64>::create(name(1), 4).unwrap();
    let _simple = SimpleQueue::<u64>::create(name(2), 4).unwrap();
    let _mutex = Mutex::create(name(3), 1_u64).unwrap();
    let _event = Event::create(name(4), ()).unwrap();
    let _array = Array::<u64>::create(name(5), 4).unwrap();
    let opens: [&dyn Fn(); 8] = [
        &|| drop(Arena::open(name(0)).unwrap()),
        &|| drop(arena.another().unwrap()),
        &|| drop(Queue::<u64>::open_in(&arena, "queue").unwrap()),
        &|| drop(Queue::<u64>::open(name(1)).unwrap()),
        &|| drop(SimpleQueue::<u64>::open(name(2)).unwrap()),
        &|| drop(Mutex::<u64>::open(name(3)).unwrap()),
        &|| drop(Event::open(name(4)).unwrap()),
        &|| drop(Array::<u64>::open(name(5)).unwrap()),
    ];
    for (which, open) in opens.iter().enumerate() {
        open();
        let (descriptors, mappings) = resources();
        (0..TIMES).for_each(|_| open());
        let (more_descriptors, more_mappings) = resources();
        // Other tests of this process have some of their own at any time.
        assert!(more_descriptors < descriptors + TIMES / 10, "{which}: {more_descriptors} descriptors");
        assert!(more_mappings < mappings + TIMES / 10, "{which}: {more_mappings} mappings");
    }
    assert_eq!(arena.recover().unwrap(), 0);
}

//! The life of an arena: what it is made of, who waits for its memory, and what it keeps when nobody is there.

#![cfg(not(loom))]

mod common;

use common::{Other, Random, Unlink, end_after, fresh_name, given_fd, role, until_asleep};
use skep::{AllocError, Arena, ArenaOptions, Event, Part, Queue, ShmArc, ShmBox, ShmSlice};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Barrier;
use std::time::Duration;

/// So long that only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);
const SIZE: u64 = 1 << 18;
const PAGE: usize = 4096;

type Values = Queue<(u32, ShmSlice<u64>, ShmArc<str>)>;

#[test]
fn the_other_process() {
    let Some((role, argument)) = role() else { return };
    match role.as_str() {
        "leave values" => leave_values(&argument),
        "hold all" => {
            let arena = Arena::from_fd(given_fd()).unwrap();
            let all = arena.slice_unfilled::<u8>(SIZE as usize).unwrap();
            let event = Event::open(&argument).unwrap();
            event.set().unwrap();
            Event::open(&format!("{argument}-free")).unwrap().wait().unwrap();
            drop(all);
            std::thread::sleep(2 * HANG);
        }
        "allocate" => allocate_and_check(&Arena::from_fd(given_fd()).unwrap(), std::process::id().into()),
        other => panic!("no such role: {other}"),
    }
    std::process::exit(0);
}

fn leave_values(name: &str) {
    let arena = Arena::open_or_create(name, ArenaOptions::new(SIZE)).unwrap();
    let mut queue = Values::open_or_create_in(&arena, "values", 8).unwrap();
    let text = arena.string("shared").unwrap().share().unwrap();
    for n in 0..3 {
        let numbers = arena.slice_with(1000, |i| u64::from(n) * 1000 + i as u64).unwrap();
        queue.put((n, numbers, text.try_clone().unwrap())).map_err(|e| e.to_string()).unwrap();
    }
}

/// Blocks of many sizes, each full of what no other block has: two that overlap show.
fn allocate_and_check(arena: &Arena, seed: u64) {
    let mut random = Random(seed + 1);
    let mut held: Vec<(u64, ShmSlice<u64>)> = Vec::new();
    for round in 0..20_000 {
        let (mark, len) = (seed << 32 | round, 1 << random.below(9));
        if let Ok(mut block) = arena.slice_unfilled::<u64>(len as usize) {
            block.fill(mark);
            held.push((mark, block));
        }
        if held.len() > random.below(24) as usize {
            let (mark, block) = held.swap_remove(random.below(held.len() as u64) as usize);
            assert!(block.iter().all(|&word| word == mark), "somebody else wrote into a block");
        }
    }
}

#[test]
fn processes_that_allocate_at_once_never_get_the_same_memory() {
    end_after(HANG);
    let arena = Arena::new(SIZE).unwrap();
    let others: Vec<_> = (0..2).map(|_| Other::start_with_fd("allocate", "", &arena)).collect();
    allocate_and_check(&arena, 7);
    others.into_iter().for_each(Other::finish);
    assert_eq!(arena.free_bytes(), SIZE);
}

/// The first one cuts the one block that there is, and has all of it in its hands for a moment.
#[test]
fn of_two_that_begin_at_once_none_finds_the_arena_full() {
    end_after(HANG);
    for _ in 0..300 {
        let arena = Arena::new(SIZE).unwrap();
        let start = Barrier::new(2);
        std::thread::scope(|scope| {
            let begin = || {
                let mine = arena.another().unwrap();
                start.wait();
                mine.boxed(7_u64).map(drop).unwrap();
            };
            scope.spawn(begin);
            scope.spawn(begin);
        });
    }
}

/// There is room for both once the arena has grown, whoever of them has it grow.
#[test]
fn of_two_for_whom_it_must_grow_none_finds_the_arena_full() {
    end_after(HANG);
    for _ in 0..300 {
        let arena = ArenaOptions::new(4 << 10).limit(12 << 10).stretch(8 << 10).anonymous().unwrap();
        let start = Barrier::new(2);
        std::thread::scope(|scope| {
            let begin = || {
                let mine = arena.another().unwrap();
                start.wait();
                let block = mine.slice_zeroed::<u8>(4 << 10).unwrap();
                start.wait();
                drop(block);
            };
            scope.spawn(begin);
            scope.spawn(begin);
        });
    }
}

#[test]
fn threads_that_allocate_from_one_handle_never_get_the_same_memory() {
    end_after(HANG);
    let arena = Arena::new(SIZE).unwrap();
    std::thread::scope(|scope| {
        for seed in 1..4 {
            let arena = arena.clone();
            scope.spawn(move || allocate_and_check(&arena, seed));
        }
    });
    assert_eq!(arena.free_bytes(), SIZE);
}

#[test]
fn a_participant_lives_as_long_as_its_last_handle_whatever_thread_drops_it() {
    end_after(HANG);
    let arena = Arena::new(SIZE).unwrap();
    for _ in 0..200 {
        // One that has one place for a participant: the next round needs the place of this one.
        let other = ArenaOptions::new(1 << 16).peers(1).anonymous().unwrap();
        let file = other.as_fd().try_clone_to_owned().unwrap();
        let block = other.boxed(7_u64).unwrap();
        let dropper = std::thread::spawn(move || drop(other));
        assert_eq!(*block, 7);
        let second = std::thread::spawn(move || drop(block));
        dropper.join().unwrap();
        second.join().unwrap();
        let again = Arena::from_fd(file).unwrap();
        assert_eq!(again.free_bytes(), 1 << 16);
    }
    assert_eq!(arena.free_bytes(), SIZE);
}

#[test]
fn who_waits_for_memory_gets_what_another_process_frees() {
    waits_for_memory("memory-freed", |other, free| {
        free.set().unwrap();
        other
    });
}

#[test]
fn who_waits_for_memory_gets_what_a_dead_process_held() {
    waits_for_memory("memory-of-the-dead", |other, _| {
        other.signal(libc::SIGKILL);
        other
    });
}

/// This process waits for memory all of which another one has, until `end` does something about it.
fn waits_for_memory(name: &str, end: impl FnOnce(Other, &Event) -> Other + Send) {
    end_after(HANG);
    let name = fresh_name(name);
    let names = [Unlink(name.clone()), Unlink(format!("{name}-free"))];
    let (held, free) = (Event::create(&names[0].0, ()).unwrap(), Event::create(&names[1].0, ()).unwrap());
    let arena = Arena::new(SIZE).unwrap();
    let other = Other::start_with_fd("hold all", &name, &arena);
    held.wait().unwrap();
    assert!(arena.boxed(1_u8).is_err());
    // SAFETY: gives this thread's number.
    let waiter = unsafe { libc::gettid() };
    std::thread::scope(|scope| {
        let ender = scope.spawn(move || {
            until_asleep(waiter);
            end(other, &free)
        });
        let all = arena.within(HANG).slice_unfilled::<u8>(SIZE as usize).unwrap();
        assert_eq!(all.len() as u64, SIZE);
        drop(ender.join().unwrap());
    });
}

#[test]
fn a_named_arena_keeps_what_lies_in_its_queues_when_nobody_is_there() {
    end_after(HANG);
    let name = Unlink(fresh_name("arena-alone"));
    Other::start("leave values", &name.0).finish();
    let arena = Arena::open(&name.0).unwrap();
    let mut queue = Values::open_in(&arena, "values").unwrap();
    for n in 0..3 {
        let (number, numbers, text) = queue.get().unwrap();
        assert_eq!((number, &*text, numbers.len()), (n, "shared", 1000));
        assert!(numbers.iter().enumerate().all(|(i, &word)| word == u64::from(n) * 1000 + i as u64));
    }
    assert!(queue.try_get().is_err());
    // What is left is the queue itself, as in an arena in which nothing ever was put.
    let empty = Arena::new(SIZE).unwrap();
    let _queue = Values::create_in(&empty, "values", 8).unwrap();
    assert_eq!(arena.free_bytes(), empty.free_bytes());
}

#[test]
fn an_arena_of_any_size_gives_out_all_of_it() {
    for (bytes, smallest) in [(1, 64), (65, 64), (100_000, 64), (3 << 15, 256), (250_000, 4096), (5, 4096)] {
        let arena = ArenaOptions::new(bytes).smallest_block(smallest).anonymous().unwrap();
        let size = arena.size();
        assert!((bytes..bytes + smallest as u64).contains(&size) && size.is_multiple_of(smallest as u64));
        assert_eq!(arena.free_bytes(), size);
        let blocks: Vec<_> = std::iter::from_fn(|| arena.slice_unfilled::<u8>(smallest).ok()).collect();
        assert_eq!((blocks.len() as u64 * smallest as u64, arena.free_bytes()), (size, 0));
        drop(blocks);
        let largest = 1 << size.ilog2();
        assert_eq!(arena.slice_unfilled::<u8>(largest as usize).unwrap().len() as u64, largest);
        assert!(arena.slice_unfilled::<u8>(size as usize + 1).is_err());
    }
}

/// How many pages of a slice this process has mapped.
fn mapped(slice: &[u8]) -> usize {
    let pagemap = File::open("/proc/self/pagemap").unwrap();
    let first = slice.as_ptr().addr() / PAGE;
    let is_present = |page: usize| {
        let mut entry = [0; 8];
        pagemap.read_exact_at(&mut entry, (page * 8) as u64).unwrap();
        u64::from_ne_bytes(entry) >> 63 == 1
    };
    (first..first + slice.len() / PAGE).filter(|&page| is_present(page)).count()
}

#[test]
fn a_prefaulted_arena_is_mapped_before_it_is_touched() {
    let pages = SIZE as usize / PAGE;
    let lazy = Arena::new(SIZE).unwrap().slice_unfilled::<u8>(SIZE as usize).unwrap();
    assert!(mapped(&lazy) < pages);
    let eager = ArenaOptions::new(SIZE).prefault().anonymous().unwrap();
    assert_eq!(mapped(&eager.slice_unfilled::<u8>(SIZE as usize).unwrap()), pages);
}

#[test]
fn an_arena_of_huge_pages_is_as_any_other() {
    const HUGE: u64 = 4 << 20;
    let setting = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
    if setting.as_ref().is_ok_and(|setting| setting.contains("[never]") || setting.contains("[deny]")) {
        eprintln!("this kernel gives no huge pages to shared memory: {}", setting.unwrap().trim());
    }
    let arena = match ArenaOptions::new(HUGE).huge_pages().anonymous() {
        Ok(arena) => arena,
        Err(error) => {
            eprintln!("skipped: {error}");
            return;
        }
    };
    let mut all = arena.slice_zeroed::<u64>(HUGE as usize / 8).unwrap();
    all.iter_mut().enumerate().for_each(|(n, word)| *word = n as u64);
    assert!(all.iter().enumerate().all(|(n, &word)| word == n as u64));
    drop(all);
    assert_eq!(arena.free_bytes(), HUGE);
}

#[test]
fn a_text_travels_as_a_text() {
    let arena = Arena::new(SIZE).unwrap();
    let mut queue = Queue::<(ShmBox<str>, ShmArc<str>)>::create_in(&arena, "texts", 2).unwrap();
    let (one, two) = (arena.string("eins").unwrap(), arena.string("zw\u{f6}i").unwrap());
    queue.put((one.into_boxed_str(), two.share().unwrap())).map_err(|e| e.to_string()).unwrap();
    let (one, two) = queue.get().unwrap();
    assert_eq!((&*one, &*two, two.count()), ("eins", "zw\u{f6}i", 1));
}

// --- waits ---------------------------------------------------------------------------------------------------------

/// All of it is in blocks of the smallest size, and a look at each takes long beside any of the bounds below.
fn full_of_small_blocks() -> (Arena, Vec<skep::ShmBox<u8>>) {
    let arena = Arena::new(16 << 20).unwrap();
    let blocks: Vec<_> = std::iter::from_fn(|| arena.boxed(0_u8).ok()).collect();
    assert_eq!(blocks.len(), 1 << 18);
    (arena, blocks)
}

/// Measured by a walk over all blocks: a wait of moments looked at them some hundred times.
#[test]
fn a_full_arena_is_looked_through_a_few_times_at_most_by_who_does_not_wait_or_waits_for_moments() {
    end_after(2 * HANG);
    let (arena, blocks) = full_of_small_blocks();
    let begun = std::time::Instant::now();
    assert_eq!(arena.free_bytes(), 0);
    let few = 16 * begun.elapsed() + Duration::from_millis(200);
    let within = |what: &str, call: &dyn Fn() -> bool| {
        let begun = std::time::Instant::now();
        assert!(call(), "{what}: there is no room");
        let took = begun.elapsed();
        assert!(took < few, "{what}: {took:?}, more than {few:?}");
    };
    let moment = Duration::from_millis(1);
    within("try", &|| matches!(arena.boxed(1_u8).unwrap_err().reason, AllocError::Full { .. }));
    within("within", &|| arena.within(moment).boxed(1_u8).is_err());
    within("within no time", &|| arena.within(Duration::ZERO).boxed(1_u8).is_err());
    let mut blocks = blocks;
    blocks.truncate(blocks.len() - 2048); // for a queue
    let queue = std::cell::RefCell::new(Queue::<Vec<u8>>::create_in(&arena, "queue", 4).unwrap());
    let rest: Vec<_> = std::iter::from_fn(|| arena.boxed(0_u8).ok()).collect();
    within("try_put", &|| queue.borrow_mut().try_put(vec![1; 500]).is_err());
    within("put_timeout", &|| queue.borrow_mut().put_timeout(vec![1; 500], moment).is_err());
    drop((blocks, rest));
}

/// A ring lies in front, and stays as long as the arena, so there never will be a block of all of it.
#[test]
fn a_block_that_no_place_has_is_refused_at_once_and_commits_nothing() {
    end_after(HANG);
    let arena = ArenaOptions::new(1 << 16).limit(1 << 20).anonymous().unwrap();
    let mut queue = Queue::<Vec<u8>>::create_in(&arena, "queue", 16).unwrap();
    let size = arena.size();
    let never = |result: Result<ShmSlice<u8>, AllocError>| match result {
        Err(AllocError::TooLarge { bytes, largest }) => (bytes, largest),
        other => panic!("{:?}", other.map(|block| block.len())),
    };
    let largest = 1 << 19;
    assert_eq!(never(arena.slice_zeroed(1 << 20)), (1 << 20, largest));
    assert_eq!(never(arena.within(Duration::MAX).slice_zeroed(largest + 1)), (largest + 1, largest));
    let told = Queue::<u64>::create_in(&arena, "another", 1 << 13).err().unwrap();
    assert!(matches!(told, skep::Error::Capacity { .. }), "{told}");
    assert_eq!(arena.size(), size, "nothing was committed in vain");
    assert_eq!(arena.slice_zeroed::<u8>(largest).unwrap().len(), largest);
    let told = queue.put(vec![1; 600_000]).unwrap_err();
    assert!(told.to_string().contains(&largest.to_string()), "{told}");
}

/// The one place for it is committed, and another block in it: more memory makes no other.
#[test]
fn an_arena_does_not_grow_for_a_block_that_has_no_place_in_what_it_would_add() {
    let arena = ArenaOptions::new(1 << 16).limit(3 << 15).stretch(1 << 12).anonymous().unwrap();
    let _block = arena.boxed(1_u8).unwrap();
    assert_eq!(arena.slice_zeroed::<u8>(1 << 16).err(), Some(AllocError::Full { bytes: 1 << 16 }));
    assert_eq!(arena.size(), 1 << 16);
}

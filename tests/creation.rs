//! A creation that fails leaves nothing: no name, and no memory behind one.

mod common;

use common::{Unlink, fresh_name, in_forked_child};
use skep::{
    Arena, ArenaOptions, Array, AtomicArray, Barrier, Error, Event, Mutex, Part, PartOptions, Pipe, Queue,
    QueueOptions, RawArray, Segment, Semaphore, SemaphoreSetup, SimpleQueue,
};
use std::path::{Path, PathBuf};

fn file_of(name: &str) -> PathBuf {
    Path::new("/dev/shm").join(name)
}

/// One way to create an object, its handle thrown away.
type Creation = (&'static str, fn(&str) -> Result<(), Error>);

#[test]
fn what_cannot_be_created_leaves_no_name() {
    let creations: [Creation; 13] = [
        ("no slots for values", |name| Queue::<String>::create(name, 0).map(drop)),
        ("no slots for values, made or opened", |name| Queue::<u8>::open_or_create(name, 0).map(drop)),
        ("too many slots for values", |name| Queue::<u8>::create(name, usize::MAX).map(drop)),
        ("no slots", |name| SimpleQueue::<u64>::create(name, 0).map(drop)),
        ("nobody in a queue", |name| QueueOptions::new(4).peers(0).create::<u64>(name).map(drop)),
        ("no bytes", |name| Arena::create(name, 0).map(drop)),
        ("nobody in an arena", |name| ArenaOptions::new(4096).peers(0).create(name).map(drop)),
        ("no items", |name| Array::<u64>::create(name, 0).map(drop)),
        ("no atomics", |name| AtomicArray::<u64>::create(name, 0).map(drop)),
        ("no raw items", |name| RawArray::<u64>::create(name, 0).map(drop)),
        ("nobody meets", |name| Barrier::create(name, 0).map(drop)),
        ("too many permits", |name| Semaphore::create(name, SemaphoreSetup::counting(u32::MAX)).map(drop)),
        ("nobody waits", |name| PartOptions::new().peers(0).create::<Event>(name, ()).map(drop)),
    ];
    for (what, create) in creations {
        let name = fresh_name("impossible");
        let _unlink = Unlink(name.clone());
        let refused = create(&name);
        assert!(refused.is_err(), "{what}: it was created");
        assert!(!file_of(&name).exists(), "{what}: {refused:?}, and the name is there");
    }
}

/// Runs `work` in a forked process that may have `more` bytes of addresses beyond what it has now.
fn with_address_space(more: u64, work: impl FnOnce()) {
    let status = in_forked_child(|| {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
        let bytes = pages * 4096 + more;
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: a plain system call with a valid structure.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
        work();
        0
    });
    assert!(status.success(), "{status}");
}

/// With more room at each turn the creation gets one step further.
#[test]
fn a_creation_that_runs_out_of_addresses_leaves_no_name() {
    let creations: [Creation; 6] = [
        ("values", |name| Queue::<u8>::create(name, 64).map(drop)),
        ("pipe", |name| Pipe::create(name, 1 << 20).map(drop)),
        ("queue", |name| SimpleQueue::<u64>::create(name, 1 << 17).map(drop)),
        ("mutex", |name| Mutex::create(name, [0_u8; 1 << 16]).map(drop)),
        ("arena", |name| Arena::create(name, 2 << 20).map(drop)),
        ("parts", |name| Barrier::create(name, 3).map(drop)),
    ];
    for (what, create) in creations {
        // An arena has addresses for all that it may grow to.
        let room = if what == "values" { 4 << 20 } else { 256 << 10 };
        for step in 0..24 {
            with_address_space(step * room, || {
                let name = fresh_name(&format!("narrow-{step}"));
                let _unlink = Unlink(name.clone());
                let created = create(&name);
                let is_there = file_of(&name).exists();
                assert_eq!(created.is_ok(), is_there, "{what}, step {step}: {created:?}");
            });
        }
    }
}

/// The name of an arena that a program made for itself is no half of a queue.
#[test]
fn a_queue_that_is_made_or_opened_finds_its_place_in_an_arena_of_its_name() {
    let name = fresh_name("furnished");
    let _unlink = Unlink(name.clone());
    let _arena = Arena::create(&name, 1 << 20).unwrap();
    let mut queue = Queue::<String>::open_or_create(&name, 4).unwrap();
    queue.put("first".into()).unwrap();
    assert_eq!(Queue::<String>::open(&name).unwrap().get().unwrap(), "first");
    Segment::unlink(&name).unwrap();
}

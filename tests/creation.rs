//! A creation that fails leaves nothing: no name, and no memory behind one.

mod common;

use common::{Unlink, fresh_name, in_forked_child};
use skep::{
    Arena, ArenaOptions, Array, AtomicArray, Barrier, Error, Event, Mismatch, Mutex, Part, PartOptions, Pipe,
    Queue, QueueOptions, RawArray, Segment, Semaphore, SemaphoreSetup, SimpleQueue, shared_struct,
};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
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

/// Creates the object by the first call, and asks for another one of the same name by the second.
type Asked = fn(&str) -> Result<(), Error>;

#[test]
fn what_exists_with_other_options_is_an_error_that_names_both() {
    let cases: [(&str, u64, u64, Asked, Asked); 14] = [
        (
            "number of slots",
            4,
            128,
            |name| QueueOptions::new(4).open_or_create::<u8>(name).map(drop),
            |name| QueueOptions::new(99).open_or_create::<u8>(name).map(drop),
        ),
        (
            "number of participants",
            2,
            128,
            |name| QueueOptions::new(4).peers(2).create::<u8>(name).map(drop),
            |name| QueueOptions::new(4).open_or_create::<u8>(name).map(drop),
        ),
        (
            "number of slots",
            16,
            4,
            |name| Queue::<String>::create(name, 16).map(drop),
            |name| Queue::<String>::open_or_create(name, 4).map(drop),
        ),
        (
            "number of slots",
            16,
            32,
            |name| Queue::<u8>::create_in(&Arena::create(name, 1 << 20)?, "inside", 16).map(drop),
            |name| Queue::<u8>::open_or_create_in(&Arena::open(name)?, "inside", 17).map(drop),
        ),
        (
            "capacity",
            4088,
            16376,
            |name| Pipe::create(name, 10).map(drop),
            |name| Pipe::open_or_create(name, 10_000).map(drop),
        ),
        (
            "length",
            7,
            8,
            |name| Array::<u64>::create(name, 7).map(drop),
            |name| Array::<u64>::open_or_create(name, 8).map(drop),
        ),
        (
            "length",
            7,
            6,
            |name| AtomicArray::<u64>::create(name, 7).map(drop),
            |name| AtomicArray::<u64>::open_or_create(name, 6).map(drop),
        ),
        (
            "length",
            7,
            1,
            |name| RawArray::<u64>::create(name, 7).map(drop),
            |name| RawArray::<u64>::open_or_create(name, 1).map(drop),
        ),
        (
            "limit in bytes",
            1 << 16,
            1 << 17,
            |name| Arena::create(name, 1 << 16).map(drop),
            |name| Arena::open_or_create(name, ArenaOptions::new(1 << 16).limit(1 << 17)).map(drop),
        ),
        (
            "smallest block",
            64,
            4096,
            |name| Arena::create(name, 1 << 16).map(drop),
            |name| Arena::open_or_create(name, ArenaOptions::new(1 << 16).smallest_block(4096)).map(drop),
        ),
        (
            "stretch in bytes",
            1 << 16,
            1 << 17,
            |name| ArenaOptions::new(1 << 16).limit(1 << 20).create(name).map(drop),
            |name| {
                let options = ArenaOptions::new(1 << 16).limit(1 << 20).stretch(1 << 17);
                Arena::open_or_create(name, options).map(drop)
            },
        ),
        (
            "number of parties",
            3,
            4,
            |name| Barrier::create(name, 3).map(drop),
            |name| Barrier::open_or_create(name, 4).map(drop),
        ),
        (
            "bound",
            2,
            3,
            |name| Semaphore::create(name, SemaphoreSetup::bounded(2)).map(drop),
            |name| Semaphore::open_or_create(name, SemaphoreSetup::bounded(3)).map(drop),
        ),
        (
            "number of parties",
            3,
            5,
            |name| Board::create(name, ((), 3)).map(drop),
            |name| Board::open_or_create(name, ((), 5)).map(drop),
        ),
    ];
    for (option, found, expected, create, ask) in cases {
        let name = fresh_name("other-options");
        let _unlink = Unlink(name.clone());
        create(&name).unwrap();
        let Err(Error::Mismatch(mismatch)) = ask(&name) else { panic!("{option}: {:?}", ask(&name)) };
        assert_eq!(mismatch, Mismatch::Option { option, found, expected });
        let told = mismatch.to_string();
        assert!(told.contains(&found.to_string()) && told.contains(&expected.to_string()), "{told}");
    }
}

shared_struct! {
    struct Board {
        ready: Event,
        meeting: Barrier,
    }
}

/// What one begins with is no option of one that has begun.
#[test]
fn what_exists_keeps_its_contents_and_is_asked_for_again() {
    let name = fresh_name("same-options");
    let asked: [Asked; 5] = [
        |name| Mutex::open_or_create(name, 7_u64).map(|mutex| assert_eq!(mutex.get().unwrap(), 7)),
        |name| Mutex::open_or_create(name, 9_u64).map(|mutex| assert_eq!(mutex.get().unwrap(), 7)),
        |name| Board::open_or_create(name, ((), 3)).map(drop),
        |name| Semaphore::open_or_create(name, SemaphoreSetup { permits: 1, bound: Some(3) }).map(drop),
        |name| Semaphore::open_or_create(name, SemaphoreSetup { permits: 3, bound: Some(3) }).map(drop),
    ];
    for (ask, again) in [(asked[0], asked[1]), (asked[2], asked[2]), (asked[3], asked[4])] {
        let _unlink = Unlink(name.clone());
        ask(&name).unwrap();
        again(&name).unwrap();
    }
}

#[test]
fn a_segment_that_other_users_may_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let name = fresh_name("open-to-others");
    let _unlink = Unlink(name.clone());
    let queue = SimpleQueue::<u8>::create(&name, 4).unwrap();
    for mode in [0o666, 0o660, 0o602, 0o622, 0o1620] {
        fs::set_permissions(file_of(&name), fs::Permissions::from_mode(mode)).unwrap();
        let refused = SimpleQueue::<u8>::open(&name);
        let is_told = |found: &u32| *found == mode;
        assert!(
            matches!(&refused, Err(Error::Mismatch(Mismatch::Mode { mode })) if is_told(mode)),
            "{refused:?}"
        );
        let by_descriptor = SimpleQueue::<u8>::from_fd(queue.as_fd().try_clone_to_owned().unwrap());
        assert!(matches!(by_descriptor, Err(Error::Mismatch(Mismatch::Mode { .. }))), "{by_descriptor:?}");
    }
    fs::set_permissions(file_of(&name), fs::Permissions::from_mode(0o600)).unwrap();
    SimpleQueue::<u8>::open(&name).unwrap();
}

/// A copy of a segment in an anonymous file of somebody else's, with these seals.
fn copied(queue: &SimpleQueue<u8>, seals: i32) -> OwnedFd {
    // SAFETY: plain system calls; the descriptor is new and ours.
    unsafe {
        let fd = libc::memfd_create(c"copy".as_ptr(), libc::MFD_ALLOW_SEALING);
        assert!(fd >= 0);
        let mut copy = fs::File::from_raw_fd(fd);
        let from = fs::File::open(format!("/proc/self/fd/{}", queue.as_fd().as_raw_fd())).unwrap();
        std::io::copy(&mut { from }, &mut copy).unwrap();
        assert_eq!(libc::fcntl(fd, libc::F_ADD_SEALS, seals), 0);
        copy.into()
    }
}

#[test]
fn an_anonymous_file_that_can_be_shrunk_is_refused() {
    let queue = SimpleQueue::<u8>::new(4).unwrap();
    for seals in [0, libc::F_SEAL_GROW, libc::F_SEAL_SEAL] {
        let refused = SimpleQueue::<u8>::from_fd(copied(&queue, seals));
        assert!(matches!(refused, Err(Error::Mismatch(Mismatch::Unsealed))), "{refused:?}");
        assert!(refused.err().unwrap().to_string().contains("F_SEAL_SHRINK"));
    }
    let sealed = copied(&queue, libc::F_SEAL_SHRINK);
    let mut taken = SimpleQueue::<u8>::from_fd(sealed).unwrap();
    taken.put(7).unwrap();
    assert_eq!(taken.get(), Ok(7));
}

/// As some kernels demand of each anonymous file, and as none that holds data should be without.
#[test]
fn an_anonymous_object_can_never_be_executed() {
    const F_SEAL_EXEC: i32 = 0x20;
    // SAFETY: plain system calls; the descriptor is closed with the process.
    unsafe {
        if libc::memfd_create(c"probe".as_ptr(), libc::MFD_NOEXEC_SEAL) < 0 {
            eprintln!("SKIPPED: this kernel does not know MFD_NOEXEC_SEAL");
            return;
        }
        let (queue, arena) = (SimpleQueue::<u8>::new(4).unwrap(), Arena::new(4096).unwrap());
        for fd in [queue.as_fd(), arena.as_fd()] {
            let seals = libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS);
            assert_eq!(seals & F_SEAL_EXEC, F_SEAL_EXEC, "{seals:x}");
        }
    }
}

/// `vm.memfd_noexec=2` is a setting of a pid namespace.
#[test]
fn where_anonymous_files_must_not_be_executable_objects_are_created() {
    let status = in_forked_child(|| {
        // SAFETY: changes where this process's children are.
        if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
            eprintln!("SKIPPED: this process may not make a pid namespace");
            return 0;
        }
        let status = in_forked_child(|| {
            if let Err(e) = fs::write("/proc/sys/vm/memfd_noexec", "2") {
                eprintln!("SKIPPED: this kernel has no vm.memfd_noexec that can be set: {e}");
                return 0;
            }
            SimpleQueue::<u8>::new(4).unwrap().put(7).unwrap();
            Arena::new(4096).unwrap();
            0
        });
        status.code().unwrap_or(1)
    });
    assert!(status.success(), "{status}");
}

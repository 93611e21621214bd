//! The laws of `SimpleQueue` as one process sees them.

mod common;

use common::{Unlink, fresh_name, in_forked_child};
use skep::{Error, GetError, Mismatch, PutBatchError, PutError, QueueOptions, Segment, SimpleQueue};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(5);

#[test]
fn items_come_out_in_the_order_they_went_in() {
    let mut queue = SimpleQueue::<u32>::new(8).unwrap();
    for lap in 0..5 {
        (0..8).for_each(|n| queue.put(lap * 8 + n).unwrap());
        assert_eq!(queue.len(), 8);
        (0..8).for_each(|n| assert_eq!(queue.get(), Ok(lap * 8 + n)));
        assert!(queue.is_empty());
    }
}

#[test]
fn a_refused_value_comes_back() {
    let mut queue = SimpleQueue::<u8>::new(1).unwrap();
    queue.put(1).unwrap();
    assert_eq!(queue.try_put(2), Err(PutError::Full(2)));
    assert_eq!(queue.put_timeout(3, SHORT), Err(PutError::Full(3)));
    queue.close();
    assert_eq!(queue.put(4).map_err(PutError::into_inner), Err(4));
    assert_eq!(queue.put(5), Err(PutError::Closed(5)));
}

#[test]
fn what_was_put_before_close_is_drained() {
    let mut queue = SimpleQueue::<u8>::new(4).unwrap();
    queue.put_batch(&[1, 2]).unwrap();
    queue.close();
    assert!(queue.is_closed());
    assert_eq!((queue.get(), queue.get()), (Ok(1), Ok(2)));
    assert_eq!(queue.get(), Err(GetError::Closed));
    assert_eq!(queue.get_timeout(SHORT), Err(GetError::Closed));
}

#[test]
fn an_empty_queue_gives_nothing_in_time() {
    let mut queue = SimpleQueue::<u8>::new(4).unwrap();
    assert_eq!(queue.try_get(), Err(GetError::Empty));
    assert_eq!(queue.get_timeout(SHORT), Err(GetError::Empty));
    assert_eq!(queue.get_timeout(Duration::ZERO), Err(GetError::Empty));
}

#[test]
fn batches_put_and_get_several_at_once() {
    let mut queue = SimpleQueue::<u16>::new(8).unwrap();
    assert_eq!(queue.try_put_batch(&[]), Ok(0));
    assert_eq!(queue.try_put_batch(&(0..20).collect::<Vec<_>>()), Ok(8));
    assert_eq!(queue.try_put_batch(&[9]), Err(PutError::Full(())));
    let mut some = [0; 5];
    assert_eq!(queue.get_batch(&mut some), Ok(5));
    assert_eq!(some, [0, 1, 2, 3, 4]);
    assert_eq!(queue.try_get_batch(&mut []), Ok(0));
    assert_eq!(queue.try_get_batch(&mut some), Ok(3));
    assert_eq!(some[..3], [5, 6, 7]);
    assert_eq!(queue.try_get_batch(&mut some), Err(GetError::Empty));
    queue.close();
    assert_eq!(queue.put_batch(&[1]), Err(PutBatchError { put: 0, reason: PutError::Closed(()) }));
}

#[test]
fn a_batch_larger_than_the_queue_is_put_whole() {
    let mut queue = SimpleQueue::<u32>::new(8).unwrap();
    let mut consumer = queue.try_clone().unwrap();
    let thread = std::thread::spawn(move || (0..10_000).all(|n| consumer.get() == Ok(n)));
    queue.put_batch(&(0..10_000).collect::<Vec<_>>()).unwrap();
    assert!(thread.join().unwrap());
}

#[test]
fn capacity_is_rounded_up_and_must_be_possible() {
    assert_eq!(SimpleQueue::<u8>::new(1000).unwrap().capacity(), 1024);
    assert_eq!(SimpleQueue::<u8>::new(1).unwrap().capacity(), 1);
    assert!(matches!(SimpleQueue::<u8>::new(0), Err(Error::Capacity { capacity: 0, .. })));
    let too_large = SimpleQueue::<u8>::new(usize::MAX);
    assert!(matches!(too_large, Err(Error::Capacity { .. })), "{too_large:?}");
    let Err(Error::Capacity { max, .. }) = SimpleQueue::<[u8; 4096]>::new(1 << 61) else { panic!() };
    assert!(max.is_power_of_two() && max < 1 << 61);
}

#[test]
fn a_full_memory_is_an_error_at_creation() {
    let huge = SimpleQueue::<[u64; 512]>::new(1 << 36);
    assert!(matches!(huge, Err(Error::NoMemory { .. })), "{huge:?}");
}

#[test]
fn participants_are_limited_and_places_used_again() {
    let options = QueueOptions::new(4).peers(3);
    let first = options.anonymous::<u8>().unwrap();
    let second = first.try_clone().unwrap();
    let mut third = second.try_clone().unwrap();
    assert!(matches!(first.try_clone(), Err(Error::TooManyPeers { limit: 3 })));
    drop(second);
    assert_eq!(third.recover().unwrap(), 0, "to leave is not to die");
    assert!(third.try_clone().is_ok());
    assert!(matches!(QueueOptions::new(4).peers(0).anonymous::<u8>(), Err(Error::Peers { .. })));
    assert!(matches!(QueueOptions::new(4).peers(1 << 20).anonymous::<u8>(), Err(Error::Peers { .. })));
}

#[test]
fn a_segment_attached_twice_in_one_process_has_two_participants() {
    let mut here = QueueOptions::new(4).peers(2).anonymous::<u8>().unwrap();
    let mut there = SimpleQueue::<u8>::from_fd(here.as_fd().try_clone_to_owned().unwrap()).unwrap();
    assert_eq!(here.recover().unwrap() + there.recover().unwrap(), 0, "neither looks dead to the other");
    here.put(1).unwrap();
    assert_eq!(there.get(), Ok(1));
    let third = SimpleQueue::<u8>::from_fd(here.as_fd().try_clone_to_owned().unwrap());
    assert!(matches!(third, Err(Error::TooManyPeers { limit: 2 })));
}

#[test]
fn a_named_queue_is_created_once_opened_by_others_and_unlinked() {
    let name = fresh_name("named");
    let _unlink = Unlink(name.clone());
    assert!(matches!(SimpleQueue::<u8>::open(&name), Err(Error::NotFound { .. })));
    let mut created = SimpleQueue::<u8>::create(&name, 4).unwrap();
    assert!(matches!(SimpleQueue::<u8>::create(&name, 4), Err(Error::Exists { .. })));
    let mut opened = SimpleQueue::<u8>::open(&name).unwrap();
    created.put(7).unwrap();
    assert_eq!(opened.get(), Ok(7));
    assert_eq!(QueueOptions::new(3).open_or_create::<u8>(&name).unwrap().capacity(), 4);
    SimpleQueue::<u8>::unlink(&name).unwrap();
    assert!(matches!(SimpleQueue::<u8>::unlink(&name), Err(Error::NotFound { .. })));
    opened.put(8).unwrap();
    assert_eq!(created.get(), Ok(8), "unlinked is not gone for those who have it");
    drop(QueueOptions::new(2).open_or_create::<u8>(&name).unwrap());
    let name_file = std::path::Path::new("/dev/shm").join(&name);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(name_file.metadata().unwrap().mode() & 0o777, 0o600);
}

#[test]
fn what_is_not_the_expected_segment_is_named() {
    let name = fresh_name("mismatch");
    let _unlink = Unlink(name.clone());
    let _queue = SimpleQueue::<u32>::create(&name, 4).unwrap();
    let other_size = SimpleQueue::<u64>::open(&name);
    assert!(matches!(other_size, Err(Error::Mismatch(Mismatch::Item { .. }))));
    let other_name = SimpleQueue::<i32>::open(&name);
    assert!(matches!(other_name, Err(Error::Mismatch(Mismatch::Item { .. }))));
    let file = tempfile::tempfile().unwrap();
    let empty = SimpleQueue::<u8>::from_fd(file.try_clone().unwrap().into());
    assert!(matches!(empty, Err(Error::Mismatch(Mismatch::Size { found: 0, .. }))));
    file.set_len(1 << 16).unwrap();
    assert!(matches!(SimpleQueue::<u8>::from_fd(file.into()), Err(Error::Mismatch(Mismatch::Magic))));
    let (socket, _) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(matches!(SimpleQueue::<u8>::from_fd(socket.into()), Err(Error::Mismatch(Mismatch::FileType))));
    for bad in ["", "a/b", ".hidden", "nul\0", &"x".repeat(300)] {
        assert!(matches!(SimpleQueue::<u8>::create(bad, 4), Err(Error::Name { .. })), "{bad:?}");
    }
}

#[test]
fn another_users_segment_is_refused() {
    let name = fresh_name("owner");
    let _unlink = Unlink(name.clone());
    let _queue = SimpleQueue::<u8>::create(&name, 4).unwrap();
    let other = 12345;
    if let Err(e) = std::os::unix::fs::chown(format!("/dev/shm/{name}"), Some(other), None) {
        eprintln!("skipped: only root can give a file to another user: {e}");
        return;
    }
    let opened = SimpleQueue::<u8>::open(&name);
    assert!(
        matches!(opened, Err(Error::Mismatch(Mismatch::Owner { found, .. })) if found == other),
        "{opened:?}"
    );
}

#[test]
fn an_anonymous_segment_cannot_be_shrunk_grown_or_unsealed() {
    let queue = SimpleQueue::<u8>::new(4).unwrap();
    let file = std::fs::File::from(queue.as_fd().try_clone_to_owned().unwrap());
    let size = file.metadata().unwrap().len();
    assert!(file.set_len(0).is_err() && file.set_len(size + 1).is_err());
    use std::os::fd::AsRawFd;
    // SAFETY: a plain system call on a descriptor of our own.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_WRITE) }, -1);
    use std::os::unix::fs::MetadataExt;
    assert!(file.metadata().unwrap().blocks() * 512 >= size, "every page is reserved");
}

#[test]
fn racing_open_or_create_gives_one_queue() {
    let name = fresh_name("race");
    let _unlink = Unlink(name.clone());
    let threads: Vec<_> = (0..8u8)
        .map(|n| {
            let name = name.clone();
            std::thread::spawn(move || {
                let mut queue = QueueOptions::new(8).open_or_create::<u8>(&name).unwrap();
                queue.put(n).unwrap();
                queue
            })
        })
        .collect();
    let mut queues: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    let mut got: Vec<u8> = (0..8).map(|n: usize| queues[n].get().unwrap()).collect();
    got.sort_unstable();
    assert_eq!(got, [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn work_that_panics_gives_the_item_back() {
    let mut queue = SimpleQueue::<u8>::new(2).unwrap();
    let mut other = queue.try_clone().unwrap();
    queue.put_batch(&[1, 2]).unwrap();
    let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| queue.get_with(|_| panic!("on purpose"))));
    assert!(panicked.is_err());
    assert_eq!(other.get_with(|n| n * 10), Ok(10), "before the others");
    assert_eq!(other.try_get_with(|n| n * 10), Ok(20));
    assert_eq!(other.try_get_with(|n| n), Err(GetError::Empty));
    other.put_batch(&[3, 4]).unwrap();
    assert_eq!((queue.get(), queue.get()), (Ok(3), Ok(4)));
}

#[test]
fn a_forked_child_is_refused_and_may_attach_anew() {
    let mut queue = SimpleQueue::<u8>::new(4).unwrap();
    queue.put(1).unwrap();
    let status = in_forked_child(|| {
        assert_eq!(queue.put(2), Err(PutError::Forked(2)));
        assert_eq!(queue.get(), Err(GetError::Forked));
        assert!(matches!(queue.try_clone(), Err(Error::Forked)));
        assert!(matches!(queue.recover(), Err(Error::Forked)));
        let mut own = SimpleQueue::<u8>::from_fd(queue.as_fd().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!(own.get(), Ok(1));
        own.put(3).unwrap();
        0
    });
    assert!(status.success(), "{status}");
    assert_eq!(queue.get(), Ok(3));
}

/// Work that forks and returns in the child too: the item is the parent's.
#[test]
fn a_child_forked_while_an_item_is_held_does_not_release_it() {
    let mut queue = SimpleQueue::<u8>::new(1).unwrap();
    let mut other = queue.try_clone().unwrap();
    queue.put(1).unwrap();
    let parent = std::process::id();
    let mut status = None;
    let got = queue.get_with(|item| {
        // SAFETY: the child returns from here and ends by `_exit` below.
        let pid = unsafe { libc::fork() };
        if pid > 0 {
            let mut raw = 0;
            // SAFETY: waits for the child just made.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut raw, 0) }, pid);
            status = Some(std::process::ExitStatus::from_raw(raw));
            assert_eq!(other.try_put(2), Err(PutError::Full(2)), "the child has released the parent's item");
        }
        item
    });
    if std::process::id() != parent {
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(got != Ok(1))) };
    }
    assert!(status.unwrap().success());
    assert_eq!(got, Ok(1));
    queue.put(3).unwrap();
    assert_eq!(other.get(), Ok(3));
}

/// While there is room and there are items, an operation is no system call: this holds where any other call than
/// `write` and `exit` kills.
#[test]
fn a_queue_neither_full_nor_empty_makes_no_system_call() {
    let mut queue = SimpleQueue::<u64>::new(64).unwrap();
    queue.put(0).unwrap();
    let status = in_forked_child(|| {
        let mut queue = SimpleQueue::<u64>::from_fd(queue.as_fd().try_clone_to_owned().unwrap()).unwrap();
        let mut some = [0; 8];
        // SAFETY: plain system calls; from here on this process only computes, and exits by the bare call.
        unsafe {
            assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT), 0);
            let mut ok = true;
            for n in 0..100_000 {
                ok &= queue.put(n).is_ok() && queue.get().is_ok();
                ok &= queue.try_put_batch(&[n; 8]) == Ok(8) && queue.try_get_batch(&mut some) == Ok(8);
                ok &= queue.put_timeout(n, SHORT).is_ok() && queue.get_with(|n| n).is_ok();
            }
            libc::syscall(libc::SYS_exit, i32::from(!ok));
        }
        unreachable!()
    });
    assert_eq!(
        (status.code(), status.signal()),
        (Some(0), None),
        "killed by seccomp, or an operation failed"
    );
}

#[test]
fn many_threads_lose_nothing_and_double_nothing() {
    const EACH: u64 = 50_000;
    let queue = QueueOptions::new(64).peers(16).anonymous::<u64>().unwrap();
    let producers: Vec<_> = (0..3)
        .map(|id| {
            let mut queue = queue.try_clone().unwrap();
            std::thread::spawn(move || (0..EACH).for_each(|n| queue.put(id << 32 | n).unwrap()))
        })
        .collect();
    let consumers: Vec<_> = (0..3)
        .map(|_| {
            let mut queue = queue.try_clone().unwrap();
            std::thread::spawn(move || {
                let mut got = vec![];
                while let Ok(n) = queue.get() {
                    got.push(n);
                }
                got
            })
        })
        .collect();
    producers.into_iter().for_each(|t| t.join().unwrap());
    queue.close();
    let lists: Vec<Vec<u64>> = consumers.into_iter().map(|t| t.join().unwrap()).collect();
    for list in &lists {
        for id in 0..3 {
            let of_one: Vec<u64> = list.iter().copied().filter(|n| n >> 32 == id).collect();
            assert!(of_one.windows(2).all(|pair| pair[0] < pair[1]), "each producer's items stay in order");
        }
    }
    let mut all: Vec<u64> = lists.concat();
    all.sort_unstable();
    assert_eq!(all.len() as u64, 3 * EACH);
    assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn a_segment_of_ones_own_kind_is_shared_by_descriptor() {
    use skep::{Blueprint, Item, Kind};
    let blueprint =
        Blueprint { kind: Kind::new(*b"mine\0\0\0\0"), item: Item::opaque(1), body_len: |bytes| Some(bytes) };
    let here = Segment::anonymous(&blueprint, 100, 1).unwrap();
    let there = Segment::from_fd(here.as_fd().try_clone_to_owned().unwrap(), &blueprint).unwrap();
    assert_eq!((there.capacity(), there.body_len(), there.max_peers()), (100, 100, 1));
    let name = fresh_name("mine");
    let _unlink = Unlink(name.clone());
    let made = Segment::open_or_create(&name, &blueprint, 7, 1).unwrap();
    let found = Segment::open_or_create(&name, &blueprint, 7, 1).unwrap();
    assert_eq!((made.capacity(), found.capacity()), (7, 7));
    assert!(matches!(Segment::create(&name, &blueprint, 7, 1), Err(Error::Exists { .. })));
    let fd = here.as_fd().try_clone_to_owned().unwrap();
    let Err(Error::Mismatch(mismatch)) = SimpleQueue::<u8>::from_fd(fd) else { panic!("a queue of bytes?") };
    assert_eq!(mismatch.to_string(), "it holds a mine, not a queue");
}

//! Join waits until all work is done: work that work makes, work whose worker died, and nothing of a producer that died.

#![cfg(not(loom))]

mod common;

use common::{Other, Unlink, fresh_name, given_fd, in_forked_child, role};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use skep::{JoinableQueue, Queue, RecvValueError, ShmBox, SimpleQueue};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

/// So long that only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);

#[test]
fn the_other_process() {
    let Some((role, argument)) = role() else { return };
    let mut done = SimpleQueue::<u32>::open(&argument).unwrap();
    let work = JoinableQueue::from_queue(Queue::<u32>::from_fd(given_fd()).unwrap());
    match role.as_str() {
        "work" => {
            let mut more = work.try_clone().unwrap();
            while let Ok(item) = work.get() {
                (0..2).filter(|_| *item > 0).for_each(|_| more.put(*item - 1).unwrap());
                done.put(*item).unwrap();
                item.task_done().unwrap();
            }
        }
        "take and wait" => {
            let item = work.get().unwrap();
            done.put(*item).unwrap();
            loop {
                std::thread::park();
                std::hint::black_box(&item);
            }
        }
        other => panic!("no such role: {other}"),
    }
    std::process::exit(0);
}

/// A queue of work, and one that tells of what was done of it.
fn scene(test: &str) -> (JoinableQueue<u32>, SimpleQueue<u32>, Unlink) {
    let unlink = Unlink(fresh_name(test));
    let done = SimpleQueue::create(&unlink.0, 1024).unwrap();
    (JoinableQueue::new(256).unwrap(), done, unlink)
}

#[test]
fn join_waits_for_the_work_that_work_makes_before_it_is_done() {
    let (mut work, mut done, name) = scene("more");
    let workers = [0; 2].map(|_| Other::start_with_fd("work", &name.0, work.as_fd()));
    for _ in 0..50 {
        work.put(5).unwrap();
        assert!(work.join_timeout(HANG).unwrap());
        let done = std::iter::from_fn(|| done.try_get().ok()).count();
        assert_eq!(done, (1 << 6) - 1, "1 of five, 2 of four, 4 of three, …");
    }
    work.close();
    workers.into_iter().for_each(Other::finish);
}

#[test]
fn join_waits_until_a_killed_workers_work_is_done_by_another() {
    let (mut work, mut done, name) = scene("killed");
    work.put(0).unwrap();
    for _ in 0..3 {
        let worker = Other::start_with_fd("take and wait", &name.0, work.as_fd());
        assert_eq!(done.get_timeout(HANG), Ok(0), "it has it");
        assert!(!work.join_timeout(Duration::ZERO).unwrap());
        worker.kill();
        assert!(!work.join_timeout(Duration::ZERO).unwrap(), "nobody has done it");
    }
    let worker = Other::start_with_fd("work", &name.0, work.as_fd());
    assert!(work.join_timeout(HANG).unwrap());
    assert_eq!(done.try_get(), Ok(0));
    work.close();
    worker.finish();
}

/// Ends its process where it says.
#[derive(Default)]
struct Deadly(When);

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum When {
    #[default]
    Never,
    Encoded,
    Dropped,
}

impl Deadly {
    fn strike(&self, now: When) {
        if self.0 == now {
            // SAFETY: ends this process, as from outside.
            unsafe { libc::raise(libc::SIGKILL) };
        }
    }
}

impl Drop for Deadly {
    fn drop(&mut self) {
        self.strike(When::Dropped);
    }
}

impl Serialize for Deadly {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        self.strike(When::Encoded);
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Deadly {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer).map(|()| Deadly::default())
    }
}

/// Around its handle it is deadly.
type Value = (Deadly, ShmBox<u64>, Deadly, Vec<u8>);

/// Killed inside of `put`, where its value is encoded or dropped, a producer has put nothing.
#[test]
fn join_does_not_wait_for_what_a_killed_producer_has_not_put() {
    let mut work = JoinableQueue::<Value>::new(2).unwrap();
    let free = work.arena().free_bytes();
    let produce = |before: When, behind: When| {
        in_forked_child(|| {
            let mut queue = Queue::<Value>::from_fd(work.as_fd().try_clone_to_owned().unwrap()).unwrap();
            let value = (Deadly(before), queue.arena().boxed(7).unwrap(), Deadly(behind), vec![1; 100]);
            queue.put(value).map_err(|e| e.to_string()).unwrap();
            0
        })
    };
    for when in 0..4 {
        let status = match when {
            0 => produce(When::Encoded, When::Never),
            1 => produce(When::Never, When::Encoded),
            2 => produce(When::Dropped, When::Never),
            _ => produce(When::Never, When::Dropped),
        };
        assert_eq!(status.signal(), Some(libc::SIGKILL));
        assert!(work.join_timeout(HANG).unwrap(), "killed at place {when}");
        work.arena().recover().unwrap();
        assert_eq!(work.arena().free_bytes(), free, "killed at place {when}");
        assert_eq!(work.try_get().err(), Some(RecvValueError::Empty));
    }
    // What was put in between is done or waited for.
    assert!(produce(When::Never, When::Never).success());
    assert!(!produce(When::Dropped, When::Never).success());
    assert!(!work.join_timeout(Duration::ZERO).unwrap());
    work.get().unwrap().task_done().unwrap();
    assert!(work.join_timeout(HANG).unwrap());
    let handle = work.arena().boxed(8).unwrap();
    work.put((Deadly::default(), handle, Deadly::default(), vec![])).map_err(|e| e.to_string()).unwrap();
    assert_eq!(*work.get().unwrap().task_done().unwrap().1, 8);
}

#[test]
fn a_value_that_comes_back_is_waited_for_again() {
    let mut work = JoinableQueue::<u32>::new(2).unwrap();
    work.put(7).unwrap();
    drop(work.get().unwrap());
    assert!(!work.join_timeout(Duration::ZERO).unwrap());
    let item = work.get().unwrap();
    assert!(!work.join_timeout(Duration::ZERO).unwrap());
    item.task_done().unwrap();
    work.join().unwrap();
}

//! Processes killed at each of their system calls while they create, attach, take a dead one's place, repair or unlink: what they leave is
//! whole or not there at all, and nobody's place is lost.

use crate::common::{Unlink, fresh_name};
use crate::namespaces::PrivateShm;
use crate::paused::stopped_in_a_put;
use crate::scene::HANG;
use crate::stepped::{Now, Step, Stepped};
use skep::{
    Arena, Array, AtomicArray, Error, Event, Mutex, Part, Pipe, Queue, QueueOptions, SimpleQueue,
    shared_struct,
};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering::Relaxed;

/// Starts a process, again and again, and kills it at its first, second, … stop before or behind a system call; the last one ends by itself.
/// After each `check` looks at what is left. Returns the number of stops.
fn kill_at_each_call(start: impl Fn() -> Stepped, mut check: impl FnMut(usize)) -> usize {
    let mut kill_at = 0;
    loop {
        let child = start();
        let is_over = (0..kill_at).any(|_| child.step(Step::SystemCall) == Now::Over);
        if !is_over {
            child.kill();
        }
        check(kill_at);
        if is_over {
            return kill_at;
        }
        kill_at += 1;
    }
}

/// How one kind of named object is made, found, and seen to work.
struct Named<T> {
    create: fn(&str) -> Result<T, Error>,
    open: fn(&str) -> Result<T, Error>,
    works: fn(T),
    /// Whether `create` opens what is there.
    opens: bool,
}

fn queue() -> Named<SimpleQueue<u64>> {
    let works = |mut queue: SimpleQueue<u64>| {
        assert_eq!(queue.capacity(), 4);
        queue.try_put(5).unwrap();
        assert_eq!(queue.try_get(), Ok(5));
    };
    let create = |name: &str| QueueOptions::new(4).peers(2).create(name);
    Named { create, open: SimpleQueue::open, works, opens: false }
}

fn pipe() -> Named<Pipe> {
    let works = |pipe: Pipe| {
        let (mut sender, mut receiver) = (pipe.sender().unwrap(), pipe.receiver().unwrap());
        sender.try_send(b"whole").unwrap();
        assert_eq!(*receiver.try_recv().unwrap(), *b"whole");
    };
    Named { create: |name| Pipe::create(name, 100), open: Pipe::open, works, opens: false }
}

fn mutex() -> Named<Mutex<u64>> {
    let works = |mutex: Mutex<u64>| assert_eq!(*mutex.try_lock().unwrap(), 9);
    Named { create: |name| Mutex::create(name, 9), open: Mutex::open, works, opens: false }
}

fn arena() -> Named<Arena> {
    let works = |arena: Arena| assert_eq!(arena.slice(&[1_u8, 2]).unwrap()[..], [1, 2]);
    Named { create: |name| Arena::create(name, 1 << 16), open: Arena::open, works, opens: false }
}

fn array() -> Named<Array<u64>> {
    let works = |array: Array<u64>| assert_eq!(*array.lock().unwrap(), [3, 4]);
    Named { create: |name| Array::create_from_slice(name, &[3, 4]), open: Array::open, works, opens: false }
}

fn atomic_array() -> Named<AtomicArray<u64>> {
    let works = |array: AtomicArray<u64>| {
        assert_eq!(array.iter().map(|item| item.load(Relaxed)).collect::<Vec<_>>(), [3, 4]);
    };
    Named {
        create: |name| AtomicArray::create_from_slice(name, &[3, 4]),
        open: AtomicArray::open,
        works,
        opens: false,
    }
}

fn queue_of_values() -> Named<Queue<String>> {
    Named { create: |name| Queue::create(name, 4), open: Queue::open, works: values_work, opens: false }
}

/// As programs do that may start in any order: each of these is creator and opener.
fn queue_of_values_made_or_opened() -> Named<Queue<String>> {
    Named {
        create: |name| Queue::open_or_create(name, 4),
        open: Queue::open,
        works: values_work,
        opens: true,
    }
}

fn values_work(mut queue: Queue<String>) {
    assert_eq!(queue.capacity(), 4);
    queue.try_put("whole".repeat(100)).unwrap();
    assert_eq!(queue.try_get().unwrap(), "whole".repeat(100));
}

shared_struct! {
    struct Both {
        one: Event,
        other: Event,
    }
}

fn parts() -> Named<Both> {
    let works = |both: Both| {
        both.one.set().unwrap();
        assert!(both.one.is_set() && !both.other.is_set());
    };
    Named { create: |name| Both::create(name, ((), ())), open: Both::open, works, opens: false }
}

fn is_whole_or_not_there<T>(test: &str, named: &Named<T>) {
    let shm = PrivateShm::enter();
    let name = fresh_name(test);
    let _unlink = Unlink(name.clone());
    let empty = shm.used();
    let create = || Stepped::start(|| (), |()| std::mem::forget((named.create)(&name)));
    let (mut whole, mut absent) = (0, 0);
    kill_at_each_call(create, |stop| {
        match (named.open)(&name) {
            Ok(object) => {
                (named.works)(object);
                match (named.create)(&name) {
                    Err(Error::Exists { .. }) => assert!(!named.opens),
                    again => assert!(named.opens, "created twice: {:?}", again.err()),
                }
                whole += 1;
            }
            Err(Error::NotFound { .. }) => {
                shm.settles_at(empty, &format!("a file without a name, killed at stop {stop}"));
                (named.works)((named.create)(&name).expect("nobody has the name"));
                absent += 1;
            }
            Err(other) => panic!("half born, killed at stop {stop}: {other}"),
        }
        skep::Segment::unlink(&name).unwrap();
        shm.settles_at(empty, &format!("memory without a name, killed at stop {stop}"));
    });
    assert!(whole > 1 && absent > 10, "{whole} times whole, {absent} times not there");
}

#[test]
fn a_named_object_whose_creator_is_killed_is_whole_or_not_there() {
    // A thread of its own, as it may get a /dev/shm of its own.
    let all = || {
        is_whole_or_not_there("queue", &queue());
        is_whole_or_not_there("pipe", &pipe());
        is_whole_or_not_there("mutex", &mutex());
        is_whole_or_not_there("arena", &arena());
        is_whole_or_not_there("array", &array());
        is_whole_or_not_there("atomics", &atomic_array());
        is_whole_or_not_there("parts", &parts());
        is_whole_or_not_there("values", &queue_of_values());
        is_whole_or_not_there("values, made or opened", &queue_of_values_made_or_opened());
    };
    std::thread::spawn(all).join().unwrap();
}

#[test]
fn a_name_whose_remover_is_killed_is_there_whole_or_not_at_all() {
    let name = fresh_name("unlink");
    let _unlink = Unlink(name.clone());
    let named = queue();
    let start = || {
        drop((named.create)(&name));
        Stepped::start(|| (), |()| skep::Segment::unlink(&name).unwrap())
    };
    kill_at_each_call(start, |stop| match (named.open)(&name) {
        Ok(queue) => (named.works)(queue),
        Err(Error::NotFound { .. }) => {}
        Err(other) => panic!("killed at stop {stop}: {other}"),
    });
    assert!(matches!((named.open)(&name), Err(Error::NotFound { .. })));
}

/// The inodes of skep's anonymous files that a process has open.
fn anonymous_files(pid: &str) -> BTreeSet<u64> {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return BTreeSet::new() };
    let is_ours =
        |path: &std::path::Path| path.read_link().is_ok_and(|to| to.starts_with("/memfd:skep (deleted)"));
    let paths = files.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_ours(path));
    paths.filter_map(|path| Some(path.metadata().ok()?.ino())).collect()
}

#[test]
fn an_anonymous_objects_memory_is_gone_with_its_killed_creator() {
    let made = std::cell::Cell::new(0);
    for kill_at in 0.. {
        let child = Stepped::start(|| (), |()| std::mem::forget(SimpleQueue::<u64>::new(4)));
        let pid = child.pid().to_string();
        let inherited = anonymous_files(&pid);
        let is_over = (0..kill_at).any(|_| child.step(Step::SystemCall) == Now::Over);
        if is_over {
            break;
        }
        let own: BTreeSet<u64> = anonymous_files(&pid).difference(&inherited).copied().collect();
        child.kill();
        made.set(made.get() + own.len());
        for process in std::fs::read_dir("/proc").unwrap() {
            let pid = process.unwrap().file_name().into_string().unwrap();
            assert!(
                own.is_disjoint(&anonymous_files(&pid)),
                "killed at stop {kill_at}, process {pid} has it"
            );
        }
    }
    assert!(made.get() > 10, "{} files seen", made.get());
}

/// After any number of deaths the one place besides the observer's can be taken, and the queue works.
fn assert_place_is_free(queue: &mut SimpleQueue<u64>, stop: usize) {
    let mut second = queue.try_clone().unwrap_or_else(|e| panic!("killed at stop {stop}: {e}"));
    second.put(stop as u64).unwrap();
    assert_eq!(queue.get_timeout(HANG), Ok(stop as u64));
}

#[test]
fn a_place_whose_taker_is_killed_is_not_lost() {
    let name = fresh_name("attach");
    let _unlink = Unlink(name.clone());
    let mut queue = QueueOptions::new(4).peers(2).create::<u64>(&name).unwrap();
    let attach = || Stepped::start(|| (), |()| std::mem::forget(SimpleQueue::<u64>::open(&name).unwrap()));
    let stops = kill_at_each_call(attach, |stop| assert_place_is_free(&mut queue, stop));
    assert!(stops > 20, "{stops}");
}

fn own_fd(queue: &SimpleQueue<u64>) -> OwnedFd {
    queue.as_fd().try_clone_to_owned().unwrap()
}

/// The place is that of one who died with a slot in its hands; who takes it repairs first.
#[test]
fn a_dead_ones_place_whose_taker_is_killed_is_not_lost_and_is_repaired() {
    let scene = std::cell::RefCell::new(None);
    let attach = || {
        let (queue, dead) = stopped_in_a_put(4, 2);
        dead.kill();
        let fd = own_fd(&queue);
        *scene.borrow_mut() = Some(queue);
        Stepped::start(|| (), |()| std::mem::forget(SimpleQueue::<u64>::from_fd(fd).unwrap()))
    };
    let stops = kill_at_each_call(attach, |stop| {
        let mut queue = scene.borrow_mut().take().unwrap();
        assert_place_is_free(&mut queue, stop);
    });
    assert!(stops > 20, "{stops}");
}

#[test]
fn a_repair_whose_maker_is_killed_is_made_again() {
    let scene = std::cell::RefCell::new(None);
    let repair = || {
        let (queue, dead) = stopped_in_a_put(4, 3);
        let fd = own_fd(&queue);
        let repairer = Stepped::start(
            || SimpleQueue::<u64>::from_fd(fd).unwrap(),
            |mut queue| {
                queue.recover().unwrap();
                std::mem::forget(queue);
            },
        );
        dead.kill();
        *scene.borrow_mut() = Some(queue);
        repairer
    };
    let stops = kill_at_each_call(repair, |stop| {
        let mut queue = scene.borrow_mut().take().unwrap();
        assert!((1..=2).contains(&queue.recover().unwrap()), "killed at stop {stop}");
        let _both =
            [(); 2].map(|()| queue.try_clone().unwrap_or_else(|e| panic!("killed at stop {stop}: {e}")));
        queue.put(5).unwrap();
        assert_eq!(queue.get_timeout(HANG), Ok(5), "killed at stop {stop}");
    });
    assert!(stops > 8, "{stops}");
}

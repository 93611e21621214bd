//! Programs that still use `shared_memory` and `raw_sync`, in other processes, together with skep.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Other, Unlink, fresh_name, role};
use raw_sync::locks::{LockImpl, LockInit};
use shared_memory::{Shmem, ShmemConf};
use skep::{Error, GetError, LockError, Mismatch, Mutex, QueueOptions, SimpleQueue};
use std::time::Duration;

/// So long that only a hang reaches it.
const HANG: Duration = Duration::from_secs(30);
const TIMES: u64 = 50_000;
/// What `raw_sync` says when it got the lock from a dead holder.
const EOWNERDEAD: &str = "130";
const ENOTRECOVERABLE: &str = "131";

type Counter = Mutex<u64>;

#[test]
fn the_other_process() {
    let Some((role, name)) = role() else { return };
    let mut reports = SimpleQueue::<u64>::open(&format!("{name}-reports")).unwrap();
    match role.as_str() {
        "count with raw_sync" => {
            let memory = attach(&name);
            let counter = RawCounter::over(&memory);
            reports.put(0).unwrap();
            (0..TIMES).for_each(|_| counter.add_one());
        }
        "hold with raw_sync" => {
            let memory = attach(&name);
            let counter = RawCounter::over(&memory);
            let guard = counter.mutex.lock();
            assert!(guard.is_ok());
            reports.put(0).unwrap();
            std::thread::park();
        }
        "hold with skep" => {
            let mutex = Counter::open(&name).unwrap();
            let _guard = mutex.lock().unwrap();
            reports.put(0).unwrap();
            std::thread::park();
        }
        "double" => {
            let mut numbers = SimpleQueue::<u64>::open_in(attach(&name)).unwrap();
            reports.put(0).unwrap();
            while let Ok(n) = numbers.get() {
                reports.put(2 * n).unwrap();
            }
        }
        "join and wait" => {
            let _numbers = SimpleQueue::<u64>::open_in(attach(&name)).unwrap();
            reports.put(0).unwrap();
            std::thread::park();
        }
        other => panic!("no such role: {other}"),
    }
    std::process::exit(0);
}

fn attach(name: &str) -> Shmem {
    ShmemConf::new().os_id(name).open().unwrap()
}

/// A queue on which the other process says how far it is.
fn reports(name: &str) -> (SimpleQueue<u64>, Unlink) {
    let name = format!("{name}-reports");
    (SimpleQueue::create(&name, 16).unwrap(), Unlink(name))
}

// --- raw_sync on skep's mutex ----------------------------------------------------------------------------------

/// A counter as a program without skep sees it: a `raw_sync` mutex and a pointer.
struct RawCounter<'a> {
    mutex: Box<dyn LockImpl>,
    suspect: *mut u32,
    _memory: &'a Shmem,
}

impl RawCounter<'_> {
    fn over(memory: &Shmem) -> RawCounter<'_> {
        let base = memory.as_ptr();
        // SAFETY: the offsets of a counter's words, in the memory of one, which stays mapped.
        unsafe {
            let lock = base.add(Counter::RAW_MUTEX_OFFSET);
            let (mutex, _) =
                raw_sync::locks::Mutex::from_existing(lock, base.add(Counter::DATA_OFFSET)).unwrap();
            RawCounter { mutex, suspect: base.add(Counter::SUSPECT_OFFSET).cast(), _memory: memory }
        }
    }

    fn add_one(&self) {
        let value = self.mutex.lock().unwrap();
        // SAFETY: the lock is held; eight bytes are a number.
        unsafe { *value.cast::<u64>() += 1 };
    }

    /// Locks after a death: the error of `raw_sync`, with the lock held.
    fn lock_from_the_dead(&self) {
        let error = self.mutex.lock().err().expect("somebody died").to_string();
        assert!(error.ends_with(EOWNERDEAD), "{error}");
    }

    fn make_consistent(&self) {
        // SAFETY: the mutex is held by this thread.
        assert_eq!(unsafe { libc::pthread_mutex_consistent(self.mutex.as_raw().cast()) }, 0);
    }
}

/// A counter, a process in a role that has said it is ready, and the way to hear more of it.
fn counter_and(role: &str, test: &str) -> (Counter, Other, String, Unlink) {
    common::end_after(3 * HANG);
    let name = fresh_name(test);
    let unlink = Unlink(name.clone());
    let (mut reports, _reports) = reports(&name);
    let counter = Counter::create(&name, 0).unwrap();
    let other = Other::start(role, &name);
    reports.get_timeout(HANG).unwrap();
    (counter, other, name, unlink)
}

#[test]
fn raw_sync_and_skep_exclude_each_other() {
    let (counter, other, ..) = counter_and("count with raw_sync", "exclude");
    (0..TIMES).for_each(|_| *counter.lock().unwrap() += 1);
    other.finish();
    assert_eq!(*counter.lock().unwrap(), 2 * TIMES);
}

#[test]
fn raw_sync_attaches_by_pointers_too() {
    common::end_after(3 * HANG);
    let counter = Counter::new(41).unwrap();
    let parts = counter.raw_parts();
    // SAFETY: the words of a mutex that outlives this one.
    let (raw, _) =
        unsafe { raw_sync::locks::Mutex::from_existing(parts.mutex.as_ptr(), parts.value.as_ptr().cast()) }
            .unwrap();
    let value = raw.lock().unwrap();
    // SAFETY: the lock is held.
    unsafe { *value.cast::<u64>() += 1 };
    assert!(matches!(counter.lock(), Err(LockError::WouldDeadlock)));
    drop(value);
    assert_eq!(*counter.lock().unwrap(), 42);
}

#[test]
fn skep_hears_of_the_death_of_a_raw_sync_holder() {
    let (counter, other, ..) = counter_and("hold with raw_sync", "raw-died");
    assert!(matches!(counter.try_lock(), Err(LockError::WouldBlock)));
    other.kill();
    assert!(matches!(counter.lock(), Err(LockError::OwnerDied(_))));
    drop(counter.lock().or_else(|e| e.recover(|n| *n = 1)).unwrap());
    assert_eq!(*counter.lock().unwrap(), 1);
}

#[test]
fn a_raw_sync_user_recovers_after_the_death_of_a_skep_holder() {
    let (counter, other, name, _unlink) = counter_and("hold with skep", "skep-died");
    other.kill();
    let memory = attach(&name);
    let raw = RawCounter::over(&memory);
    raw.lock_from_the_dead();
    raw.make_consistent();
    raw.mutex.release().unwrap();
    raw.add_one();
    assert_eq!(*counter.lock().unwrap(), 1);
}

#[test]
fn a_raw_sync_user_may_leave_the_value_to_skep() {
    let (counter, other, name, _unlink) = counter_and("hold with skep", "left-to-skep");
    other.kill();
    let memory = attach(&name);
    let raw = RawCounter::over(&memory);
    raw.lock_from_the_dead();
    // SAFETY: the lock is held, and the word is its holder's.
    unsafe { raw.suspect.write_volatile(1) };
    raw.make_consistent();
    raw.mutex.release().unwrap();
    assert!(matches!(counter.lock(), Err(LockError::OwnerDied(_))));
    // SAFETY: as above.
    assert_eq!(unsafe { raw.suspect.read_volatile() }, 1, "what skep leaves unmarked, raw_sync can see");
}

#[test]
fn a_release_after_a_death_without_consistent_is_named_for_what_it_is() {
    let (counter, other, name, _unlink) = counter_and("hold with skep", "unrecoverable");
    other.kill();
    let memory = attach(&name);
    let raw = RawCounter::over(&memory);
    raw.lock_from_the_dead();
    raw.mutex.release().unwrap();
    assert!(raw.mutex.lock().err().expect("beyond repair").to_string().ends_with(ENOTRECOVERABLE));
    for result in [counter.lock(), counter.try_lock(), counter.lock_timeout(HANG)] {
        assert!(matches!(result, Err(LockError::Unrecoverable)), "{result:?}");
    }
}

// --- a queue in shared_memory's memory ---------------------------------------------------------------------------

/// Memory of the caller's for a queue of these options.
fn memory_for(options: QueueOptions, name: &str) -> Shmem {
    ShmemConf::new().os_id(name).size(options.shmem_size::<u64>().unwrap()).create().unwrap()
}

#[test]
fn a_queue_in_adopted_memory_carries_items_between_processes() {
    let name = fresh_name("adopted");
    let (mut reports, _unlink) = reports(&name);
    let options = QueueOptions::new(16).peers(3);
    let mut numbers = options.create_in::<u64>(memory_for(options, &name)).unwrap();
    let other = Other::start("double", &name);
    assert_eq!(reports.get_timeout(HANG), Ok(0));
    for n in 1..=1000 {
        numbers.put(n).unwrap();
        assert_eq!(reports.get_timeout(HANG), Ok(2 * n));
    }
    numbers.close();
    other.finish();
}

#[test]
fn liveness_works_in_adopted_memory() {
    let name = fresh_name("adopted-liveness");
    let (mut reports, _unlink) = reports(&name);
    let options = QueueOptions::new(4).peers(2);
    let mut numbers = options.create_in::<u64>(memory_for(options, &name)).unwrap();
    let other = Other::start("join and wait", &name);
    reports.get_timeout(HANG).unwrap();
    assert_eq!(numbers.recover().unwrap(), 0);
    assert!(matches!(numbers.try_clone(), Err(Error::TooManyPeers { limit: 2 })));
    other.kill();
    assert_eq!(numbers.recover().unwrap(), 1);
    let mut second = std::thread::spawn(move || numbers.try_clone().unwrap()).join().unwrap();
    assert_eq!(second.try_get(), Err(GetError::Empty));
}

#[test]
fn used_memory_becomes_a_queue_once() {
    let name = fresh_name("adopted-once");
    let options = QueueOptions::new(16).peers(2);
    let memory = memory_for(options, &name);
    // SAFETY: nobody else has mapped it.
    unsafe { memory.as_ptr().write_bytes(0xff, memory.len()) };
    assert!(matches!(SimpleQueue::<u64>::open_in(attach(&name)), Err(Error::Mismatch(Mismatch::Magic))));
    let mut queue = options.create_in::<u64>(memory).unwrap();
    queue.put(7).unwrap();
    assert!(matches!(options.create_in::<u64>(attach(&name)), Err(Error::Exists { .. })));
    assert!(matches!(
        SimpleQueue::<i64>::open_in(attach(&name)),
        Err(Error::Mismatch(Mismatch::Item { .. }))
    ));
    let mut second = SimpleQueue::<u64>::open_in(attach(&name)).unwrap();
    assert_eq!(second.get(), Ok(7));
    assert!(matches!(SimpleQueue::<u64>::open_in(attach(&name)), Err(Error::TooManyPeers { limit: 2 })));
    // The creator of the memory owns its name.
    drop(queue);
    assert!(ShmemConf::new().os_id(&name).open().is_err());
    second.put(8).unwrap();
}

#[test]
fn of_several_who_make_a_queue_at_once_one_does() {
    const RACERS: usize = 3;
    let options = QueueOptions::new(4096).peers(8);
    for round in 0..50 {
        let name = fresh_name(&format!("adopted-race-{round}"));
        let _owner = memory_for(options, &name);
        let start = std::sync::Barrier::new(RACERS);
        let race = || {
            let memory = attach(&name);
            start.wait();
            options.create_in::<u64>(memory)
        };
        let made = std::thread::scope(|threads| {
            let racers: Vec<_> = (0..RACERS).map(|_| threads.spawn(race)).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(made.iter().filter(|result| result.is_ok()).count(), 1);
        assert!(made.iter().all(|result| matches!(result, Ok(_) | Err(Error::Exists { .. }))));
    }
}

#[test]
fn memory_that_is_too_small_says_what_fits() {
    let name = fresh_name("adopted-small");
    let memory = memory_for(QueueOptions::new(256).peers(2), &name);
    let room = QueueOptions::new(100_000).peers(2).create_in::<u64>(memory).unwrap_err();
    let Error::Capacity { capacity: 100_000, max } = room else { panic!("{room}") };
    assert!(max >= 256);
    let memory = memory_for(QueueOptions::new(256).peers(2), &name);
    assert!(QueueOptions::new(max).peers(2).create_in::<u64>(memory).is_ok(), "{max} fit");
    let tiny = ShmemConf::new().os_id(&name).size(4096).create().unwrap();
    assert!(matches!(
        QueueOptions::new(1).create_in::<u64>(tiny),
        Err(Error::Mismatch(Mismatch::Size { found: 4096, .. }))
    ));
}

#[test]
fn a_name_that_leads_elsewhere_is_noticed() {
    let name = fresh_name("adopted-renamed");
    let options = QueueOptions::new(4).peers(2);
    let mut memory = memory_for(options, &name);
    memory.set_owner(false);
    std::fs::remove_file(format!("/dev/shm/{name}")).unwrap();
    let elsewhere = memory_for(options, &name);
    let error = options.create_in::<u64>(memory).unwrap_err();
    assert!(matches!(error, Error::Mismatch(Mismatch::Renamed { .. })), "{error}");
    let mapped = attach(&name);
    drop(elsewhere);
    let error = SimpleQueue::<u64>::open_in(mapped).unwrap_err();
    assert!(matches!(error, Error::Mismatch(Mismatch::Renamed { .. })), "{error}");
}

#[test]
fn a_forked_child_does_not_take_the_name_away() {
    let name = fresh_name("adopted-fork");
    let options = QueueOptions::new(4).peers(2);
    let mut queue = Some(options.create_in::<u64>(memory_for(options, &name)).unwrap());
    let status = common::in_forked_child(|| {
        drop(queue.take());
        0
    });
    assert!(status.success());
    assert!(SimpleQueue::<u64>::open_in(attach(&name)).is_ok());
}

/// Somebody else was faster with the memory: its name is theirs now, and the refused owner does not take it away.
#[test]
fn a_refused_builder_leaves_the_name() {
    let options = QueueOptions::new(4).peers(4);
    let owner = ShmemConf::new().size(options.shmem_size::<u64>().unwrap()).create().unwrap();
    let name = owner.get_os_id().to_owned();
    let _unlink = common::Unlink(name.trim_start_matches('/').to_owned());
    let _queue = options.create_in::<u64>(ShmemConf::new().os_id(&name).open().unwrap()).unwrap();
    assert!(matches!(options.create_in::<u64>(owner), Err(skep::Error::Exists { .. })));
    SimpleQueue::<u64>::open_in(ShmemConf::new().os_id(&name).open().unwrap()).unwrap();
}

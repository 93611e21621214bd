//! The mutex, with real processes that are killed for real.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Other, Random, Unlink, end_after, fresh_name, role};
use skep::{LockError, Mutex, SimpleQueue};
use std::time::{Duration, Instant};

/// So long that only a hang reaches it.
const HANG: Duration = Duration::from_secs(30);

/// What the tests protect: a holder's mark, and two numbers that are equal whenever nobody holds the lock.
type Pair = [u64; 5];
const HOLDER: usize = 0;
const FIRST: usize = 1;
const SECOND: usize = 2;
const STOP: usize = 3;
/// How often somebody was told of a death.
const DEATHS: usize = 4;

/// A named mutex, and a queue each way to talk with the other process about it.
struct Scene {
    mutex: Mutex<Pair>,
    /// From the other process to the test.
    reports: SimpleQueue<u64>,
    /// From the test to the other process.
    orders: SimpleQueue<u64>,
    name: String,
    _unlink: [Unlink; 3],
}

impl Scene {
    fn new(test: &str) -> Scene {
        end_after(3 * HANG);
        let name = fresh_name(test);
        let [reports, orders] = ["reports", "orders"].map(|what| format!("{name}-{what}"));
        Scene {
            mutex: Mutex::create(&name, [0; 5]).unwrap(),
            reports: SimpleQueue::create(&reports, 16).unwrap(),
            orders: SimpleQueue::create(&orders, 16).unwrap(),
            name: name.clone(),
            _unlink: [name, reports, orders].map(Unlink),
        }
    }

    fn start(&self, role: &str) -> Other {
        Other::start(role, &self.name)
    }

    fn report(&mut self) -> u64 {
        self.reports.get_timeout(HANG).expect("the other process is gone or hangs")
    }
}

/// The other process's end of a scene.
fn enter(name: &str) -> (Mutex<Pair>, SimpleQueue<u64>, SimpleQueue<u64>) {
    let queue = |what| SimpleQueue::open(&format!("{name}-{what}")).unwrap();
    (Mutex::open(name).unwrap(), queue("reports"), queue("orders"))
}

const CLEAN: u64 = 1;
const OWNER_DIED: u64 = 2;

#[test]
fn the_other_process() {
    let Some((role, name)) = role() else { return };
    let (mutex, mut reports, mut orders) = enter(&name);
    match role.as_str() {
        "increment" => increment(&mutex, orders.get().unwrap()),
        "hold in the middle of a change" => {
            let mut guard = mutex.lock().unwrap();
            guard[FIRST] += 1;
            reports.put(CLEAN).unwrap();
            orders.get().unwrap();
            guard[SECOND] += 1;
            drop(guard);
            reports.put(CLEAN).unwrap();
        }
        "die with OwnerDied in hand" => {
            let result = mutex.lock();
            assert!(matches!(result, Err(LockError::OwnerDied(_))), "{result:?}");
            reports.put(OWNER_DIED).unwrap();
            orders.get().unwrap();
        }
        "wait for the lock" => {
            // SAFETY: asks for this thread's number.
            reports.put(unsafe { libc::gettid() } as u64).unwrap();
            let outcome = match mutex.lock() {
                Ok(_) => CLEAN,
                Err(LockError::OwnerDied(_)) => OWNER_DIED,
                Err(other) => panic!("{other}"),
            };
            reports.put(outcome).unwrap();
        }
        "exclude the others until told to stop" => exclude(&mutex),
        other => panic!("no such role: {other}"),
    }
    std::process::exit(0);
}

/// Adds one, `times` times, in two steps between which another holder would be noticed.
fn increment(mutex: &Mutex<Pair>, times: u64) {
    for _ in 0..times {
        let mut guard = mutex.lock().unwrap();
        let seen = guard[FIRST];
        std::hint::black_box(&guard);
        guard[FIRST] = seen + 1;
    }
}

/// Changes the pair again and again, and ends with a panic should anybody else hold the lock meanwhile or leave the pair half changed
/// without a death.
fn exclude(mutex: &Mutex<Pair>) {
    let me = u64::from(std::process::id());
    for round in 0_u64.. {
        let mut guard = match mutex.lock() {
            Ok(guard) => {
                assert_eq!(guard[HOLDER], 0, "another process holds the lock");
                assert_eq!(guard[FIRST], guard[SECOND], "half changed, and nobody said so");
                guard
            }
            Err(LockError::OwnerDied(mut guard)) => {
                guard[DEATHS] += 1;
                guard[FIRST] = guard[FIRST].max(guard[SECOND]);
                guard[SECOND] = guard[FIRST];
                guard.mark_consistent();
                guard
            }
            Err(other) => panic!("{other}"),
        };
        guard[HOLDER] = me;
        guard[FIRST] += 1;
        if round % 8 == 0 {
            std::thread::yield_now();
        }
        guard[SECOND] += 1;
        std::hint::black_box(&guard);
        assert_eq!(guard[HOLDER], me, "another process took the lock");
        guard[HOLDER] = 0;
        if guard[STOP] != 0 {
            return;
        }
    }
}

// --- exclusion -------------------------------------------------------------------------------------------------

#[test]
fn processes_that_add_without_atomics_lose_nothing() {
    const PROCESSES: u64 = 4;
    const TIMES: u64 = 50_000;
    let mut scene = Scene::new("add");
    let others: Vec<Other> = (0..PROCESSES).map(|_| scene.start("increment")).collect();
    (0..PROCESSES).for_each(|_| scene.orders.put(TIMES).unwrap());
    increment(&scene.mutex, TIMES);
    others.into_iter().for_each(Other::finish);
    assert_eq!(scene.mutex.lock().unwrap()[FIRST], (PROCESSES + 1) * TIMES);
}

#[test]
fn threads_share_one_handle() {
    let mutex = Mutex::new([0; 5]).unwrap();
    std::thread::scope(|threads| {
        (0..4).for_each(|_| drop(threads.spawn(|| increment(&mutex, 20_000))));
    });
    assert_eq!(mutex.lock().unwrap()[FIRST], 80_000);
}

#[test]
fn lockers_killed_at_random_never_wedge_the_lock_nor_share_it() {
    const KILLS: usize = 200;
    let scene = Scene::new("random-kills");
    let role = "exclude the others until told to stop";
    let mut others: Vec<Other> = (0..3).map(|_| scene.start(role)).collect();
    let mut random = Random(0x10cc);
    let progress = |steps: u64| {
        let mut target = None;
        let deadline = Instant::now() + HANG;
        loop {
            assert!(Instant::now() < deadline, "the lock is wedged");
            let guard = match scene.mutex.lock_timeout(HANG) {
                Err(LockError::OwnerDied(mut guard)) => {
                    guard[DEATHS] += 1;
                    guard[HOLDER] = 0;
                    guard[SECOND] = guard[FIRST];
                    guard.mark_consistent();
                    guard
                }
                result => result.expect("the lock is wedged"),
            };
            assert_eq!(guard[HOLDER], 0, "another process holds the lock");
            if guard[SECOND] >= *target.get_or_insert(guard[SECOND] + steps) {
                break;
            }
            drop(guard);
            std::thread::yield_now();
        }
    };
    for _ in 0..KILLS {
        progress(1 + random.below(2000));
        let victim = random.below(others.len() as u64) as usize;
        others.swap_remove(victim).kill();
        others.push(scene.start(role));
    }
    progress(1000);
    // A process that was started last may not have got so far as to lock yet; it will find STOP.
    match scene.mutex.lock_timeout(HANG) {
        Ok(mut guard) => guard[STOP] = 1,
        Err(other) => panic!("{other}"),
    }
    others.into_iter().for_each(Other::finish);
    let guard = scene.mutex.lock().unwrap();
    assert_eq!(guard[FIRST], guard[SECOND]);
    assert!(guard[DEATHS] > 0, "no kill of {KILLS} hit a holder: the test shows nothing");
}

// --- death -----------------------------------------------------------------------------------------------------

/// A scene whose holder was killed with the first number changed and the second not.
fn after_a_death(test: &str) -> Scene {
    let mut scene = Scene::new(test);
    let holder = scene.start("hold in the middle of a change");
    assert_eq!(scene.report(), CLEAN);
    assert!(matches!(scene.mutex.try_lock(), Err(LockError::WouldBlock)));
    holder.kill();
    scene
}

#[test]
fn the_next_after_a_killed_holder_gets_the_lock_the_value_and_the_news() {
    let scene = after_a_death("killed");
    match scene.mutex.lock() {
        Err(LockError::OwnerDied(guard)) => assert_eq!((guard[FIRST], guard[SECOND]), (1, 0)),
        result => panic!("{result:?}"),
    }
}

#[test]
fn a_waiter_blocked_in_another_process_gets_them_too() {
    let mut scene = Scene::new("blocked");
    let holder = scene.start("hold in the middle of a change");
    assert_eq!(scene.report(), CLEAN);
    let waiter = scene.start("wait for the lock");
    let thread = scene.report();
    // Having reported, it sleeps nowhere but in the lock.
    let stat = format!("/proc/{}/task/{thread}/stat", waiter.pid());
    while !std::fs::read_to_string(&stat).unwrap().contains(") S ") {
        std::thread::yield_now();
    }
    holder.kill();
    assert_eq!(scene.report(), OWNER_DIED);
    waiter.finish();
}

#[test]
fn a_value_that_nobody_marked_stays_suspect_and_the_lock_usable() {
    let mut scene = after_a_death("unmarked");
    for _ in 0..3 {
        assert!(matches!(scene.mutex.lock(), Err(LockError::OwnerDied(_))));
        assert!(matches!(scene.mutex.try_lock(), Err(LockError::OwnerDied(_))));
        assert!(matches!(scene.mutex.lock_timeout(HANG), Err(LockError::OwnerDied(_))));
    }
    let other = scene.start("wait for the lock");
    scene.report();
    assert_eq!(scene.report(), OWNER_DIED, "in another process too");
    other.finish();
    let again = scene.start("die with OwnerDied in hand");
    assert_eq!(scene.report(), OWNER_DIED);
    again.kill();
    assert!(matches!(scene.mutex.lock(), Err(LockError::OwnerDied(_))), "after a second death");
}

#[test]
fn a_marked_value_is_as_good_as_new() {
    let scene = after_a_death("marked");
    let Err(LockError::OwnerDied(mut guard)) = scene.mutex.lock() else { panic!("nobody died?") };
    guard[SECOND] = guard[FIRST];
    guard.mark_consistent();
    drop(guard);
    for _ in 0..3 {
        assert_eq!(scene.mutex.lock().unwrap()[SECOND], 1);
    }
}

#[test]
fn recover_repairs_after_a_death_and_passes_other_errors_on() {
    let scene = after_a_death("recover");
    let guard = scene.mutex.lock().or_else(|e| e.recover(|pair| pair[SECOND] = pair[FIRST])).unwrap();
    assert_eq!((guard[FIRST], guard[SECOND], guard.is_suspect()), (1, 1, false));
    let refused = scene.mutex.lock().or_else(|e| e.recover(|_| panic!("nobody died")));
    assert!(matches!(refused, Err(LockError::WouldDeadlock)));
}

#[test]
fn a_stopped_holder_is_alive() {
    let mut scene = Scene::new("stopped");
    let holder = scene.start("hold in the middle of a change");
    assert_eq!(scene.report(), CLEAN);
    holder.signal(libc::SIGSTOP);
    let mut status = 0;
    // SAFETY: waits until the child, which is not reaped here, is stopped.
    assert_eq!(unsafe { libc::waitpid(holder.pid(), &raw mut status, libc::WUNTRACED) }, holder.pid());
    assert!(libc::WIFSTOPPED(status));
    assert!(matches!(scene.mutex.lock_timeout(Duration::from_millis(250)), Err(LockError::Timeout)));
    assert!(matches!(scene.mutex.try_lock(), Err(LockError::WouldBlock)));
    holder.signal(libc::SIGCONT);
    scene.orders.put(CLEAN).unwrap();
    assert_eq!(scene.report(), CLEAN);
    let guard = scene.mutex.lock().unwrap();
    assert_eq!((guard[FIRST], guard[SECOND]), (1, 1));
    holder.finish();
}

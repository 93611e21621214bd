//! Who waits, collects: the pool has no thread on the way of a result.
//!
//! One of the waiting threads leads: it takes ids out of the ring of results and has each delivered, to whomever it belongs. The others
//! follow: they sleep until their own outcome is delivered, or until they are to lead.
//!
//! A leader that finds no result although the workers have plenty to do takes a nap, once a result. Were it to spin, it would keep a core from a worker, for longer than it spins: a core on which somebody
//! spins looks busy to the kernel, which leaves two workers on the other one. Were it to sleep until the next result, each result would cost its worker a wake-up. After a nap there are several.
//!
//! # Invariants
//! - L1. If nobody leads and somebody follows, then a follower has been woken to lead, or a thread is on its way out of
//!   [`wait`](Collector::wait) and will wake one: every way out, a panic included, passes
//!   [`hand_over`](Collector::hand_over).
//! - L2. A thread that waits for something has said so, where it is brought about, before it looks
//!   whether it is there. The wake-up is a token (`waiter.rs`), so it is never lost.

use crate::sync::{GetError, Mutex, MutexGuard, SimpleQueue, lock};
use crate::waiter::{Waiter, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// How long the leader looks for a result before it looks whether it can rest.
const GLANCE: Duration = Duration::from_micros(5);
/// So many tasks in the ring keep the workers busy while the leader rests: there was no result for [`GLANCE`], so they are not the shortest.
const BACKLOG: usize = 32;
/// How long it rests. The kernel makes several times as much of it.
const NAP: Duration = Duration::from_micros(20);

pub(crate) struct Collector {
    /// Locked by the leader.
    done: Mutex<SimpleQueue<u64>>,
    roles: Mutex<Roles>,
}

#[derive(Default)]
struct Roles {
    is_led: bool,
    followers: Vec<Waker>,
}

/// What the collector does with an id, and with a broken ring.
pub(crate) trait Deliver {
    fn deliver(&self, id: u64);
    /// How many tasks no worker has taken yet.
    fn backlog(&self) -> usize;
    fn ring_failed(&self, error: GetError);
}

impl Collector {
    pub(crate) fn new(done: SimpleQueue<u64>) -> Collector {
        Collector { done: Mutex::new(done), roles: Mutex::default() }
    }

    /// Collects or sleeps until `ready`, or until the deadline has passed. Returns whether it is ready.
    ///
    /// `ready` registers the waker, where the thing is brought about, before it looks (L2).
    pub(crate) fn wait(
        &self,
        to: &impl Deliver,
        deadline: Option<Instant>,
        ready: impl Fn(&Waker) -> bool,
    ) -> bool {
        Waiter::with(|this| {
            let ready = || ready(this.waker());
            let is_over = || deadline.is_some_and(|d| Instant::now() >= d);
            let _exit = Exit { collector: self, waker: this.waker() };
            loop {
                if ready() {
                    return true;
                }
                if is_over() {
                    return false;
                }
                match self.take_lead_or_follow(this.waker()) {
                    Some(_lead) => self.lead(to, deadline, &ready),
                    None => this.sleep(deadline),
                }
            }
        })
    }

    /// Delivers what is there, without waiting, unless somebody leads and does it anyway. What comes
    /// meanwhile is left, so that this ends however busy the pool is.
    pub(crate) fn collect(&self, to: &impl Deliver) {
        Waiter::with(|this| {
            let _exit = Exit { collector: self, waker: this.waker() };
            let Some(_lead) = self.take_lead() else { return };
            let mut done = lock(&self.done);
            for _ in 0..done.len() {
                let Some(id) = self.or_failed(to, done.try_get()) else { break };
                to.deliver(id);
            }
        });
    }

    fn lead(&self, to: &impl Deliver, deadline: Option<Instant>, ready: &impl Fn() -> bool) {
        let mut done: MutexGuard<'_, _> = lock(&self.done);
        let mut has_glanced = false;
        while !ready() {
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            let at_most = |time: Duration| left.map_or(time, |left| left.min(time));
            let got = match if has_glanced { left } else { Some(at_most(GLANCE)) } {
                None => done.get(),
                Some(time) => done.get_timeout(time),
            };
            if !has_glanced && matches!(got, Err(GetError::Empty)) {
                has_glanced = true;
                if to.backlog() >= BACKLOG {
                    thread::sleep(at_most(NAP));
                }
                continue;
            }
            has_glanced = false;
            match self.or_failed(to, got) {
                Some(id) => to.deliver(id),
                None => return,
            }
        }
    }

    fn or_failed(&self, to: &impl Deliver, got: Result<u64, GetError>) -> Option<u64> {
        match got {
            Ok(id) => Some(id),
            Err(GetError::Empty) => None,
            Err(error) => {
                to.ring_failed(error);
                None
            }
        }
    }

    /// Takes the lead, if nobody has it.
    fn take_lead(&self) -> Option<Lead<'_>> {
        let is_led = std::mem::replace(&mut lock(&self.roles).is_led, true);
        (!is_led).then_some(Lead(self))
    }

    /// Takes the lead, or makes the calling thread a follower.
    fn take_lead_or_follow(&self, this: &Waker) -> Option<Lead<'_>> {
        let mut roles = lock(&self.roles);
        if !roles.is_led {
            roles.is_led = true;
            roles.forget(this);
            return Some(Lead(self));
        }
        if !roles.followers.contains(this) {
            roles.followers.push(this.clone());
        }
        None
    }

    /// On every way out: this thread follows no more, and if nobody leads, another one shall (L1).
    fn hand_over(&self, this: &Waker) {
        let mut roles = lock(&self.roles);
        if roles.followers.is_empty() {
            return;
        }
        roles.forget(this);
        if !roles.is_led
            && let Some(next) = roles.followers.pop()
        {
            drop(roles);
            next.wake();
        }
    }
}

/// The leader's role. It ends with this, also when the leader panics.
struct Lead<'a>(&'a Collector);

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        lock(&self.0.roles).is_led = false;
    }
}

/// A waiting thread's way out (L1).
struct Exit<'a> {
    collector: &'a Collector,
    waker: &'a Waker,
}

impl Drop for Exit<'_> {
    fn drop(&mut self) {
        self.collector.hand_over(self.waker);
    }
}

impl Roles {
    fn forget(&mut self, waker: &Waker) {
        self.followers.retain(|follower| follower != waker);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use skep_ipc::QueueOptions;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn collector() -> (Collector, SimpleQueue<u64>) {
        let ring = QueueOptions::new(8).anonymous::<u64>().expect("memory");
        (Collector::new(ring.try_clone().expect("a free place")), ring)
    }

    /// Each result that is delivered brings the next one about.
    struct Busy {
        ring: Mutex<SimpleQueue<u64>>,
        delivered: AtomicUsize,
    }

    impl Deliver for Busy {
        fn deliver(&self, id: u64) {
            assert!(self.delivered.fetch_add(1, Ordering::Relaxed) < 100, "it does not end");
            lock(&self.ring).try_put(id).expect("room");
        }

        fn backlog(&self) -> usize {
            0
        }

        fn ring_failed(&self, error: GetError) {
            panic!("{error}");
        }
    }

    #[test]
    fn collecting_ends_although_results_keep_coming() {
        let (collector, mut ring) = collector();
        ring.put(1).expect("room");
        ring.put(2).expect("room");
        let busy = Busy { ring: Mutex::new(ring), delivered: AtomicUsize::new(0) };
        collector.collect(&busy);
        assert_eq!(busy.delivered.into_inner(), 2);
    }

    /// Panics at the first result.
    struct Fragile(AtomicUsize);

    impl Deliver for Fragile {
        fn deliver(&self, _: u64) {
            assert!(self.0.fetch_add(1, Ordering::Relaxed) > 0, "the first one");
        }

        fn backlog(&self) -> usize {
            0
        }

        fn ring_failed(&self, error: GetError) {
            panic!("{error}");
        }
    }

    #[test]
    fn a_leader_that_panics_leaves_the_lead_to_another() {
        let (collector, mut ring) = collector();
        ring.put(1).expect("room");
        let fragile = Fragile(AtomicUsize::new(0));
        let is_told = |_: &Waker| fragile.0.load(Ordering::Relaxed) > 1;
        let wait = || collector.wait(&fragile, Some(Instant::now() + Duration::from_secs(30)), is_told);
        assert!(catch_unwind(AssertUnwindSafe(wait)).is_err());
        ring.put(2).expect("room");
        assert!(wait(), "nobody collects any more");
    }
}

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
//!   [`wait`](Collector::wait) and will wake one: every way out passes [`hand_over`](Collector::hand_over).
//! - L2. Who waits for something has said so, where it is brought about, before it looks whether it is there. So the wake-up,
//!   which is a token (`unpark`), is never lost.

use crate::sync::lock;
use skep_ipc::{GetError, SimpleQueue};
use std::sync::{Mutex, MutexGuard};
use std::thread::{self, Thread, ThreadId};
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
    followers: Vec<Thread>,
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

    /// Collects or sleeps until `ready`, or until the deadline has passed; tells whether it is ready.
    ///
    /// `ready` says where it is brought about that this thread waits (L2).
    pub(crate) fn wait(
        &self,
        to: &impl Deliver,
        deadline: Option<Instant>,
        ready: impl Fn() -> bool,
    ) -> bool {
        let is_over = || deadline.is_some_and(|d| Instant::now() >= d);
        let is_ready = loop {
            if ready() {
                break true;
            }
            if is_over() {
                break false;
            }
            if self.take_lead_or_follow() {
                self.lead(to, deadline, &ready);
                lock(&self.roles).is_led = false;
            } else {
                match deadline {
                    None => thread::park(),
                    Some(d) => thread::park_timeout(d.saturating_duration_since(Instant::now())),
                }
            }
        };
        self.hand_over();
        is_ready
    }

    /// Delivers what is there, without waiting, unless somebody leads and does it anyway.
    pub(crate) fn collect(&self, to: &impl Deliver) {
        {
            let mut roles = lock(&self.roles);
            if roles.is_led {
                return;
            }
            roles.is_led = true;
        }
        let mut done = lock(&self.done);
        while let Some(id) = self.or_failed(to, done.try_get()) {
            to.deliver(id);
        }
        drop(done);
        lock(&self.roles).is_led = false;
        self.hand_over();
    }

    fn lead(&self, to: &impl Deliver, deadline: Option<Instant>, ready: &impl Fn() -> bool) {
        let mut done: MutexGuard<'_, _> = lock(&self.done);
        let mut has_glanced = false;
        while !ready() {
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            let at_most = |time: Duration| left.map_or(time, |left| left.min(time));
            let got = match left {
                _ if !has_glanced => done.get_timeout(at_most(GLANCE)),
                None => done.get(),
                Some(left) => done.get_timeout(left),
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

    /// True: this thread leads now.
    fn take_lead_or_follow(&self) -> bool {
        let mut roles = lock(&self.roles);
        if !roles.is_led {
            roles.is_led = true;
            roles.forget(thread::current().id());
            return true;
        }
        let this = thread::current();
        if !roles.followers.iter().any(|t| t.id() == this.id()) {
            roles.followers.push(this);
        }
        false
    }

    /// On every way out: this thread follows no more, and if nobody leads, another one shall (L1).
    fn hand_over(&self) {
        let mut roles = lock(&self.roles);
        if roles.followers.is_empty() {
            return;
        }
        roles.forget(thread::current().id());
        if !roles.is_led
            && let Some(next) = roles.followers.pop()
        {
            drop(roles);
            next.unpark();
        }
    }
}

impl Roles {
    fn forget(&mut self, thread: ThreadId) {
        self.followers.retain(|t| t.id() != thread);
    }
}

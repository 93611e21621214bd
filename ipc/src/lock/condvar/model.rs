//! A condition variable in simulated shared memory, for models; its mutex is loom's.

use super::protocol::{Claim, Control, Locked, MutexIs, Waiters};
use crate::model::World;
use crate::peer::{Repair, recover};
use crate::table::Table;
use crate::wait::Until;
use loom::sync::{Arc, Mutex, MutexGuard};
use std::cell::RefCell;
use std::ptr::NonNull;

/// What [`Condvar`](../struct.Condvar.html) is on a machine, with a mutex around a number. Clones are the same one.
#[derive(Clone)]
pub struct Condvar(Arc<Memory>);

struct Memory {
    control: Control,
    claims: Box<[Claim]>,
    world: World,
    mutex: Mutex<u32>,
}

// SAFETY: the claims are loom's atomics.
unsafe impl Sync for Memory {}
// SAFETY: as above.
unsafe impl Send for Memory {}

/// A participant's hold on the mutex. It stays outside of what [`process`](super::process) runs: as the kernel does, it lets go after a death.
pub struct Hold<'a> {
    mutex: &'a Mutex<u32>,
    guard: RefCell<Option<MutexGuard<'a, u32>>>,
}

impl Hold<'_> {
    /// Locks the mutex.
    pub fn lock(&self) {
        let guard = self.mutex.lock().expect("nobody panics under it");
        *self.guard.borrow_mut() = Some(guard);
    }

    /// Unlocks it.
    pub fn unlock(&self) {
        let guard = self.guard.borrow_mut().take();
        drop(guard);
    }

    /// Reads or writes the number under it.
    pub fn with<R>(&self, access: impl FnOnce(&mut u32) -> R) -> R {
        access(self.guard.borrow_mut().as_mut().expect("it is locked"))
    }
}

/// A participant that has begun to wait.
pub struct Begun {
    number: usize,
    waiting: u32,
}

impl Condvar {
    /// One for `peers` participants, who have all joined, and a mutex around 0.
    pub fn new(peers: usize) -> Self {
        let world = World::new(peers);
        (0..peers).for_each(|number| assert!(world.enter(number)));
        let claims = (0..peers).map(|_| Claim::new()).collect();
        Condvar(Arc::new(Memory { control: Control::new(), claims, world, mutex: Mutex::new(0) }))
    }

    fn waiters(&self) -> Waiters<'_> {
        // SAFETY: the box lives as long as the memory, which `self` holds, and does not move.
        let claims = unsafe { Table::new(NonNull::from(&self.0.claims[0]), self.0.claims.len()) };
        Waiters::new(&self.0.control, claims)
    }

    /// A hold on the mutex, which is not locked yet.
    pub fn hold(&self) -> Hold<'_> {
        Hold { mutex: &self.0.mutex, guard: RefCell::new(None) }
    }

    /// Participant `me`, who holds the mutex, waits to be notified.
    pub fn wait(&self, me: usize, hold: &Hold<'_>) {
        let check = || {
            let concerned = self.waiters().is_another_notified(me);
            if concerned {
                self.recover(me);
            }
            (concerned, MutexIs::InOrder)
        };
        let lock = || (hold.lock(), Some(Locked));
        self.waiters().wait(me, Until::Forever, || hold.unlock(), lock, check).expect("its claim is its own");
    }

    /// Participant `me` begins to wait, for [`give_up`](Self::give_up): a waiter whose time will be over.
    pub fn begin(&self, me: usize) -> Begun {
        Begun { number: me, waiting: self.waiters().begin(me).expect("its claim is its own") }
    }

    /// The time is over. False: it was notified; then it is back with the mutex.
    pub fn give_up(&self, begun: &Begun) -> bool {
        let gave_up = self.waiters().give_up(begun.number, begun.waiting);
        if !gave_up {
            self.waiters().end(begun.number);
        }
        gave_up
    }

    /// Notifies up to `n`; says how many.
    pub fn notify(&self, n: usize) -> usize {
        self.waiters().notify(n, |number| self.0.world.is_dead(number))
    }

    /// Tells the kernel that a participant has died; sleepers look again.
    pub fn died(&self, number: usize) {
        self.0.world.died(number);
    }

    /// Mends for the dead.
    pub fn recover(&self, me: usize) -> usize {
        let repair = |dead| {
            self.waiters().mend(dead);
            Repair::Done
        };
        recover(self.0.world.peers(), &self.0.world, me, |_| true, repair)
    }

    /// Mends for one that is dead, and nothing else: for a mender that is killed.
    pub fn mend(&self, dead: usize) {
        self.waiters().mend(dead);
    }
}

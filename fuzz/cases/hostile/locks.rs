//! The parts whose words are ours, and what is done with them. Of a mutex the words are the C library's, which trusts them.

use super::Input;
use super::parts::{Attacked, PEERS};
use skep_ipc::{
    Barrier, Condvar, Event, LockError, Mutex, Once, Pod, RwLock, Semaphore, SemaphoreSetup, shared_struct,
};
use std::hint::black_box;
use std::time::Duration;

fn moment(input: &mut Input<'_>) -> Duration {
    Duration::from_micros(input.below(64) as u64)
}

/// The guard, also of a value that may not be in order.
fn held<G>(taken: Result<G, LockError<G>>) -> Option<G> {
    match taken {
        Ok(guard) | Err(LockError::OwnerDied(guard)) => Some(guard),
        Err(_) => None,
    }
}

impl<T: Pod> Attacked for RwLock<T> {
    fn setup() -> T {
        T::zeroed()
    }

    fn operate(&self, code: u8, input: &mut Input<'_>, meanwhile: &dyn Fn(&mut Input<'_>)) {
        match code % 6 {
            kind @ 0..=2 => {
                let taken = if kind == 0 { self.read_timeout(moment(input)) } else { self.try_read() };
                let Some(guard) = held(taken) else { return };
                meanwhile(input);
                black_box((*guard, guard.is_suspect()));
                if input.below(4) == 3 {
                    std::mem::forget(guard);
                }
            }
            kind => {
                let taken = if kind == 3 { self.write_timeout(moment(input)) } else { self.try_write() };
                let Some(mut guard) = held(taken) else { return };
                meanwhile(input);
                *guard = T::zeroed();
                match input.below(4) {
                    2 => guard.mark_consistent(),
                    3 => std::mem::forget(guard),
                    _ => _ = black_box((*guard, guard.is_suspect())),
                }
            }
        }
    }
}

impl Attacked for Semaphore {
    fn setup() -> SemaphoreSetup {
        SemaphoreSetup { permits: 3, bound: Some(5) }
    }

    fn operate(&self, code: u8, input: &mut Input<'_>, meanwhile: &dyn Fn(&mut Input<'_>)) {
        let count = input.below(8) as u32;
        let taken = match code % 6 {
            0 | 1 => self.try_acquire(),
            2 => self.try_acquire_many(count),
            3 => self.acquire_many_timeout(count, moment(input)),
            4 => {
                let _ = self.release(if input.below(8) == 0 { input.word() as u32 } else { count });
                return;
            }
            _ => {
                let _ = black_box(self.available());
                return;
            }
        };
        let Ok(permit) = taken else { return };
        meanwhile(input);
        black_box(permit.count());
        match input.below(4) {
            2 => permit.forget(),
            3 => std::mem::forget(permit),
            _ => drop(permit),
        }
    }
}

impl Attacked for Event {
    fn setup() {}

    fn operate(&self, code: u8, input: &mut Input<'_>, _meanwhile: &dyn Fn(&mut Input<'_>)) {
        match code % 4 {
            0 => _ = self.set(),
            1 => _ = self.clear(),
            2 => _ = self.wait_timeout(moment(input)),
            _ => _ = black_box(self.is_set()),
        }
    }
}

impl Attacked for Once {
    fn setup() {}

    fn operate(&self, code: u8, input: &mut Input<'_>, meanwhile: &dyn Fn(&mut Input<'_>)) {
        match code % 4 {
            0 | 1 => {
                let _ = self.try_call_once(|state| {
                    black_box(state.is_interrupted());
                    meanwhile(input);
                });
            }
            2 => {
                let time = moment(input);
                let _ = self.call_once_timeout(|_| meanwhile(input), time);
            }
            _ => _ = black_box((self.wait_timeout(moment(input)), self.is_completed())),
        }
    }
}

impl Attacked for Barrier {
    fn setup() -> usize {
        2
    }

    fn operate(&self, code: u8, input: &mut Input<'_>, _meanwhile: &dyn Fn(&mut Input<'_>)) {
        match code % 8 {
            0..=4 => {
                if let Ok(waited) = self.wait_timeout(moment(input)) {
                    assert!(waited.index() < PEERS);
                }
            }
            5 => _ = self.abort(),
            6 => _ = self.reset(),
            _ => {
                assert!(self.parties() <= PEERS && self.waiting() <= PEERS);
                black_box(self.is_broken());
            }
        }
    }
}

impl Attacked for Condvar {
    fn setup() {}

    fn operate(&self, code: u8, input: &mut Input<'_>, meanwhile: &dyn Fn(&mut Input<'_>)) {
        thread_local! {
            // Elsewhere, out of the hostile peer's reach.
            static MUTEX: Mutex<u64> = Mutex::new(0).expect("memory for a few pages");
        }
        let most = if code.is_multiple_of(2) { input.below(8) } else { usize::MAX };
        if code % 4 < 2 {
            if let Ok(woken) = self.notify(most) {
                assert!(woken <= most);
            }
            return;
        }
        MUTEX.with(|mutex| {
            // Held: by a wait that this one happens within.
            let Ok(guard) = mutex.try_lock() else { return };
            let (time, mut looks) = (moment(input), 0);
            let _ = self.wait_timeout_while(guard, time, |_| {
                looks += 1;
                if looks > 1 {
                    meanwhile(input);
                }
                looks < 4
            });
        });
    }
}

shared_struct! {
    /// One of each.
    pub struct Several {
        lock: RwLock<[u8; 3]>,
        permits: Semaphore,
        condvar: Condvar,
        event: Event,
        once: Once,
        barrier: Barrier,
    }
}

impl Attacked for Several {
    fn setup() -> Self::Setup {
        ([0; 3], Semaphore::setup(), (), (), (), Barrier::setup())
    }

    fn operate(&self, code: u8, input: &mut Input<'_>, meanwhile: &dyn Fn(&mut Input<'_>)) {
        let inner = input.below(256) as u8;
        match code % 6 {
            0 => self.lock.operate(inner, input, meanwhile),
            1 => self.permits.operate(inner, input, meanwhile),
            2 => self.condvar.operate(inner, input, meanwhile),
            3 => self.event.operate(inner, input, meanwhile),
            4 => self.once.operate(inner, input, meanwhile),
            _ => self.barrier.operate(inner, input, meanwhile),
        }
    }
}

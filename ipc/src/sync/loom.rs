//! Loom's model of a machine: each access explores what a weakly ordered memory may show, and is a step before which a
//! simulated process may be killed.

pub use loom::sync::atomic::fence;
pub(crate) use loom::thread::yield_now;

use crate::model::step;
use loom::sync::atomic::Ordering;
use std::time::Duration;

/// In a model spinning must give way, or loom would explore it for ever.
pub(crate) fn spin_loop() {
    yield_now();
}

/// A model has no lines.
pub(crate) fn prefetch_for_write<T>(_target: &T) {}

/// See [`prefetch_for_write`].
pub(crate) fn prefetch_for_read<T>(_target: &T) {}

/// In a model no time passes.
pub(crate) fn milliseconds() -> u32 {
    0
}

/// A number that no other thread has. Never zero.
pub(crate) fn thread_tag() -> u64 {
    static LAST: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    TAG.with(|tag| {
        if tag.get() == 0 {
            tag.set(LAST.fetch_add(1, Ordering::Relaxed) + 1);
        }
        tag.get()
    })
}

loom::thread_local! {
    static TAG: std::cell::Cell<u64> = std::cell::Cell::new(0);
}

/// Makes loom consider every order of two accesses to a word, loads included.
///
/// Loom reorders an access with the *last* one to the same object only. A thread that loads a word and then stores to it hides with its own load
/// what another thread has loaded before, and the order in which that one comes later is never explored. A store to a word beside it, before
/// each access, conflicts with its predecessor whatever that was; as nobody loads that word, it orders nothing else.
struct Witness(loom::sync::atomic::AtomicU32);

impl Witness {
    fn access(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

macro_rules! atomic {
    ($name:ident, $inner:ty, $value:ty) => {
        /// A shared word; each operation on it is a step, before which its process may be killed.
        pub struct $name($inner, Witness);

        impl $name {
            /// A word of that value.
            pub fn new(value: $value) -> Self {
                Self(<$inner>::new(value), Witness(loom::sync::atomic::AtomicU32::new(0)))
            }

            fn step(&self) -> bool {
                let alive = step();
                if alive {
                    self.1.access();
                }
                alive
            }

            /// Reads it. A dead process reads 0.
            pub fn load(&self, order: Ordering) -> $value {
                if self.step() { self.0.load(order) } else { 0 }
            }

            /// Writes it.
            pub fn store(&self, value: $value, order: Ordering) {
                if self.step() {
                    self.0.store(value, order);
                }
            }

            /// Writes `new` if it is `current`; gives what it was.
            ///
            /// # Errors
            /// What it was, if that is not `current`.
            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                if self.step() {
                    self.0.compare_exchange(current, new, success, failure)
                } else {
                    Ok(current)
                }
            }

            /// Adds to it, wrapping; gives what it was. A dead process reads 0.
            pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                if self.step() { self.0.fetch_add(value, order) } else { 0 }
            }

            /// Sets the bits of `value` in it; gives what it was. A dead process reads 0.
            pub fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                if self.step() { self.0.fetch_or(value, order) } else { 0 }
            }

            /// Keeps the bits of `value` in it; gives what it was. A dead process reads 0.
            pub fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                if self.step() { self.0.fetch_and(value, order) } else { 0 }
            }
        }
    };
}

atomic!(AtomicU32, loom::sync::atomic::AtomicU32, u32);
atomic!(AtomicU64, loom::sync::atomic::AtomicU64, u64);

/// A payload, in two halves that are written one after the other, so that a torn one shows.
pub struct Cell<T>(loom::cell::UnsafeCell<T>, loom::cell::UnsafeCell<T>);

impl<T: bytemuck::Pod> Cell<T> {
    /// A payload of that value.
    pub fn new(value: T) -> Self {
        Cell(loom::cell::UnsafeCell::new(value), loom::cell::UnsafeCell::new(value))
    }

    /// Copies it out. Panics if somebody writes it at the same time, or has died while writing it.
    pub fn read(&self) -> T {
        // SAFETY: loom checks that no write happens at the same time.
        let half = |cell: &loom::cell::UnsafeCell<T>| cell.with(|p| unsafe { *p });
        let first = if step() { half(&self.0) } else { T::zeroed() };
        let second = if step() { half(&self.1) } else { first };
        assert!(bytemuck::bytes_of(&first) == bytemuck::bytes_of(&second), "a torn value was read");
        first
    }

    /// Copies a value in. Panics if somebody else reads or writes it at the same time.
    pub fn write(&self, value: T) {
        for half in [&self.0, &self.1] {
            if step() {
                // SAFETY: loom checks that nothing else touches the cell at the same time.
                half.with_mut(|p| unsafe { *p = value });
            }
        }
    }
}

loom::lazy_static! {
    static ref SLEEPERS: loom::sync::Mutex<Sleepers> = loom::sync::Mutex::new(Sleepers::default());
    static ref BELL: loom::sync::Condvar = loom::sync::Condvar::new();
}

/// The kernel's table: who sleeps on which word. Its own steps are the kernel's, which is not killed.
#[derive(Default)]
struct Sleepers {
    next: usize,
    asleep: Vec<(usize, *const AtomicU32)>,
    /// How many deaths there have been.
    deaths: u64,
}

// SAFETY: the pointers are compared, never followed.
unsafe impl Send for Sleepers {}

loom::thread_local! {
    /// How many of the deaths this thread has looked for again.
    static DEATHS_SEEN: std::cell::Cell<u64> = std::cell::Cell::new(0);
}

/// Sleeps while `word` is `expected`. No time passes in a model, so no timeout ends; but after a death each sleeper, asleep already or about to be, wakes once for
/// it, as the end of its slice has it do.
pub fn futex_wait(word: &AtomicU32, expected: u32, _timeout: Option<Duration>) {
    if !step() {
        return;
    }
    let mut sleepers = SLEEPERS.lock().expect("no model panics inside the kernel");
    let deaths = sleepers.deaths;
    if word.0.load(Ordering::Relaxed) != expected || DEATHS_SEEN.with(|seen| seen.replace(deaths)) != deaths {
        return;
    }
    let ticket = sleepers.next;
    sleepers.next += 1;
    sleepers.asleep.push((ticket, word));
    while sleepers.asleep.iter().any(|&(other, _)| other == ticket) {
        sleepers = BELL.wait(sleepers).expect("no model panics inside the kernel");
    }
    DEATHS_SEEN.with(|seen| seen.set(sleepers.deaths));
}

/// Wakes up to `n` sleepers; says how many slept.
pub fn futex_wake(word: &AtomicU32, n: u32) -> usize {
    if step() { wake_where(|sleeping_on| std::ptr::eq(sleeping_on, word), n as usize) } else { 0 }
}

/// What a death comes to for those who sleep: within a slice they look again.
pub(crate) fn wake_everybody() {
    SLEEPERS.lock().expect("no model panics inside the kernel").deaths += 1;
    wake_where(|_| true, usize::MAX);
}

fn wake_where(concerned: impl Fn(*const AtomicU32) -> bool, n: usize) -> usize {
    let mut sleepers = SLEEPERS.lock().expect("no model panics inside the kernel");
    let mut woken = 0;
    sleepers.asleep.retain(|&(_, word)| {
        let wake = woken < n && concerned(word);
        woken += usize::from(wake);
        !wake
    });
    BELL.notify_all();
    woken
}

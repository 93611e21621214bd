//! Waiting for a condition on shared memory: spin, then yield, then sleep on a futex.
//!
//! A wake-up costs tens of microseconds and its waker about ten, so a waiter first looks again for as long as a
//! wake-up would take, and a waker makes a system call only if somebody sleeps.
//!
//! # The word
//! `{ count: 29, FENCED: 1, sleepers: 2 }`. The count changes with every wake-up.
//!
//! | sleepers | |
//! | --- | --- |
//! | `NOBODY` | nobody sleeps |
//! | `ASLEEP` | since the last wake-up somebody has announced that it will sleep |
//! | `WOKEN` | nobody has; but not all that had before need be awake |
//!
//! | who | step | |
//! | --- | --- | --- |
//! | waiter | W1 | sleepers := `ASLEEP`; keep the word as the ticket |
//! | | W2 | heavy fence, look at the condition once more; if it holds, go |
//! | | W3 | sleep while the word is the ticket |
//! | waker | N1 | make the condition true |
//! | | N2 | light fence, read the word; `NOBODY`: done |
//! | | N3 | word := `{ count + 1, WOKEN }`; keep it |
//! | | N4 | wake as many as there is reason to |
//! | | N5 | nobody slept: if the word still is the one of N3, sleepers := `NOBODY` |
//!
//! # No wake-up is lost
//! The fences of W2 and N2 are ordered. If N2's is first, W2 sees the condition. If W2's is first, N2 sees what W1 wrote or what came after it. Then N3, this waker's or that of
//! one before it, makes the ticket stale: the waiter either sleeps already, and N4 wakes it, or one that has slept for longer, or W3 finds the word changed. N5 clears only if no waiter has announced
//! itself since N3, and who announced before N3 does not sleep on the word of N3.
//!
//! A waiter that announces itself leaves the others' tickets as they are, but for the first one that sets `FENCED`: the count is the wakers'. Were it to change with each waiter, those who are about to sleep would keep
//! each other awake, each at the price of a heavy fence.
//!
//! The waker's fence is free where the waiter's has the kernel fence for both (`sync/asymmetric.rs`). A waiter whose kernel does not do so sets `FENCED`, which
//! stays: a waker that finds it fences for itself and reads again. Should a waker miss `FENCED` itself, as it is set for the first time, the waiter
//! sleeps until the end of its first slice.
//!
//! A wake-up says that the word changed, not that the sleeper's condition holds. Where a sleeper can be woken in vain and another's turn comes later, as
//! with items that are published out of order, whoever had to wait and does get on passes the wake-up on (`Ring::wake_for_next_item`). Where that is so, wakers need not
//! wake while another one is on its way (`relay.rs`).
//!
//! # Death
//! A waker that is killed between N1 and N4 leaves sleepers behind, so nobody sleeps for longer than a slice without
//! looking again, and whoever repairs for the dead wakes all. A waiter that is killed leaves `ASLEEP` behind, which costs one
//! needless wake (N5).

use crate::sync::{self, Acquire, AtomicU32, Relaxed, SeqCst, fence, heavy_fence, light_fence};
use std::time::Duration;
#[cfg(not(loom))]
use std::time::Instant;

const NOBODY: u32 = 0;
const ASLEEP: u32 = 1;
const WOKEN: u32 = 2;
const SLEEPERS: u32 = 3;
const FENCED: u32 = 4;
/// One of the count.
const STEP: u32 = 8;

/// A word that waiters sleep on.
#[repr(transparent)]
pub(crate) struct WaitWord(AtomicU32);

/// What a waker finds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sleepers {
    /// Somebody has announced since the last wake-up that it will sleep.
    Asleep,
    /// Nobody has; but some may sleep since before.
    Woken,
}

/// What the word was when its holder announced that it would sleep.
#[derive(Clone, Copy)]
struct Ticket(u32);

impl WaitWord {
    /// Knows of a refusal from the beginning where its maker's kernel refuses: in a model no slice ends.
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        WaitWord(AtomicU32::new(if sync::is_refused() { FENCED } else { NOBODY }))
    }

    /// Replaces the word by what `next` makes of it; says what it is then. Nothing, if `next` does not want to.
    fn update(&self, next: impl Fn(u32) -> Option<u32>) -> Option<u32> {
        let mut seen = self.0.load(Relaxed);
        loop {
            let next = next(seen)?;
            match self.0.compare_exchange(seen, next, Relaxed, Relaxed) {
                Ok(_) => return Some(next),
                Err(now) => seen = now,
            }
        }
    }

    /// W1 and the fence of W2. The caller must look at its condition afterwards, before it sleeps.
    fn announce(&self) -> Ticket {
        let with =
            |flags| self.update(|seen| Some(seen & !SLEEPERS | ASLEEP | flags)).map_or(Ticket(0), Ticket);
        let ticket = with(0); // W1
        // W2 pairs with N2
        if heavy_fence() {
            return ticket;
        }
        let ticket = with(FENCED);
        fence(SeqCst);
        ticket
    }

    /// Sleeps until it is woken, as a waiter that is stopped before it looks.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn sleep_without_a_look(&self) {
        let ticket = self.announce();
        while self.0.load(Relaxed) == ticket.0 {
            sync::futex_wait(&self.0, ticket.0, None);
        }
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn bits(&self) -> u32 {
        self.0.load(Relaxed)
    }

    /// Wakes up to `n` sleepers, if there are any, after the caller made their condition true (N1).
    #[inline]
    pub(crate) fn wake(&self, n: u32) {
        self.wake_if(n, |_| true);
    }

    /// The same, if there is reason to: `has_reason` is asked only if somebody may sleep.
    #[inline]
    pub(crate) fn wake_if(&self, n: u32, has_reason: impl Fn(Sleepers) -> bool) {
        light_fence(); // N2 pairs with W2
        let word = self.0.load(Relaxed);
        if word & (SLEEPERS | FENCED) != 0 {
            self.wake_sleepers(word, n, has_reason);
        }
    }

    #[cold]
    fn wake_sleepers(&self, word: u32, n: u32, has_reason: impl Fn(Sleepers) -> bool) {
        if word & FENCED != 0 {
            fence(SeqCst); // pairs with W2 of a waiter that fences for itself
        }
        let stepped = self.update(|seen| {
            let sleepers = match seen & SLEEPERS {
                NOBODY => return None,
                WOKEN => Sleepers::Woken,
                _ => Sleepers::Asleep,
            };
            has_reason(sleepers).then_some((seen & !SLEEPERS | WOKEN).wrapping_add(STEP))
        });
        let Some(stepped) = stepped else { return }; // N3
        if sync::futex_wake(&self.0, n) == 0 {
            let _ = self.0.compare_exchange(stepped, stepped & !SLEEPERS, Relaxed, Relaxed); // N5
        }
    }
}

/// Until when a blocked call waits.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    /// As long as it takes.
    Forever,
    /// Until the time is over.
    #[cfg(not(loom))]
    Instant(Instant),
}

impl Until {
    /// Whether the time is over.
    pub(crate) fn is_over(self) -> bool {
        match self {
            Until::Forever => false,
            #[cfg(not(loom))]
            Until::Instant(at) => at <= Instant::now(),
        }
    }
}

#[cfg(not(loom))]
impl Until {
    /// From now on for `timeout`; for ever, if the clock cannot express it.
    pub(crate) fn after(timeout: Duration) -> Self {
        Instant::now().checked_add(timeout).map_or(Until::Forever, Until::Instant)
    }

    /// What is left of it; `None` for ever.
    pub(crate) fn remaining(self) -> Option<Duration> {
        match self {
            Until::Forever => None,
            Until::Instant(at) => Some(at.saturating_duration_since(Instant::now())),
        }
    }
}

/// How often a waiter looks with nothing but a pause in between: about 2 µs.
#[cfg(not(loom))]
const SPINS: u32 = 64;
/// How long a waiter looks before it sleeps: about what a wake-up takes.
#[cfg(not(loom))]
const WINDOW: Duration = Duration::from_micros(50);
/// The longest sleep without another look where a peer has something in its hands: what bounds the time until its death is noticed.
#[cfg(not(loom))]
pub(crate) const SLICE: Duration = Duration::from_millis(100);
/// The same where nobody has: a slice doubles up to this, so that many who sleep for long cost next to nothing.
#[cfg(not(loom))]
const LONGEST_SLICE: Duration = Duration::from_millis(1600);

/// Calls `look` until it gives something, or until the time is over: `None`.
///
/// `check` is called before the first sleep, also if the time is over by then, and once a slice as long as nothing is found, however often the sleeper is woken meanwhile: there
/// the caller looks for dead peers, and says whether it is to be called again soon.
pub(crate) fn wait<R>(
    word: &WaitWord,
    until: Until,
    look: impl FnMut() -> Option<R>,
    check: impl FnMut() -> bool,
) -> Option<R> {
    sleep_on(&word.0, || word.announce().0, until, look, check)
}

/// The same for a word that is a sleeper's own, changes only when its wait is over, and is the condition itself: waits while it is `value`. False:
/// the time is over. Nothing is announced: who changes the word knows whose it is, and wakes that one.
pub(crate) fn wait_while(word: &AtomicU32, value: u32, until: Until, check: impl FnMut() -> bool) -> bool {
    let look = || (word.load(Acquire) != value).then_some(());
    sleep_on(word, || value, until, look, check).is_some()
}

/// Looks for a while, and then again and again, asleep in between. `announce` says what the word must still be for the sleep that follows.
fn sleep_on<R>(
    word: &AtomicU32,
    announce: impl Fn() -> u32,
    until: Until,
    mut look: impl FnMut() -> Option<R>,
    mut check: impl FnMut() -> bool,
) -> Option<R> {
    // What is found here is found without an announcement: its finder wakes others with a light fence alone.
    if let Some(found) = linger(until, &mut look) {
        return Some(found);
    }
    let mut slices = Slices::begin(&mut check);
    if until.is_over() {
        return look(); // nobody sleeps, so there is nothing to announce, and no heavy fence
    }
    let mut announced = announce();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        let sleep = slices.left(until)?;
        sync::futex_wait(word, announced, Some(sleep));
        slices.check(&mut check);
        // A ticket that is not stale still holds: the fence of its W2 was before this look too.
        if word.load(Relaxed) != announced {
            announced = announce();
        }
    }
}

/// Looks for as long as a wake-up would take.
#[cfg(not(loom))]
fn linger<R>(until: Until, look: &mut impl FnMut() -> Option<R>) -> Option<R> {
    for _ in 0..SPINS {
        if let Some(found) = look() {
            return Some(found);
        }
        sync::spin_loop();
    }
    let asleep_at = Instant::now() + until.remaining().map_or(WINDOW, |left| left.min(WINDOW));
    while Instant::now() < asleep_at {
        if let Some(found) = look() {
            return Some(found);
        }
        sync::yield_now();
    }
    None
}

/// In a model one look stands for all.
#[cfg(loom)]
fn linger<R>(_until: Until, look: &mut impl FnMut() -> Option<R>) -> Option<R> {
    look()
}

/// The pieces that a sleep is cut into.
#[cfg(not(loom))]
struct Slices {
    slice: Duration,
    checked_at: Instant,
}

#[cfg(not(loom))]
impl Slices {
    /// The first one, after a check.
    fn begin(check: &mut impl FnMut() -> bool) -> Self {
        check();
        Slices { slice: SLICE, checked_at: Instant::now() }
    }

    /// How long to sleep at most; `None` when the time is over.
    fn left(&self, until: Until) -> Option<Duration> {
        match until.remaining() {
            Some(Duration::ZERO) => None,
            Some(left) => Some(left.min(self.slice)),
            None => Some(self.slice),
        }
    }

    /// Checks if a slice is over.
    fn check(&mut self, check: &mut impl FnMut() -> bool) {
        if self.checked_at.elapsed() >= self.slice {
            self.slice = if check() { SLICE } else { LONGEST_SLICE.min(2 * self.slice) };
            self.checked_at = Instant::now();
        }
    }
}

/// In a model no time passes: a simulated death wakes every sleeper, which checks then, and whenever it is woken.
#[cfg(loom)]
struct Slices;

#[cfg(loom)]
impl Slices {
    fn begin(_check: &mut impl FnMut() -> bool) -> Self {
        Slices
    }

    fn left(&self, _until: Until) -> Option<Duration> {
        Some(Duration::MAX)
    }

    fn check(&mut self, check: &mut impl FnMut() -> bool) {
        check();
    }
}

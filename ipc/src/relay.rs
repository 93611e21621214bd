//! Wake-ups that are passed on: while one is on its way, nobody sends another.
//!
//! With many sleepers and few awake, a waker that woke one for each item would spend its time on wake-ups, most of them for items that somebody else has taken by the
//! time. So it wakes, and until somebody is about to look, further wakers wake nobody. Whoever had to wait and gets something passes a wake-up on, to two others, if there is more: so more and more
//! wake as long as there is work for them.
//!
//! | who | step | |
//! | --- | --- | --- |
//! | waker | N1 | make the condition true |
//! | | N2 | light fence, read the word: `WOKEN`, and the wake-up is not overdue: done |
//! | | | else note the time, and N3 to N5 of `wait.rs` |
//! | waiter | W1 | sleepers := `ASLEEP`: no wake-up counts as on its way |
//! | | W2 | heavy fence, look |
//! | | W4 | it got something: if there is more, it is a waker, at N2 |
//!
//! # No wake-up is lost
//! A waker leaves it at N2 because it has read `WOKEN`. Either the W1 of a waiter that looks comes after that: then W2 sees what the waker has made true, as the fences are ordered, and gets that, or by W4
//! sees to whoever gets it. Or it came before, and another wake-up has begun since, for which the same holds. Or nobody slept when N4 woke, and the waiters look by themselves.
//!
//! So all that can be had must be seen by whoever looks, or by W4, where others who never waited take things meanwhile. What cannot be seen so, such as an item that came back beside what waits at `head`,
//! is announced by [`wake_now`](Relay::wake_now).
//!
//! # Death, and long roads
//! A waker that dies between N3 and N4, and a woken one that dies, is stopped, or waits for a processor for long before W1, leave `WOKEN` behind. A wake-up that has been on its way for
//! longer than [`OVERDUE`] holds nobody else's back: with several stopped ones in a row, that is the price of each. One that dies or is stopped between W1 and W4 takes along what was held back
//! behind it, until somebody wakes again. And as ever, who sleeps looks once a slice.

use crate::sync::{self, AtomicU32, Relaxed};
use crate::wait::{Sleepers, WaitWord};

/// How many milliseconds a wake-up takes at most, if all is well, to within a tick of the clock: some hundred times what it does on a processor that is not busy.
const OVERDUE: u32 = 10;

/// A word that waiters sleep on who pass wake-ups on.
#[cfg_attr(not(loom), repr(C))]
pub(crate) struct Relay {
    word: WaitWord,
    /// When a waker last found a wake-up due, in milliseconds.
    begun: AtomicU32,
}

impl Relay {
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Relay { word: WaitWord::new(), begun: AtomicU32::new(0) }
    }

    /// What to sleep on.
    pub(crate) fn word(&self) -> &WaitWord {
        &self.word
    }

    /// Wakes up to `n` sleepers, unless some are on their way: after the caller made true what they, or those to whom they pass it on, will see.
    #[inline]
    pub(crate) fn wake(&self, n: u32) {
        self.word.wake_if(n, |sleepers| self.is_due(sleepers));
    }

    /// Wakes up to `n` sleepers, whoever is on its way. Does not note the time, so it holds back next to nobody.
    pub(crate) fn wake_now(&self, n: u32) {
        self.word.wake(n);
    }

    fn is_due(&self, sleepers: Sleepers) -> bool {
        let now = sync::milliseconds();
        let is_due = sleepers == Sleepers::Asleep || now.wrapping_sub(self.begun.load(Relaxed)) > OVERDUE;
        if is_due {
            self.begun.store(now, Relaxed);
        }
        is_due
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::tests::is_asleep;
    use std::sync::{Arc, mpsc};
    use std::thread;
    use std::time::Duration;

    /// Long enough for any wake-up that comes at all.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Two sleepers who do not look when they are woken, as if they were stopped there: while the first one's wake-up is on its way it holds back the second one's, and no longer.
    #[test]
    fn a_wake_up_holds_others_back_until_it_is_overdue() {
        // SAFETY: zeroes are a relay that nobody sleeps on.
        let relay: Arc<Relay> = Arc::new(unsafe { std::mem::zeroed() });
        let ((tell, told), (end, ended)) = (mpsc::channel(), mpsc::channel());
        for _ in 0..2 {
            let (relay, tell, end) = (relay.clone(), tell.clone(), end.clone());
            thread::spawn(move || {
                // SAFETY: a plain system call.
                tell.send(unsafe { libc::gettid() }).unwrap();
                relay.word().sleep_without_a_look();
                end.send(()).unwrap();
            });
        }
        for thread in told.iter().take(2) {
            while !is_asleep(thread) {
                thread::yield_now();
            }
        }
        relay.wake(1);
        ended.recv_timeout(PATIENCE).expect("one is woken");

        let woken = relay.word().bits();
        let begun = sync::milliseconds();
        relay.begun.store(begun, Relaxed);
        relay.wake(1);
        if sync::milliseconds().wrapping_sub(begun) > OVERDUE {
            eprintln!("skipped: this thread was kept from a processor for too long");
            return;
        }
        assert_eq!(relay.word().bits(), woken, "nobody else is woken");

        relay.begun.store(begun.wrapping_sub(OVERDUE + 1), Relaxed);
        relay.wake(1);
        ended.recv_timeout(PATIENCE).expect("the other one is woken");
    }
}

//! The ring's operations with waking and sleeping: what the handle calls, and the models.
//!
//! Consumers sleep on `items` until something is published, producers on `space` until a slot is released. At the end, when the ring is closed
//! and an item still is in another consumer's hands and may come back, consumers sleep on `space` too: it is what a release wakes.

use super::ring::{Refusal, Ring};
use crate::peer::Membership;
use crate::wait::{Until, WaitWord, wait};
use bytemuck::Pod;

impl<T: Pod> Ring<'_, T> {
    /// Puts a value if there is room, and wakes a consumer for it.
    #[inline]
    pub(crate) fn put_and_wake(&self, value: T) -> Result<(), Refusal> {
        self.try_put(value)?;
        self.items().wake(1);
        Ok(())
    }

    /// Puts as many of `values`, which are not none, as there is room for, and wakes consumers for them.
    pub(crate) fn put_batch_and_wake(&self, values: &[T]) -> Result<usize, Refusal> {
        let put = self.try_put_batch(values)?;
        self.items().wake(put as u32);
        Ok(put)
    }

    /// Puts a value as soon as there is room; `NotReady` when the time is over.
    #[cold]
    pub(crate) fn wait_and_put(
        &self,
        members: &impl Membership,
        value: T,
        until: Until,
    ) -> Result<(), Refusal> {
        self.wait_for_space(members, until, || self.try_put(value))?;
        self.items().wake(1);
        Ok(())
    }

    /// Returns as soon as there is room, which another producer may take; `NotReady` when the time is over.
    #[cfg(not(loom))]
    #[cold]
    pub(crate) fn wait_for_room(&self, members: &impl Membership, until: Until) -> Result<(), Refusal> {
        self.wait_for_space(members, until, || self.look_for_room())
    }

    /// Has `attempt` succeed as soon as there is room, and passes the wake-up on.
    fn wait_for_space<R>(
        &self,
        members: &impl Membership,
        until: Until,
        attempt: impl Fn() -> Result<R, Refusal>,
    ) -> Result<R, Refusal> {
        let outcome = self.wait_while(self.space().word(), Refusal::NotReady, members, until, attempt);
        match outcome {
            Ok(_) => self.wake_for_next_space(),
            // Its wake-up may have been for one who waits for the end.
            Err(Refusal::Closed) => self.wake_all(),
            Err(_) => {}
        }
        outcome
    }

    /// Has `claim` take a position as soon as one is published; `NotReady` or `Ending` when the time is over.
    #[cold]
    pub(crate) fn wait_and_claim<R>(
        &self,
        members: &impl Membership,
        until: Until,
        claim: impl Fn() -> Result<R, Refusal>,
    ) -> Result<R, Refusal> {
        let mut outcome = self.wait_while(self.items().word(), Refusal::NotReady, members, until, &claim);
        if let Err(Refusal::Ending) = outcome {
            // Whoever else sleeps there comes along: nothing will be published any more.
            self.items().wake(1);
            outcome = self.wait_while(self.space().word(), Refusal::Ending, members, until, &claim);
        }
        match outcome {
            Ok(_) => self.wake_for_next_item(),
            // A release wakes one of those who wait for the end.
            Err(Refusal::Closed) => self.wake_all(),
            Err(_) => {}
        }
        outcome
    }

    /// Releases a position that the caller holds, and wakes whoever waits for room.
    #[inline]
    pub(crate) fn release_and_wake(&self, p: u64) {
        self.release(p);
        self.space().wake(1);
    }

    /// Takes up to `into.len()` items, which is not zero, and wakes producers.
    pub(crate) fn get_batch_and_wake(&self, into: &mut [T]) -> Result<usize, Refusal> {
        let got = self.try_get_batch(into)?;
        self.space().wake(got as u32);
        Ok(got)
    }

    /// Closes the ring and wakes everybody; also if it is closed already, since whoever did that may have died before it woke anybody.
    pub(crate) fn close_and_wake(&self) {
        self.close();
        self.wake_all();
    }

    /// Tries again and again, and sleeps in between, while the outcome is `not_yet`.
    fn wait_while<R>(
        &self,
        word: &WaitWord,
        not_yet: Refusal,
        members: &impl Membership,
        until: Until,
        attempt: impl Fn() -> Result<R, Refusal>,
    ) -> Result<R, Refusal> {
        let look = || match attempt() {
            Err(refusal) if refusal == not_yet => None,
            outcome => Some(outcome),
        };
        let check = || self.recover_holders(members);
        wait(word, until, look, check).unwrap_or(Err(not_yet))
    }
}

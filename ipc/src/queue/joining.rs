//! Joining: waiting until everything that was put has been released.
//!
//! | who | step | | pairs with |
//! | --- | --- | --- | --- |
//! | joiner | J1 | all is done: go | D1 |
//! | | J2 | announce, heavy fence (W1, W2 of `wait.rs`), J1 once more, sleep | D2 |
//! | releaser | D1 | the position is free (G5) | J1 |
//! | | D2 | light fence, read the joiners' word (N2); nobody sleeps: leave | J2 |
//! | | D3 | full fence | D3 |
//! | | D4 | all is done: wake all joiners | |
//!
//! # The last two
//! Two that release the last two positions at once both see the joiner; each has to look for the
//! other's position, and one of them has to find it free. Light fences order nothing among each
//! other, so D3 is a full one: the releaser whose D3 comes later sees both D1.

use super::layout::{CLOSED, is_free, position, skipped};
use super::ring::Ring;
use crate::peer::Membership;
use crate::sync::{Acquire, SeqCst, fence, spin_loop};
use crate::wait::{Until, WaitWord, wait};
use bytemuck::Pod;

impl<T: Pod> Ring<'_, T> {
    /// Whether everything that was put has been released: every position that producers have
    /// claimed is skipped, or was claimed by a consumer, and no slot holds an item. As nothing was
    /// put between the two looks at `tail`, what was released before stays so.
    ///
    /// A consumer that passes over a skipped position wakes no joiner. If it does so between the
    /// looks at `head` and at the slot, the slot is free and `head` has gone on: that is looked at
    /// again.
    fn is_done(&self) -> bool {
        let claimed = || self.control.tail.0.load(Acquire) & !CLOSED;
        let is_open = |turn: u64| is_free(turn) || turn == skipped(position(turn));
        loop {
            let tail = claimed();
            let head = self.control.head.0.load(Acquire);
            let ahead = tail.wrapping_sub(head);
            let passed =
                |n| self.slot(head.wrapping_add(n)).turn.load(Acquire) == skipped(head.wrapping_add(n));
            let is_done = ahead <= self.capacity
                && (0..ahead).all(passed)
                && (0..self.capacity).all(|index| is_open(self.slot(index).turn.load(Acquire))); // J1 pairs with D1
            if is_done && claimed() == tail {
                return true;
            }
            if self.control.head.0.load(Acquire) == head {
                return false;
            }
            spin_loop();
        }
    }

    /// Waits until everything that was put has been released; false when the time is over. Whoever
    /// releases wakes those who sleep on `joiners`.
    pub(crate) fn wait_until_done(
        &self,
        joiners: &WaitWord,
        members: &impl Membership,
        until: Until,
    ) -> bool {
        let look = || self.is_done().then_some(());
        wait(joiners, until, look, || self.recover_holders(members)).is_some()
    }

    /// D2 to D4, after the caller has released a position.
    #[inline]
    pub(crate) fn wake_joiners(&self, joiners: &WaitWord) {
        // D2 pairs with J2
        joiners.wake_if(u32::MAX, |_| {
            fence(SeqCst); // D3 pairs with the other releaser's
            self.is_done() // D4
        });
    }
}

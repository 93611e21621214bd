//! Looking at a ring's items from outside, while others put and get.

use super::layout::{CLOSED, is_delivered, is_free, is_orphaned, position, skipped};
use super::ring::Ring;
use crate::sync::{Acquire, fence};
use bytemuck::Pod;

impl<T: Pod> Ring<'_, T> {
    /// Calls `keep` with what `look` made of each item that lies in a slot: published, given back, or in a consumer's hands. An item that stays in its slot meanwhile is
    /// seen; what `look` saw of one that left its slot is thrown away.
    pub(crate) fn each_item<R>(&self, mut look: impl FnMut(T) -> R, mut keep: impl FnMut(R)) {
        for index in 0..self.capacity {
            let slot = self.slot(index);
            let mut turn = slot.turn.load(Acquire);
            while is_delivered(turn, position(turn)) || is_orphaned(turn, position(turn)) {
                let seen = look(slot.value.read());
                fence(Acquire); // what was looked at was read before the turn is read again
                let now = slot.turn.load(Acquire);
                if now == turn {
                    keep(seen);
                    break;
                }
                turn = now;
            }
        }
    }

    /// Whether everything that was put has been released: every position that producers have claimed is skipped, or was claimed by a consumer, and no slot holds
    /// an item. As nothing was put between the two looks at `tail`, what was released before stays so.
    pub(crate) fn is_done(&self) -> bool {
        let tail = self.control.tail.0.load(Acquire) & !CLOSED;
        let head = self.control.head.0.load(Acquire);
        let is_open = |turn: u64| is_free(turn) || turn == skipped(position(turn));
        let ahead = tail.wrapping_sub(head);
        ahead <= self.capacity
            && (0..ahead).all(|n| {
                let p = head.wrapping_add(n);
                self.slot(p).turn.load(Acquire) == skipped(p)
            })
            && (0..self.capacity).all(|index| is_open(self.slot(index).turn.load(Acquire)))
            && self.control.tail.0.load(Acquire) & !CLOSED == tail
    }
}

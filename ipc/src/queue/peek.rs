//! Looking at a ring's items from outside, while others put and get.
//!
//! An item is copied out while its owner may write the next one into the slot, and what was copied is looked
//! at before the turn says whether it was whole. That is sound: `Cell::read` is volatile, so each word is
//! read once and nothing is concluded about it; an item is plain bytes, of which any are valid; and what
//! `look` makes of a mixture of two items is thrown away. `look` itself checks all that it follows.

use super::layout::{is_delivered, is_orphaned, position};
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
}

//! A handle's cache: where free blocks were when it last freed or looked for some. Hints of its own, which no other process sees.

use super::word::MAX_ORDER;
use std::cell::UnsafeCell;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

const ORDERS: usize = MAX_ORDER as usize + 1;
/// The most indices of one order.
const DEPTH: usize = 32;
/// Blocks of these orders and above are remembered four at a time.
const FEW_FROM: u32 = 10;
const FEW: usize = 4;

/// Indices by order, last in, first out.
pub(super) struct Stacks {
    indices: [[u32; DEPTH]; ORDERS],
    lengths: [u8; ORDERS],
    /// Near which granule to look for others.
    pub(super) near: [u32; ORDERS],
}

impl Stacks {
    fn depth(order: u32) -> usize {
        if order < FEW_FROM { DEPTH } else { FEW }
    }

    #[inline]
    pub(super) fn pop(&mut self, order: u32) -> Option<u32> {
        let length = &mut self.lengths[order as usize];
        *length = length.checked_sub(1)?;
        Some(self.indices[order as usize][*length as usize])
    }

    /// Remembers an index, unless the stack is full.
    #[inline]
    pub(super) fn push(&mut self, order: u32, index: u32) -> bool {
        let length = &mut self.lengths[order as usize];
        let has_room = (*length as usize) < Stacks::depth(order);
        if has_room {
            self.indices[order as usize][*length as usize] = index;
            *length += 1;
        }
        has_room
    }

    /// Forgets the older half of a stack.
    pub(super) fn shed(&mut self, order: u32, mut shed: impl FnMut(u32)) {
        let (indices, length) = (&mut self.indices[order as usize], &mut self.lengths[order as usize]);
        let half = *length as usize / 2;
        indices[..half].iter().for_each(|&index| shed(index));
        indices.copy_within(half..*length as usize, 0);
        *length -= half as u8;
    }
}

/// The stacks, used by one thread at a time; another one that comes meanwhile does without.
pub(super) struct Cache {
    in_use: AtomicBool,
    stacks: UnsafeCell<Stacks>,
}

// SAFETY: `in_use` gives the stacks to one thread at a time.
unsafe impl Sync for Cache {}

impl Cache {
    pub(super) fn new() -> Self {
        let stacks = Stacks { indices: [[0; DEPTH]; ORDERS], lengths: [0; ORDERS], near: [0; ORDERS] };
        Cache { in_use: AtomicBool::new(false), stacks: UnsafeCell::new(stacks) }
    }

    /// Runs `f` on the stacks, unless another thread does. `f` does not come back here.
    #[inline]
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut Stacks) -> R) -> Option<R> {
        if self.in_use.swap(true, Acquire) {
            return None;
        }
        // SAFETY: this thread has set `in_use`, so nobody else is in here.
        let result = f(unsafe { &mut *self.stacks.get() });
        self.in_use.store(false, Release);
        Some(result)
    }
}

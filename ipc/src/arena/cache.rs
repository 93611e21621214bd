//! A handle's cache: where free blocks were when it last freed or looked for some. Hints of its own, which no other process sees.

use super::word::MAX_ORDER;
use crate::sync::thread_tag;
use std::cell::UnsafeCell;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};

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

/// The stacks: one set for the thread that comes first, for which they cost no atomic operation, and one for all others, of whom one at a time has it; another one
/// that comes meanwhile does without.
pub(super) struct Cache {
    /// Whose the first set is; 0: nobody's yet.
    thread: AtomicU64,
    of_the_thread: UnsafeCell<Stacks>,
    in_use: AtomicBool,
    of_others: UnsafeCell<Stacks>,
}

// SAFETY: a set is used by one thread at a time: by the one whose it is, or by the one that has set `in_use`.
unsafe impl Sync for Cache {}

impl Cache {
    pub(super) fn new() -> Self {
        let stacks = || {
            UnsafeCell::new(Stacks { indices: [[0; DEPTH]; ORDERS], lengths: [0; ORDERS], near: [0; ORDERS] })
        };
        let (of_the_thread, of_others) = (stacks(), stacks());
        Cache { thread: AtomicU64::new(0), of_the_thread, in_use: AtomicBool::new(false), of_others }
    }

    /// Runs `f` on the stacks, unless another thread does. `f` does not come back here.
    #[inline]
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut Stacks) -> R) -> Option<R> {
        if self.thread.load(Relaxed) == thread_tag() {
            // SAFETY: they are this thread's.
            return Some(f(unsafe { &mut *self.of_the_thread.get() }));
        }
        self.with_others(f)
    }

    fn with_others<R>(&self, f: impl FnOnce(&mut Stacks) -> R) -> Option<R> {
        if self.thread.compare_exchange(0, thread_tag(), Relaxed, Relaxed).is_ok() {
            // SAFETY: they are this thread's from now on.
            return Some(f(unsafe { &mut *self.of_the_thread.get() }));
        }
        if self.in_use.swap(true, Acquire) {
            return None;
        }
        // SAFETY: this thread has set `in_use`, so nobody else is in here.
        let result = f(unsafe { &mut *self.of_others.get() });
        self.in_use.store(false, Release);
        Some(result)
    }

    /// All stacks, when nobody else is there any more.
    pub(super) fn all(&mut self) -> [&mut Stacks; 2] {
        [self.of_the_thread.get_mut(), self.of_others.get_mut()]
    }
}

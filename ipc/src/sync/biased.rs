//! A counted value that costs its first user next to nothing to count.
//!
//! *Roots* and *leaves* keep the value; the last of them drops it. A leaf is made and dropped for each use, and nearly always by one thread, the favoured one: the first that
//! made a leaf. It counts its leaves in a word that nobody else writes, by plain loads and stores; other threads count theirs in another word, each by one atomic
//! operation. Only the sum of both means anything, and it is looked at once, when the last root is dropped, which makes up for the cheapness: from then on all
//! threads count in one word. (Biased reference counting: Choi, Shull and Torrellas, 2018. Theirs merges the counts when the favoured thread's is zero; the roots here
//! make that moment known.)
//!
//! | step | | pairs with |
//! | --- | --- | --- |
//! | B1 | favoured: busy := 1; light fence; read closing: 0 | B4 |
//! | B2 | favoured: local := local ± 1; busy := 0 (Release) | B5 |
//! | B3 | any other, or closing is 1: rest ± 1 (AcqRel); if merged, and the last one: **the value is dropped** | B6 |
//! | B4 | the last root: closing := 1; heavy fence | B1 |
//! | B5 | read busy (Acquire) until it is 0: no count is under way in `local`, and none will be | B2 |
//! | B6 | rest := rest + local − the roots' own, merged (AcqRel); if that is none: **the value is dropped** | B3 |
//!
//! # Invariants
//! 1. `local + rest` is the number of leaves, and one for all roots; `rest` alone may be negative until it is merged.
//! 2. A leaf can be made by whoever has a leaf or a root, so a sum of zero stays zero. Whoever makes it zero has the value alone.
//! 3. No root is made when there is none.

use super::{
    AcqRel, Acquire, AtomicU32, AtomicU64, Relaxed, Release, heavy_fence_here, light_fence, thread_tag,
    yield_now,
};
use std::ops::Deref;
use std::ptr::NonNull;

/// Set in `rest` as soon as `local` is merged into it; what is counted there is counted by twos.
const MERGED: u64 = 1;

/// What roots and leaves keep.
pub(crate) struct Shared<T> {
    /// Itself, as it was allocated.
    this: NonNull<Shared<T>>,
    /// The favoured thread; 0: nobody has made a leaf yet.
    favoured: AtomicU64,
    local: AtomicU64,
    busy: AtomicU32,
    closing: AtomicU32,
    rest: AtomicU64,
    roots: AtomicU64,
    /// Whether this still is the process that made it: in a forked child the other threads are not there to finish what they were at.
    is_own: fn(&T) -> bool,
    value: T,
}

impl<T> Shared<T> {
    /// Another leaf.
    #[inline]
    pub(crate) fn leaf(&self) -> Leaf<T> {
        if self.favoured.load(Relaxed) == 0 {
            let _ = self.favoured.compare_exchange(0, thread_tag(), Relaxed, Relaxed);
        }
        // SAFETY: whoever lent `self` keeps it.
        unsafe { Shared::count(self.this, 1) };
        Leaf(self.this)
    }

    /// Whether both are the same value.
    #[inline]
    pub(crate) fn is(&self, other: &Shared<T>) -> bool {
        std::ptr::eq(self, other)
    }

    /// Adds 1 or −1 to the sum; says whether that made it zero for ever.
    ///
    /// # Safety
    /// The caller keeps it, until it is counted that the caller does no more: after that nothing of it is touched here.
    #[inline]
    unsafe fn count(this: NonNull<Self>, by: u64) -> bool {
        // SAFETY: the caller keeps it. These are references to atomics alone: another thread may free what they are in as soon as the last operation is done.
        let (favoured, busy, closing, local, rest) = unsafe {
            let this = this.as_ptr();
            (&(*this).favoured, &(*this).busy, &(*this).closing, &(*this).local, &(*this).rest)
        };
        if favoured.load(Relaxed) == thread_tag() {
            busy.store(1, Relaxed);
            light_fence(); // B1 pairs with B4
            let is_open = closing.load(Relaxed) == 0;
            if is_open {
                local.store(local.load(Relaxed).wrapping_add(by), Relaxed);
            }
            busy.store(0, Release); // B2 pairs with B5
            if is_open {
                return false;
            }
        }
        count_in_rest(rest, by.wrapping_mul(2))
    }

    /// The last root is dropped: says whether no leaf is left either.
    ///
    /// # Safety
    /// As [`count`](Self::count): the roots keep it until B6.
    #[cold]
    unsafe fn close(this: NonNull<Self>) -> bool {
        // SAFETY: the caller keeps it. References to atomics alone, as in `count`.
        let (favoured, busy, closing, local, rest) = unsafe {
            let this = this.as_ptr();
            (&(*this).favoured, &(*this).busy, &(*this).closing, &(*this).local, &(*this).rest)
        };
        closing.store(1, Relaxed);
        if favoured.load(Relaxed) != thread_tag() {
            // B4 pairs with B1. If the kernel refuses it by now, nobody can tell what is counted: the value stays for ever.
            if !heavy_fence_here() {
                return false;
            }
            // B5 pairs with B2
            while busy.load(Acquire) != 0 {
                // SAFETY: the roots keep it.
                let is_own = unsafe { ((*this.as_ptr()).is_own)(&(*this.as_ptr()).value) };
                if !is_own {
                    return false; // that thread is the parent's, and so is the value
                }
                yield_now();
            }
        }
        let roots = 1;
        count_in_rest(rest, local.load(Relaxed).wrapping_sub(roots).wrapping_mul(2).wrapping_add(MERGED)) // B6 pairs with B3
    }
}

/// Says whether the sum is zero now, and for ever.
#[inline]
fn count_in_rest(rest: &AtomicU64, by: u64) -> bool {
    rest.fetch_add(by, AcqRel).wrapping_add(by) == MERGED // B3 pairs with B6
}

impl<T> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

/// Drops the value.
///
/// # Safety
/// The sum has become zero by the caller's hand, who does not come back to it.
#[cold]
unsafe fn end<T>(shared: NonNull<Shared<T>>) {
    // SAFETY: allocated as a `Box` in `Root::new`; by invariant 2 nobody else has it.
    drop(unsafe { Box::from_raw(shared.as_ptr()) });
}

/// Keeps the value, and lets others be made.
pub(crate) struct Root<T>(NonNull<Shared<T>>);

impl<T> Root<T> {
    /// The first root of a value; `is_own` says whether a process still is the one that has made it.
    pub(crate) fn new(value: T, is_own: fn(&T) -> bool) -> Root<T> {
        let shared = Shared {
            this: NonNull::dangling(),
            favoured: AtomicU64::new(0),
            local: AtomicU64::new(0),
            busy: AtomicU32::new(0),
            closing: AtomicU32::new(0),
            rest: AtomicU64::new(2), // all roots count as one
            roots: AtomicU64::new(1),
            is_own,
            value,
        };
        let this = NonNull::from(Box::leak(Box::new(shared)));
        // SAFETY: just allocated; nobody else has it yet.
        unsafe { (*this.as_ptr()).this = this };
        Root(this)
    }
}

impl<T> Clone for Root<T> {
    fn clone(&self) -> Self {
        self.roots.fetch_add(1, Relaxed);
        Root(self.0)
    }
}

impl<T> Deref for Root<T> {
    type Target = Shared<T>;

    #[inline]
    fn deref(&self) -> &Shared<T> {
        // SAFETY: this root keeps it.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Drop for Root<T> {
    fn drop(&mut self) {
        // What other roots did happens before the last one's end.
        if self.roots.fetch_add(1_u64.wrapping_neg(), AcqRel) == 1 {
            // SAFETY: the roots keep it, of which this is the last. Then `close` has said so.
            unsafe {
                if Shared::close(self.0) {
                    end(self.0);
                }
            }
        }
    }
}

/// Keeps the value.
pub(crate) struct Leaf<T>(NonNull<Shared<T>>);

impl<T> Clone for Leaf<T> {
    #[inline]
    fn clone(&self) -> Self {
        self.leaf()
    }
}

impl<T> Deref for Leaf<T> {
    type Target = Shared<T>;

    #[inline]
    fn deref(&self) -> &Shared<T> {
        // SAFETY: this leaf keeps it.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Drop for Leaf<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this leaf keeps it, and is not used again. Then `count` has said so.
        unsafe {
            if Shared::count(self.0, 1_u64.wrapping_neg()) {
                end(self.0);
            }
        }
    }
}

// SAFETY: as for `Arc`: whoever has one may read the value, and may be the one that drops it.
unsafe impl<T: Send + Sync> Send for Root<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Root<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Send for Leaf<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Leaf<T> {}

/// What the arena's handles count their part of it with, on loom's heap.
#[cfg(loom)]
pub mod model {
    /// See the handles of an arena.
    pub struct Root<T>(super::Root<T>);
    /// See the handles of blocks.
    pub struct Leaf<T>(super::Leaf<T>);

    impl<T> Root<T> {
        /// The first root of a value.
        pub fn new(value: T) -> Self {
            Root(super::Root::new(value, |_| true))
        }

        /// A leaf.
        pub fn leaf(&self) -> Leaf<T> {
            Leaf(self.0.leaf())
        }
    }

    impl<T> Clone for Root<T> {
        fn clone(&self) -> Self {
            Root(self.0.clone())
        }
    }

    impl<T> Clone for Leaf<T> {
        fn clone(&self) -> Self {
            Leaf(self.0.clone())
        }
    }

    impl<T> std::ops::Deref for Leaf<T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.0
        }
    }
}

//! The machine's own atomics, memory and futex.

pub(crate) use std::hint::spin_loop;
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, fence};
pub(crate) use std::thread::yield_now;

use crate::sys;
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

thread_local! {
    static TAG: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// A number that no other thread of this process has or had. Never zero.
#[inline]
pub(crate) fn thread_tag() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let tag = TAG.get();
    if tag != 0 {
        return tag;
    }
    let tag = LAST.fetch_add(1, Relaxed) + 1;
    TAG.set(tag);
    tag
}

/// Payload bytes in shared memory, which the protocol gives to one process at a time.
///
/// Access is volatile: the memory lies outside of what the compiler knows, and a peer that breaks the protocol
/// may change it at any time, which must yield a wrong value and nothing worse.
#[repr(transparent)]
pub(crate) struct Cell<T>(UnsafeCell<MaybeUninit<T>>);

impl<T: bytemuck::Pod> Cell<T> {
    /// Copies the value out.
    #[inline]
    pub(crate) fn read(&self) -> T {
        // SAFETY: the pointer is valid and aligned, as `self` is; any bit pattern is a valid `T: Pod`.
        unsafe { self.0.get().cast::<T>().read_volatile() }
    }

    /// Where the value is.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *const T {
        self.0.get().cast()
    }

    /// Copies a value in. The protocol must have granted the cell to the caller.
    #[inline]
    pub(crate) fn write(&self, value: T) {
        // SAFETY: the pointer is valid and aligned, as `self` is; `UnsafeCell` permits writing through `&self`.
        unsafe { self.0.get().cast::<T>().write_volatile(value) }
    }
}

/// Asks for the line that `target` starts on, to be written soon: its transfer goes on beside what comes before the write. Changes nothing.
///
/// To read a line and then to write it takes two transfers, and a locked instruction in between waits for neither; so a producer that has seen its slot free asks for the second
/// one before the claim.
#[inline(always)]
pub(crate) fn prefetch_for_write<T>(target: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a hint, which no address makes fail and which changes no value; processors that do not know it take it for nothing.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) target, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = target;
}

/// Asks for the line that `target` starts on, to be read soon. Changes nothing.
#[inline(always)]
pub(crate) fn prefetch_for_read<T>(target: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which no address makes fail and which changes no value.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(
            std::ptr::from_ref(target).cast(),
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = target;
}

/// Sleeps while `word` is `expected`, at most for `timeout`; may return at any time.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
    sys::futex_wait(word, expected, timeout);
}

/// Wakes up to `n` sleepers; says how many slept.
pub(crate) fn futex_wake(word: &AtomicU32, n: u32) -> usize {
    sys::futex_wake(word, n)
}

/// Milliseconds since some moment, which is the same for all processes of a time namespace: to within a tick, for next to nothing.
pub(crate) fn milliseconds() -> u32 {
    sys::milliseconds()
}

//! Values copied in and out of shared memory that others may write to at the same time.
//!
//! A copy goes word by word, each with one relaxed atomic access, so what others do meanwhile is no data race; a word is as long as the type's
//! alignment, up to eight bytes. A value may be torn between two words, never within one: what is no longer than its alignment is never torn.

use super::atomic::AtomicItem;
use bytemuck::{Pod, bytes_of, bytes_of_mut, pod_read_unaligned};
use std::ptr::NonNull;

/// Copies a value out.
///
/// # Safety
/// `from` is aligned, mapped, and written to by this process through this file alone.
#[inline]
pub(super) unsafe fn load<T: Pod>(from: NonNull<T>) -> T {
    let mut value = T::zeroed();
    let to = bytes_of_mut(&mut value);
    // SAFETY: as the caller says; no word is longer than the alignment.
    unsafe {
        match align_of::<T>() {
            1 => load_words::<u8>(from.cast(), to),
            2 => load_words::<u16>(from.cast(), to),
            4 => load_words::<u32>(from.cast(), to),
            _ => load_words::<u64>(from.cast(), to),
        }
    }
    value
}

/// Copies a value in.
///
/// # Safety
/// `to` is aligned, mapped, and read and written to by this process through this file alone.
#[inline]
pub(super) unsafe fn store<T: Pod>(to: NonNull<T>, value: T) {
    let from = bytes_of(&value);
    // SAFETY: as in `load`.
    unsafe {
        match align_of::<T>() {
            1 => store_words::<u8>(to.cast(), from),
            2 => store_words::<u16>(to.cast(), from),
            4 => store_words::<u32>(to.cast(), from),
            _ => store_words::<u64>(to.cast(), from),
        }
    }
}

/// # Safety
/// `from` is aligned to `W`'s size, and as many bytes are mapped there as `to` has, which is a multiple of it.
#[inline]
unsafe fn load_words<W: AtomicItem>(from: NonNull<W::Atomic>, to: &mut [u8]) {
    for (number, bytes) in to.chunks_exact_mut(size_of::<W>()).enumerate() {
        // SAFETY: within the bytes, as the caller says; an atomic has its integer's size.
        let word = W::load(unsafe { from.add(number).as_ref() });
        bytes.copy_from_slice(bytes_of(&word));
    }
}

/// # Safety
/// As [`load_words`], the other way round.
#[inline]
unsafe fn store_words<W: AtomicItem>(to: NonNull<W::Atomic>, from: &[u8]) {
    for (number, bytes) in from.chunks_exact(size_of::<W>()).enumerate() {
        let word: W = pod_read_unaligned(bytes);
        // SAFETY: as in `load_words`.
        word.store(unsafe { to.add(number).as_ref() });
    }
}

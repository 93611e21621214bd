//! What can lie in a block.

use crate::header::Item;
use bytemuck::Pod;
use std::string::FromUtf8Error;

/// What an arena's blocks can hold: a plain value (`T`), plain values in a row (`[T]`), or text (`str`).
///
/// # Safety
/// Implemented here alone: any bytes that `check` accepts are values of it.
pub unsafe trait Shareable: private::Sealed {
    /// The values that it consists of.
    #[doc(hidden)]
    type Item: Pod;

    /// What tells its descriptors apart.
    #[doc(hidden)]
    const FORM: u64;

    /// Whether so many values can be one.
    #[doc(hidden)]
    fn is_possible(len: usize) -> bool;

    /// Whether these values are one.
    #[doc(hidden)]
    fn check(items: &[Self::Item]) -> bool;

    /// # Safety
    /// `is_possible` and `check` hold of the `len` values at `items`, which nobody writes during `'a`.
    #[doc(hidden)]
    unsafe fn view<'a>(items: *const Self::Item, len: usize) -> &'a Self;

    /// # Safety
    /// As [`view`](Self::view), and nobody else reads them.
    #[doc(hidden)]
    unsafe fn view_mut<'a>(items: *mut Self::Item, len: usize) -> &'a mut Self;
}

mod private {
    pub trait Sealed {}
    impl<T: super::Pod> Sealed for T {}
    impl<T: super::Pod> Sealed for [T] {}
    impl Sealed for str {}
}

/// Tells types apart, as far as two programs can.
pub(super) fn kind_of<S: Shareable + ?Sized>() -> u64 {
    Item::of::<S::Item>().fingerprint() ^ S::FORM.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

// SAFETY: any bytes are a value.
unsafe impl<T: Pod> Shareable for T {
    type Item = T;
    const FORM: u64 = 1;

    fn is_possible(len: usize) -> bool {
        len == 1
    }

    fn check(_: &[T]) -> bool {
        true
    }

    unsafe fn view<'a>(items: *const T, _: usize) -> &'a T {
        // SAFETY: as the caller promises.
        unsafe { &*items }
    }

    unsafe fn view_mut<'a>(items: *mut T, _: usize) -> &'a mut T {
        // SAFETY: as the caller promises.
        unsafe { &mut *items }
    }
}

// SAFETY: any bytes are values.
unsafe impl<T: Pod> Shareable for [T] {
    type Item = T;
    const FORM: u64 = 2;

    fn is_possible(_: usize) -> bool {
        true
    }

    fn check(_: &[T]) -> bool {
        true
    }

    unsafe fn view<'a>(items: *const T, len: usize) -> &'a [T] {
        // SAFETY: as the caller promises.
        unsafe { std::slice::from_raw_parts(items, len) }
    }

    unsafe fn view_mut<'a>(items: *mut T, len: usize) -> &'a mut [T] {
        // SAFETY: as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(items, len) }
    }
}

/// Copies a text out of shared memory and checks the copy. Whatever a peer writes there meanwhile, the result is text.
pub(super) fn copy_text(bytes: *const u8, len: usize) -> Result<String, FromUtf8Error> {
    // SAFETY: the caller has a handle of `len` bytes there. No reference is made to them, and each is read once.
    String::from_utf8((0..len).map(|n| unsafe { bytes.add(n).read_volatile() }).collect())
}

// SAFETY: what `check` accepts is text. That it still is one when it is looked at stands on the protocol: the block was
// this process's alone when it was checked, and is until the handle goes (SECURITY.md has what a peer that breaks
// the protocol can do, and `to_checked_string` does without).
unsafe impl Shareable for str {
    type Item = u8;
    const FORM: u64 = 3;

    fn is_possible(_: usize) -> bool {
        true
    }

    fn check(bytes: &[u8]) -> bool {
        std::str::from_utf8(bytes).is_ok()
    }

    unsafe fn view<'a>(items: *const u8, len: usize) -> &'a str {
        // SAFETY: as the caller promises; `check` held.
        unsafe { std::str::from_utf8_unchecked(std::slice::from_raw_parts(items, len)) }
    }

    unsafe fn view_mut<'a>(items: *mut u8, len: usize) -> &'a mut str {
        // SAFETY: as the caller promises; `check` held.
        unsafe { std::str::from_utf8_unchecked_mut(std::slice::from_raw_parts_mut(items, len)) }
    }
}

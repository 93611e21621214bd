//! What a robust lock is around: one value, or a row of values whose number is the capacity of their segment.
//!
//! ```text
//! | control words | to the values' alignment | value | value | …
//! ```

use crate::part::lines;
use bytemuck::Pod;
use std::ptr::NonNull;

/// The bytes of the control words.
pub(super) const CONTROL_BYTES: usize = 64;

/// Where the first value starts, counted from the control words.
pub(super) const fn value_offset<T>() -> usize {
    assert!(align_of::<T>() <= 4096, "a value in shared memory is aligned to a page at most");
    CONTROL_BYTES.next_multiple_of(align_of::<T>())
}

/// The bytes of the control words and one value.
pub(super) const fn len<T>() -> usize {
    value_offset::<T>() + size_of::<T>()
}

/// What a lock is around: a `T`, or a `[T]`.
pub(crate) trait Contents {
    /// The type of each value.
    type Item: Pod;

    /// The bytes of control words and contents at a capacity; `None` if that is impossible.
    fn body_len(capacity: u64) -> Option<u64>;

    /// The contents that start with a value, at a capacity that `body_len` has room for.
    fn over(first: NonNull<Self::Item>, capacity: u64) -> NonNull<Self>;
}

impl<T: Pod> Contents for T {
    type Item = T;

    fn body_len(capacity: u64) -> Option<u64> {
        // In a segment of its own the capacity is one; as a part's it is the part's bytes, with the same words first.
        let part = lines::<u8>(len::<T>()) as u64;
        (capacity == 1).then_some(len::<T>() as u64).or((capacity == part).then_some(part))
    }

    fn over(first: NonNull<T>, _capacity: u64) -> NonNull<T> {
        first
    }
}

impl<T: Pod> Contents for [T] {
    type Item = T;

    fn body_len(capacity: u64) -> Option<u64> {
        row_bytes::<T>(capacity)?.checked_add(value_offset::<T>() as u64)
    }

    fn over(first: NonNull<T>, capacity: u64) -> NonNull<[T]> {
        NonNull::slice_from_raw_parts(first, capacity as usize) // which `row_bytes` has seen to fit
    }
}

/// The bytes of a row of `count` values, at least one; `None` if there can be no such row.
pub(crate) fn row_bytes<T>(count: u64) -> Option<u64> {
    let is_countable = count > 0 && usize::try_from(count).is_ok();
    if is_countable { count.checked_mul(size_of::<T>() as u64) } else { None }
}

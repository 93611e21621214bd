//! Which items of an array a call means, and what is wrong with it.

use crate::error::LockError;
use std::ops::Range;

/// The array has no such items. Nothing was read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an array of {len} items has no {count} from number {start} on: ask for its `len`")]
pub struct OutOfRange {
    /// The first item that was asked for.
    pub start: usize,
    /// How many were asked for.
    pub count: usize,
    /// How many the array has.
    pub len: usize,
}

/// Why items of an [`Array`](crate::Array) were not read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The array has no such items.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// The lock was not taken; or it was, after a death that nobody has dealt with: then [`lock`](crate::Array::lock), bring the items in order and
    /// [say so](crate::ArrayGuard::mark_consistent).
    #[error(transparent)]
    Lock(#[from] LockError<()>),
}

/// The numbers of `count` items from `start` on, if there are so many.
pub(super) fn within(len: usize, start: usize, count: usize) -> Result<Range<usize>, OutOfRange> {
    match start.checked_add(count) {
        Some(end) if end <= len => Ok(start..end),
        _ => Err(OutOfRange { start, count, len }),
    }
}

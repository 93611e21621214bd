//! Values and arrays in shared memory, with a lock and without.
//!
//! - `value.rs`: [`Value`], one value with a lock: a mutex by the name that Python gives it, and calls that lock for as long as they take
//! - `array.rs`, `guard.rs`: [`Array`], a row of values with one robust lock, and its [`ArrayGuard`]
//! - `atomic.rs`, `atomic_value.rs`: [`AtomicArray`], [`AtomicValue`]; integers without a lock
//! - `raw.rs`: [`RawArray`]; any values without a lock
//! - `items.rs`: a segment of nothing but items, which those without a lock stand on
//! - `words.rs`: copies of values that others may write to meanwhile
//! - `range.rs`: which items a call means, and [`OutOfRange`]

#[allow(clippy::module_inception, reason = "the file is about the type of that name")]
mod array;
mod atomic;
mod atomic_value;
mod guard;
mod items;
mod range;
mod raw;
mod value;
mod words;

pub use {
    array::Array,
    atomic::{AtomicArray, AtomicItem},
    atomic_value::AtomicValue,
    guard::ArrayGuard,
    range::{AccessError, OutOfRange},
    raw::RawArray,
    value::Value,
};

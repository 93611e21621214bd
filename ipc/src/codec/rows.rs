//! Numbers, and rows of numbers, told by their types, so that a row is copied whole.
//!
//! serde hands over one number after the other. Behind a type parameter there is more to see: a value whose
//! [`TypeId`] is that of a `Vec<u8>` *is* one. `typeid` asks for it also where a type may borrow.

use super::tags::{F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
use std::any::TypeId;
use std::marker::PhantomData;

/// Calls a macro with each type of number that may lie in a row, and its tag.
macro_rules! each_number {
    ($call:ident) => {
        $call! {
            u8: U8, i8: I8, u16: U16, i16: I16, u32: U32, i32: I32, u64: U64, i64: I64, f32: F32, f64: F64,
            usize: U64, isize: I64
        }
    };
}

const _: () = assert!(size_of::<usize>() == size_of::<u64>());

#[inline]
fn is<V: ?Sized, T: ?Sized + 'static>() -> bool {
    typeid::of::<V>() == TypeId::of::<T>()
}

/// A number's tag and bytes; the first `width` of them count.
pub(super) struct Number {
    pub(super) tag: u8,
    pub(super) width: usize,
    pub(super) bytes: [u8; 8],
}

#[inline]
fn bytes_of<P>(row: &[P]) -> &[u8] {
    // SAFETY: numbers have no padding, and any of their bytes may be read.
    unsafe { std::slice::from_raw_parts(row.as_ptr().cast(), size_of_val(row)) }
}

/// The number that `value` is, or refers to.
#[inline]
pub(super) fn number<V: ?Sized>(value: &V) -> Option<Number> {
    macro_rules! look {
        ($($type:ty: $tag:ident),*) => { $(
            let found = if is::<V, $type>() {
                // SAFETY: it is of that type, as just seen.
                Some(unsafe { *(&raw const *value).cast::<$type>() })
            } else if is::<V, &'static $type>() {
                // SAFETY: it is a reference to that type, as just seen, and lives as long as `value`.
                Some(unsafe { **(&raw const *value).cast::<&$type>() })
            } else {
                None
            };
            if let Some(found) = found {
                let (mut bytes, own) = ([0; 8], found.to_ne_bytes());
                bytes[..own.len()].copy_from_slice(&own);
                return Some(Number { tag: $tag, width: own.len(), bytes });
            }
        )* };
    }
    each_number!(look);
    None
}

/// The row of numbers that `value` is, or refers to: the tag of each, how many, and their bytes.
#[inline]
pub(super) fn row<V: ?Sized>(value: &V) -> Option<(u8, usize, &[u8])> {
    macro_rules! look {
        ($($type:ty: $tag:ident),*) => { $(
            let found = if is::<V, Vec<$type>>() {
                // SAFETY: it is of that type, as just seen.
                Some(unsafe { &**(&raw const *value).cast::<Vec<$type>>() })
            } else if is::<V, &'static Vec<$type>>() {
                // SAFETY: it is of that type, but for how long it lives: as long as `value`.
                Some(unsafe { &***(&raw const *value).cast::<&Vec<$type>>() })
            } else if is::<V, &'static [$type]>() {
                // SAFETY: as before.
                Some(unsafe { *(&raw const *value).cast::<&[$type]>() })
            } else if is::<V, Box<[$type]>>() {
                // SAFETY: it is of that type, as just seen.
                Some(unsafe { &**(&raw const *value).cast::<Box<[$type]>>() })
            } else {
                None
            };
            if let Some(found) = found {
                return Some(($tag, found.len(), bytes_of(found)));
            }
        )* };
    }
    each_number!(look);
    None
}

/// The text that `value` is by itself, not in a `String` or behind a reference: so a derived `Serialize` writes names.
#[inline]
pub(super) fn text<V: ?Sized>(value: &V) -> Option<&str> {
    let place = &raw const value;
    // SAFETY: it is a reference to that type, as just seen, and lives as long as `value`.
    is::<V, str>().then(|| unsafe { *place.cast::<&str>() })
}

/// Takes the number that `S` is the seed of off a run with that tag; `None`: it is the seed of something else.
#[inline]
pub(super) fn taken<S, R>(tag: u8, run: &mut &[u8]) -> Option<R> {
    macro_rules! look {
        ($($type:ty: $tag:ident),*) => { $(
            if is::<S, PhantomData<$type>>() && is::<R, $type>() && tag == $tag {
                let (&bytes, rest) = run.split_first_chunk()?;
                *run = rest;
                return Some(same(<$type>::from_ne_bytes(bytes)));
            }
        )* };
    }
    each_number!(look);
    None
}

/// What fills a row with whole runs of numbers.
pub(super) trait Fill {
    /// Takes the runs of numbers with that tag up to the end of the sequence; `false`: there is something else.
    fn fill<P: Copy>(&mut self, tag: u8, row: &mut Vec<P>) -> bool;

    /// The same of what is in an option; whether anything is in it. `None`: there is something else.
    fn fill_option<P: Copy>(&mut self, tag: u8, row: &mut Vec<P>) -> Option<bool>;
}

/// Makes the row of numbers that `S` is the seed of; `None`: it is that of something else, or `source` holds something else.
#[inline]
pub(super) fn filled<S, R>(source: &mut impl Fill) -> Option<R> {
    macro_rules! look {
        ($($type:ty: $tag:ident),*) => { $(
            if is::<S, PhantomData<Vec<$type>>>() && is::<R, Vec<$type>>() {
                let mut row = Vec::<$type>::new();
                return source.fill($tag, &mut row).then(|| same(row));
            }
            if is::<S, PhantomData<Option<Vec<$type>>>>() && is::<R, Option<Vec<$type>>>() {
                let mut row = Vec::<$type>::new();
                return source.fill_option($tag, &mut row).map(|is_some| same(is_some.then_some(row)));
            }
            if is::<S, PhantomData<Box<[$type]>>>() && is::<R, Box<[$type]>>() {
                let mut row = Vec::<$type>::new();
                return source.fill($tag, &mut row).then(|| same(row.into_boxed_slice()));
            }
        )* };
    }
    each_number!(look);
    None
}

/// The value as what it is.
#[inline]
fn same<T: 'static, R>(value: T) -> R {
    assert!(is::<R, T>());
    let value = std::mem::ManuallyDrop::new(value);
    // SAFETY: the two types are one, as just seen, and `value` is not used again.
    unsafe { std::mem::transmute_copy(&value) }
}

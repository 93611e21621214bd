//! The bytes with which values begin; `mod.rs` says what follows each.

pub(super) const UNIT: u8 = 0;
pub(super) const FALSE: u8 = 1;
pub(super) const TRUE: u8 = 2;
pub(super) const NONE: u8 = 3;
pub(super) const SOME: u8 = 4;
pub(super) const U8: u8 = 5;
pub(super) const U16: u8 = 6;
pub(super) const U32: u8 = 7;
pub(super) const U64: u8 = 8;
pub(super) const U128: u8 = 9;
pub(super) const I8: u8 = 10;
pub(super) const I16: u8 = 11;
pub(super) const I32: u8 = 12;
pub(super) const I64: u8 = 13;
pub(super) const I128: u8 = 14;
pub(super) const F32: u8 = 15;
pub(super) const F64: u8 = 16;
pub(super) const CHAR: u8 = 17;
pub(super) const STR: u8 = 18;
pub(super) const BYTES: u8 = 19;
pub(super) const LIST: u8 = 20;
pub(super) const SIZED: u8 = 21;
pub(super) const RUN: u8 = 22;
pub(super) const MAP: u8 = 23;
pub(super) const STRUCT: u8 = 24;
pub(super) const UNIT_VARIANT: u8 = 25;
pub(super) const VARIANT: u8 = 26;

/// Ends a sequence, a map, or a struct; no value begins with it, and no name.
pub(super) const END: u8 = 255;

/// A length from here on takes four bytes more.
pub(super) const LONG: u8 = 255;

/// A name of so many bytes at most has its length in one byte.
pub(super) const SHORT_NAME: usize = 250;
pub(super) const LONG_NAME: u8 = 251;
pub(super) const NAME_AT_U8: u8 = 252;
pub(super) const NAME_AT_U16: u8 = 253;
pub(super) const NAME_AT_U32: u8 = 254;

/// How many bytes a number has behind this tag; `None`: it is no number's.
#[inline]
pub(super) fn width(tag: u8) -> Option<usize> {
    Some(match tag {
        U8 | I8 => 1,
        U16 | I16 => 2,
        U32 | I32 | F32 => 4,
        U64 | I64 | F64 => 8,
        U128 | I128 => 16,
        _ => return None,
    })
}

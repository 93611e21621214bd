//! How a value of any type lies in bytes: in a task's frame, in a [`Queue`](crate::Queue)'s item, in a pool's own messages.
//!
//! Every value says what it is, and fields and variants go by their names, so that serde's attributes mean what
//! they mean in a text format. Nothing is lost as it is there: numbers keep their width and their bits, an
//! `Option` of an `Option` its levels, a map any keys.
//!
//! ```text
//! value   UNIT | FALSE | TRUE | NONE | SOME value
//!         | U8 … I128, F32, F64, CHAR, and the number's bytes as they lie in memory
//!         | STR len text | BYTES len bytes
//!         | LIST item… END | SIZED len item… END      a tuple or sequence; len is a hint, as in MAP
//!         | MAP len (value value)… END
//!         | STRUCT (name value)… END
//!         | UNIT_VARIANT name | VARIANT name value
//! item    value | RUN number-tag len numbers
//! len     one byte below 255 | 255, four bytes
//! name    one byte up to 250, so many bytes of text | 251, four bytes, so many bytes of text
//!         | 252 one byte | 253 two bytes | 254 four bytes: where in this value the same name of up to 250 bytes stands first
//! ```
//! An END and not a number says where a sequence ends, so no serializer has to know its length, and a length that
//! is a lie costs nothing: each item takes a byte at least, also one of no size. A [`Vec`] of numbers is one RUN,
//! copied whole; other rows of numbers are runs of up to 254.
//!
//! Bytes may come out of memory that others write. So what is decoded is copied first and checked then; values
//! that borrow from the bytes cannot be decoded, and need not be: who receives a value owns it.

mod access;
mod compound;
mod decode;
mod encode;
mod error;
mod names;
mod number;
mod rows;
mod sink;
mod tags;

pub use decode::decode;
pub use encode::{Encoded, encode, is_sure};
pub use error::Error;
pub use sink::Sink;

/// How many values may lie one inside of the other: a debug build decodes so many within a thread's two megabytes.
pub(crate) const DEPTH: u32 = 256;

#[cfg(test)]
mod tests;

//! Bytes to values.

use super::DEPTH;
use super::access::{Entries, Fields, Items, OneEntry, Variant};
use super::error::Error;
use super::number::Number;
use super::rows::{self, Fill};
use super::tags::*;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Visitor};
use std::marker::PhantomData;

/// Some types ask for an option where there is none, and a value is one level deeper then than it was when it was encoded.
const MOST_LEVELS: u32 = DEPTH + 64;

/// Makes a value of bytes, all of which it takes.
///
/// Any bytes give a value or an error, and no more memory than they account for: two bytes for a name of up to 250, which
/// stands before, and one for an item of any size; but for the megabyte that serde's own collections may reserve.
///
/// # Errors
/// What the value's `Deserialize` says, or what is wrong with the bytes.
#[inline]
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let mut decoder = Decoder { whole: bytes, rest: bytes, depth: 0 };
    let value = decoder.get(PhantomData::<T>)?;
    if decoder.rest.is_empty() { Ok(value) } else { Err(Error::new("there is more than one value")) }
}

pub(super) struct Decoder<'a> {
    whole: &'a [u8],
    rest: &'a [u8],
    depth: u32,
}

#[cold]
fn breaks_off() -> Error {
    Error::new("the bytes break off")
}

fn not_utf8() -> Error {
    Error::new("a text is not UTF-8")
}

impl<'a> Decoder<'a> {
    /// What a value lies in by itself.
    pub(super) fn of(bytes: &'a [u8]) -> Decoder<'a> {
        Decoder { whole: bytes, rest: bytes, depth: 0 }
    }

    #[inline]
    pub(super) fn peek(&self) -> Result<u8, Error> {
        self.rest.first().copied().ok_or_else(breaks_off)
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, Error> {
        let (&byte, rest) = self.rest.split_first().ok_or_else(breaks_off)?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or_else(breaks_off)?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (&bytes, rest) = self.rest.split_first_chunk().ok_or_else(breaks_off)?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    pub(super) fn len(&mut self) -> Result<usize, Error> {
        match self.byte()? {
            LONG => Ok(u32::from_ne_bytes(self.array()?) as usize),
            short => Ok(short.into()),
        }
    }

    /// How many items there may be: what was said, if there are bytes for so many.
    fn hint(&mut self) -> Result<usize, Error> {
        Ok(self.len()?.min(self.rest.len()))
    }

    #[inline]
    fn counted(&mut self) -> Result<&'a [u8], Error> {
        let len = self.len()?;
        self.take(len)
    }

    /// The name that stands here; `None` if it is an END.
    #[inline]
    pub(super) fn name(&mut self) -> Result<Option<&'a [u8]>, Error> {
        let at = match self.byte()? {
            END => return Ok(None),
            NAME_AT_U8 => self.byte()?.into(),
            NAME_AT_U16 => u16::from_le_bytes(self.array()?).into(),
            NAME_AT_U32 => u32::from_le_bytes(self.array()?) as usize,
            LONG_NAME => {
                let len = u32::from_ne_bytes(self.array()?);
                return self.take(len as usize).map(Some);
            }
            short => return self.take(short.into()).map(Some),
        };
        self.name_at(at).map(Some)
    }

    #[inline]
    fn name_at(&self, at: usize) -> Result<&'a [u8], Error> {
        let there = self.whole.get(at..).ok_or_else(breaks_off)?;
        let mut there = Decoder::of(there);
        match there.byte()? {
            short if usize::from(short) <= SHORT_NAME => there.take(short.into()),
            _ => Err(Error::new("a name leads to no name")),
        }
    }

    fn variant_name(&mut self) -> Result<&'a [u8], Error> {
        self.name()?.ok_or_else(|| Error::new("a variant has no name"))
    }

    /// Decodes a variant, whose name has been read. A type that leaves its value there is an error: what follows would be
    /// decoded from the wrong place.
    #[inline]
    fn whole_variant<R>(
        &mut self,
        has_value: bool,
        work: impl FnOnce(&mut Self) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let before = self.rest.len();
        let result = work(self)?;
        if has_value && self.rest.len() == before {
            return Err(Error::new("the variant has a value, which the type does not take"));
        }
        Ok(result)
    }

    /// Does what is one level deeper.
    #[inline]
    pub(super) fn nested<R>(&mut self, work: impl FnOnce(&mut Self) -> Result<R, Error>) -> Result<R, Error> {
        self.depth += 1;
        if self.depth > MOST_LEVELS {
            return Err(Error::new(format!("it is nested more than {MOST_LEVELS} levels deep")));
        }
        let result = work(self)?;
        self.depth -= 1;
        Ok(result)
    }

    /// Decodes any value, a row of numbers whole.
    #[inline]
    pub(super) fn get<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        match rows::filled::<S, S::Value>(self) {
            Some(row) => Ok(row),
            None => seed.deserialize(self),
        }
    }

    #[inline]
    fn items<'de, V: Visitor<'de>>(
        &mut self,
        hint: usize,
        least: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.nested(|decoder| {
            let mut items = Items::new(decoder, hint, least);
            let value = visitor.visit_seq(&mut items)?;
            items.finish().map(|()| value)
        })
    }

    fn entries<'de, V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        let hint = self.hint()?;
        self.nested(|decoder| {
            let value = visitor.visit_map(Entries { decoder, hint })?;
            decoder.end().map(|()| value)
        })
    }

    #[inline]
    fn fields<'de, V: Visitor<'de>>(
        &mut self,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.nested(|decoder| {
            let mut fields = Fields::new(decoder, names);
            let value = visitor.visit_map(&mut fields)?;
            fields.finish().map(|()| value)
        })
    }

    #[inline]
    pub(super) fn end(&mut self) -> Result<(), Error> {
        match self.byte()? {
            END => Ok(()),
            _ => Err(Error::new("there are more items than the type takes")),
        }
    }

    fn text<'de, V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        let bytes = self.counted()?;
        with_text(bytes, |text| visitor.visit_str(text))
    }

    #[inline]
    fn string<'de, V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        let copy = self.counted()?.to_vec();
        visitor.visit_string(String::from_utf8(copy).map_err(|_| not_utf8())?)
    }

    /// A value of whatever its tag says, which has been read.
    fn any<'de, V: Visitor<'de>>(&mut self, tag: u8, visitor: V) -> Result<V::Value, Error> {
        match tag {
            UNIT => visitor.visit_unit(),
            FALSE => visitor.visit_bool(false),
            TRUE => visitor.visit_bool(true),
            NONE => visitor.visit_none(),
            SOME => self.nested(|decoder| visitor.visit_some(decoder)),
            CHAR => {
                let code = u32::from_ne_bytes(self.array()?);
                visitor.visit_char(char::from_u32(code).ok_or_else(|| Error::new("a char is none"))?)
            }
            STR => self.text(visitor),
            BYTES => visitor.visit_byte_buf(self.counted()?.to_vec()),
            LIST => self.items(0, 0, visitor),
            SIZED => {
                let hint = self.hint()?;
                self.items(hint, 0, visitor)
            }
            MAP => self.entries(visitor),
            STRUCT => self.fields(&[], visitor),
            UNIT_VARIANT => {
                let name = self.variant_name()?;
                with_text(name, |name| visitor.visit_str(name))
            }
            VARIANT => {
                let name = self.variant_name()?;
                self.whole_variant(true, |decoder| {
                    decoder.nested(|decoder| visitor.visit_map(OneEntry { decoder, name: Some(name) }))
                })
            }
            tag => match width(tag) {
                Some(width) => Number { tag, bytes: self.take(width)? }.deserialize_any(visitor),
                None => Err(Error::new(format!("no value begins with {tag}"))),
            },
        }
    }
}

/// Calls `work` with a text that nobody else writes.
#[inline]
pub(super) fn with_text<R>(bytes: &[u8], work: impl FnOnce(&str) -> Result<R, Error>) -> Result<R, Error> {
    let mut short = [0; 64];
    let long;
    let copy = match short.get_mut(..bytes.len()) {
        Some(short) => {
            short.copy_from_slice(bytes);
            &*short
        }
        None => {
            long = bytes.to_vec();
            &long
        }
    };
    work(std::str::from_utf8(copy).map_err(|_| not_utf8())?)
}

impl Fill for Decoder<'_> {
    fn fill<P: Copy>(&mut self, tag: u8, row: &mut Vec<P>) -> bool {
        let before = self.rest;
        let is_filled = self.try_fill(tag, row).unwrap_or(false);
        if !is_filled {
            self.rest = before; // whoever looks at each value by itself says what is wrong
        }
        is_filled
    }

    fn fill_option<P: Copy>(&mut self, tag: u8, row: &mut Vec<P>) -> Option<bool> {
        let (&head, rest) = self.rest.split_first()?;
        let before = std::mem::replace(&mut self.rest, rest);
        if head == NONE {
            return Some(false);
        }
        if head == SOME && self.fill(tag, row) {
            return Some(true);
        }
        self.rest = before;
        None
    }
}

impl Decoder<'_> {
    fn try_fill<P: Copy>(&mut self, tag: u8, row: &mut Vec<P>) -> Result<bool, Error> {
        match self.byte()? {
            LIST => {}
            SIZED => drop(self.len()?),
            _ => return Ok(false),
        }
        loop {
            match self.byte()? {
                END => return Ok(true),
                RUN if self.byte()? == tag => {}
                _ => return Ok(false),
            }
            let count = self.len()?;
            let bytes = self.take(count.checked_mul(size_of::<P>()).ok_or_else(breaks_off)?)?;
            row.reserve(count);
            // SAFETY: there is room for so many, just reserved behind `len`; numbers are any bytes, and `P` is the
            // type of number that the tag stands for.
            unsafe {
                let to = row.as_mut_ptr().add(row.len()).cast::<u8>();
                to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                row.set_len(row.len() + count);
            }
        }
    }
}

/// A number that is what the type asks for, or whatever else there is.
macro_rules! numbers {
    ($($name:ident $type:ty: $tag:ident $visit:ident),*) => { $(
        #[inline]
        fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.byte()? {
                $tag => visitor.$visit(<$type>::from_ne_bytes(self.array()?)),
                tag => self.any(tag, visitor),
            }
        }
    )* };
}

macro_rules! whatever {
    ($($name:ident),*) => { $(
        #[inline]
        fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let tag = self.byte()?;
            self.any(tag, visitor)
        }
    )* };
}

impl<'de> Deserializer<'de> for &mut Decoder<'_> {
    type Error = Error;

    numbers! {
        deserialize_u8 u8: U8 visit_u8, deserialize_u16 u16: U16 visit_u16, deserialize_u32 u32: U32 visit_u32,
        deserialize_u64 u64: U64 visit_u64, deserialize_u128 u128: U128 visit_u128,
        deserialize_i8 i8: I8 visit_i8, deserialize_i16 i16: I16 visit_i16, deserialize_i32 i32: I32 visit_i32,
        deserialize_i64 i64: I64 visit_i64, deserialize_i128 i128: I128 visit_i128,
        deserialize_f32 f32: F32 visit_f32, deserialize_f64 f64: F64 visit_f64
    }

    whatever! {
        deserialize_any, deserialize_bool, deserialize_char, deserialize_str, deserialize_bytes, deserialize_byte_buf,
        deserialize_unit, deserialize_identifier, deserialize_ignored_any
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.byte()? {
            STR => self.string(visitor),
            tag => self.any(tag, visitor),
        }
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.peek()? {
            tag @ (NONE | SOME | UNIT) => {
                self.byte()?;
                self.any(tag, visitor)
            }
            // The type has become an option since, or has been written without.
            _ => self.nested(|decoder| visitor.visit_some(decoder)),
        }
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.byte()? {
            // A type that was bytes when it was written.
            BYTES => visitor.visit_seq(&mut Items::of_bytes(self.counted()?)),
            tag => self.any(tag, visitor),
        }
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        match self.byte()? {
            LIST => self.items(len, len, visitor),
            tag => self.any(tag, visitor),
        }
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(len, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let tag = self.byte()?;
        self.any(tag, visitor)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.byte()? {
            STRUCT => self.fields(fields, visitor),
            tag => self.any(tag, visitor),
        }
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.byte()? {
            tag @ (UNIT_VARIANT | VARIANT) => {
                let name = self.variant_name()?;
                let has_value = tag == VARIANT;
                self.whole_variant(has_value, |decoder| {
                    visitor.visit_enum(Variant { decoder, name, has_value })
                })
            }
            STR => {
                let name = self.counted()?;
                with_text(name, |name| visitor.visit_enum(StrDeserializer::new(name)))
            }
            tag => self.any(tag, visitor),
        }
    }

    fn is_human_readable(&self) -> bool {
        true
    }
}

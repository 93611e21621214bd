//! Values to bytes.

use super::DEPTH;
use super::compound::{Fields, Items};
use super::error::Error;
use super::names::Names;
use super::rows;
use super::sink::Sink;
use super::tags::*;
use serde::Serialize;
use serde::ser::Serializer;
use std::any::TypeId;

/// What came of encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoded {
    /// A number for the names of fields and variants that occur in the value, for the fields that were left out, and
    /// for the kinds of values (texts, `u8`, …). Within one process and type, values of one shape are decoded alike,
    /// but for what their fields hold. `None`: the value has a map with fields beside what is flattened into it, and
    /// what is decoded depends on the keys.
    pub shape: Option<u64>,
}

/// Appends a value.
///
/// # Errors
/// What the value's `Serialize` says, or that it is nested too deeply, or that there is no room. What was appended makes no sense then.
#[inline]
pub fn encode<T: ?Sized + Serialize>(sink: &mut impl Sink, value: &T) -> Result<Encoded, Error> {
    let start = sink.position();
    let mut encoder = Encoder { sink, start, depth: 0, names: Names::default() };
    encoder.put(value)?;
    Ok(Encoded { shape: encoder.names.shape() })
}

/// Whether a value of that type is decoded whatever it holds, as numbers in a row and strings are: there is no code of a user's in between.
#[inline]
pub fn is_sure<T>(value: &T) -> bool {
    rows::row(value).is_some() || typeid::of::<T>() == TypeId::of::<String>()
}

pub(super) struct Encoder<'s, S> {
    sink: &'s mut S,
    start: usize,
    depth: u32,
    names: Names,
}

/// A number's head and bytes in one piece.
macro_rules! numbers {
    ($($name:ident $type:ty: $tag:ident),*) => { $(
        #[inline]
        fn $name(self, value: $type) -> Result<(), Error> {
            self.names.note_kind($tag);
            let mut bytes = [$tag; 1 + size_of::<$type>()];
            bytes[1..].copy_from_slice(&value.to_ne_bytes());
            self.write(&bytes)
        }
    )* };
}

impl<S: Sink> Encoder<'_, S> {
    #[inline]
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.sink.write(bytes)
    }

    #[inline]
    pub(super) fn position(&self) -> usize {
        self.sink.position()
    }

    #[inline]
    pub(super) fn replace(&mut self, at: usize, byte: u8) {
        self.sink.replace(at, byte);
    }

    /// Encodes any value, a row of numbers whole.
    #[inline]
    pub(super) fn put<V: ?Sized + Serialize>(&mut self, value: &V) -> Result<(), Error> {
        match rows::row(value) {
            Some((tag, count, bytes)) => self.row(tag, count, bytes),
            None => value.serialize(self),
        }
    }

    /// Encodes a value that lies in another one.
    #[inline]
    fn put_inside<V: ?Sized + Serialize>(&mut self, value: &V) -> Result<(), Error> {
        self.enter()?;
        self.put(value)?;
        self.leave();
        Ok(())
    }

    #[inline]
    pub(super) fn enter(&mut self) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > DEPTH { Err(too_deep()) } else { Ok(()) }
    }

    #[inline]
    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    fn row(&mut self, tag: u8, count: usize, bytes: &[u8]) -> Result<(), Error> {
        self.enter()?;
        self.leave();
        self.note_kind(tag);
        if count == 0 {
            return self.write(&[LIST, END]);
        }
        self.sink.reserve(bytes.len() + 9);
        self.write(&[LIST, RUN, tag])?;
        self.len(count)?;
        self.write(bytes)?;
        self.write(&[END])
    }

    #[inline]
    fn len(&mut self, len: usize) -> Result<(), Error> {
        if len < usize::from(LONG) { self.write(&[len as u8]) } else { self.long_len(len) }
    }

    fn long_len(&mut self, len: usize) -> Result<(), Error> {
        let len = u32::try_from(len)
            .map_err(|_| Error::new(format!("{len} bytes or items are more than 4 GiB")))?;
        self.write(&[LONG])?;
        self.write(&len.to_ne_bytes())
    }

    #[inline]
    fn counted(&mut self, tag: u8, bytes: &[u8]) -> Result<(), Error> {
        self.note_kind(tag);
        self.sink.reserve(bytes.len() + 6);
        if bytes.len() < usize::from(LONG) {
            self.write(&[tag, bytes.len() as u8])?;
        } else {
            self.write(&[tag])?;
            self.long_len(bytes.len())?;
        }
        self.write(bytes)
    }

    /// Writes a name, or where it stands already.
    #[inline]
    pub(super) fn name(&mut self, name: &'static str) -> Result<(), Error> {
        match self.names.find(name) {
            Some(at) if at <= u32::from(u8::MAX) => self.write(&[NAME_AT_U8, at as u8]),
            Some(at) => self.far_name(at),
            None => {
                self.names.note(name, self.sink.position() - self.start);
                if name.len() <= SHORT_NAME {
                    self.write(&[name.len() as u8])?;
                } else {
                    self.write(&[LONG_NAME])?;
                    self.write(&(name.len() as u32).to_ne_bytes())?;
                }
                self.write(name.as_bytes())
            }
        }
    }

    fn far_name(&mut self, at: u32) -> Result<(), Error> {
        let bytes = at.to_le_bytes(); // the lower half first, on any machine
        if at <= u32::from(u16::MAX) {
            self.write(&[NAME_AT_U16, bytes[0], bytes[1]])
        } else {
            self.write(&[NAME_AT_U32, bytes[0], bytes[1], bytes[2], bytes[3]])
        }
    }

    /// Notes that a field is left out of a value of this shape.
    pub(super) fn note_skipped(&mut self, name: &'static str) {
        self.names.mark(name, 1);
    }

    /// Notes that there is a text that a derived `Serialize` writes itself: the tag of a variant.
    pub(super) fn note_text(&mut self, text: &str) {
        self.names.mark(text, 2);
    }

    /// Notes that there are numbers with that tag.
    #[inline]
    pub(super) fn note_kind(&mut self, tag: u8) {
        self.names.note_kind(tag);
    }

    /// Notes that a map has fields of a struct, which its other keys must not be called like.
    #[inline]
    pub(super) fn note_open(&mut self) {
        self.names.open();
    }

    #[inline]
    fn begin(&mut self, tag: u8) -> Result<(), Error> {
        self.enter()?;
        self.note_kind(tag);
        self.write(&[tag])
    }
}

#[cold]
fn too_deep() -> Error {
    Error::new(format!(
        "it is nested more than {DEPTH} levels deep: put the parts into a Vec, and let them refer to each other by index"
    ))
}

impl<'e, 's, S: Sink> Serializer for &'e mut Encoder<'s, S> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Items<'e, 's, S>;
    type SerializeTuple = Items<'e, 's, S>;
    type SerializeTupleStruct = Items<'e, 's, S>;
    type SerializeTupleVariant = Items<'e, 's, S>;
    type SerializeMap = Fields<'e, 's, S>;
    type SerializeStruct = Fields<'e, 's, S>;
    type SerializeStructVariant = Fields<'e, 's, S>;

    numbers! {
        serialize_u8 u8: U8, serialize_u16 u16: U16, serialize_u32 u32: U32, serialize_u64 u64: U64,
        serialize_i8 i8: I8, serialize_i16 i16: I16, serialize_i32 i32: I32, serialize_i64 i64: I64,
        serialize_f32 f32: F32, serialize_f64 f64: F64
    }

    fn serialize_u128(self, value: u128) -> Result<(), Error> {
        self.note_kind(U128);
        self.write(&[U128])?;
        self.write(&value.to_ne_bytes())
    }

    fn serialize_i128(self, value: i128) -> Result<(), Error> {
        self.note_kind(I128);
        self.write(&[I128])?;
        self.write(&value.to_ne_bytes())
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.note_kind(TRUE);
        self.write(&[if value { TRUE } else { FALSE }])
    }

    #[inline]
    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.note_kind(CHAR);
        let [a, b, c, d] = u32::from(value).to_ne_bytes();
        self.write(&[CHAR, a, b, c, d])
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), Error> {
        self.counted(STR, value.as_bytes())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        self.counted(BYTES, value)
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Error> {
        self.note_kind(NONE);
        self.write(&[NONE])
    }

    #[inline]
    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Result<(), Error> {
        self.note_kind(SOME);
        self.write(&[SOME])?;
        self.put_inside(value)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Error> {
        self.note_kind(UNIT);
        self.write(&[UNIT])
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Error> {
        self.note_kind(UNIT);
        self.write(&[UNIT])
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.write(&[UNIT_VARIANT])?;
        self.name(variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.put(value)
    }

    #[inline]
    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.write(&[VARIANT])?;
        self.name(variant)?;
        self.put_inside(value).map_err(|error| error.within(variant))
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Items<'e, 's, S>, Error> {
        match len.filter(|&len| len > 0 && len <= u32::MAX as usize) {
            Some(len) => {
                self.sink.reserve(len.saturating_add(8).min(1 << 16));
                self.begin(SIZED)?;
                self.len(len)?;
            }
            None => self.begin(LIST)?,
        }
        Ok(Items::new(self, true, 1))
    }

    #[inline]
    fn serialize_tuple(self, len: usize) -> Result<Items<'e, 's, S>, Error> {
        self.begin(LIST)?;
        Ok(Items::new(self, len > 8, 1))
    }

    fn serialize_tuple_struct(self, name: &'static str, len: usize) -> Result<Items<'e, 's, S>, Error> {
        self.names.note_items(name, len);
        self.serialize_tuple(len)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Items<'e, 's, S>, Error> {
        self.names.note_items(variant, len);
        self.begin(VARIANT)?;
        self.name(variant)?;
        self.begin(LIST)?;
        Ok(Items::new(self, len > 8, 2))
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Fields<'e, 's, S>, Error> {
        self.begin(MAP)?;
        if len.is_none() {
            self.note_open(); // as a struct that has something flattened into it
        }
        self.len(len.filter(|&len| len <= u32::MAX as usize).unwrap_or(0))?;
        Ok(Fields::new(self, 1))
    }

    #[inline]
    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Fields<'e, 's, S>, Error> {
        self.begin(STRUCT)?;
        Ok(Fields::new(self, 1))
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Fields<'e, 's, S>, Error> {
        self.begin(VARIANT)?;
        self.name(variant)?;
        self.begin(STRUCT)?;
        Ok(Fields::new(self, 2))
    }

    /// A type that has two forms travels in the one that it has in text: types without a tag, and flattened ones, are decoded out of serde's own
    /// buffer, which always asks for that one.
    fn is_human_readable(&self) -> bool {
        true
    }
}

//! A number without a tag of its own, as it lies in a run.

use super::error::Error;
use super::tags::*;
use serde::de::{Deserializer, Visitor};
use serde::forward_to_deserialize_any;

pub(super) struct Number<'a> {
    pub(super) tag: u8,
    /// As many as the tag says.
    pub(super) bytes: &'a [u8],
}

impl Number<'_> {
    #[inline]
    fn array<const N: usize>(&self) -> Result<[u8; N], Error> {
        self.bytes.try_into().map_err(|_| Error::new("a number breaks off"))
    }
}

/// A number that is what the type asks for, or whatever else there is.
macro_rules! numbers {
    ($($name:ident $type:ty: $tag:ident $visit:ident),*) => { $(
        #[inline]
        fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            if self.tag == $tag {
                return visitor.$visit(<$type>::from_ne_bytes(self.array()?));
            }
            self.deserialize_any(visitor)
        }
    )* };
}

impl<'de> Deserializer<'de> for Number<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.tag {
            U8 => visitor.visit_u8(u8::from_ne_bytes(self.array()?)),
            U16 => visitor.visit_u16(u16::from_ne_bytes(self.array()?)),
            U32 => visitor.visit_u32(u32::from_ne_bytes(self.array()?)),
            U64 => visitor.visit_u64(u64::from_ne_bytes(self.array()?)),
            U128 => visitor.visit_u128(u128::from_ne_bytes(self.array()?)),
            I8 => visitor.visit_i8(i8::from_ne_bytes(self.array()?)),
            I16 => visitor.visit_i16(i16::from_ne_bytes(self.array()?)),
            I32 => visitor.visit_i32(i32::from_ne_bytes(self.array()?)),
            I64 => visitor.visit_i64(i64::from_ne_bytes(self.array()?)),
            I128 => visitor.visit_i128(i128::from_ne_bytes(self.array()?)),
            F32 => visitor.visit_f32(f32::from_ne_bytes(self.array()?)),
            F64 => visitor.visit_f64(f64::from_ne_bytes(self.array()?)),
            tag => Err(Error::new(format!("{tag} is no number's tag"))),
        }
    }

    numbers! {
        deserialize_u8 u8: U8 visit_u8, deserialize_u16 u16: U16 visit_u16, deserialize_u32 u32: U32 visit_u32,
        deserialize_u64 u64: U64 visit_u64,
        deserialize_i8 i8: I8 visit_i8, deserialize_i16 i16: I16 visit_i16, deserialize_i32 i32: I32 visit_i32,
        deserialize_i64 i64: I64 visit_i64,
        deserialize_f32 f32: F32 visit_f32, deserialize_f64 f64: F64 visit_f64
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn is_human_readable(&self) -> bool {
        true
    }

    forward_to_deserialize_any! {
        bool i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct enum
        identifier ignored_any
    }
}

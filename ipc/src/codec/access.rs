//! Values of several parts out of bytes.

use super::decode::{Decoder, with_text};
use super::error::Error;
use super::number::Number;
use super::rows;
use super::tags::{END, RUN, U8, width};
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};

/// A sequence or tuple.
pub(super) struct Items<'d, 'a> {
    /// `None`: the run is all there is.
    decoder: Option<&'d mut Decoder<'a>>,
    hint: usize,
    /// How many must come yet.
    least: usize,
    run: Run<'a>,
}

/// What is left of a run.
struct Run<'a> {
    tag: u8,
    width: usize,
    /// A multiple of `width`.
    bytes: &'a [u8],
}

impl<'d, 'a> Items<'d, 'a> {
    #[inline]
    pub(super) fn new(decoder: &'d mut Decoder<'a>, hint: usize, least: usize) -> Self {
        Items { decoder: Some(decoder), hint, least, run: Run { tag: END, width: 1, bytes: &[] } }
    }

    /// Bytes as a sequence of numbers.
    pub(super) fn of_bytes(bytes: &'a [u8]) -> Self {
        Items { decoder: None, hint: bytes.len(), least: 0, run: Run { tag: U8, width: 1, bytes } }
    }

    #[inline]
    pub(super) fn finish(self) -> Result<(), Error> {
        match self.decoder {
            Some(decoder) if self.run.bytes.is_empty() => decoder.end(),
            _ => Err(Error::new("there are more items than the type takes")),
        }
    }

    /// The next item, whatever it is.
    fn next_of_any<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        while self.run.bytes.is_empty() {
            let Some(decoder) = self.decoder.as_mut() else { return Ok(None) };
            match decoder.peek()? {
                RUN => self.enter()?,
                END if self.least > 0 => {
                    return Err(Error::new(format!("{} items are missing", self.least)));
                }
                END => return Ok(None),
                _ => {
                    self.least = self.least.saturating_sub(1);
                    return decoder.get(seed).map(Some);
                }
            }
        }
        self.least = self.least.saturating_sub(1);
        let (bytes, rest) = self.run.bytes.split_at(self.run.width);
        self.run.bytes = rest;
        seed.deserialize(Number { tag: self.run.tag, bytes }).map(Some)
    }

    #[cold]
    fn enter(&mut self) -> Result<(), Error> {
        let Some(decoder) = self.decoder.as_mut() else { return Ok(()) };
        decoder.byte()?;
        let tag = decoder.byte()?;
        let width = width(tag).ok_or_else(|| Error::new(format!("{tag} is no number's tag")))?;
        let bytes = decoder.len()?.saturating_mul(width);
        self.run = Run { tag, width, bytes: decoder.take(bytes)? };
        self.hint = self.hint.max(bytes / width);
        Ok(())
    }
}

impl<'de> SeqAccess<'de> for &mut Items<'_, '_> {
    type Error = Error;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if !self.run.bytes.is_empty()
            && let Some(number) = rows::taken::<S, S::Value>(self.run.tag, &mut self.run.bytes)
        {
            self.least = self.least.saturating_sub(1);
            return Ok(Some(number));
        }
        self.next_of_any(seed)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.hint)
    }
}

/// A map.
pub(super) struct Entries<'d, 'a> {
    pub(super) decoder: &'d mut Decoder<'a>,
    pub(super) hint: usize,
}

impl<'de> MapAccess<'de> for Entries<'_, '_> {
    type Error = Error;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if self.decoder.peek()? == END { Ok(None) } else { self.decoder.get(seed).map(Some) }
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        self.decoder.get(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.hint)
    }
}

/// A struct.
pub(super) struct Fields<'d, 'a> {
    decoder: &'d mut Decoder<'a>,
    /// What the type's fields are called, if it says so.
    names: &'static [&'static str],
    /// Which of them probably comes now.
    next: usize,
    name: &'a [u8],
    is_at_end: bool,
}

impl<'d, 'a> Fields<'d, 'a> {
    #[inline]
    pub(super) fn new(decoder: &'d mut Decoder<'a>, names: &'static [&'static str]) -> Self {
        Fields { decoder, names, next: 0, name: &[], is_at_end: false }
    }

    #[inline]
    pub(super) fn finish(self) -> Result<(), Error> {
        if self.is_at_end || self.decoder.name()?.is_none() {
            return Ok(());
        }
        Err(Error::new("there are more fields than the type takes"))
    }
}

impl<'de> MapAccess<'de> for &mut Fields<'_, '_> {
    type Error = Error;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some(name) = self.decoder.name()? else {
            self.is_at_end = true;
            return Ok(None);
        };
        self.name = name;
        // The usual case: the fields in their order, each of which is a text that was checked when this program was built.
        if let Some(&expected) = self.names.get(self.next)
            && is_same(expected.as_bytes(), name)
        {
            self.next += 1;
            return seed.deserialize(StrDeserializer::new(expected)).map(Some);
        }
        if let Some(at) = self.names.iter().position(|expected| expected.as_bytes() == name) {
            self.next = at + 1;
        }
        with_text(name, |name| seed.deserialize(StrDeserializer::new(name)).map(Some))
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let name = self.name;
        self.decoder.get(seed).map_err(|error| error.within_bytes(name))
    }
}

/// Whether two names are equal. Most are short, and compared without a call.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    fn ends<const N: usize>(a: &[u8], b: &[u8]) -> bool {
        a.first_chunk::<N>() == b.first_chunk() && a.last_chunk::<N>() == b.last_chunk()
    }
    a.len() == b.len()
        && match a.len() {
            0 => true,
            1 => a[0] == b[0],
            2..4 => ends::<2>(a, b),
            4..8 => ends::<4>(a, b),
            8..=16 => ends::<8>(a, b),
            _ => a == b,
        }
}

/// A variant as a map of one entry, for a type that does not say that it is an enum.
pub(super) struct OneEntry<'d, 'a> {
    pub(super) decoder: &'d mut Decoder<'a>,
    pub(super) name: Option<&'a [u8]>,
}

impl<'de> MapAccess<'de> for OneEntry<'_, '_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some(name) = self.name.take() else { return Ok(None) };
        with_text(name, |name| seed.deserialize(StrDeserializer::new(name)).map(Some))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        self.decoder.get(seed)
    }
}

/// An enum.
pub(super) struct Variant<'d, 'a> {
    pub(super) decoder: &'d mut Decoder<'a>,
    pub(super) name: &'a [u8],
    pub(super) has_value: bool,
}

impl<'d, 'a> Variant<'d, 'a> {
    /// Decodes what the variant has.
    #[inline]
    fn value<R>(self, work: impl FnOnce(&mut Decoder<'a>) -> Result<R, Error>) -> Result<R, Error> {
        let Variant { decoder, name, has_value } = self;
        let result =
            if has_value { decoder.nested(work) } else { Err(Error::new("the variant has no value")) };
        result.map_err(|error| error.within_bytes(name))
    }
}

impl<'de> EnumAccess<'de> for Variant<'_, '_> {
    type Error = Error;
    type Variant = Self;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let variant = with_text(self.name, |name| seed.deserialize(StrDeserializer::new(name)))?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, '_> {
    type Error = Error;

    #[inline]
    fn unit_variant(self) -> Result<(), Error> {
        if !self.has_value {
            return Ok(());
        }
        Err(Error::new("the variant has a value here").within_bytes(self.name))
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        self.value(|decoder| decoder.get(seed))
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.value(|decoder| decoder.deserialize_tuple(len, visitor))
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.value(|decoder| decoder.deserialize_struct("", fields, visitor))
    }
}

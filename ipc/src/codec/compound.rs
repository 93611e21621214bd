//! Values of several parts to bytes.

use super::encode::Encoder;
use super::error::Error;
use super::rows::{self, Number};
use super::sink::Sink;
use super::tags::{END, RUN};
use serde::Serialize;
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};

/// A run has its length in one byte.
const LONGEST_RUN: u8 = 254;

/// A sequence or tuple.
pub(super) struct Items<'e, 's, S> {
    encoder: &'e mut Encoder<'s, S>,
    /// Whether numbers of one type go without a tag each.
    has_runs: bool,
    run: Run,
    levels: u8,
}

/// Numbers of one type, one after the other. None has begun yet if `count` is 0.
struct Run {
    tag: u8,
    count: u8,
    /// Where `count` is to be written.
    at: usize,
}

impl<'e, 's, S: Sink> Items<'e, 's, S> {
    #[inline]
    pub(super) fn new(encoder: &'e mut Encoder<'s, S>, has_runs: bool, levels: u8) -> Self {
        Items { encoder, has_runs, run: Run { tag: END, count: 0, at: 0 }, levels }
    }

    #[inline]
    fn item<V: ?Sized + Serialize>(&mut self, value: &V) -> Result<(), Error> {
        if self.has_runs
            && let Some(number) = rows::number(value)
        {
            return self.number(number);
        }
        self.end_run();
        self.encoder.put(value)
    }

    #[inline]
    fn number(&mut self, number: Number) -> Result<(), Error> {
        if number.tag != self.run.tag || self.run.count == LONGEST_RUN {
            self.end_run();
            self.encoder.note_kind(number.tag);
            self.encoder.write(&[RUN, number.tag, 0])?;
            self.run = Run { tag: number.tag, count: 0, at: self.encoder.position() - 1 };
        }
        self.run.count += 1;
        self.encoder.write(&number.bytes[..number.width])
    }

    #[inline]
    fn end_run(&mut self) {
        if self.run.count > 0 {
            self.encoder.replace(self.run.at, self.run.count);
            self.run = Run { tag: END, count: 0, at: 0 };
        }
    }

    #[inline]
    fn finish(mut self) -> Result<(), Error> {
        self.end_run();
        (0..self.levels).for_each(|_| self.encoder.leave());
        self.encoder.write(&[END])
    }
}

/// Writes the traits of sequences, which differ in the name of one method.
macro_rules! items {
    ($($trait:ident $method:ident),*) => { $(
        impl<S: Sink> $trait for Items<'_, '_, S> {
            type Ok = ();
            type Error = Error;

            #[inline]
            fn $method<V: ?Sized + Serialize>(&mut self, value: &V) -> Result<(), Error> {
                self.item(value)
            }

            #[inline]
            fn end(self) -> Result<(), Error> {
                self.finish()
            }
        }
    )* };
}
items! {
    SerializeSeq serialize_element, SerializeTuple serialize_element, SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
}

/// A struct, by the names of its fields, or a map.
pub(super) struct Fields<'e, 's, S> {
    encoder: &'e mut Encoder<'s, S>,
    levels: u8,
}

impl<'e, 's, S: Sink> Fields<'e, 's, S> {
    #[inline]
    pub(super) fn new(encoder: &'e mut Encoder<'s, S>, levels: u8) -> Self {
        Fields { encoder, levels }
    }

    #[inline]
    fn finish(self) -> Result<(), Error> {
        (0..self.levels).for_each(|_| self.encoder.leave());
        self.encoder.write(&[END])
    }
}

macro_rules! fields {
    ($($trait:ident),*) => { $(
        impl<S: Sink> $trait for Fields<'_, '_, S> {
            type Ok = ();
            type Error = Error;

            #[inline]
            fn serialize_field<V: ?Sized + Serialize>(
                &mut self,
                name: &'static str,
                value: &V,
            ) -> Result<(), Error> {
                self.encoder.name(name)?;
                if let Some(text) = rows::text(value) {
                    self.encoder.note_text(text);
                }
                self.encoder.put(value).map_err(|error| error.within(name))
            }

            #[inline]
            fn skip_field(&mut self, name: &'static str) -> Result<(), Error> {
                self.encoder.note_skipped(name);
                Ok(())
            }

            #[inline]
            fn end(self) -> Result<(), Error> {
                self.finish()
            }
        }
    )* };
}
fields!(SerializeStruct, SerializeStructVariant);

impl<S: Sink> SerializeMap for Fields<'_, '_, S> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_key<K: ?Sized + Serialize>(&mut self, key: &K) -> Result<(), Error> {
        if rows::text(key).is_some() {
            self.encoder.note_open();
        }
        self.encoder.put(key)
    }

    #[inline]
    fn serialize_value<V: ?Sized + Serialize>(&mut self, value: &V) -> Result<(), Error> {
        self.encoder.put(value)
    }

    #[inline]
    fn end(self) -> Result<(), Error> {
        self.finish()
    }
}

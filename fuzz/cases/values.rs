//! Values of a type with most of serde's attributes, there and back: through a task's frames, and through a
//! queue.
//! Each arrives equal; what cannot is refused where it is put.
//!
//! An input is a list of values, each as the choices that make it.

use super::input::Input;
use serde::{Deserialize, Serialize};
use skep_ipc::{Arena, EncodeError, Queue, SendValueError};
use skep_pool::fuzzing::there_and_back;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Every {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    a: Option<Option<u8>>,
    b: u32,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    v: Vec<u32>,
    #[serde(skip)]
    skipped: u8,
    #[serde(rename = "kind", alias = "sort")]
    of: Vec<Kind>,
    #[serde(flatten)]
    flat: Flat,
    #[serde(flatten)]
    rest: BTreeMap<String, Untagged>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Flat {
    #[serde(skip_serializing_if = "is_zero", default)]
    flat_number: i64,
    flat_address: IpAddr,
    flat_adjacent: Option<Adjacent>,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// Tagged by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Kind {
    Unit,
    Empty(()),
    Wide(u128, i128),
    Text(char, String, Box<str>),
    Bytes(Vec<u8>, Option<Vec<u8>>, [u8; 9], Box<[i16]>),
    Numbers { floats: Vec<f64>, mixed: (u8, i8, u16, i16, u64, f32, bool), sizes: Vec<usize> },
    Keys(HashMap<(u8, Option<char>), Vec<()>>),
    Deep(Box<Every>),
    Untagged(Untagged),
    Internal(Internal),
    Options(Option<Option<()>>, Result<Transparent, String>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Transparent {
    inner: Vec<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Nothing,
    Yes(bool),
    Number(i64),
    Float(f64),
    Text(String),
    List(Vec<Untagged>),
    Named { name: Option<Option<u8>> },
    Wide { wide: u128 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Internal {
    Nothing,
    Flat(Flat),
    Fields {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        a: Option<u8>,
        #[serde(skip_deserializing)]
        shown: u8,
        b: Vec<u16>,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Nothing,
    One(String),
    Two(u8, Option<Option<u8>>),
    Fields { x: i32 },
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let arena = Arena::new(1 << 20).expect("memory");
    let mut queue = Queue::<Every>::create_in(&arena, "values", 2).expect("room");
    while !input.0.is_empty() {
        let mut make = Make { input: &mut input, has_wide: false };
        let value = make.every(3);
        let has_wide = make.has_wide;
        match there_and_back(value.clone(), &arena) {
            Ok(back) => assert!(!has_wide && back == value, "{value:?} came as {back:?}"),
            Err(error) => assert!(has_wide, "{value:?}: {error}"),
        }
        match queue.try_put(value.clone()) {
            Ok(()) => assert_eq!(queue.try_get().expect("it was put"), value),
            Err(SendValueError::NotEncoded { value: same, reason: EncodeError::NotDecodable { .. } }) => {
                assert!(has_wide && same == value, "{value:?}");
            }
            Err(other) => panic!("{value:?}: {other}"),
        }
        assert!(queue.is_empty());
    }
}

/// Makes values of choices.
struct Make<'i, 'a> {
    input: &'i mut Input<'a>,
    /// Whether there is one that serde's buffer has no room for.
    has_wide: bool,
}

impl Make<'_, '_> {
    fn many<T>(&mut self, most: usize, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.input.below(most + 1)).map(|_| one(self)).collect()
    }

    fn perhaps<T>(&mut self, one: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.input.below(2) == 1).then(|| one(self))
    }

    fn byte(&mut self) -> u8 {
        self.input.below(256) as u8
    }

    fn bytes(&mut self) -> Vec<u8> {
        let (len, byte) = (self.input.below(4), self.byte());
        vec![byte; [0, 1, 40, 300][len]]
    }

    fn float(&mut self) -> f64 {
        // Those of serde's JSON are equal to themselves.
        Some(f64::from_bits(self.input.word())).filter(|float| !float.is_nan()).unwrap_or(0.5)
    }

    fn text(&mut self) -> String {
        self.many(4, |make| char::from(make.byte())).into_iter().collect()
    }

    fn address(&mut self) -> IpAddr {
        match self.perhaps(Make::byte) {
            Some(byte) => [byte; 4].into(),
            None => [self.byte(); 16].into(),
        }
    }

    fn every(&mut self, depth: usize) -> Every {
        Every {
            a: self.perhaps(|make| make.perhaps(Make::byte)),
            b: self.input.word() as u32,
            v: self.many(3, |make| make.byte().into()),
            skipped: 0,
            of: self.many(3, |make| make.kind(depth)),
            flat: self.flat(),
            rest: (0..self.input.below(3))
                .map(|n| (format!("r{n}{}", self.text()), self.untagged(depth)))
                .collect(),
        }
    }

    fn flat(&mut self) -> Flat {
        Flat {
            flat_number: self.byte().into(),
            flat_address: self.address(),
            flat_adjacent: self.perhaps(|make| match make.input.below(4) {
                0 => Adjacent::Nothing,
                1 => Adjacent::One(make.text()),
                2 => Adjacent::Two(make.byte(), make.perhaps(|make| make.perhaps(Make::byte))),
                _ => Adjacent::Fields { x: make.input.word() as i32 },
            }),
        }
    }

    fn kind(&mut self, depth: usize) -> Kind {
        match self.input.below(11) {
            1 => Kind::Empty(()),
            2 => Kind::Wide(u128::from(self.input.word()) << 64, i128::from(self.byte()) - 128),
            3 => Kind::Text(self.byte().into(), self.text(), self.text().into()),
            4 => {
                let numbers = self.many(9, |make| make.byte().into());
                Kind::Bytes(self.bytes(), self.perhaps(Make::bytes), [self.byte(); 9], numbers.into())
            }
            5 => Kind::Numbers {
                floats: self.many(5, Make::float),
                mixed: (self.byte(), -1, 2, -3, self.input.word(), self.byte().into(), true),
                sizes: self.many(3, |make| make.input.word() as usize),
            },
            6 => Kind::Keys(
                self.many(3, |make| {
                    let key = (make.byte(), make.perhaps(|make| make.byte().into()));
                    (key, vec![(); make.input.below(256)])
                })
                .into_iter()
                .collect(),
            ),
            7 if depth > 0 => Kind::Deep(Box::new(self.every(depth - 1))),
            8 => Kind::Untagged(self.untagged(depth)),
            9 => Kind::Internal(match self.input.below(3) {
                0 => Internal::Nothing,
                1 => Internal::Flat(self.flat()),
                _ => Internal::Fields {
                    a: self.perhaps(Make::byte),
                    shown: 0,
                    b: self.many(3, |make| make.byte().into()),
                },
            }),
            10 => Kind::Options(
                self.perhaps(|make| make.perhaps(|_| ())),
                match self.perhaps(Make::text) {
                    Some(text) => Err(text),
                    None => Ok(Transparent { inner: self.many(3, Make::bytes) }),
                },
            ),
            _ => Kind::Unit,
        }
    }

    fn untagged(&mut self, depth: usize) -> Untagged {
        match self.input.below(8) {
            1 => Untagged::Yes(self.input.below(2) == 1),
            2 => Untagged::Number(self.input.word() as i64),
            3 => Untagged::Float(self.float()),
            4 => Untagged::Text(self.text()),
            5 if depth > 0 => Untagged::List(self.many(3, |make| make.untagged(depth - 1))),
            6 => Untagged::Named { name: self.perhaps(|make| make.perhaps(Make::byte)) },
            7 => {
                self.has_wide = true;
                Untagged::Wide { wide: self.input.word().into() }
            }
            _ => Untagged::Nothing,
        }
    }
}

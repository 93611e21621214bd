//! Each shape of value, there and back; and bytes that are none.

use super::{DEPTH, decode, encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Debug;

fn bytes_of<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes, value).expect("it can be encoded");
    bytes
}

fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
    let bytes = bytes_of(&value);
    assert_eq!(decode::<T>(&bytes).expect("it can be decoded"), value, "{bytes:?}");
    for cut in (0..bytes.len()).step_by(1 + bytes.len() / 500) {
        assert!(decode::<T>(&bytes[..cut]).is_err(), "{cut} of {bytes:?}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(decode::<T>(&longer).is_err());
}

#[test]
fn what_serde_tells_apart_arrives_equal() {
    check((1_u8, -2_i8, 3_u16, -4_i16, 5_u32, -6_i32, 7_u64));
    check((u128::MAX, i128::MIN, i64::MIN, 1.5_f32, f64::MIN_POSITIVE, 'ß', '\0', true, false));
    check((
        (),
        [(); 3],
        vec![(); 5],
        Some(()),
        None::<()>,
        Some(None::<u8>),
        Some(Some(1)),
        None::<Option<u8>>,
    ));
    check((String::from("text"), "long".repeat(100), String::new(), Box::<str>::from("boxed")));
    check((vec![1_u8, 2], vec![0.5_f64; 1000], Vec::<u32>::new(), Box::<[i16]>::from([-1, 2])));
    check((
        vec![vec![1_u8; 300]; 3],
        Some(vec![7_u64]),
        VecDeque::from([1_u8; 700]),
        [3_u8; 32],
        vec![9_usize],
    ));
    check(BTreeMap::from([((1, 'a'), Some(vec![2_u8])), ((2, 'b'), None)]));
    check(HashMap::from([(vec![1_u8], ()), (vec![], ())]));
    check(vec![std::net::IpAddr::from([127, 0, 0, 1]), std::net::IpAddr::from([1; 16])]);
    check((std::time::Duration::from_nanos(1), std::path::PathBuf::from("/a"), Ok::<u8, String>(1)));
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Plain {
    number: u32,
    text: String,
    inner: Option<Box<Plain>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Each {
    Unit,
    Newtype(Plain),
    Tuple(u8, Plain),
    Struct { a: Plain, b: Vec<Plain> },
}

#[test]
fn structs_and_enums_arrive_equal() {
    let plain = Plain { number: 1, text: "one".into(), inner: Some(Box::default()) };
    check(vec![plain.clone(); 400]);
    check(vec![
        Each::Unit,
        Each::Newtype(plain.clone()),
        Each::Tuple(1, plain.clone()),
        Each::Struct { a: plain.clone(), b: vec![plain] },
        Each::Unit,
    ]);
}

#[test]
fn a_name_stands_once() {
    let one = bytes_of(&Plain::default()).len();
    let many = bytes_of(&vec![Plain::default(); 11]).len();
    assert!((many - one) / 10 < 25, "{many} bytes for eleven, {one} for one");
}

#[test]
fn text_that_a_type_writes_of_itself_in_an_error_arrives() {
    #[derive(Debug, Deserialize)]
    #[serde(try_from = "u8")]
    struct Even(#[allow(dead_code, reason = "printed")] u8);
    impl TryFrom<u8> for Even {
        type Error = String;
        fn try_from(n: u8) -> Result<Even, String> {
            if n.is_multiple_of(2) { Ok(Even(n)) } else { Err(format!("{n} is odd")) }
        }
    }
    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "printed")]
    struct Outer {
        numbers: Vec<Even>,
    }
    #[derive(Serialize)]
    struct Sent {
        numbers: Vec<u8>,
    }
    let error = decode::<Outer>(&bytes_of(&Sent { numbers: vec![2, 3] })).unwrap_err();
    assert_eq!(error.to_string(), "in numbers: 3 is odd");
}

#[test]
fn a_length_that_lies_costs_nothing() {
    for tag in [super::tags::STR, super::tags::BYTES, super::tags::SIZED, super::tags::MAP] {
        let bytes = [tag, 255, 255, 255, 255, 255];
        assert!(decode::<String>(&bytes).is_err());
        assert!(decode::<Vec<()>>(&bytes).is_err());
        assert!(decode::<Vec<u64>>(&bytes).is_err());
        assert!(decode::<HashMap<(), ()>>(&bytes).is_err());
    }
    let run = [super::tags::LIST, super::tags::RUN, super::tags::U64, 255, 255, 255, 255, 255];
    assert!(decode::<Vec<u64>>(&run).is_err());
    assert!(decode::<VecDeque<u64>>(&run).is_err());
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Nested(Option<Box<Nested>>);

fn nested(levels: u32) -> Nested {
    (0..levels).fold(Nested(None), |inner, _| Nested(Some(Box::new(inner))))
}

#[test]
fn what_is_nested_too_deeply_is_refused_before_the_stack_ends() {
    check(nested(DEPTH));
    let error = encode(&mut Vec::new(), &nested(DEPTH + 1)).unwrap_err();
    assert!(error.to_string().contains("nested"), "{error}");
    for tag in [super::tags::SOME, super::tags::LIST] {
        let deep = vec![tag; 1 << 20];
        assert!(decode::<Nested>(&deep).is_err());
        assert!(decode::<serde::de::IgnoredAny>(&deep).is_err());
    }
    // A type that asks for an option again and again, where there is none.
    assert!(decode::<Nested>(&[super::tags::U8, 1]).is_err());
}

#[test]
fn a_name_that_leads_nowhere_is_an_error() {
    use super::tags::{END, NAME_AT_U8, NAME_AT_U32, STRUCT, U32};
    for name in [&[NAME_AT_U8, 1][..], &[NAME_AT_U8, 200], &[NAME_AT_U32, 255, 255, 255, 255]] {
        let mut bytes = vec![STRUCT];
        bytes.extend(name);
        bytes.extend([U32, 0, 0, 0, 0, END]);
        assert!(decode::<Plain>(&bytes).is_err());
        assert!(decode::<serde::de::IgnoredAny>(&bytes).is_err());
    }
}

/// As an error else: few bytes would stand for many texts, each as long as there are bytes.
#[test]
fn no_name_leads_to_a_long_one() {
    use super::tags::{END, LIST, LONG_NAME, NAME_AT_U8, UNIT_VARIANT};
    let mut bytes = vec![LIST, UNIT_VARIANT, LONG_NAME];
    bytes.extend(300_u32.to_ne_bytes());
    bytes.extend([b'x'; 300]);
    assert_eq!(decode::<Vec<String>>(&[&bytes[..], &[END]].concat()).unwrap(), ["x".repeat(300)]);
    bytes.extend([UNIT_VARIANT, NAME_AT_U8, 2, END]);
    assert!(decode::<Vec<String>>(&bytes).is_err());
    assert!(decode::<serde::de::IgnoredAny>(&bytes).is_err());
}

#[test]
fn long_names_arrive_each_time() {
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Long {
        #[serde(
            rename = "ssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssss"
        )]
        a: u8,
        #[serde(
            rename = "lllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
        )]
        b: u8,
    }
    check(vec![Long { a: 1, b: 2 }; 3]);
}

/// Here the value would be the next item.
#[test]
fn a_type_that_leaves_a_variants_value_where_it_is_gets_an_error() {
    use serde::de::{Deserializer, EnumAccess, MapAccess, Visitor};
    #[derive(Debug, PartialEq)]
    struct Name<const IS_ENUM: bool>(String);
    struct Names<const IS_ENUM: bool>;
    impl<'de, const IS_ENUM: bool> Visitor<'de> for Names<IS_ENUM> {
        type Value = Name<IS_ENUM>;
        fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
            f.write_str("a variant")
        }
        fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Self::Value, A::Error> {
            Ok(Name(data.variant()?.0))
        }
        fn visit_map<A: MapAccess<'de>>(self, mut data: A) -> Result<Self::Value, A::Error> {
            Ok(Name(data.next_key()?.unwrap_or_default()))
        }
        fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
            Ok(Name(name.into()))
        }
    }
    impl<'de, const IS_ENUM: bool> Deserialize<'de> for Name<IS_ENUM> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            if IS_ENUM {
                deserializer.deserialize_enum("Name", &[], Names)
            } else {
                deserializer.deserialize_any(Names)
            }
        }
    }
    #[derive(Serialize)]
    enum Sent {
        One,
        Of(Box<Sent>),
    }
    let names = |names: &Sent| bytes_of(&[names]);
    let of = names(&Sent::Of(Box::new(Sent::One)));
    assert_eq!(decode::<Vec<Name<true>>>(&names(&Sent::One)).unwrap(), [Name("One".into())]);
    assert_eq!(decode::<Vec<Name<false>>>(&names(&Sent::One)).unwrap(), [Name("One".into())]);
    assert!(decode::<Vec<Name<true>>>(&of).is_err());
    assert!(decode::<Vec<Name<false>>>(&of).is_err());
}

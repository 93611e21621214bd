//! What values a queue takes: each arrives equal, or is refused where it is put, with a word on what is wrong. serde's
//! attributes mean what they say.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skep::{Arena, EncodeError, Queue, QueueOptions, RecvValueError, SendValueError, SimpleQueue};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::os::fd::AsFd;

/// Puts values, and gets each back.
fn travels<T: Serialize + DeserializeOwned + Clone + PartialEq + Debug>(values: &[T]) {
    let mut queue = Queue::<T>::new(4).unwrap();
    for value in values {
        queue.put(value.clone()).unwrap();
        assert_eq!(&queue.get().unwrap(), value);
    }
    assert!(matches!(queue.try_get(), Err(RecvValueError::Empty)));
}

/// Puts a value that is refused; says why.
fn refused<T: Serialize + DeserializeOwned + PartialEq + Debug + Clone>(value: T) -> String {
    let mut queue = Queue::<T>::new(4).unwrap();
    let free = queue.arena().free_bytes();
    let error = queue.put(value.clone()).unwrap_err();
    assert!(matches!(&error, SendValueError::NotEncoded { .. }), "{error}");
    assert_eq!(queue.arena().free_bytes(), free);
    let text = error.to_string();
    assert_eq!(error.into_value(), Some(value));
    assert!(queue.is_empty());
    text
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Skipped {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    a: Option<u32>,
    b: u32,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    v: Vec<u32>,
    #[serde(skip)]
    cache: u8,
    last: u32,
}

#[test]
fn a_field_that_is_skipped_moves_no_other() {
    let skipped = |a, v: &[u32]| Skipped { a, b: 0, v: v.to_vec(), cache: 0, last: 9 };
    travels(&[skipped(None, &[2, 7, 8]), skipped(Some(1), &[]), skipped(None, &[]), skipped(Some(2), &[3])]);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Base {
    id: u64,
    address: std::net::IpAddr,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Flat {
    #[serde(flatten)]
    base: Base,
    own: Option<Option<u8>>,
    #[serde(flatten)]
    rest: BTreeMap<String, Untagged>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Nothing,
    Number(i64),
    Float(f64),
    Text(String),
    Pair(u8, Vec<u8>),
    Named { name: String },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Internal {
    Nothing,
    HasBase(Base),
    Fields { a: u8, skipped: Skipped },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Nothing,
    One(Untagged),
    Two(u8, String),
    Fields { a: Option<Option<()>> },
}

#[test]
fn tags_of_each_kind_and_flattened_fields_arrive() {
    let base = Base { id: 7, address: [127, 0, 0, 1].into() };
    let untagged = [
        Untagged::Nothing,
        Untagged::Number(-1),
        Untagged::Float(0.5),
        Untagged::Text("text".into()),
        Untagged::Pair(1, vec![2, 3]),
        Untagged::Named { name: "name".into() },
    ];
    travels(&untagged);
    let rest = |n: usize| untagged[..n].iter().map(|one| (format!("{one:?}"), one.clone())).collect();
    travels(&[
        Flat { base: base.clone(), own: None, rest: rest(0) },
        Flat { base: base.clone(), own: Some(None), rest: rest(6) },
        Flat { base: base.clone(), own: Some(Some(1)), rest: rest(2) },
    ]);
    let skipped = Skipped { last: 3, ..Skipped::default() };
    travels(&[Internal::Nothing, Internal::HasBase(base), Internal::Fields { a: 1, skipped }]);
    travels(&[
        Adjacent::Nothing,
        Adjacent::One(untagged[5].clone()),
        Adjacent::Two(2, "two".into()),
        Adjacent::Fields { a: Some(None) },
        Adjacent::Fields { a: Some(Some(())) },
    ]);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Renamed {
    #[serde(rename = "type", alias = "kind")]
    of: char,
    #[serde(with = "bytes")]
    bytes: Vec<u8>,
    wide: (u128, i128),
    unit: (Unit, (), Option<()>, Option<Option<Unit>>),
    keys: HashMap<(Option<u8>, String), [f32; 2]>,
    set: HashSet<Vec<u8>>,
    many: Vec<()>,
}

mod bytes {
    use serde::de::{Deserializer, Error, Visitor};

    pub fn serialize<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

#[test]
fn the_rarer_values_of_serde_arrive() {
    let value = Renamed {
        of: 'ß',
        bytes: vec![0, 255, 7],
        wide: (u128::MAX, i128::MIN),
        unit: (Unit, (), Some(()), Some(None)),
        keys: HashMap::from([
            ((Some(1), "one".into()), [f32::MIN, 0.5]),
            ((None, String::new()), [0.0, 1.0]),
        ]),
        set: HashSet::from([vec![], vec![1; 300]]),
        many: vec![(); 1000],
    };
    travels(std::slice::from_ref(&value));
    travels(&[Some(Err::<Renamed, String>("error".into())), Some(Ok(value)), None]);
    travels(&[f64::INFINITY.to_bits(), f64::NAN.to_bits()]);
}

#[test]
fn json_values_arrive() {
    let text = r#"{"a": [1, -2, 3.5, null, true, {"b": {}}, [], "text"], "": 18446744073709551615}"#;
    travels(&[serde_json::from_str::<serde_json::Value>(text).unwrap(), serde_json::Value::Null]);
}

#[test]
fn what_a_type_writes_and_does_not_take_is_refused_with_the_fields_name() {
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Lost {
        #[serde(skip_serializing)]
        secret: u32,
    }
    let text = refused(Lost { secret: 7 });
    assert!(text.contains("Lost") && text.contains("`secret`") && text.contains("serde(default)"), "{text}");

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Outer {
        parts: Vec<Inner>,
    }
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Inner {
        #[serde(rename(serialize = "ours", deserialize = "theirs"))]
        name: u8,
    }
    let text = refused(Outer { parts: vec![Inner { name: 1 }] });
    assert!(text.contains("in parts: ") && text.contains("`theirs`"), "{text}");

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Wide {
        Narrow(u8),
        Wide(u128),
    }
    assert!(refused(Wide::Wide(u128::MAX)).contains("u128"));

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Shifted(#[serde(skip_serializing_if = "Option::is_none")] Option<u8>, #[serde(default)] u8);
    travels(&[Shifted(Some(1), 2)]);
    refused(Shifted(None, 2));
}

/// A shape that is new is tried, though others of its type have passed.
#[test]
fn a_field_that_is_left_out_later_is_refused_then() {
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Late {
        #[serde(skip_serializing_if = "is_zero")]
        number: u32,
        other: u32,
    }
    fn is_zero(number: &u32) -> bool {
        *number == 0
    }
    let mut queue = Queue::<Late>::new(4).unwrap();
    queue.put(Late { number: 1, other: 2 }).unwrap();
    let error = queue.put(Late { number: 0, other: 2 }).unwrap_err();
    assert!(error.to_string().contains("`number`"), "{error}");
    assert_eq!(queue.get().unwrap(), Late { number: 1, other: 2 });
}

/// What is put later is tried too if it is of another kind, or if what is decoded depends on what it holds.
#[test]
fn what_cannot_be_got_is_refused_though_another_value_of_its_type_was_put() {
    fn second_is_refused<T: skep::Message + Debug>(first: T, second: T) {
        let mut queue = Queue::<T>::new(4).unwrap();
        queue.put(first).unwrap();
        let error = queue.put(second).map(|()| queue.get().and_then(|_| queue.get())).unwrap_err();
        let SendValueError::NotEncoded { reason: EncodeError::NotDecodable { .. }, .. } = error else {
            panic!("{error}")
        };
    }
    fn is_zero(number: &u8) -> bool {
        *number == 0
    }
    #[derive(Debug, Serialize, Deserialize)]
    struct WithRest {
        #[serde(skip_serializing_if = "is_zero")]
        number: u8,
        #[serde(flatten)]
        rest: BTreeMap<String, u8>,
    }
    let rest = |name: &str| BTreeMap::from([(name.into(), 1)]);
    let first = || WithRest { number: 1, rest: rest("other") };
    second_is_refused(first(), WithRest { number: 0, rest: rest("other") });
    second_is_refused(first(), WithRest { number: 1, rest: rest("number") });

    #[derive(Debug, Serialize, Deserialize)]
    struct Shorter(#[serde(skip_serializing_if = "is_zero")] u8, u8);
    second_is_refused(Shorter(1, 2), Shorter(0, 2));
    #[derive(Debug, Serialize, Deserialize)]
    enum One {
        Shorter(#[serde(skip_serializing_if = "is_zero")] u8, u8),
    }
    second_is_refused(One::Shorter(1, 2), One::Shorter(0, 2));

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Tagged {
        Taken,
        #[serde(skip_deserializing)]
        Refused,
        Map(BTreeMap<String, u8>),
    }
    second_is_refused(Tagged::Taken, Tagged::Refused);
    second_is_refused(Tagged::Map(rest("other")), Tagged::Map(rest("type")));

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Bare {
        Taken(u8),
        #[serde(skip_deserializing)]
        Text(String),
        #[serde(skip_deserializing)]
        Numbers(Vec<u32>),
    }
    second_is_refused(Bare::Taken(1), Bare::Text("text".into()));
    second_is_refused(vec![Bare::Taken(1)], vec![Bare::Taken(1), Bare::Numbers(vec![2])]);
}

#[test]
fn what_is_nested_too_deeply_is_refused() {
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Chain(Option<Box<Chain>>);
    let chain = |n| (0..n).fold(Chain(None), |inner, _| Chain(Some(Box::new(inner))));
    travels(&[chain(200)]);
    let mut queue = Queue::<Chain>::new(4).unwrap();
    let error = queue.put(chain(300)).unwrap_err();
    let SendValueError::NotEncoded { reason: EncodeError::Serialize { reason }, .. } = error else {
        panic!("{error}")
    };
    assert!(reason.contains("nested") && reason.contains("by index"), "{reason}");
}

/// Two programs, each with a type of its own of one name; the second is told of both, and what to do.
#[test]
fn who_opens_a_queue_of_another_type_is_told_both_types_and_what_to_do() {
    let arena = Arena::new(1 << 20).unwrap();
    let _jobs = Queue::<Skipped>::create_in(&arena, "jobs", 4).unwrap();
    let error = Queue::<Flat>::open_in(&arena, "jobs").unwrap_err().to_string();
    for part in [
        "values::Skipped (by rustc 1.",
        "values::Flat (by rustc 1.",
        "put the type into a crate",
        "type_name",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert!(Queue::<Skipped>::open_in(&arena, "jobs").is_ok());

    let plain = SimpleQueue::<u32>::new(4).unwrap();
    let error =
        SimpleQueue::<u64>::from_fd(plain.as_fd().try_clone_to_owned().unwrap()).unwrap_err().to_string();
    assert!(
        error.contains("u32 (by rustc 1.") && error.contains("4 bytes") && error.contains("u64"),
        "{error}"
    );
}

#[test]
fn a_name_of_ones_own_tells_types_apart_and_joins_them() {
    let arena = Arena::new(1 << 20).unwrap();
    let job = QueueOptions::new(4).type_name("job, form 2");
    let mut here = job.create_values_in::<(u32, String)>(&arena, "jobs").unwrap();
    here.put((1, "one".into())).unwrap();
    let mut there = job.open_values_in::<(u64, Box<str>)>(&arena, "jobs").unwrap();
    assert_eq!(there.get().unwrap(), (1, "one".into()));
    let error =
        job.type_name("job, form 1").open_or_create_values_in::<(u32, String)>(&arena, "jobs").unwrap_err();
    assert!(
        error.to_string().contains("job, form 2") && error.to_string().contains("job, form 1"),
        "{error}"
    );
    let long: &'static str = "x".repeat(1000).leak();
    job.type_name(long).create_values_in::<u8>(&arena, "long").unwrap();
    assert!(job.type_name(long).open_values_in::<u8>(&arena, "long").is_ok());

    let name = format!("values-named-{}", std::process::id());
    let _plain = job.create::<u32>(&name).unwrap();
    assert!(job.open::<u32>(&name).is_ok() && job.open::<u64>(&name).is_err());
    assert!(SimpleQueue::<u32>::open(&name).unwrap_err().to_string().contains("job, form 2"));
    SimpleQueue::<u32>::unlink(&name).unwrap();
}

/// What two programs have that were built at different times: one program's type has other fields and variants than the other's.
mod versions {
    use super::*;

    mod old {
        use super::*;
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub struct Job {
            pub id: u32,
            pub name: String,
            pub state: State,
        }
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub enum State {
            New,
            Done(u8),
        }
    }

    mod new {
        use super::*;
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub struct Job {
            #[serde(default)]
            pub priority: u8,
            pub state: State,
            pub id: u64,
            pub name: String,
            pub note: Option<String>,
        }
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub enum State {
            Failed { why: String },
            Done(u8),
            New,
        }
    }

    #[test]
    fn fields_are_found_by_name_and_unknown_ones_passed_over() {
        let there = |value: &old::Job| {
            let mut bytes = Vec::new();
            skep::codec::encode(&mut bytes, value).unwrap();
            skep::codec::decode::<new::Job>(&bytes).unwrap()
        };
        for (state, expected) in
            [(old::State::New, new::State::New), (old::State::Done(3), new::State::Done(3))]
        {
            let got = there(&old::Job { id: 1, name: "one".into(), state });
            let expected = new::Job { priority: 0, state: expected, id: 1, name: "one".into(), note: None };
            assert_eq!(got, expected);
        }
        let back = |value: &new::Job| {
            let mut bytes = Vec::new();
            skep::codec::encode(&mut bytes, value).unwrap();
            skep::codec::decode::<old::Job>(&bytes).map_err(|e| e.to_string())
        };
        let mut job =
            new::Job { priority: 9, state: new::State::Done(4), id: 2, name: "two".into(), note: None };
        assert_eq!(back(&job).unwrap(), old::Job { id: 2, name: "two".into(), state: old::State::Done(4) });
        job.state = new::State::Failed { why: "because".into() };
        let error = back(&job).unwrap_err();
        assert!(error.contains("in state") && error.contains("`Failed`"), "{error}");
        job.state = new::State::New;
        job.id = 1 << 40;
        let error = back(&job).unwrap_err();
        assert!(error.contains("in id"), "{error}");
    }
}

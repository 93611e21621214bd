//! What it costs to encode and decode a value, in skep's form and in postcard's, in one run.

use clap::Parser;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skep_bench::rounds::spread;
use std::collections::HashMap;
use std::fmt::Debug;
use std::hint::black_box;
use std::time::Instant;

/// Measures how long values take to encode and to decode, beside postcard.
///
/// The two take turns, round by round; what is printed are the medians of the rounds.
#[derive(Parser)]
struct Options {
    /// Rounds of each value.
    #[arg(long, default_value_t = 151)]
    rounds: usize,
    /// How long a round of one step takes about, in microseconds.
    #[arg(long, default_value_t = 200)]
    micros: u64,
    /// Measures only the values with this in their names.
    #[arg(long, default_value = "")]
    only: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SixFields {
    id: u64,
    kind: u32,
    weight: f64,
    name: String,
    note: Option<String>,
    is_done: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Empty,
    Circle { radius: f64 },
    Named(String, Box<Shape>),
    Group(Vec<Shape>),
}

fn six_fields() -> SixFields {
    SixFields {
        id: 1 << 40,
        kind: 7,
        weight: 0.5,
        name: "a name of twenty by.".into(),
        note: None,
        is_done: true,
    }
}

fn main() {
    let options = Options::parse();
    println!(
        "{:<22} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "value", "bytes", "put ns", "get ns", "bytes", "put ns", "get ns"
    );
    println!("{:<22} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}", "", "skep", "", "", "postcard", "", "");
    measure(&options, "u64", &(1_u64 << 40));
    measure(&options, "(u32, f64)", &(7_u32, 0.5_f64));
    measure(&options, "String of 20", &String::from("a name of twenty by."));
    measure(&options, "Vec<u8> of 1 KiB", &vec![7_u8; 1 << 10]);
    measure(&options, "Vec<u8> of 1 MiB", &vec![7_u8; 1 << 20]);
    measure(&options, "Option<Vec<u8>> 1 KiB", &Some(vec![7_u8; 1 << 10]));
    measure(&options, "[u8; 32]", &[7_u8; 32]);
    measure(&options, "Vec<f64> of 1000", &vec![0.5_f64; 1000]);
    measure(&options, "Vec<String> of 100", &vec![String::from("a name of twenty by."); 100]);
    measure(&options, "struct of six fields", &six_fields());
    measure(&options, "100 such structs", &vec![six_fields(); 100]);
    let circle = Shape::Named("circle".into(), Box::new(Shape::Circle { radius: 0.5 }));
    measure(&options, "nested enum", &Shape::Group(vec![circle, Shape::Empty]));
    measure(&options, "HashMap of 20", &(0..20_u32).map(|n| (n, n.to_string())).collect::<HashMap<_, _>>());
}

fn measure<T>(options: &Options, name: &str, value: &T)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    if !name.contains(&options.only) {
        return;
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    skep::codec::encode(&mut ours, value).expect("it can be encoded");
    postcard::to_io(value, &mut theirs).expect("it can be encoded");
    assert!(skep::codec::decode::<T>(&ours).expect("it can be decoded") == *value);
    let mut buffer = Vec::with_capacity(ours.len().max(theirs.len()) + 16);
    let mut put = || {
        buffer.clear();
        skep::codec::encode(&mut buffer, black_box(value)).expect("it can be encoded");
        black_box(&buffer);
    };
    let mut get = || drop(black_box(skep::codec::decode::<T>(black_box(&ours))));
    let mut postcards = Vec::with_capacity(ours.len().max(theirs.len()) + 16);
    let mut put_postcard = || {
        postcards.clear();
        let to = std::mem::take(&mut postcards);
        postcards = postcard::to_extend(black_box(value), to).expect("it can be encoded");
        black_box(&postcards);
    };
    let mut get_postcard = || drop(black_box(postcard::from_bytes::<T>(black_box(&theirs))));
    let sides: [&mut dyn FnMut(); 4] = [&mut put, &mut get, &mut put_postcard, &mut get_postcard];
    let [put, get, put_postcard, get_postcard] = medians(options, sides);
    println!(
        "{name:<22} {:>9} {put:>9.0} {get:>9.0} {:>9} {put_postcard:>9.0} {get_postcard:>9.0}",
        ours.len(),
        theirs.len()
    );
}

/// The nanoseconds that each side takes once.
fn medians<const N: usize>(options: &Options, mut sides: [&mut dyn FnMut(); N]) -> [f64; N] {
    let counts: Vec<u64> = sides
        .iter_mut()
        .map(|side| {
            let begun = Instant::now();
            (0..10).for_each(|_| side());
            let once = (begun.elapsed().as_nanos() as u64 / 10).max(1);
            (options.micros * 1000 / once).max(1)
        })
        .collect();
    let mut figures = [(); N].map(|()| Vec::with_capacity(options.rounds));
    for _ in 0..options.rounds {
        for ((side, &count), figures) in sides.iter_mut().zip(&counts).zip(&mut figures) {
            let begun = Instant::now();
            (0..count).for_each(|_| side());
            figures.push(begun.elapsed().as_nanos() as f64 / count as f64);
        }
    }
    figures.map(|figures| spread(&figures)[1])
}

//! What it costs to survive: skep's rings beside the same rings with nothing for the dead, as pairs in one run.

use clap::Parser;
use indicatif::ProgressBar;
use skep::{Pipe, QueueOptions};
use skep_bench::plain::{Bytes, End, Vyukov};
use skep_bench::rounds::{Load, insist, spread, time};
use std::time::Duration;

/// Measures SimpleQueue and Pipe against the same rings without repair.
///
/// Both move the same messages between pinned threads, in turns; a ratio above 1 says that skep took longer. Senders and receivers try until they succeed, so that
/// nobody sleeps and only the rings differ.
#[derive(Parser)]
struct Options {
    /// Rounds of each pair.
    #[arg(long, default_value_t = 151)]
    rounds: usize,
    /// Messages a round.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// Slots of a queue; a pipe has 64 bytes for each.
    #[arg(long, default_value_t = 1024)]
    capacity: u64,
    /// Measures only the rows with this in their names.
    #[arg(long, default_value = "")]
    only: String,
    /// One JSON object a line instead of words.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    let queues = [1, 2].map(|pairs| (format!("SimpleQueue u64, {pairs} to {pairs}"), Pair::Queues { pairs }));
    let pipes = [8, 56, 64].map(|bytes| (format!("Pipe {bytes} B, 1 to 1"), Pair::Pipes { bytes }));
    let mut wanted: Vec<_> = queues.into_iter().chain(pipes).collect();
    wanted.retain(|(name, _)| name.contains(&options.only));
    let progress = ProgressBar::new((options.rounds * wanted.len()) as u64);
    let mut rows = vec![];
    for (name, pair) in wanted {
        rows.push((name, pair.measure(&options, &progress)?));
    }
    progress.finish_and_clear();
    for (name, row) in rows {
        let [low, median, high] = spread(&row.ratios);
        let rate = |times: &[f64]| options.messages as f64 / spread(times)[1] / 1e6;
        let (ours, plain) = (rate(&row.ours), rate(&row.plain));
        if options.json {
            println!(
                "{{\"metric\":\"{name}\",\"ratio\":{median:.3},\"low\":{low:.3},\"high\":{high:.3},\"skep_millions\":{ours:.1},\"plain_millions\":{plain:.1},\"rounds\":{}}}",
                row.ratios.len()
            );
        } else {
            println!(
                "{name}: skep {ours:.1} M/s, plain {plain:.1} M/s, time ratio {median:.3} ({low:.3} to {high:.3})"
            );
        }
    }
    Ok(())
}

/// What is measured side by side.
enum Pair {
    Queues { pairs: u64 },
    Pipes { bytes: usize },
}

impl Pair {
    fn measure(self, options: &Options, progress: &ProgressBar) -> Result<Row, Box<dyn std::error::Error>> {
        let (messages, capacity) = (options.messages, options.capacity);
        match self {
            Pair::Queues { pairs } => {
                let load = Load { messages, pairs };
                rounds(options, progress, || queue(&load, capacity), || vyukov(&load, capacity))
            }
            Pair::Pipes { bytes } => {
                let (load, ring) = (Load { messages, pairs: 1 }, capacity * 64);
                let plain = || Ok(plain_pipe(&load, ring, bytes));
                rounds(options, progress, || pipe(&load, ring, bytes), plain)
            }
        }
    }
}

struct Row {
    ours: Vec<f64>,
    plain: Vec<f64>,
    ratios: Vec<f64>,
}

type Outcome = Result<Duration, Box<dyn std::error::Error>>;

fn rounds(
    options: &Options,
    progress: &ProgressBar,
    ours: impl Fn() -> Outcome,
    plain: impl Fn() -> Outcome,
) -> Result<Row, Box<dyn std::error::Error>> {
    let mut row = Row { ours: vec![], plain: vec![], ratios: vec![] };
    for round in 0..options.rounds {
        // Who begins alternates: the second finds a warmer machine.
        let (a, b) = if round % 2 == 0 {
            let a = ours()?;
            (a, plain()?)
        } else {
            let b = plain()?;
            (ours()?, b)
        };
        row.ours.push(a.as_secs_f64());
        row.plain.push(b.as_secs_f64());
        row.ratios.push(a.as_secs_f64() / b.as_secs_f64());
        progress.inc(1);
    }
    Ok(row)
}

fn queue(load: &Load, capacity: u64) -> Outcome {
    let queue = QueueOptions::new(capacity as usize).anonymous::<u64>()?;
    let handles = std::sync::Mutex::new(vec![]);
    for _ in 0..2 * load.pairs {
        handles.lock().map_err(|_| "a thread panicked")?.push(queue.try_clone()?);
    }
    let handle = || handles.lock().ok().and_then(|mut h| h.pop()).expect("one a thread");
    Ok(time(
        load,
        || {
            let mut queue = handle();
            move |n| insist(|| queue.try_put(n).ok())
        },
        || {
            let mut queue = handle();
            move || insist(|| queue.try_get().ok())
        },
    ))
}

fn vyukov(load: &Load, capacity: u64) -> Outcome {
    let queue = Vyukov::new(capacity);
    Ok(time(load, || |n| insist(|| queue.try_put(n).then_some(())), || || insist(|| queue.try_get())))
}

fn pipe(load: &Load, ring: u64, bytes: usize) -> Outcome {
    let pipe = Pipe::new(ring as usize - 8)?;
    Ok(time(
        load,
        || {
            let mut sender = pipe.sender().expect("the only one");
            let mut message = vec![0; bytes];
            move |n| {
                message[..8].copy_from_slice(&n.to_ne_bytes());
                insist(|| sender.try_send(&message).ok());
            }
        },
        || {
            let mut receiver = pipe.receiver().expect("the only one");
            move || loop {
                if let Ok(message) = receiver.try_recv() {
                    break first(&message);
                }
                std::hint::spin_loop();
            }
        },
    ))
}

fn plain_pipe(load: &Load, ring: u64, bytes: usize) -> Duration {
    let pipe = Bytes::new(ring, 8 + bytes as u64);
    time(
        load,
        || {
            let (mut end, mut message) = (End::default(), vec![0; bytes]);
            let pipe = &pipe;
            move |n| {
                message[..8].copy_from_slice(&n.to_ne_bytes());
                insist(|| pipe.try_send(&mut end, &message).then_some(()));
            }
        },
        || {
            let mut end = End::default();
            let pipe = &pipe;
            move || loop {
                if let Some(n) = pipe.try_recv(&mut end, first) {
                    break n;
                }
                std::hint::spin_loop();
            }
        },
    )
}

fn first(message: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&message[..8]);
    u64::from_ne_bytes(word)
}

//! Arithmetic on an array of `f64` in a pool's shared memory: what worker processes make of it in place, beside one thread, and beside what the memory can do.
//!
//! ```text
//! cargo run --release --example array_math
//! ```
//!
//! Two tasks on slices: one writes a slice from a slice, one reduces a slice to a number. Workers take chunks by themselves, and nothing is copied to them or back. Each result is compared, bit for
//! bit, with that of one thread which calls the same functions.

use clap::Parser;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use skep::{MapError, Pool, PoolError, ShmSlice};
use std::hash::{DefaultHasher, Hasher};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// Arithmetic on an array of f64 in shared memory, by a pool of worker processes and in place.
///
/// Prints how long the pool takes beside one thread, how fast the machine copies memory, and whether the results are the same to the bit. It takes twice the bytes of the array, and an eighth of that.
#[derive(Parser)]
#[command(name = "array_math", after_help = EXAMPLES)]
struct Args {
    /// The size of the array, such as 64M or 1G [default: 1G, or less if memory is short]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    bytes: Option<usize>,

    /// Worker processes [default: the cores that this process may use]
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
}

const EXAMPLES: &str = "\
Examples:
  array_math                      a GiB, on all cores
  array_math --bytes 64M          a smaller array
  array_math --workers 4          four processes

Exit codes:
  0  the results are those of one thread
  1  they are not, or the pool could not compute them
  2  nothing was done: wrong arguments, or no memory for the array";

const DIFFERENT: u8 = 1;
const UNUSABLE: u8 = 2;

/// The default size, if there is memory for it.
const DEFAULT: usize = 1 << 30;
/// The smallest size that the default comes down to.
const SMALLEST: usize = 1 << 20;
/// The items of a chunk: half a MiB, which a core's cache holds.
const CHUNK: usize = 1 << 16;
/// How often each thing is done; the first time, pages are mapped.
const ROUNDS: u32 = 4;

#[skep::task]
fn scale(input: &[f64], output: &mut [f64]) {
    input.iter().zip(output).for_each(|(x, y)| *y = 0.5 * x + 1.0);
}

/// The sum of squares, in eight lanes, so that it is the memory that is waited for.
#[skep::task]
fn energy(values: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (eights, rest) = values.as_chunks::<8>();
    for eight in eights {
        lanes.iter_mut().zip(eight).for_each(|(lane, x)| *lane += x * x);
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|x| x * x).sum::<f64>()
}

fn main() -> ExitCode {
    skep::init();
    let args = Args::parse();
    let steps = Steps::new();
    let outcome = run(&args, &steps);
    steps.end();
    match outcome {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(Failure { code, reason }) => {
            eprintln!("array_math: {reason}");
            ExitCode::from(code)
        }
    }
}

struct Failure {
    code: u8,
    reason: String,
}

impl From<MapError> for Failure {
    fn from(error: MapError) -> Self {
        Failure { code: DIFFERENT, reason: error.to_string() }
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        Failure { code: UNUSABLE, reason: format!("the pool did not start: {error}") }
    }
}

fn run(args: &Args, steps: &Steps) -> Result<String, Failure> {
    let workers = args.workers.map_or_else(cores, NonZeroUsize::get);
    let bytes = args.bytes.unwrap_or_else(default_bytes);
    let length = bytes / size_of::<f64>();
    // Blocks are powers of two, aligned to their size.
    let arena = 2 * bytes.next_power_of_two() as u64 + (64 << 20);
    let pool = Pool::builder().workers(workers).arena(arena).build()?;

    steps.next("filling the array");
    let allocate = || pool.arena().slice_zeroed::<f64>(length);
    let no_memory = |error| Failure {
        code: UNUSABLE,
        reason: format!(
            "no memory for 2 arrays of {}: {error}; try a smaller --bytes",
            HumanBytes(bytes as u64)
        ),
    };
    let (mut input, mut output) = (allocate().map_err(no_memory)?, allocate().map_err(no_memory)?);
    input.iter_mut().enumerate().for_each(|(n, x)| *x = n as f64 * 1e-3);

    steps.next("copying, to see what the memory can do");
    let copy = Times::of(|| copy(&input, &mut output, workers));

    steps.next("one thread");
    let alone = Times::of(|| in_chunks(&input, &mut output));
    let expected = digest(&output);
    let mut energies = Vec::new();
    let alone_energy = Times::of(|| energies = input.chunks(CHUNK).map(*energy).collect());
    output.fill(0.0);

    steps.next("the pool");
    let mut failed = None;
    let pooled = Times::of(|| {
        failed = pool.map_slice_into(scale, &input, &mut output, CHUNK).err().or(failed.take());
    });
    let mut pooled_energies = Ok(Vec::new());
    let pooled_energy = Times::of(|| pooled_energies = pool.map_slice(energy, &input, CHUNK));
    if let Some(error) = failed {
        return Err(error.into());
    }

    steps.next("comparing");
    if digest(&output) != expected || pooled_energies? != energies {
        let reason = "the pool's results differ from those of one thread".into();
        return Err(Failure { code: DIFFERENT, reason });
    }
    Ok(report(bytes, workers, &[copy, alone, pooled, alone_energy, pooled_energy]))
}

/// What one thread does instead of the pool.
fn in_chunks(input: &[f64], output: &mut [f64]) {
    input.chunks(CHUNK).zip(output.chunks_mut(CHUNK)).for_each(|(input, output)| scale(input, output));
}

/// Copies with as many threads as there are workers.
fn copy(input: &[f64], output: &mut ShmSlice<f64>, threads: usize) {
    let part = input.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        for (from, to) in input.chunks(part).zip(output.chunks_mut(part)) {
            scope.spawn(|| to.copy_from_slice(from));
        }
    });
}

fn digest(values: &[f64]) -> u64 {
    let mut hasher = DefaultHasher::new();
    values.chunks(CHUNK).for_each(|chunk| {
        hasher.write_u64(chunk.iter().fold(0, |sum: u64, x| sum.rotate_left(5) ^ x.to_bits()));
    });
    hasher.finish()
}

// --- numbers -------------------------------------------------------------------------------------------------------

/// How long something took the first time, and at best afterwards.
struct Times {
    first: Duration,
    best: Duration,
}

impl Times {
    fn of(mut work: impl FnMut()) -> Times {
        let mut round = || {
            let start = Instant::now();
            work();
            start.elapsed()
        };
        let first = round();
        Times { first, best: (1..ROUNDS).map(|_| round()).min().unwrap_or(first) }
    }

    /// A line of the report, for work that reads and writes so many bytes.
    fn line(&self, what: &str, bytes: usize) -> String {
        let rate = bytes as f64 / self.best.as_secs_f64() / 1e9;
        format!(
            "{what:<28}{:>10.4} s{:>10.4} s{rate:>10.1} GB/s",
            self.first.as_secs_f64(),
            self.best.as_secs_f64()
        )
    }
}

fn report(bytes: usize, workers: usize, times: &[Times; 5]) -> String {
    let [copy, alone, pooled, alone_energy, pooled_energy] = times;
    let faster = |alone: &Times, pooled: &Times| {
        format!(", {:.2} times one thread", alone.best.as_secs_f64() / pooled.best.as_secs_f64())
    };
    [
        format!(
            "{} of f64, {workers} workers, chunks of {}",
            HumanBytes(bytes as u64),
            HumanBytes(CHUNK as u64 * 8)
        ),
        format!("{:<28}{:>12}{:>12}{:>15}", "", "first", "best", "read + written"),
        copy.line(&format!("memory: {workers} threads copy"), 2 * bytes),
        alone.line("y = x / 2 + 1: one thread", 2 * bytes),
        pooled.line("               the pool", 2 * bytes) + &faster(alone, pooled),
        alone_energy.line("sum of squares: one thread", bytes),
        pooled_energy.line("                the pool", bytes) + &faster(alone_energy, pooled_energy),
        "the pool's results are those of one thread, bit for bit".into(),
    ]
    .join("\n")
}

// --- the surroundings ----------------------------------------------------------------------------------------------

fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// As much as leaves half of the available memory free.
fn default_bytes() -> usize {
    let available = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix(" kB")?.parse::<usize>().ok()
    });
    let fits =
        |bytes: usize| available.is_none_or(|kilobytes| bytes.saturating_mul(9) / 4 <= kilobytes * 1024 / 2);
    let mut bytes = DEFAULT;
    while bytes > SMALLEST && !fits(bytes) {
        bytes /= 2;
    }
    bytes
}

/// A number of bytes with an optional K, M or G behind it.
fn bytes(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (&text[..at], 1 << 10),
        Some((at, 'M' | 'm')) => (&text[..at], 1 << 20),
        Some((at, 'G' | 'g')) => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    let number: usize =
        digits.parse().map_err(|_| "give a number of bytes, such as 4096, 64M or 1G".to_owned())?;
    let bytes = number.checked_mul(unit).filter(|bytes| *bytes <= 1 << 40);
    bytes.ok_or_else(|| "at most 1024G".to_owned()).and_then(|bytes| {
        if bytes < size_of::<f64>() {
            Err("at least 8 bytes, which is one number".to_owned())
        } else {
            Ok(bytes)
        }
    })
}

/// What is being done, on standard error if that is a terminal.
struct Steps(ProgressBar);

impl Steps {
    fn new() -> Steps {
        let bar = ProgressBar::new(5);
        if let Ok(style) = ProgressStyle::with_template("{spinner} [{pos}/{len}] {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Steps(bar)
    }

    fn next(&self, what: &'static str) {
        self.0.inc(1);
        self.0.set_message(what);
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}

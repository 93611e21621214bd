//! Real processes on one object, killed at any moment, and an auditor that knows what each of them may have done.
//!
//! ```text
//! RUSTFLAGS="--cfg skep_faults" cargo run --release --example torture -- --primitive queue --seconds 10
//! ```
//!
//! It also shows how a program uses skep that must survive the death of its parts: how a process joins (`join` in `items.rs` and `object.rs`), a role is taken over (`pipe.rs`),
//! a value is brought in order behind a dead holder (`mutex.rs`), and what each operation promises to whoever is left.
//!
//! `storm` plays a round: it starts, stops and kills; `process` is how. `journal` is what a killed process leaves behind, `subject` what the storm and the
//! auditor ask of a primitive, and each primitive has a file. `tally` adds up, `ui` is standard error, `args` the command line.

mod arena;
mod args;
mod barrier;
mod condvar;
mod event;
mod items;
mod journal;
mod lease;
mod living;
mod mutex;
mod object;
mod pipe;
mod pool;
mod process;
mod queue;
mod random;
mod rlock;
mod rwlock;
mod semaphore;
mod stock;
mod storm;
mod subject;
mod tally;
mod ui;
mod worker;

use args::Args;
use clap::Parser;
use journal::Shared;
use random::Random;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use storm::{LIVES, Storm};
use subject::{Kind, Stage, Trouble};
use tally::Tally;
use ui::Ui;

/// What can be tortured.
const KINDS: &[Kind] = &[
    Kind { name: "queue", make: queue::make },
    Kind { name: "lease", make: lease::make },
    Kind { name: "pipe", make: pipe::make },
    Kind { name: "mutex", make: mutex::make },
    Kind { name: "rlock", make: rlock::make },
    Kind { name: "rwlock", make: rwlock::make },
    Kind { name: "event", make: event::make },
    Kind { name: "semaphore", make: semaphore::make },
    Kind { name: "condvar", make: condvar::make },
    Kind { name: "barrier", make: barrier::make },
    Kind { name: "arena", make: arena::make },
    Kind { name: "pool", make: pool::make },
];

/// The longest round, without its end.
const ROUND: Duration = Duration::from_millis(900);

fn main() -> ExitCode {
    skep::init(); // pools are among what is tortured
    let args = Args::parse();
    let kinds: Vec<&Kind> =
        KINDS.iter().filter(|kind| args.primitive == "all" || args.primitive == kind.name).collect();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_micros() as u64);
    let seed = args.seed.unwrap_or_else(now);
    let (started, length) = (Instant::now(), Duration::from_secs(args.seconds));
    let ui = Ui::new(length, args.json);
    ui.say(&format!("seed {seed}"));

    let mut run = Run { random: Random::new(seed), tally: Tally::default(), ui };
    let longest = ROUND.min(length / kinds.len() as u32);
    for kind in kinds.iter().cycle() {
        let left = length.saturating_sub(started.elapsed());
        // A round in which somebody is wedged takes seconds: one is enough.
        if left.is_zero() || run.tally.findings.wedged > 0 {
            break;
        }
        if let Err(trouble) = run.round(kind, &args, left.min(longest)) {
            eprintln!("torture: {}: {trouble}", kind.name);
            run.tally.failures += 1;
            break;
        }
    }
    let Run { mut tally, ui, .. } = run;
    tally.zombies += std::iter::from_fn(process::news).count() as u64;
    ui.finish(&tally, started.elapsed());
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
    println!("{}", tally.json(&names, seed, started.elapsed()));
    ExitCode::from(u8::from(!tally.is_clean()))
}

/// What goes through all rounds.
struct Run {
    random: Random,
    tally: Tally,
    ui: Ui,
}

impl Run {
    /// One round with a fresh object, and what it leaves behind.
    fn round(&mut self, kind: &Kind, args: &Args, length: Duration) -> Result<(), Trouble> {
        self.tally.rounds += 1;
        let random = &mut self.random;
        let prefix = format!("skep-torture-{}", std::process::id());
        let (producers, consumers) = (usize::from(args.producers), usize::from(args.consumers));
        let sizes = u64::from(args.capacity.ilog2()) + 1;
        let stage = Stage {
            producers,
            consumers,
            capacity: 1 << random.below(sizes),
            lives: LIVES,
            name: random.one_in(2).then(|| format!("{prefix}-{}", self.tally.rounds)),
            random: random.fork(),
        };
        // In some rounds only one side dies: then next to nothing is excused on account of the other.
        let prey = match random.below(4) {
            0 => (0..producers).collect(),
            1 => (producers..producers + consumers).collect(),
            _ => (0..producers + consumers).collect(),
        };
        let descriptors = tally::open_descriptors();
        let outcome = self.play(kind, stage, prey, length);
        self.tally.fds += tally::open_descriptors().saturating_sub(descriptors) as u64;
        self.tally.shm_names += tally::shm_names(&prefix) as u64;
        outcome
    }

    fn play(&mut self, kind: &Kind, stage: Stage, prey: Vec<usize>, length: Duration) -> Result<(), Trouble> {
        let _name = stage.name.clone().map(Unlink);
        let journals = Shared::new(stage.seats()).map_err(|e| format!("the journals: {e}"))?;
        let has_spares = stage.producers > 1 && stage.consumers > 1;
        let mut subject = (kind.make)(stage)?;
        Storm::new(&mut *subject, &journals, prey, has_spares, self.random.fork(), &mut self.tally)
            .rage(length, &mut |tally| self.ui.tick(kind.name, tally))?;
        self.tally.kills += subject.kills_of_its_own();
        self.tally.findings.add(subject.judge()?);
        Ok(())
    }
}

/// Removes the object's name after the round, also if that came to no good end.
struct Unlink(String);

impl Drop for Unlink {
    fn drop(&mut self) {
        // A name that stays is counted.
        let _ = skep::Segment::unlink(&self.0);
    }
}

//! The command line.

use clap::Parser;
use clap::builder::PossibleValuesParser;

/// Tortures skep: processes on one object, killed and stopped at random moments, and an auditor that knows each item's fate.
///
/// A run consists of rounds, each with a fresh object: anonymous or named, large or small, few or many places. Participants are killed with SIGKILL from
/// outside, at hundreds of moments a second; in a build with `--cfg skep_faults` every other one also kills itself between two particular steps of
/// the protocol. Some are stopped for up to 50 ms. At the end of a round everybody is killed, and the auditor counts.
///
/// The last line on standard output is the result, as JSON.
#[derive(Parser)]
#[command(name = "torture", after_help = EXAMPLES)]
pub struct Args {
    /// What to torture; `all` takes turns
    #[arg(long, default_value = "all", value_parser = primitives())]
    pub primitive: String,

    /// How long
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,

    /// What decides who is killed when, as far as a machine repeats itself [default: the time]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Processes that put, send, or the like
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=60))]
    pub producers: u16,

    /// Processes that get, receive, or the like; where all do the same, there are as many as both
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=60))]
    pub consumers: u16,

    /// The largest object, in items; each round draws a size up to it
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub capacity: u32,

    /// Print the JSON line and nothing else
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  torture --primitive queue --seconds 60         a minute of kills on queues
  torture --primitive pipe --seed 7 --json       the same choices as any other run with seed 7
  RUSTFLAGS='--cfg skep_faults' cargo run --release --example torture
                                                 with kills between the protocols' steps

In the result
  lost        an operation that returned has no effect
  duplicated  something came more often than deaths explain
  torn        something is not what was sent, or not in order inside
  reordered   something came too early or too late, more often than deaths explain
  wedged      somebody could not go on for 5 s, though nobody it waits for was stopped
  failures    a process crashed or got an error, or a round could not be judged
  leaked      descriptors, places among the participants, an arena's bytes, names in /dev/shm, zombies

Exit codes:
  0  nothing of that
  1  some
  2  nothing was done: the options are wrong";

fn primitives() -> PossibleValuesParser {
    PossibleValuesParser::new(crate::KINDS.iter().map(|kind| kind.name).chain(["all"]))
}

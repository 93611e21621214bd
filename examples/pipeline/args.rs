//! The command line.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args, Parser, Subcommand};

/// Counts the requests of a web access log, by programs that pass it on through shared memory.
///
/// Each stage is a program of its own, started in any order, in any terminal; they find each other by name. Any of them may be killed at any time and started
/// again: the counts are those of a run in which nobody died.
#[derive(Parser)]
#[command(name = "pipeline", after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  pipeline generate --bytes 1G access.log     a log to try it with
  pipeline sequential access.log              the same counts, from one process
  pipeline run --parsers 2 access.log         all stages at once

  pipeline read access.log                    or each by itself, in any order: in one terminal
  pipeline parse                              in as many others as there are cores to spare
  pipeline aggregate                          and in one that is to show the result

  pipeline status                             what runs, or what a killed stage has left
  pipeline status --clean                     give it up

Exit codes:
  0  done
  1  it failed; standard error says why
  2  the command line is wrong";

#[derive(Subcommand)]
pub enum Command {
    /// Write a log in the common log format, always the same one for a seed
    Generate(Generate),
    /// Put the log's lines into shared memory, a block at a time
    Read {
        /// The log
        log: PathBuf,
        #[command(flatten)]
        block: Block,
        #[command(flatten)]
        stage: Stage,
    },
    /// Count block after block; start as many as you like
    Parse {
        #[command(flatten)]
        stage: Stage,
    },
    /// Add the counts up, and print them once the whole log is counted
    Aggregate {
        #[command(flatten)]
        report: Report,
        #[command(flatten)]
        stage: Stage,
    },
    /// Count the log in this process, without shared memory
    Sequential {
        /// The log
        log: PathBuf,
        #[command(flatten)]
        report: Report,
    },
    /// Start all stages, start those again that are killed, and print the result
    Run(Run),
    /// Say which stages are at work, and how far they are
    Status {
        /// Remove what killed stages have left, and with it the counts so far
        #[arg(long)]
        clean: bool,
        #[command(flatten)]
        name: Name,
    },
}

#[derive(Args)]
pub struct Generate {
    /// Where to write it
    pub log: PathBuf,
    /// How many lines it has
    #[arg(long, value_name = "N", required_unless_present = "bytes", conflicts_with = "bytes")]
    pub lines: Option<u64>,
    /// How many bytes it has at least: 500, 64K, 100M, 1G
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub bytes: Option<u64>,
    /// Another seed gives another log
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// How many different paths are asked for
    #[arg(long, value_name = "N", default_value = "5000")]
    pub paths: NonZeroUsize,
}

#[derive(Args)]
pub struct Run {
    /// The log
    pub log: PathBuf,
    /// How many parsers there are [default: one a core, but for one]
    #[arg(long, value_name = "N")]
    pub parsers: Option<NonZeroUsize>,
    /// Give up when stages have been killed more often than this
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub restarts: u64,
    #[command(flatten)]
    pub report: Report,
    #[command(flatten)]
    pub block: Block,
    /// By what name the stages find each other [default: one of this run's own]
    #[arg(long)]
    pub name: Option<String>,
    #[command(flatten)]
    pub memory: Memory,
}

/// What each stage is told.
#[derive(Args)]
pub struct Stage {
    #[command(flatten)]
    pub name: Name,
    #[command(flatten)]
    pub memory: Memory,
    /// Join a pipeline that exists, and be done if there is none: for whoever starts a killed stage again, and may come too late
    #[arg(long)]
    pub join: bool,
    /// Say nothing but what went wrong
    #[arg(long)]
    pub quiet: bool,
}

#[derive(Args)]
pub struct Name {
    /// By what name the stages find each other
    #[arg(long, default_value = "skep-pipeline")]
    pub name: String,
}

#[derive(Args)]
pub struct Memory {
    /// What the pipeline may take of shared memory, if this stage is the first
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "1G")]
    pub memory: u64,
}

#[derive(Args)]
pub struct Block {
    /// How much of the log goes into a block of shared memory
    #[arg(long, value_name = "SIZE", value_parser = block, default_value = "1M")]
    pub block: u64,
}

#[derive(Args, Clone)]
pub struct Report {
    /// How many of the paths to print, those with the most requests first
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,
    /// Print JSON instead of tables
    #[arg(long)]
    pub json: bool,
}

fn size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().next_back() {
        Some((end, 'K' | 'k')) => (&text[..end], 10),
        Some((end, 'M' | 'm')) => (&text[..end], 20),
        Some((end, 'G' | 'g')) => (&text[..end], 30),
        _ => (text, 0),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| "give a number of bytes, as 500, 64K, 100M or 1G".to_owned())
}

fn block(text: &str) -> Result<u64, String> {
    let bytes = size(text)?;
    let fits = bytes.is_power_of_two() && (4 << 10..=64 << 20).contains(&bytes);
    if fits { Ok(bytes) } else { Err("a block is a power of two from 4K to 64M".to_owned()) }
}

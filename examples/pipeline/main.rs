//! The counts of a web access log, by programs that are started in any order, and killed at any time.
//!
//! ```text
//! cargo run --release --example pipeline -- generate --bytes 1G access.log
//! cargo run --release --example pipeline -- run --parsers 2 access.log
//! ```
//!
//! ```text
//!              chunks               partials
//! log → read ──────────→ parse … ────────────→ aggregate → result
//!                                                ↑     ↓
//!                                              checkpoints
//! ```
//!
//! Each stage is a process. They meet at a [site](site.rs): a *board* that says who has which role, and an *arena* with three queues. A block of the log is read into the arena once, and
//! never copied: its handle goes through the queue. So do the counts, which the aggregator reads where the parser wrote them.
//!
//! # Why the counts are right, whoever is killed, and wherever
//!
//! **No block is lost**, since each stage gives on what it made before it lets go of what it was made from:
//! - The reader puts block `n`, and then writes `n + 1` into its word on the board. The next reader goes on at that word.
//! - A parser leases a block, puts its counts, and then acknowledges the block. What a dead parser had leased goes back to the queue.
//! - The aggregator leases counts, adds them, commits the sum, and then acknowledges them.
//!
//! **So a block may come twice**: whoever dies between the two steps has left both. **It counts once**, since it has a number, which goes along with its counts, and the sum says of which
//! numbers it is: the blocks before a first one that is missing, and a few beyond. Number `n` means the same bytes whoever reads them ([source](source.rs)).
//!
//! **The sum and its numbers change in one step**, which is one word: the number of the [checkpoint](ledger.rs) that counts. A checkpoint holds both, is built apart, and counts once that word says
//! so. An aggregator that dies earlier has added nothing, and what it had leased comes back; one that dies later has added all of it, and what comes back is known.
//!
//! **A role has one holder**: the reader's and the aggregator's are robust mutexes, held as long as the process lives. A second one waits, and takes over from a dead one at once. Their words
//! are whole at any instant, so there is nothing to repair.
//!
//! **It ends**: the reader closes the queue of blocks when all were put; a parser ends when it is closed and nobody has a block in hand; the aggregator knows by the numbers that it has
//! all. It prints, says so on the board, and removes the names from `/dev/shm`. Who joins after that finds the board over, or none.
//!
//! **Nobody waits for memory in a circle**: the queues hold eight values each, leased ones included, so blocks and counts leave room in the arena for the checkpoints.
//!
//! What is not promised: the *printing* is done at least once. An aggregator that is killed after it has printed, and before it has said so, prints again when it is started again; `run`
//! passes on one result. And whoever is started when all is over and removed begins a new pipeline, and waits for the others: `--join` is for those who may come late. A stage that has found
//! the board when the names were about to go, and is killed before it has removed an arena that it made too late, leaves that; `status --clean` removes it.

mod aggregate;
mod args;
mod counts;
mod fault;
mod generate;
mod ledger;
mod line;
mod parse;
mod read;
mod report;
mod run;
mod sequential;
mod site;
mod source;
mod status;
mod sum;
mod table;
mod ui;

use std::{error::Error, process::ExitCode};

use args::{Arguments, Command, Stage};
use clap::Parser;
use nix::sys::signal::SigSet;
use site::Site;

/// Errors are told to a person, and end the process.
type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match execute(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui::say(error);
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Outcome {
    // `run` blocks signals to wait for them, and its children inherit that.
    SigSet::all().thread_unblock()?;
    match &command {
        Command::Generate(arguments) => generate::generate(arguments),
        Command::Read { log, block, stage } => {
            join(stage, |site| read::read(site, log, block.block, stage.quiet))
        }
        Command::Parse { stage } => join(stage, |site| parse::parse(site, stage.quiet)),
        Command::Aggregate { report, stage } => {
            join(stage, |site| aggregate::aggregate(site, report, stage.quiet))
        }
        Command::Sequential { log, report } => sequential::sequential(log, report),
        Command::Run(arguments) => run::run(arguments),
        Command::Status { clean, name } => status::status(&name.name, *clean),
    }
}

/// Works at a pipeline, unless it is over.
fn join(stage: &Stage, work: impl FnOnce(&Site) -> Outcome) -> Outcome {
    match Site::join(stage)? {
        Some(site) => work(&site),
        None if stage.quiet => Ok(()),
        None => {
            ui::say(format_args!("{}: this pipeline is over", stage.name.name));
            Ok(())
        }
    }
}

//! skep beside what its users would otherwise pick, and beside the physical limit.
//!
//! `rows/` says what is measured and what is aimed at, `peers/` how each library is used. A contender of a row plays in fresh processes of this same
//! program (`part.rs`), which meet on a `stage.rs`; `measure/` has the plays that all contenders of a kind share, so that only the library differs. `run.rs` runs a
//! row's contenders in turns, round by round, `verdict.rs` turns the rounds into figures, `report.rs` prints them.

mod about;
mod measure;
mod options;
mod page;
mod part;
mod peers;
mod probe;
mod report;
mod row;
mod rows;
mod run;
mod stage;
mod verdict;

use clap::Parser;
use options::Options;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Worker processes of the pools begin here, and go no further.
    skep::init();
    procspawn::init();
    if let Some(code) = part::enter() {
        return code;
    }
    let options = Options::parse();
    match run::all(&options) {
        Ok(ending) => ending.code(),
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::from(2)
        }
    }
}

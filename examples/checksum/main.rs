//! `find | sort -z | xargs -0 -P sha256sum`, with a pool of worker processes that a crashing worker cannot bring down.
//!
//! ```text
//! cargo run --release --example checksum -- /usr/share/doc
//! ```
//!
//! `walk` finds the files in order, `run` passes them through the pool and puts the results in order again, `hash` is
//! what the workers do, `list` is the format of a line, `output` prints lines or verdicts, `verify` reads a list,
//! `ui` is standard error, `args` the command line.

mod args;
mod hash;
mod list;
mod output;
mod run;
mod ui;
mod verify;
mod walk;

use std::{ffi::OsString, io::ErrorKind, num::NonZeroUsize, process::ExitCode};

use args::Args;
use clap::Parser;
use hash::Links;
use output::{Checking, Listing};
use run::{Stop, run};
use skep::Pool;
use ui::Ui;
use verify::List;
use walk::{Unreadable, Walk};

/// Some file could not be read, or does not match.
const SOME_FAILED: u8 = 1;
/// Nothing could be done.
const UNUSABLE: u8 = 2;
/// What a shell shows for a program that wrote into a closed pipe: 128 + SIGPIPE.
const CLOSED_OUTPUT: u8 = 141;

fn main() -> ExitCode {
    skep::init();
    let Args { paths, workers, verify } = Args::parse();
    let ui = Ui::new();
    let code = match verify {
        None => checksum(&ui, paths, workers),
        Some(list) => check(&ui, list, workers),
    };
    ui.clear();
    ExitCode::from(code)
}

/// Prints the list of the files below `paths`.
fn checksum(ui: &Ui, paths: Vec<OsString>, workers: Option<NonZeroUsize>) -> u8 {
    let walk = match Walk::new(paths.clone()) {
        Ok(walk) => walk,
        Err(missing) => {
            for Unreadable { path, reason } in missing {
                ui.complain(&path, hash::reason(&reason.into()));
            }
            return UNUSABLE;
        }
    };
    let Some(pool) = start(ui, workers) else { return UNUSABLE };
    ui.learn_total(paths);
    let files = walk.filter_map(|found| match found {
        Ok(file) => Some((file, ())),
        Err(Unreadable { path, reason }) => {
            ui.complain(&path, hash::reason(&reason.into()));
            None
        }
    });
    let ended = run(&pool, ui, Links::Refuse, files, Listing::new(ui));
    finish(&pool, ui, ended)
}

/// Checks the files that a list names.
fn check(ui: &Ui, path: OsString, workers: Option<NonZeroUsize>) -> u8 {
    let mut list = match List::open(path) {
        Ok(list) => list,
        Err(broken) => {
            ui.say(broken);
            return UNUSABLE;
        }
    };
    let Some(pool) = start(ui, workers) else { return UNUSABLE };
    let mut checking = Checking::new(ui);
    let ended = run(&pool, ui, Links::Follow, &mut list, &mut checking);
    let broken = list.broken();
    match &broken {
        Some(broken) => ui.say(broken),
        None if ended.is_ok() => {
            list.warn(ui);
            checking.warn();
        }
        None => {}
    }
    let code = finish(&pool, ui, ended);
    if broken.is_some() { UNUSABLE } else { code }
}

fn start(ui: &Ui, workers: Option<NonZeroUsize>) -> Option<Pool> {
    let builder = Pool::builder();
    let builder = match workers {
        Some(workers) => builder.workers(workers.get()),
        None => builder,
    };
    builder.build().map_err(|error| ui.say(format_args!("the worker pool did not start: {error}"))).ok()
}

/// The last words, and the exit code.
fn finish(pool: &Pool, ui: &Ui, ended: Result<(), Stop>) -> u8 {
    let code = match ended {
        // Who closed the output wants no more of it: no word, as when SIGPIPE ends `sha256sum`.
        Err(Stop::Output(error)) if error.kind() == ErrorKind::BrokenPipe => return CLOSED_OUTPUT,
        Err(Stop::Output(error)) => {
            ui.say(format_args!("standard output: {}", hash::reason(&error)));
            SOME_FAILED
        }
        Err(Stop::Pool(error)) => {
            ui.say(format_args!("the worker pool failed, not all files are done: {error}"));
            SOME_FAILED
        }
        Ok(()) if ui.failed() => SOME_FAILED,
        Ok(()) => 0,
    };
    let stats = pool.stats();
    ui.finish(stats.workers, stats.workers_lost);
    code
}

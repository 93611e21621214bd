//! Round by round: the contenders of a row take turns, and a row ends when it has rounds enough or its time is over.

use crate::about::about;
use crate::options::{Effort, Options};
use crate::page;
use crate::part::{Failure, Run};
use crate::probe::probe;
use crate::report;
use crate::row::Row;
use crate::rows;
use indicatif::{ProgressBar, ProgressStyle};
use std::process::ExitCode;
use std::time::Instant;

/// What a run gave.
#[derive(Clone, Copy)]
pub struct Sample {
    pub figure: f64,
    /// Nanoseconds that a cache line took between the cores, before or after the run, whichever was more.
    pub probe: f64,
}

/// What became of a row.
pub struct Measured {
    pub row: Row,
    /// Of each round, each contender's sample, if it had one.
    pub rounds: Vec<Vec<Option<Sample>>>,
    /// Contenders that have none, and why.
    pub absent: Vec<(usize, String)>,
    pub failed: Vec<(usize, String)>,
}

/// How it all ended.
pub enum Ending {
    AllMet,
    SomeMissed,
    SomeFailed,
}

impl Ending {
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Ending::AllMet => 0,
            Ending::SomeMissed => 1,
            Ending::SomeFailed => 3,
        })
    }
}

/// Measures the rows that were asked for, and reports.
///
/// # Errors
/// A row that does not exist, a machine with too few cores, a file that cannot be written.
pub fn all(options: &Options) -> Result<Ending, Box<dyn std::error::Error>> {
    let rows = chosen(options)?;
    if options.list {
        report::list(&rows);
        return Ok(Ending::AllMet);
    }
    let cores = std::thread::available_parallelism()?.get();
    if let Some(&core) = options.cores.iter().find(|&&core| core >= cores) {
        return Err(format!("there is no core {core}: this machine lends {cores}").into());
    }
    let mut json = options.json.as_ref().map(std::fs::File::create).transpose()?;
    let effort = options.effort();
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed_precise} {msg}")?;
    let progress = ProgressBar::new(rows.len() as u64).with_style(style);
    let mut measured = vec![];
    for row in rows {
        progress.set_message(row.name);
        let row = measure(row, options, &effort, &progress);
        for (contender, words) in &row.failed {
            let name = row.row.contenders[*contender].name;
            progress.suspend(|| eprintln!("bench: {}: {name} failed: {words}", row.row.name));
        }
        measured.push(row);
        progress.inc(1);
    }
    progress.finish_and_clear();
    if let Some(path) = &options.report {
        let mut about = about(options.python.as_deref());
        about.push(("rounds", effort.words()));
        std::fs::write(path, page::page(&measured, &about))?;
    }
    report::report(&measured, json.as_mut()).map_err(Into::into)
}

/// The rows that these names mean: each is a row's, or the beginning of some rows'.
fn chosen(options: &Options) -> Result<Vec<Row>, String> {
    let names = &options.rows;
    let mut rows = rows::all();
    if let Some(unknown) =
        names.iter().find(|name| !rows.iter().any(|row| row.name.starts_with(name.as_str())))
    {
        return Err(format!("no row begins with \"{unknown}\"; --list names them"));
    }
    let by_itself = |row: &Row| row.growth.is_none() || options.report.is_some() || options.list;
    rows.retain(|row| {
        names.is_empty() && by_itself(row) || names.iter().any(|name| row.name.starts_with(name.as_str()))
    });
    Ok(rows)
}

fn measure(row: Row, options: &Options, effort: &Effort, progress: &ProgressBar) -> Measured {
    let contenders = row.contenders.len();
    let mut measured = Measured { row, rounds: vec![], absent: vec![], failed: vec![] };
    let begun = Instant::now();
    // A curve has many points.
    let limit = if measured.row.growth.is_some() { effort.row / 3 } else { effort.row };
    let [least, most] = effort.rounds;
    let mut runs = 0;
    while measured.rounds.len() < least || (measured.rounds.len() < most && begun.elapsed() < limit) {
        let round = measured.rounds.len();
        let mut samples = vec![None; contenders];
        // Who begins changes: the second finds a warmer machine.
        for contender in (0..contenders).map(|c| (c + round) % contenders) {
            if measured.is_out(contender) {
                continue;
            }
            let Measured { row, absent, failed, .. } = &mut measured;
            progress.set_message(format!(
                "{}: {}, round {}",
                row.name,
                row.contenders[contender].name,
                round + 1
            ));
            runs += 1;
            let run = Run {
                row: row.name,
                contender,
                play: &row.contenders[contender].play,
                time: effort.run,
                cores: options.cores,
                number: runs,
                python: options.python.as_deref(),
            };
            let before = probe(options.cores);
            match run.perform() {
                Ok(figure) => {
                    samples[contender] = Some(Sample { figure, probe: before.max(probe(options.cores)) });
                }
                Err(Failure::Absent(why)) => absent.push((contender, why)),
                Err(Failure::Failed(words)) => failed.push((contender, words)),
            }
        }
        measured.rounds.push(samples);
    }
    measured
}

impl Measured {
    /// Why a contender has no figures.
    pub fn why_not(&self, contender: usize) -> Option<&str> {
        let mut reasons = self.absent.iter().chain(&self.failed);
        reasons.find(|(c, _)| *c == contender).map(|(_, why)| why.as_str())
    }

    /// Whether a contender plays no more.
    fn is_out(&self, contender: usize) -> bool {
        self.why_not(contender).is_some()
    }
}

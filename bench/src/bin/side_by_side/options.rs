//! The command line.

use clap::Parser;
use std::path::PathBuf;
use std::time::Duration;

/// Measures skep beside its peers and beside the physical limit.
///
/// The contenders of a row run in turns, round by round, each pinned to the same two cores. Before and after each run a cache line is bounced between these cores: rounds in
/// which they were far apart are reported by themselves. What counts is the median of the rounds' ratios.
///
/// Exit code: 0 if every target that could be measured is met, 1 if one is not, 2 for a wrong command line or a machine that cannot measure, 3 if a run failed: it lost
/// or changed a message, crashed, or did not end.
#[derive(Parser)]
#[command(name = "ci/bench.sh")]
pub struct Options {
    /// Only these rows, by their names or the beginnings of them; otherwise all but the points of curves.
    pub rows: Vec<String>,
    /// Short runs and few rounds: ten minutes for all rows, enough to see a change of 15 %.
    #[arg(long)]
    pub quick: bool,
    /// One round of the shortest runs: whether each row works. Its figures mean nothing.
    #[arg(long, conflicts_with = "quick")]
    pub smoke: bool,
    /// Also writes one JSON object a line to this file, with the rounds behind each figure.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Also measures the rows that are points of curves, and writes a page with tables and plots to this file.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Lists the rows, and what each is to reach.
    #[arg(long)]
    pub list: bool,
    /// The two cores.
    #[arg(long, value_name = "A,B", default_value = "0,1", value_parser = cores)]
    pub cores: [usize; 2],
    /// A Python with numpy and joblib; without one, Python's peers are left out.
    #[arg(long, value_name = "PYTHON")]
    pub python: Option<PathBuf>,
}

/// How much is measured.
pub struct Effort {
    /// How long a run measures.
    pub run: Duration,
    /// Rounds of a row, at least and at most.
    pub rounds: [usize; 2],
    /// When a row that has its least number of rounds begins no other one.
    pub row: Duration,
}

impl Effort {
    /// For who reads the figures.
    pub fn words(&self) -> String {
        let [least, most] = self.rounds;
        format!(
            "{least} to {most} a row within {} s, runs of {} ms; a third of the time for a point of a curve",
            self.row.as_secs(),
            self.run.as_millis()
        )
    }
}

impl Options {
    pub fn effort(&self) -> Effort {
        let (run, rounds, row) = match (self.smoke, self.quick) {
            (true, _) => (10, [1, 1], 0),
            (_, true) => (60, [3, 15], 10),
            (false, false) => (200, [15, 31], 60),
        };
        Effort { run: Duration::from_millis(run), rounds, row: Duration::from_secs(row) }
    }
}

fn cores(text: &str) -> Result<[usize; 2], String> {
    let parsed: Option<Vec<usize>> = text.split(',').map(|core| core.trim().parse().ok()).collect();
    match parsed.as_deref() {
        Some(&[a, b]) if a != b => Ok([a, b]),
        _ => Err("two different cores, such as 0,1".into()),
    }
}

//! What a person sees on standard error: a bar while it runs, and words at the end.

use crate::tally::Tally;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

/// How often the bar moves.
const FRAME: Duration = Duration::from_millis(100);

/// Draws in this thread alone: a program that forks keeps to one.
pub struct Ui {
    bar: ProgressBar,
    started: Instant,
    drawn: Instant,
    is_silent: bool,
}

impl Ui {
    pub fn new(length: Duration, is_silent: bool) -> Self {
        let bar = if is_silent { ProgressBar::hidden() } else { ProgressBar::new(length.as_millis() as u64) };
        let style = ProgressStyle::with_template("{wide_bar} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Ui { bar, started: Instant::now(), drawn: Instant::now(), is_silent }
    }

    pub fn say(&self, what: &str) {
        if !self.is_silent {
            self.bar.suspend(|| eprintln!("torture: {what}"));
        }
    }

    pub fn tick(&mut self, name: &str, tally: &Tally) {
        if self.drawn.elapsed() < FRAME {
            return;
        }
        self.drawn = Instant::now();
        self.bar.set_position(self.started.elapsed().as_millis() as u64);
        self.bar.set_message(format!("{name}: {} operations, {} kills", tally.operations, tally.kills));
    }

    pub fn finish(&self, tally: &Tally, took: Duration) {
        self.bar.finish_and_clear();
        let rate = tally.kills as f64 / took.as_secs_f64();
        self.say(&format!(
            "{} operations in {} rounds, {} kills ({rate:.0} a second), {} of them at fault points, {} pauses: {}",
            tally.operations,
            tally.rounds,
            tally.kills,
            tally.kills_at_fault_points,
            tally.pauses,
            if tally.is_clean() { "nothing is wrong" } else { "something is wrong" }
        ));
    }
}

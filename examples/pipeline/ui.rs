//! What a person sees on standard error.

use std::{
    fmt::Display,
    io::{self, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::counts::Extent;

/// Writes a line. Should standard error be closed, there is nobody left to tell.
pub fn say(what: impl Display) {
    let _ = writeln!(io::stderr().lock(), "pipeline: {what}");
}

/// Draws how far it is, unless standard error is no terminal.
pub struct Bar(ProgressBar);

impl Bar {
    pub fn hidden() -> Self {
        Bar(ProgressBar::hidden())
    }

    /// Of so many bytes, of which some may be done before.
    pub fn new(total: u64, done: u64) -> Self {
        let template = "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, {msg}, {eta} left";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(total).with_style(style).with_position(done);
        bar.reset_eta();
        bar.enable_steady_tick(Duration::from_millis(100));
        Bar(bar)
    }

    pub fn show(&self, bytes: u64, what: impl Display) {
        self.0.set_position(bytes);
        if !self.0.is_hidden() {
            self.0.set_message(what.to_string());
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Says how much was counted, and how fast.
pub struct Pace {
    began: Instant,
    before: Extent,
}

impl Pace {
    /// From here on, with what was counted before.
    pub fn new(before: Extent) -> Self {
        Pace { began: Instant::now(), before }
    }

    pub fn lines_per_second(&self, now: Extent) -> u64 {
        ((now.lines - self.before.lines) as f64 / self.began.elapsed().as_secs_f64()) as u64
    }

    pub fn last_line(&self, now: Extent) -> String {
        let seconds = self.began.elapsed().as_secs_f64();
        let rate = (now.bytes - self.before.bytes) as f64 / seconds / 1e6;
        let Extent { bytes, lines, .. } = now;
        format!("{bytes} bytes, {lines} lines, {seconds:.3} s, {rate:.0} MB/s")
    }
}

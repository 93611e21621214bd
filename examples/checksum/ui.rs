//! What a person sees on standard error: the bar while it runs, complaints by name and reason, and the last line.

use std::{
    ffi::OsString,
    fmt::Display,
    io::{self, IsTerminal, Write},
    str,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use crate::walk::Walk;

pub struct Ui {
    /// Draws nothing unless standard error is a terminal.
    bar: ProgressBar,
    /// Both on one terminal: output must take the bar away for a moment.
    shared: bool,
    started: Instant,
    files: Arc<AtomicU64>,
    bytes: AtomicU64,
    failed: AtomicBool,
}

impl Ui {
    pub fn new() -> Self {
        let ui = Self {
            bar: ProgressBar::no_length(),
            shared: io::stdout().is_terminal() && io::stderr().is_terminal(),
            started: Instant::now(),
            files: Arc::default(),
            bytes: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        };
        ui.bar.set_style(ui.style("{spinner} {bytes} {bytes_per_sec}, {files} files"));
        ui.bar.enable_steady_tick(Duration::from_millis(100));
        ui
    }

    /// Walks the paths once more beside the work, to learn how much there is: without that, no remaining time.
    pub fn learn_total(&self, paths: Vec<OsString>) {
        if self.bar.is_hidden() {
            return;
        }
        let bar = self.bar.clone();
        let style = self.style("{wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, {files} files, {eta} left");
        thread::spawn(move || {
            // Who cannot be read is complained about by those who do the work.
            let Ok(walk) = Walk::new(paths) else { return };
            bar.set_length(walk.flatten().map(|file| file.size).sum());
            bar.set_style(style);
        });
    }

    fn style(&self, template: &str) -> ProgressStyle {
        let files = Arc::clone(&self.files);
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        style.with_key("files", move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            // A line that cannot be formatted is a line not drawn.
            let _ = write!(out, "{}", files.load(Relaxed));
        })
    }

    /// More bytes were hashed.
    pub fn bytes_done(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
        self.bar.inc(bytes);
    }

    /// More files were hashed.
    pub fn files_done(&self, files: usize) {
        self.files.fetch_add(files as u64, Relaxed);
    }

    /// Writes to standard output without the bar in between.
    pub fn output<R>(&self, write: impl FnOnce() -> R) -> R {
        if self.shared { self.bar.suspend(write) } else { write() }
    }

    /// Says what is wrong with a file; the run goes on.
    pub fn complain(&self, name: &[u8], reason: impl Display) {
        self.fail();
        self.say(format_args!("{}: {reason}", readable(name)));
    }

    /// The exit code will be 1.
    pub fn fail(&self) {
        self.failed.store(true, Relaxed);
    }

    pub fn failed(&self) -> bool {
        self.failed.load(Relaxed)
    }

    /// Writes a line to standard error. Should that be closed, there is nobody left to tell.
    pub fn say(&self, what: impl Display) {
        self.bar.suspend(|| {
            let _ = writeln!(io::stderr().lock(), "checksum: {what}");
        });
    }

    /// Takes the bar away for good.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// The last line.
    pub fn finish(&self, workers: usize, lost: u64) {
        self.clear();
        if lost > 0 {
            let workers_were = if lost == 1 { "worker was" } else { "workers were" };
            self.say(format_args!(
                "{lost} {workers_were} lost and replaced; what was unfinished was tried again"
            ));
        }
        let (files, bytes) = (self.files.load(Relaxed), self.bytes.load(Relaxed));
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = bytes as f64 / seconds / 1e9;
        self.say(format_args!(
            "{files} files, {bytes} bytes, {seconds:.3} s, {rate:.3} GB/s, {workers} workers, {lost} lost"
        ));
    }
}

/// A name for a person: as it is if that can be read on one line, else quoted with escapes.
pub fn readable(name: &[u8]) -> String {
    match str::from_utf8(name) {
        Ok(text) if !text.is_empty() && text.trim() == text && !text.contains(char::is_control) => {
            text.to_owned()
        }
        _ => format!("\"{}\"", name.escape_ascii()),
    }
}

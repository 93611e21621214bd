//! A pool under torture: each participant is a caller with a pool of its own, whose workers and fork
//! server are killed and stopped while it runs tasks of every kind (`pool/caller.rs`), by one of its
//! threads (`pool/tormentor.rs`). The storm kills and stops the callers.
//!
//! Each task marks in shared memory that it began and that it ended (`pool/tasks.rs`). So the caller
//! knows of each outcome whether it can be true:
//! - A result is what the task computes, *torn* otherwise; its task has ended, or it is *lost*.
//! - A task began once, or as often as its `retry` allows; more is *duplicated*.
//! - A task that failed with its worker's death had a worker that somebody killed; otherwise it is
//!   *lost*.
//! - A caller that leaves can join its pool, and its arena is free again, *lost* otherwise.
//!
//! Of a caller that was killed no process is left after some seconds; one that is left is *wedged*.

mod caller;
mod tasks;
mod tormentor;

use crate::journal::Shared;
use crate::living;
use crate::process::go_on;
use crate::subject::{Dead, Findings, Part, Stage, Subject, Trouble};
use caller::Caller;
use skep::AtomicArray;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};
use std::time::{Duration, Instant};

/// How many tasks of one caller have their own mark at a time.
const MARKS: usize = 4096;
/// How many processes of one caller are watched.
const WATCHED: usize = 8;
/// How long the processes of a killed caller may take to go, however busy the machine is.
const GOING: Duration = Duration::from_secs(5);

pub struct Pools {
    /// The name of the marks: each seat has [`MARKS`] of them.
    marks: String,
    /// The processes of each seat's pool, as its caller has last seen them: [`WATCHED`] words a seat.
    watched: Shared<AtomicU64>,
    /// Kills of workers and fork servers.
    kills: Shared<AtomicU64>,
    /// What dead callers have left, and until when.
    leftovers: Vec<(Process, Instant)>,
    findings: Findings,
}

/// A process, and when it started, so that another one with its number is not taken for it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: u64,
    start: u64,
}

pub fn make(stage: Stage) -> Result<Box<dyn Subject>, Trouble> {
    let words = |e| format!("the watched processes: {e}");
    let mut random = stage.random.clone();
    let marks = format!("skep-torture-{}-marks-{:x}", std::process::id(), random.next());
    AtomicArray::<u64>::create(&marks, stage.seats() * MARKS).map_err(|e| format!("the marks: {e}"))?;
    Ok(Box::new(Pools {
        marks,
        watched: Shared::new(stage.seats() * WATCHED).map_err(words)?,
        kills: Shared::new(1).map_err(words)?,
        leftovers: vec![],
        findings: Findings::default(),
    }))
}

impl Subject for Pools {
    /// Those that the caller itself passes.
    fn fault_points(&self, _seat: usize) -> &'static [&'static str] {
        &[
            "put: announced",
            "put: claimed",
            "put: written",
            "put: published",
            "get: announced",
            "get: claimed",
            "allocate: claimed",
            "send: marked",
            "take: taken",
            "repair: settled",
        ]
    }

    /// A caller that dies takes three or four processes with it.
    fn between_blows(&self) -> Duration {
        Duration::from_millis(25)
    }

    fn kills_of_its_own(&self) -> u64 {
        self.kills[0].load(Acquire)
    }

    fn play(&self, part: Part<'_>) -> Result<(), Trouble> {
        let watched = &self.watched[part.seat * WATCHED..][..WATCHED];
        watched.iter().for_each(|word| word.store(0, Release));
        Caller::start(&self.marks, part, watched, &self.kills[0])?.work()
    }

    fn audit(&mut self, _playing: &[usize]) -> Result<(), Trouble> {
        let now = Instant::now();
        self.leftovers.retain(|(process, until)| {
            if living::started(process.pid) != Some(process.start) || !living::lives(process.pid) {
                return false;
            }
            // Its caller has stopped it, and cannot let it go on any more.
            go_on(process.pid);
            let is_over = now > *until;
            if is_over {
                eprintln!("torture: process {} has outlived its caller", process.pid);
                self.findings.wedged += 1;
            }
            !is_over
        });
        Ok(())
    }

    fn bury(&mut self, dead: &Dead<'_>) {
        self.findings.witnessed(dead.journal);
        let until = Instant::now() + GOING;
        for word in &self.watched[dead.seat * WATCHED..][..WATCHED] {
            let pid = word.load(Acquire);
            if pid != 0
                && let Some(start) = living::started(pid)
            {
                self.leftovers.push((Process { pid, start }, until));
            }
        }
    }

    fn judge(mut self: Box<Self>) -> Result<Findings, Trouble> {
        while !self.leftovers.is_empty() {
            self.audit(&[])?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(self.findings)
    }
}

impl Drop for Pools {
    fn drop(&mut self) {
        // A name that stays is counted.
        let _ = AtomicArray::<u64>::unlink(&self.marks);
    }
}

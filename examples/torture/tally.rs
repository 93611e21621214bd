//! What a run comes to: what was done to the participants, what was found, what was left behind; and the line that says so.

use crate::subject::{End, Findings};
use std::fs;
use std::time::Duration;

#[derive(Default)]
pub struct Tally {
    pub rounds: u64,
    pub operations: u64,
    pub kills: u64,
    pub kills_at_fault_points: u64,
    pub pauses: u64,
    /// Processes that crashed or gave up, and rounds that could not be played or judged.
    pub failures: u64,
    pub findings: Findings,
    pub fds: u64,
    pub shm_names: u64,
    pub zombies: u64,
    longest_stall: Duration,
}

impl Tally {
    /// A participant has ended, after so many operations.
    pub fn end_of(&mut self, end: End, operations: u64) {
        self.operations += operations;
        match end {
            End::Left => {}
            End::Killed => self.kills += 1,
            End::At(_) => {
                self.kills += 1;
                self.kills_at_fault_points += 1;
            }
            End::Failed => self.failures += 1,
        }
    }

    /// Somebody has not got on for so long.
    pub fn stall(&mut self, stall: Duration) {
        self.longest_stall = self.longest_stall.max(stall);
    }

    pub fn is_clean(&self) -> bool {
        let Findings { lost, duplicated, torn, reordered, wedged, entries, bytes } = self.findings;
        let wrong = [lost, duplicated, torn, reordered, wedged, entries, bytes, self.failures];
        wrong.iter().chain([&self.fds, &self.shm_names, &self.zombies]).all(|&n| n == 0)
    }

    /// One line of JSON.
    pub fn json(&self, primitives: &[&str], seed: u64, took: Duration) -> String {
        let Findings { lost, duplicated, torn, reordered, wedged, entries, bytes } = self.findings;
        let Tally { rounds, operations, kills, kills_at_fault_points, pauses, failures, .. } = self;
        let Tally { fds, shm_names, zombies, .. } = self;
        let (seconds, stall) = (took.as_secs_f64(), self.longest_stall.as_millis());
        let names: Vec<String> = primitives.iter().map(|name| format!("\"{name}\"")).collect();
        format!(
            "{{\"primitives\":[{}],\"seed\":{seed},\"seconds\":{seconds:.1},\"rounds\":{rounds},\
             \"operations\":{operations},\"kills\":{kills},\"kills_at_fault_points\":{kills_at_fault_points},\
             \"pauses\":{pauses},\"lost\":{lost},\"duplicated\":{duplicated},\"torn\":{torn},\
             \"reordered\":{reordered},\"wedged\":{wedged},\"failures\":{failures},\
             \"leaked\":{{\"fds\":{fds},\"entries\":{entries},\"bytes\":{bytes},\"shm_names\":{shm_names},\"zombies\":{zombies}}},\
             \"longest_stall_ms\":{stall}}}",
            names.join(",")
        )
    }
}

/// How many descriptors this process has open.
pub fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// How many names in `/dev/shm` begin so.
pub fn shm_names(prefix: &str) -> usize {
    let is_ours = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().contains(prefix);
    fs::read_dir("/dev/shm").map_or(0, |names| names.flatten().filter(is_ours).count())
}

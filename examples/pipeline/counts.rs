//! What is counted.

use std::collections::HashMap;

use crate::line;

/// So many requests, and so many bytes in their answers.
#[derive(Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Count {
    pub requests: u64,
    pub bytes: u64,
}

impl Count {
    pub fn add(&mut self, other: Count) {
        self.requests += other.requests;
        self.bytes += other.bytes;
    }
}

/// How much of a log was counted.
#[derive(Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Extent {
    pub bytes: u64,
    pub lines: u64,
    /// Lines that are not of the format, and so no requests.
    pub malformed: u64,
}

/// The counts of a log, or of a part of one. Those of two parts are added by adding each number: in any order.
pub struct Counts {
    pub extent: Extent,
    /// By status, from 0 to 999.
    pub status: Vec<Count>,
    /// By hour of the day.
    pub hours: Vec<Count>,
    pub paths: HashMap<Box<[u8]>, Count>,
}

impl Counts {
    pub fn new() -> Self {
        Counts {
            extent: Extent::default(),
            status: vec![Count::default(); 1000],
            hours: vec![Count::default(); 24],
            paths: HashMap::new(),
        }
    }

    /// Counts whole lines.
    pub fn count(&mut self, text: &[u8]) {
        self.extent.bytes += text.len() as u64;
        for line in line::lines(text) {
            self.extent.lines += 1;
            let Some(request) = line::parse(line) else {
                self.extent.malformed += 1;
                continue;
            };
            let one = Count { requests: 1, bytes: request.bytes };
            self.status[request.status].add(one);
            self.hours[request.hour].add(one);
            self.add_path(request.path, one);
        }
    }

    /// Adds to the count of a path.
    pub fn add_path(&mut self, path: &[u8], count: Count) {
        match self.paths.get_mut(path) {
            Some(known) => known.add(count),
            None => drop(self.paths.insert(path.into(), count)),
        }
    }

    /// All requests.
    pub fn total(&self) -> Count {
        let mut total = Count::default();
        self.hours.iter().for_each(|&count| total.add(count));
        total
    }
}

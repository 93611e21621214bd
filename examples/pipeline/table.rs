//! Counts as shared memory: what a parser hands to the aggregator, and the aggregator to the one after it.
//!
//! The few counts travel as serde writes them. Those of the paths, which may be many, are two rows in blocks of the arena, and only their handles travel.

use serde::{Deserialize, Serialize};
use skep::{AllocError, Arena, ShmSlice, ShmVec};

use crate::{
    Outcome,
    counts::{Count, Counts, Extent},
};

#[derive(Serialize, Deserialize)]
pub struct Table {
    pub extent: Extent,
    status: Vec<(usize, Count)>,
    hours: Vec<(usize, Count)>,
    /// Of each path: how long its name is, requests, bytes.
    paths: ShmSlice<[u64; 3]>,
    /// The names one after another.
    names: ShmSlice<u8>,
}

impl Table {
    /// Writes counts into an arena.
    pub fn new(arena: &Arena, counts: &Counts) -> Result<Self, AllocError> {
        let mut paths = arena.slice_unfilled(counts.paths.len())?;
        let mut names: ShmVec<u8> = arena.vec(counts.paths.keys().map(|name| name.len()).sum())?;
        for (row, (name, count)) in paths.iter_mut().zip(&counts.paths) {
            *row = [name.len() as u64, count.requests, count.bytes];
            names.extend_from_slice(name)?;
        }
        let some = |counts: &[Count]| {
            let numbered = counts.iter().copied().enumerate();
            numbered.filter(|(_, count)| count.requests > 0).collect()
        };
        let (status, hours) = (some(&counts.status), some(&counts.hours));
        Ok(Table { extent: counts.extent, status, hours, paths, names: names.into() })
    }

    /// Adds these counts to others, reading them where they lie.
    pub fn add_to(&self, counts: &mut Counts) -> Outcome {
        let wrong = "the counts in shared memory are impossible: some program wrote where it may not";
        counts.extent.bytes += self.extent.bytes;
        counts.extent.lines += self.extent.lines;
        counts.extent.malformed += self.extent.malformed;
        for (rows, into) in [(&self.status, &mut counts.status), (&self.hours, &mut counts.hours)] {
            for &(number, count) in rows {
                into.get_mut(number).ok_or(wrong)?.add(count);
            }
        }
        let mut names = &self.names[..];
        for &[length, requests, bytes] in self.paths.iter() {
            let (name, rest) = names.split_at_checked(length as usize).ok_or(wrong)?;
            counts.add_path(name, Count { requests, bytes });
            names = rest;
        }
        Ok(())
    }
}

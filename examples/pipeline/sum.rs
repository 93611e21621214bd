//! The sum of all counts, and which blocks are in it.

use std::collections::BTreeSet;

use skep::{AllocError, Arena};

use crate::{
    Outcome,
    counts::Counts,
    site::{Checkpoint, Partial},
    table::Table,
};

pub struct Sum {
    pub counts: Counts,
    /// Blocks of the log, and its bytes; 0 before the first block has come.
    pub blocks: u64,
    pub size: u64,
    /// All blocks before this one are in the sum...
    pub before: u64,
    /// ...and these, which came earlier than some before them.
    beyond: BTreeSet<u64>,
}

impl Sum {
    pub fn new() -> Self {
        Sum { counts: Counts::new(), blocks: 0, size: 0, before: 0, beyond: BTreeSet::new() }
    }

    /// The sum as a checkpoint has it.
    pub fn of(checkpoint: &Checkpoint) -> Outcome<Self> {
        let &Checkpoint { before, ref beyond, blocks, size, ref table, .. } = checkpoint;
        let mut counts = Counts::new();
        table.add_to(&mut counts)?;
        Ok(Sum { counts, blocks, size, before, beyond: beyond.iter().copied().collect() })
    }

    /// The checkpoint of that name.
    pub fn checkpoint(&self, arena: &Arena, id: u64) -> Result<Checkpoint, AllocError> {
        let table = Table::new(arena, &self.counts)?;
        let &Sum { before, ref beyond, blocks, size, .. } = self;
        Ok(Checkpoint { id, before, beyond: beyond.iter().copied().collect(), blocks, size, table })
    }

    /// Adds the counts of a block, unless they are in it. Says whether they were new.
    pub fn add(&mut self, partial: &Partial) -> Outcome<bool> {
        let place = partial.place;
        (self.blocks, self.size) = (place.blocks, place.size);
        let is_new = place.number >= self.before && self.beyond.insert(place.number);
        if is_new {
            partial.table.add_to(&mut self.counts)?;
            while self.beyond.remove(&self.before) {
                self.before += 1;
            }
        }
        Ok(is_new)
    }

    /// Whether every block is in it.
    pub fn is_complete(&self) -> bool {
        self.blocks > 0 && self.before == self.blocks
    }
}

//! Where a model's table lies: on loom's heap.

use super::{Record, Table};
use crate::spill::Spill;
use crate::state::StateWord;
use crate::sync::{AtomicU32, AtomicU64, Bytes};
use std::sync::Arc;

/// Records that every simulated process has.
#[derive(Clone)]
pub(super) struct Memory(Arc<[Record]>);

// SAFETY: a record's words are loom's atomics; its bytes are loom's cells, which check that the protocol keeps accesses apart.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    pub(super) fn is_own(&self) -> bool {
        true
    }

    pub(super) fn len(&self) -> u32 {
        self.0.len() as u32
    }

    pub(super) fn record(&self, index: u32) -> Option<&Record> {
        self.0.get(index as usize)
    }
}

impl Record {
    fn new() -> Record {
        Record {
            state: StateWord::new(),
            handles: AtomicU32::new(0),
            handed_back: AtomicU32::new(0),
            task: AtomicU64::new(0),
            argument_bytes: AtomicU32::new(0),
            count: AtomicU32::new(0),
            arguments: Bytes::new(),
            progress: AtomicU64::new(0),
            results: Bytes::new(),
        }
    }
}

impl Table {
    pub(crate) fn create(records: u32) -> Table {
        Table { memory: Memory((0..records).map(|_| Record::new()).collect()), spill: Spill }
    }

    /// Another process's mapping of the same table.
    pub(crate) fn attach(&self) -> Table {
        Table { memory: self.memory.clone(), spill: Spill }
    }
}

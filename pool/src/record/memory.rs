//! Where a table lies: records in a segment, and a spill file.

use super::{Record, Table};
use crate::error::PoolError;
use crate::spill::Spill;
use skep_ipc::{Blueprint, Item, Kind, Segment};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

const BLUEPRINT: Blueprint = Blueprint {
    kind: Kind::new(*b"records\0"),
    item: Item::opaque(size_of::<Record>() as u64),
    body_len: |records| records.checked_mul(size_of::<Record>() as u64),
};

/// A row of records in shared memory.
pub(super) struct Memory {
    segment: Segment,
    records: NonNull<Record>,
    length: u32,
}

// SAFETY: records are atomics, and bytes that are touched as R1 grants, by whichever thread.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    fn over(segment: Segment) -> Memory {
        let records = segment.body().cast();
        // A capacity beyond u32 is not ours; what is cut off is not used.
        let length = u32::try_from(segment.capacity()).unwrap_or(0);
        Memory { segment, records, length }
    }

    pub(super) fn is_own(&self) -> bool {
        self.segment.is_own()
    }

    pub(super) fn len(&self) -> u32 {
        self.length
    }

    pub(super) fn record(&self, index: u32) -> Option<&Record> {
        if index >= self.length {
            return None;
        }
        // SAFETY: the body holds `length` records, is page aligned and lives as long as `self`; a record is atomics and cells.
        Some(unsafe { self.records.add(index as usize).as_ref() })
    }
}

impl Table {
    pub(crate) fn create(records: u32) -> Result<Table, PoolError> {
        let segment = Segment::anonymous(&BLUEPRINT, u64::from(records), 1)?;
        Ok(Table { memory: Memory::over(segment), spill: Spill::create(records)? })
    }

    pub(crate) fn attach(segment: OwnedFd, spill: OwnedFd) -> Result<Table, skep_ipc::Error> {
        let segment = Segment::from_fd(segment, &BLUEPRINT)?;
        Ok(Table { memory: Memory::over(segment), spill: Spill::from_fd(spill)? })
    }

    pub(crate) fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.memory.segment.as_fd(), self.spill.as_fd()]
    }
}

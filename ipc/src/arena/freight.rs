//! Carriers that another crate keeps: blocks on their way through a pool's records.
//!
//! ```text
//! value --pack--> bytes, Freight --surrender, let_go--> [ record: bytes, table ] --lading--> value
//!                                                                                --take_sent--> Taken --decode--> value
//! ```
//! The record's owner writes the entries of the freight as a table beside the bytes, and tells repair of them
//! (`carriers.rs`) from before it lets go of the freight until they were taken.
//!
//! What takes blocks by their entries is `unsafe`, since a word cannot tell who may have its block: with
//! entries of another origin, one block would have two owners. The crate that keeps the records promises the
//! *contract of a table*:
//!
//! 1. Its entries are those of a [`Freight`] whose value was [surrendered](Freight::surrender), with success,
//!    and which was [let go](Freight::let_go) into the place that the table lies in; or of a place whose
//!    taker is dead.
//! 2. The place is the caller's alone: nobody else who lives takes blocks by this table, or by a copy of it.
//!
//! ```compile_fail,E0133
//! let arena = skep_ipc::Arena::new(1 << 16)?;
//! let lading = arena.lading([1_u64].into_iter()); // not without a promise
//! # Ok::<(), skep_ipc::Error>(())
//! ```
//! ```compile_fail,E0133
//! let arena = skep_ipc::Arena::new(1 << 16)?;
//! let taken = arena.take_sent([1_u64].into_iter());
//! # Ok::<(), skep_ipc::Error>(())
//! ```
//! ```compile_fail,E0133
//! let arena = skep_ipc::Arena::new(1 << 16)?;
//! arena.free_sent([1_u64].into_iter());
//! # Ok::<(), skep_ipc::Error>(())
//! ```
//! ```compile_fail,E0133
//! skep_ipc::Freight::default().let_go();
//! ```

use super::blocks::Block;
use super::core::Core;
use super::error::EncodeError;
use super::handle::Arena;
use super::packing::{self, Cargo};
use super::sharing::Takers;
use super::unpacking::Table;
use super::word::Phase;
use crate::sync::biased::{Leaf, Shared};
use std::collections::VecDeque;

/// The blocks that a value's handles have sent. Dropping this gives them back to the handles, or frees them if the value was surrendered.
#[doc(hidden)]
#[derive(Default)]
pub struct Freight(Cargo);

impl Freight {
    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `{ generation: 32, index: 32 }` of each, in the order of their numbers.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.0.entries()
    }

    /// Drops the value that was encoded. False: some handle of it is still there, so the blocks must not go anywhere.
    #[inline]
    #[must_use]
    pub fn surrender<T>(&mut self, value: T) -> bool {
        self.0.surrender(|| drop(value))
    }

    /// Leaves the blocks to the carrier that has their entries now.
    ///
    /// # Safety
    /// The value was [surrendered](Self::surrender), with success, unless this [is empty](Self::is_empty).
    /// Otherwise a handle of it would be a second owner of what the carrier's next holder takes.
    #[inline]
    pub unsafe fn let_go(self) {
        self.0.let_go();
    }
}

/// Blocks that were taken out of a carrier. Those that no value has got are freed when this is dropped.
#[doc(hidden)]
pub struct Taken {
    core: Leaf<Core>,
    /// In the order of the table; an entry that led nowhere has no block.
    blocks: VecDeque<(u64, Option<(Block, Phase)>)>,
}

impl Taken {
    /// Runs `decode`, whose handles are found among the next `count` blocks. Those that it leaves are freed.
    ///
    /// # Errors
    /// What `decode` says, or which handle leads nowhere; all of these blocks are free then.
    pub fn decode<T>(
        &mut self,
        count: usize,
        decode: impl FnOnce() -> Result<T, String>,
    ) -> Result<T, String> {
        if !self.core.is_own() {
            return Err("it is the parent's: this process is a forked child".into());
        }
        let next = self.blocks.drain(..count.min(self.blocks.len()));
        // They lie in a place of this process's alone until their handles take them.
        let put_back = |(entry, taken): (u64, Option<(Block, Phase)>)| {
            if let Some((block, phase)) = taken {
                self.core.blocks().put_back(block, phase);
            }
            entry
        };
        let table = Table::new(next.map(put_back));
        Lading { core: &self.core, table }.within(decode)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.core.is_own() {
            for (block, phase) in self.blocks.drain(..).filter_map(|(_, block)| block) {
                self.core.let_go_of(block, phase);
            }
        }
    }
}

/// The blocks of a table in a carrier's place that is the caller's. Those that no handle has are freed when this is dropped.
#[doc(hidden)]
pub struct Lading<'a> {
    core: &'a Shared<Core>,
    table: Table,
}

impl Lading<'_> {
    /// Runs `work`, in which handles that are decoded are found among these blocks. A handle that is dropped in here gives its block back to the place.
    ///
    /// # Errors
    /// What `work` says, or which handle leads nowhere.
    #[inline]
    pub fn within<T>(&mut self, work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        self.table.within(self.core, work)
    }
}

impl Drop for Lading<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.table.is_empty() && self.core.is_own() {
            for (block, phase) in self.table.take_rest(self.core) {
                self.core.let_go_of(block, phase);
            }
        }
    }
}

impl Arena {
    /// Runs `encode`, whose handles are of this arena, and gives what they have sent.
    ///
    /// # Errors
    /// What `encode` says, or which handle cannot be sent; nothing is sent then.
    #[doc(hidden)]
    #[inline]
    pub fn pack<R>(&self, encode: impl FnOnce() -> Result<R, String>) -> Result<(R, Freight), String> {
        let packed = packing::packing(self.core().ground().id(), || {
            encode().map_err(|reason| EncodeError::Serialize { reason })
        });
        let (value, cargo) = packed.map_err(|error| error.to_string())?;
        Ok((value, Freight(cargo)))
    }

    /// The blocks of a table in a carrier's place that is the caller's.
    ///
    /// # Safety
    /// The contract of a table, at the head of this file, until the result is dropped.
    #[doc(hidden)]
    #[inline]
    pub unsafe fn lading(&self, table: impl Iterator<Item = u64>) -> Lading<'_> {
        Lading { core: self.core(), table: Table::new(table) }
    }

    /// Frees the blocks of a table in a carrier's place that is the caller's, and that nobody will look at. A
    /// block taken by a participant that may still be alive belongs to that participant.
    ///
    /// # Safety
    /// The contract of a table, at the head of this file.
    #[doc(hidden)]
    pub unsafe fn free_sent(&self, table: impl Iterator<Item = u64>) {
        let core = self.core();
        for entry in table {
            if let Some((block, phase)) = core.blocks().take(entry as u32, (entry >> 32) as u32, Takers::Last)
            {
                core.let_go_of(block, phase);
            }
        }
    }

    /// Takes the blocks of a table in a carrier's place that is the caller's. What is there no more is left out.
    ///
    /// # Safety
    /// The contract of a table, at the head of this file.
    #[doc(hidden)]
    pub unsafe fn take_sent(&self, table: impl Iterator<Item = u64>) -> Taken {
        let take = |entry: u64| self.core().blocks().take(entry as u32, (entry >> 32) as u32, Takers::One);
        Taken { core: self.core().leaf(), blocks: table.map(|entry| (entry, take(entry))).collect() }
    }
}

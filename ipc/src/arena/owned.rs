//! A block in this process's hands, until it is dropped: what every handle stands on.

use super::blocks::Block;
use super::core::Core;
use super::error::AllocError;
use super::packing::{self, Scope};
use super::unpacking;
use super::word::Phase;
use crate::header::PAGE_BYTES;
use crate::sync::biased::{Leaf, Shared};
use crate::wait::Until;
use std::ptr::NonNull;
use std::time::Duration;

/// A block that a handle has. Dropping it frees the block, if it still is this process's: one that was sent meanwhile is its receiver's.
pub(super) struct Owned {
    core: Leaf<Core>,
    block: Block,
}

impl Owned {
    /// For a block that is held by `core`, or that lies in a carrier's place which the caller has leased.
    #[inline]
    pub(super) fn new(core: Leaf<Core>, block: Block) -> Self {
        Owned { core, block }
    }

    /// Takes a block of so many bytes (`None`: more than there can be), waiting up to `patience` for memory.
    #[inline]
    pub(super) fn allocate(
        core: &Shared<Core>,
        bytes: Option<usize>,
        align: usize,
        patience: Option<Duration>,
    ) -> Result<Owned, AllocError> {
        if !core.is_own() {
            return Err(AllocError::Forked);
        }
        // Blocks are aligned to their size, in a memory that is aligned to a page.
        if !align.is_power_of_two() || align as u64 > PAGE_BYTES {
            return Err(AllocError::Alignment { align });
        }
        let order = bytes.and_then(|bytes| core.plan().order(bytes, align));
        let order = order.ok_or_else(|| too_large(core, bytes, align))?;
        let until = patience.map(Until::after);
        let block = core.allocate(order, until).or_else(|| core.allocate_until(order, until?, || false));
        Ok(Owned::new(core.leaf(), block.ok_or_else(|| full(core, order, bytes, align))?))
    }

    #[inline]
    pub(super) fn core(&self) -> &Shared<Core> {
        &self.core
    }

    #[inline]
    pub(super) fn block(&self) -> Block {
        self.block
    }

    #[inline]
    pub(super) fn address(&self) -> NonNull<u8> {
        self.core.address(self.block.index)
    }

    /// The bytes of the block.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        self.core.plan().block_bytes(self.block.order)
    }

    /// Whether the block still is what it was when this handle got it: neither sent nor freed since.
    #[inline]
    pub(super) fn is_current(&self) -> bool {
        self.core.blocks().word(self.block.index).generation() == self.block.generation
    }
}

impl Drop for Owned {
    #[inline]
    fn drop(&mut self) {
        if self.core.is_own() && !is_carried(&self.core, self.block) {
            self.core.drop_handle(self.block, Phase::Held);
        }
    }
}

/// Why there is no block of an order, which is large enough for so many bytes.
#[cold]
fn full(core: &Core, order: u32, bytes: Option<usize>, align: usize) -> AllocError {
    if core.ground().has_place(order, 0) {
        core.why_full(bytes.unwrap_or(usize::MAX))
    } else {
        too_large(core, bytes, align)
    }
}

#[cold]
fn too_large(core: &Core, bytes: Option<usize>, align: usize) -> AllocError {
    AllocError::TooLarge {
        bytes: bytes.unwrap_or(usize::MAX).max(align),
        largest: core.plan().block_bytes(core.ground().largest_order()),
    }
}

/// Whether the block of a handle that is dropped is a carrier's: that of a value that is being sent, or goes back.
#[inline]
pub(super) fn is_carried(core: &Shared<Core>, block: Block) -> bool {
    Scope::is_any() && (packing::note_surrender(core, block) || unpacking::put_back(core, block))
}

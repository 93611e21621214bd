//! A block in this process's hands, until it is dropped: what every handle stands on.

use super::blocks::Block;
use super::core::Core;
use super::packing::{self, Scope};
use super::unpacking;
use std::ptr::NonNull;
use std::sync::Arc;

/// A block that a handle has. Dropping it frees the block, if it still is this process's: one that was sent meanwhile is its receiver's.
pub(super) struct Owned {
    core: Arc<Core>,
    block: Block,
}

impl Owned {
    /// For a block that is held by `core`, or that lies in a carrier's place which the caller has leased.
    #[inline]
    pub(super) fn new(core: Arc<Core>, block: Block) -> Self {
        Owned { core, block }
    }

    #[inline]
    pub(super) fn core(&self) -> &Arc<Core> {
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
            self.core.free(self.block);
        }
    }
}

/// Whether the block of a handle that is dropped is a carrier's: that of a value that is being sent, or goes back.
#[inline]
pub(super) fn is_carried(core: &Arc<Core>, block: Block) -> bool {
    Scope::is_any() && (packing::note_surrender(core, block) || unpacking::put_back(core, block))
}

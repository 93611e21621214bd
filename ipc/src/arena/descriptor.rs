//! Descriptors: 32 bytes that stand for a block on its way to another process.

use super::blocks::Block;
use super::core::Core;
use super::error::DescriptorError;
use super::shareable::{Shareable, kind_of};
use super::sharing::Takers;
use super::word::Phase;
use bytemuck::{Pod, Zeroable};

/// What a block becomes for a carrier of plain bytes: a [`SimpleQueue`](crate::SimpleQueue), a [`Pipe`](crate::Pipe), a file.
///
/// From `into_descriptor` until `from_descriptor` the block belongs to nobody: a process that dies with the descriptor in its hands, or in a carrier that goes with it, leaves
/// the block allocated as long as the arena. In a [`Queue`](crate::Queue), and in a pool's tasks, handles travel by themselves, and a death loses no block.
///
/// Whoever has a descriptor can take the block, once. A forged one can at worst take a block that was sent, or give an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Descriptor {
    pub(super) arena: u64,
    pub(super) kind: u64,
    pub(super) len: u64,
    pub(super) index: u32,
    pub(super) generation: u32,
}

const _: () = assert!(size_of::<Descriptor>() == 32);

/// Which phase a handle's block has while it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// It is the data.
    Alone,
    /// It is a reference to the data.
    Counted,
}

impl Hold {
    fn mark(self) -> u64 {
        match self {
            Hold::Alone => 0,
            Hold::Counted => 1 << 63,
        }
    }

    pub(super) fn phase(self) -> Phase {
        match self {
            Hold::Alone => Phase::Held,
            Hold::Counted => Phase::Ref,
        }
    }

    /// The kind of such a handle's descriptors.
    pub(super) fn kind<S: Shareable + ?Sized>(self) -> u64 {
        (kind_of::<S>() & !(1 << 63)) | self.mark()
    }
}

/// What a descriptor leads to, checked.
pub(super) struct Lead {
    pub(super) block: Block,
    /// Where the data is: the block itself, or what it refers to.
    pub(super) data: u32,
    pub(super) len: usize,
}

/// What a block of ours leads to, if it is what its description says.
pub(super) fn lead<S: Shareable + ?Sized>(
    core: &Core,
    block: Block,
    phase: Phase,
    kind: u64,
    len: u64,
    hold: Hold,
) -> Result<Lead, DescriptorError> {
    if kind != hold.kind::<S>() || phase != hold.phase() {
        return Err(DescriptorError::OtherType);
    }
    let blocks = core.blocks();
    let (data, order) = match hold {
        Hold::Alone => (block.index, block.order),
        Hold::Counted => {
            let data = blocks.target(block.index);
            let shared = blocks.word(data);
            if !shared.is(Phase::Shared) || !blocks.fits(data, shared.order()) {
                return Err(DescriptorError::Stale);
            }
            (data, shared.order())
        }
    };
    let len = usize::try_from(len).map_err(|_| DescriptorError::OutOfBounds)?;
    let bytes = len.checked_mul(size_of::<S::Item>()).ok_or(DescriptorError::OutOfBounds)?;
    let items = core.address(data).as_ptr().cast::<S::Item>();
    if bytes > core.plan().block_bytes(order) || !S::is_possible(len) || !items.is_aligned() {
        return Err(DescriptorError::OutOfBounds);
    }
    // SAFETY: within the block, and aligned, as just checked; the block is ours, or shared, so nobody writes there.
    let items = unsafe { std::slice::from_raw_parts(items, len) };
    if !S::check(items) {
        return Err(DescriptorError::OtherType);
    }
    Ok(Lead { block, data, len })
}

/// Takes what a descriptor leads to, once. If it is not what the descriptor says, it stays where it was.
pub(super) fn take<S: Shareable + ?Sized>(
    core: &Core,
    descriptor: &Descriptor,
    hold: Hold,
) -> Result<Lead, DescriptorError> {
    if !core.is_own() {
        return Err(DescriptorError::Forked);
    }
    if descriptor.arena != core.ground().id() {
        return Err(DescriptorError::OtherArena);
    }
    if descriptor.kind != hold.kind::<S>() {
        return Err(DescriptorError::OtherType);
    }
    let Descriptor { index, generation, kind, len, .. } = *descriptor;
    let taken = core.blocks().take(index, generation, Takers::Many);
    let (block, phase) = taken.ok_or(DescriptorError::Stale)?;
    lead::<S>(core, block, phase, kind, len, hold).inspect_err(|_| {
        core.blocks().put_back(block, phase);
        core.blocks().disown(block, phase);
    })
}

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

/// Follows a descriptor to a block that lies in a carrier, without taking it.
pub(super) fn follow<S: Shareable + ?Sized>(
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
    let Descriptor { index, generation, .. } = *descriptor;
    let blocks = core.blocks();
    let word = blocks.may_be_taken(index, generation).ok_or(DescriptorError::Stale)?;
    let is_reference = matches!(word.phase(), Phase::Ref | Phase::SentRef);
    if is_reference != (hold == Hold::Counted) {
        return Err(DescriptorError::OtherType);
    }
    let (data, order) = match hold {
        Hold::Alone => (index, word.order()),
        Hold::Counted => {
            let data = blocks.target(index);
            let shared = blocks.word(data);
            if !shared.is(Phase::Shared) || !blocks.fits(data, shared.order()) {
                return Err(DescriptorError::Stale);
            }
            (data, shared.order())
        }
    };
    let (plan, item) = (core.plan(), size_of::<S::Item>());
    let len = usize::try_from(descriptor.len).map_err(|_| DescriptorError::OutOfBounds)?;
    let bytes = len.checked_mul(item).ok_or(DescriptorError::OutOfBounds)?;
    let address = core.address(data);
    let is_within = bytes <= plan.block_bytes(order)
        && S::is_possible(len)
        && address.as_ptr().align_offset(align_of::<S::Item>()) == 0;
    if !is_within {
        return Err(DescriptorError::OutOfBounds);
    }
    // SAFETY: within the block, and aligned, as just checked; whoever sent it does not write there any more.
    let items = unsafe { std::slice::from_raw_parts(address.as_ptr().cast::<S::Item>(), len) };
    if !S::check(items) {
        return Err(DescriptorError::OtherType);
    }
    Ok(Lead { block: Block { index, generation, order: word.order() }, data, len })
}

/// Takes what a descriptor leads to, once.
pub(super) fn take<S: Shareable + ?Sized>(
    core: &Core,
    descriptor: &Descriptor,
    hold: Hold,
) -> Result<Lead, DescriptorError> {
    let lead = follow::<S>(core, descriptor, hold)?;
    match core.blocks().take(lead.block.index, lead.block.generation, Takers::Many) {
        Some((block, phase)) if phase == hold.phase() => Ok(Lead { block, ..lead }),
        _ => Err(DescriptorError::Stale),
    }
}

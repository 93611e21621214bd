//! Parcels: values of any size as items of one small size.
//!
//! ```text
//! inline    the value's bytes (`codec`), up to 40 of them
//! a block   | the value's bytes, `len` of them | to a multiple of 8 | table of handles: { generation: 32, index: 32 }, … |
//! ```
//! The table lies beside the bytes so that repair finds the blocks that a parcel carries without knowing its type.

use super::blocks::Block;
use super::core::Core;
use super::error::EncodeError;
use super::packing::{self, Cargo};
use super::sharing::Takers;
use super::unpacking::Table;
use super::word::Phase;
use crate::codec;
use crate::sync::biased::{Leaf, Shared};
use crate::wait::Until;
use bytemuck::{Pod, Zeroable};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ptr::NonNull;

/// The bytes that a parcel carries by itself.
pub(crate) const INLINE: usize = 40;

/// An item of a [`Queue`](crate::Queue) as it lies in the ring.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Parcel {
    /// How many bytes the value has.
    len: u32,
    /// How many handles; `NO_BLOCK` if the bytes are inline.
    handles: u32,
    index: u32,
    generation: u32,
    bytes: [u8; INLINE],
}

const _: () = assert!(size_of::<Parcel>() == 56);

const NO_BLOCK: u32 = u32::MAX;

/// No value takes more bytes than this because the one before did.
const HINT_MOST: usize = 4096;

/// Where a block's table begins.
fn table_offset(len: usize) -> usize {
    len.next_multiple_of(8)
}

/// A value that is encoded and not yet a carrier's: dropping it undoes everything.
pub(crate) struct Packed {
    core: Leaf<Core>,
    parcel: Parcel,
    message: Option<Block>,
    cargo: Cargo,
    shape: Option<u64>,
}

impl Packed {
    /// Encodes a value for the carriers of an arena; `hint` says how many bytes it may take. Waits until `until` for memory, if there is an until, and no
    /// longer than until `is_over`.
    pub(crate) fn new(
        core: &Shared<Core>,
        value: &impl Serialize,
        hint: usize,
        until: Option<Until>,
        is_over: impl Fn() -> bool,
    ) -> Result<Packed, EncodeError> {
        let mut room = None;
        loop {
            let mut sink = Sink::new(core, hint, until);
            if let Some(block) = room.take() {
                sink.block = Some(block);
            }
            let encoded = packing::packing(core.ground().id(), || {
                let encoded = codec::encode(&mut sink, value);
                match (encoded, sink.failure.take()) {
                    (_, Some(failure)) => Err(failure),
                    (encoded, None) => encoded.map_err(|e| EncodeError::Serialize { reason: e.to_string() }),
                }
            });
            let finished = encoded.and_then(|(encoded, cargo)| sink.finish(core, cargo, encoded.shape));
            match (finished, until) {
                (Err(EncodeError::Full { bytes }), Some(until)) => {
                    drop(sink);
                    let order = core.plan().order(bytes, 1);
                    let block = order.and_then(|order| core.allocate_until(order, until, &is_over));
                    room = Some(block.ok_or(EncodeError::Full { bytes })?);
                }
                (finished, _) => return finished,
            }
        }
    }

    /// What goes into the carrier's place.
    pub(crate) fn parcel(&self) -> Parcel {
        self.parcel
    }

    /// How many bytes the value took.
    pub(crate) fn len(&self) -> usize {
        self.parcel.len as usize
    }

    /// Which fields and variants occur in it ([`codec::Encoded`]).
    pub(crate) fn shape(&self) -> Option<u64> {
        self.shape
    }

    /// Decodes it, as a consumer will, and drops what comes out: says why that fails. Not for one with handles, which would take their blocks.
    pub(crate) fn check<T: DeserializeOwned>(&self) -> Result<(), String> {
        let len = self.len();
        let bytes = match self.message {
            None => &self.parcel.bytes[..len],
            // SAFETY: `len` bytes were written in the block, which is ours as long as this lives.
            Some(block) => unsafe {
                std::slice::from_raw_parts(self.core.address(block.index).as_ptr(), len)
            },
        };
        decode::<T>(bytes).map(drop)
    }

    /// Whether the value has handles.
    pub(crate) fn has_handles(&self) -> bool {
        !self.cargo.is_empty()
    }

    /// Runs `drop_value`, which drops the value. False: some handle of it is still there, so it must not go anywhere.
    pub(crate) fn surrender(&mut self, drop_value: impl FnOnce()) -> bool {
        self.cargo.surrender(drop_value)
    }

    /// Decodes the value again, which was surrendered and which no carrier has got.
    ///
    /// # Errors
    /// What is wrong, as where a parcel is [unpacked](Parcel::unpack); everything is free then.
    pub(crate) fn restore<T: DeserializeOwned>(self) -> Result<T, String> {
        if !self.core.is_own() {
            return Err("it is the parent's: this process is a forked child".into());
        }
        let (core, parcel) = (self.core.leaf(), self.parcel);
        self.let_go(); // what it has sent is no carrier's, so it can be taken as if it had come out of one
        let mut own = Own { core, unpacked: Unpacked::new() };
        parcel.unpack(&own.core, &mut own.unpacked)
    }

    /// The carrier has it now.
    pub(crate) fn let_go(mut self) {
        self.message = None;
        std::mem::take(&mut self.cargo).let_go();
    }
}

impl Drop for Packed {
    fn drop(&mut self) {
        if let Some(sent) = self.message.take().filter(|_| self.core.is_own())
            && let Some((block, _)) = self.core.blocks().unsend(sent, Phase::Held)
        {
            self.core.free(block);
        }
    }
}

/// Where a value is encoded: inline as long as it fits, then in a block, then in a larger one.
struct Sink<'a> {
    core: &'a Shared<Core>,
    hint: usize,
    /// How long to search for memory.
    until: Option<Until>,
    len: usize,
    inline: [u8; INLINE],
    block: Option<Block>,
    /// There was no memory for more bytes: they are counted, so that whoever waits knows for how much.
    is_starved: bool,
    failure: Option<EncodeError>,
}

impl<'a> Sink<'a> {
    fn new(core: &'a Shared<Core>, hint: usize, until: Option<Until>) -> Self {
        let inline = [0; INLINE];
        Sink { core, hint, until, len: 0, inline, block: None, is_starved: false, failure: None }
    }

    fn room(&self) -> usize {
        self.block.map_or(INLINE, |block| self.core.plan().block_bytes(block.order))
    }

    fn base(&mut self) -> NonNull<u8> {
        match self.block {
            Some(block) => self.core.address(block.index),
            None => NonNull::from(&mut self.inline).cast(),
        }
    }

    /// Makes room for so many bytes in all.
    #[cold]
    fn grow(&mut self, bytes: usize) -> Result<(), EncodeError> {
        let plan = self.core.plan();
        let order = self.order(bytes)?;
        // A value that begins longer than inline probably gets as long as the one before. But what it does not need
        // others may: so no more than a page is taken on this chance, if one is at hand.
        let hinted = plan.order(self.hint.min(HINT_MOST), 1).filter(|&h| self.block.is_none() && h > order);
        let hinted = hinted.and_then(|hinted| self.core.at_hand(hinted));
        let larger = hinted.or_else(|| self.core.allocate(order, self.until));
        let larger = larger.ok_or(EncodeError::Full { bytes })?;
        let (from, to) = (self.base(), self.core.address(larger.index));
        // SAFETY: `len` bytes were written at `from`; the larger block is ours alone, and longer.
        unsafe { to.copy_from_nonoverlapping(from, self.len) };
        self.give_up(Some(larger));
        Ok(())
    }

    /// The order of a block for so many bytes.
    fn order(&self, bytes: usize) -> Result<u32, EncodeError> {
        let (plan, largest) = (self.core.plan(), || self.core.ground().largest_order());
        let order = plan.order(bytes, 1).filter(|&order| order <= largest());
        order.ok_or_else(|| EncodeError::TooLarge { largest: plan.block_bytes(largest()) })
    }

    /// Frees the block, and takes another one instead.
    fn give_up(&mut self, instead: Option<Block>) {
        if let Some(block) = std::mem::replace(&mut self.block, instead).filter(|_| self.core.is_own()) {
            self.core.free(block);
        }
    }

    /// Makes room for `more` bytes, unless there is no memory.
    fn make_room(&mut self, more: usize) -> Result<(), codec::Error> {
        let bytes = self.len.saturating_add(more);
        if bytes <= self.room() || self.is_starved {
            return Ok(());
        }
        match self.grow(bytes) {
            Ok(()) => Ok(()),
            Err(EncodeError::Full { .. }) => {
                self.is_starved = true;
                self.give_up(None);
                Ok(())
            }
            Err(failure) => {
                let told = codec::Error::new(failure.to_string());
                self.failure = Some(failure);
                Err(told)
            }
        }
    }

    /// Adds the table, and marks the block as sent.
    fn finish(
        &mut self,
        core: &Shared<Core>,
        cargo: Cargo,
        shape: Option<u64>,
    ) -> Result<Packed, EncodeError> {
        let (len, handles) = (self.len, cargo.entries().len());
        let too_large = || EncodeError::TooLarge { largest: u32::MAX as usize };
        let length = u32::try_from(len).map_err(|_| too_large())?;
        let bytes = if handles > 0 { table_offset(len) + handles * 8 } else { len };
        if self.is_starved {
            return self.order(bytes).and(Err(EncodeError::Full { bytes }));
        }
        if handles > 0 && (self.block.is_none() || bytes > self.room()) {
            self.grow(bytes)?;
        }
        let mut parcel =
            Parcel { len: length, handles: NO_BLOCK, index: 0, generation: 0, bytes: self.inline };
        let Some(block) = self.block else {
            return Ok(Packed { core: core.leaf(), parcel, message: None, cargo, shape });
        };
        // It may have got a block as large as the value before needed.
        let order = core.plan().order(bytes, 1).unwrap_or(block.order);
        let block = core.shrink(block, order);
        self.block = Some(block);
        for (number, entry) in cargo.entries().enumerate() {
            // SAFETY: within the block, which is ours alone, and 8-aligned as blocks are.
            unsafe {
                let table = core.address(block.index).byte_add(table_offset(len)).cast::<u64>();
                table.add(number).write(entry);
            }
        }
        let sent = core.send(block, Phase::Held).ok_or(EncodeError::Sent)?;
        self.block = None;
        parcel = Parcel {
            handles: handles as u32,
            index: sent.index,
            generation: sent.generation,
            bytes: [0; INLINE],
            ..parcel
        };
        Ok(Packed { core: core.leaf(), parcel, message: Some(sent), cargo, shape })
    }
}

impl Drop for Sink<'_> {
    fn drop(&mut self) {
        self.give_up(None);
    }
}

impl codec::Sink for Sink<'_> {
    #[inline]
    fn position(&self) -> usize {
        self.len
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), codec::Error> {
        self.make_room(bytes.len())?;
        if !self.is_starved {
            let (base, len) = (self.base(), self.len);
            // SAFETY: `make_room` has made room behind the `len` bytes that were written.
            unsafe { base.add(len).copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
        }
        self.len = self.len.saturating_add(bytes.len());
        Ok(())
    }

    fn reserve(&mut self, _bytes: usize) {
        // They may never come, and a block that is too large might keep a value from having room.
    }

    #[inline]
    fn replace(&mut self, at: usize, byte: u8) {
        if at < self.len && !self.is_starved {
            // SAFETY: among the `len` bytes that were written.
            unsafe { self.base().add(at).write(byte) };
        }
    }
}

/// What a parcel was decoded from. Its message lies in a carrier's place until it is [accepted](Self::accept), and so do the blocks that no handle has taken.
pub(crate) struct Unpacked {
    message: Option<(u32, u32)>,
    table: Table,
}

impl Parcel {
    /// Decodes the value of a parcel in a carrier's place that the caller has leased, into `unpacked`, which knows what was taken also if user code panics.
    pub(crate) fn unpack<T: DeserializeOwned>(
        &self,
        core: &Shared<Core>,
        unpacked: &mut Unpacked,
    ) -> Result<T, String> {
        if self.handles == NO_BLOCK {
            let bytes = self.bytes.get(..self.len as usize).ok_or("its length is impossible")?;
            return decode(bytes);
        }
        let bytes =
            self.find(core, unpacked).ok_or("its block was taken already, or is smaller than it says")?;
        // SAFETY: within the block, as `contents` has checked; it lies in a place that the caller has leased, so nobody writes to it.
        let bytes = unsafe { bytes.as_ref() };
        unpacked.table.within(core, || decode(bytes))
    }

    /// A copy of its bytes, in a carrier's place that the caller has leased; none if they are not there.
    pub(crate) fn bytes(&self, core: &Core) -> Vec<u8> {
        if self.handles == NO_BLOCK {
            return self.bytes.get(..self.len as usize).unwrap_or_default().to_vec();
        }
        // SAFETY: within the block, as `contents` has checked; nobody writes to it, as the place is leased.
        self.contents(core).map(|(bytes, _)| unsafe { bytes.as_ref() }.to_vec()).unwrap_or_default()
    }

    /// What lies in a carrier's place whose lease was forgotten: a handle may have been moved elsewhere before.
    pub(crate) fn left(&self, core: &Core) -> Unpacked {
        let mut left = Unpacked::new();
        if self.handles != NO_BLOCK && self.find(core, &mut left).is_some() {
            left.table.note_taken(core);
        }
        left
    }

    /// Notes what a place holds, and says where the bytes are.
    fn find(&self, core: &Core, unpacked: &mut Unpacked) -> Option<NonNull<[u8]>> {
        unpacked.message = Some((self.index, self.generation));
        let (bytes, table) = self.contents(core)?;
        unpacked.table = Table::new(table);
        Some(bytes)
    }

    /// Where its bytes are, and a copy of its table; `None` if the block is not one that lies in a carrier.
    fn contents(&self, core: &Core) -> Option<(NonNull<[u8]>, Vec<u64>)> {
        let word = core.blocks().may_be_taken(self.index, self.generation)?;
        let (len, handles) = (self.len as usize, self.handles as usize);
        let end = table_offset(len).checked_add(handles.checked_mul(8)?)?;
        if end.max(len) > core.plan().block_bytes(word.order()) {
            return None;
        }
        let base = core.address(self.index);
        let read = |number: usize| {
            // SAFETY: within the block, as just checked, and aligned; any bytes are a number.
            unsafe { base.byte_add(table_offset(len)).cast::<u64>().add(number).read_volatile() }
        };
        Some((NonNull::slice_from_raw_parts(base, len), (0..handles).map(read).collect()))
    }

    /// The blocks that it carries, its own first, as far as its block still is what it was. For repair, which reads it beside whoever may take it.
    pub(super) fn carried(
        &self,
        blocks: &super::blocks::Blocks<'_>,
        core: impl Fn(u32) -> NonNull<u8>,
        bytes_of: impl Fn(u32) -> usize,
    ) -> Vec<u64> {
        if self.handles == NO_BLOCK {
            return Vec::new();
        }
        let own = u64::from(self.generation) << 32 | u64::from(self.index);
        let Some(word) = blocks.may_be_taken(self.index, self.generation) else { return Vec::new() };
        let (len, handles) = (self.len as usize, self.handles as usize);
        let end = handles.checked_mul(8).and_then(|table| table.checked_add(table_offset(len)));
        if end.is_none_or(|end| end > bytes_of(word.order())) {
            return vec![own];
        }
        let base = core(self.index);
        let read = |number: usize| {
            // SAFETY: within the block, as just checked, and aligned; any bytes are a number.
            unsafe { base.byte_add(table_offset(len)).cast::<u64>().add(number).read_volatile() }
        };
        std::iter::once(own).chain((0..handles).map(read)).collect()
    }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    codec::decode(bytes).map_err(|e| e.to_string())
}

impl Unpacked {
    /// Of nothing yet.
    pub(crate) fn new() -> Unpacked {
        Unpacked { message: None, table: Table::new([]) }
    }

    /// Drops the value that was decoded; says whether all of it is back in the carrier's place. If not, a handle was moved elsewhere.
    pub(crate) fn take_back(&mut self, core: &Shared<Core>, drop_value: impl FnOnce()) -> bool {
        let _ = self.table.within(core, || {
            drop_value();
            Ok(())
        });
        self.is_whole()
    }

    /// Whether everything lies in the carrier's place.
    pub(crate) fn is_whole(&self) -> bool {
        self.table.is_whole()
    }

    /// Takes the message, and what no handle has: to be done before the carrier's place is given up.
    pub(crate) fn accept(&self, core: &Core) -> Accepted {
        let take = |(index, generation)| core.blocks().take(index, generation, Takers::One);
        Accepted(self.message.and_then(take).into_iter().chain(self.table.take_rest(core)).collect())
    }
}

/// What was decoded of a parcel in this process's own hands: the rest of it is freed, also if user code panics.
struct Own {
    core: Leaf<Core>,
    unpacked: Unpacked,
}

impl Drop for Own {
    fn drop(&mut self) {
        self.unpacked.accept(&self.core).free(&self.core);
    }
}

/// Blocks that were taken and that no handle has.
pub(crate) struct Accepted(Vec<(Block, Phase)>);

impl Accepted {
    /// Frees them: to be done after the carrier's place was given up.
    pub(crate) fn free(self, core: &Core) {
        for (block, phase) in self.0 {
            core.let_go_of(block, phase);
        }
    }
}

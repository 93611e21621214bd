//! The queues of an arena: their rings lie in blocks of it, and a word each in the control page leads there.
//!
//! A queue's block:
//! ```text
//! | title: capacity, fingerprint of the items, name, what the items are called | where joiners sleep | entries, one a participant of the arena | the ring (`queue/layout.rs`) |
//! ```
//! It is built in a block that its creator holds, and published by one CAS on a word of the directory, `{ generation: 32, index + 1: 32 }`. Words are filled in order and never
//! emptied, so whoever creates a queue passes all others on the way to its word, and two of one name cannot be.
//!
//! To repair, a published block is held by a carrier, as what lies in its slots is.

use super::blocks::{Block, Blocks};
use super::core::Core;
use super::ground::Ground;
use super::layout::QUEUES;
use super::packing::entry;
use super::parcel::Parcel;
use crate::error::{Error, Mismatch};
use crate::header::fnv1a;
use crate::label::Label;
use crate::peer::{Entry, JOINED, Peers, Repair, vacate};
use crate::queue::layout::{self, Control};
use crate::queue::ring::Ring;
use crate::sync::{AcqRel, Acquire, LINE, Relaxed, Release};
use crate::table::Table;
use crate::wait::WaitWord;
use bytemuck::{Pod, Zeroable};
use std::ops::Range;

/// The longest name of a queue.
pub(crate) const NAME_BYTES: usize = 104;

/// What stands at the beginning of a queue's block; written before it is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct Title {
    capacity: u64,
    item: u64,
    name_len: u64,
    name: [u8; NAME_BYTES],
    label: Label,
}

const _: () = assert!(size_of::<Title>() == 3 * LINE);

/// Where joiners sleep: behind the title.
const JOINERS: usize = size_of::<Title>();
/// Where the entries begin: behind that.
const ENTRIES: usize = JOINERS + LINE;

/// What a queue's items are: the name of their type, for people, and its hash.
#[derive(Clone, Copy)]
pub(crate) struct ItemName {
    hash: u64,
    label: Label,
}

impl ItemName {
    /// Of that name, which tells types apart as far as two programs can.
    pub(crate) fn new(name: &str) -> ItemName {
        ItemName { hash: fnv1a(name), label: Label::of(name) }
    }
}

/// A queue that was found in an arena, checked.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    index: u32,
    capacity: u64,
}

/// The bytes of a queue's block, and where its ring begins in it; `None`: impossible.
fn block_len(capacity: u64, peers: usize) -> Option<(usize, usize)> {
    let ring = ENTRIES + peers * size_of::<Entry>();
    let bytes = usize::try_from(layout::body_len::<Parcel>(capacity)?).ok()?;
    Some((ring.checked_add(bytes)?, ring))
}

impl Ground {
    fn title(&self, index: u32) -> Title {
        // SAFETY: a granule within the arena is committed if a directory's word leads there (`leads`), page aligned by the size of a queue's block; any bytes are a title.
        unsafe {
            self.memory().byte_add((index as usize) << self.plan().shift).cast::<Title>().read_volatile()
        }
    }

    /// The queues, by the numbers of their words.
    fn leads(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let words = self.control().queues.iter().map(|word| word.load(Acquire)); // pairs with the CAS in `create`
        words.take_while(|&word| word != 0).filter_map(|word| {
            let (index, generation) = ((word as u32).wrapping_sub(1), (word >> 32) as u32);
            let order = self.plan().order(size_of::<Title>(), LINE)?;
            let is_within = self.blocks(0).fits(index, order) && index < self.end();
            is_within.then_some((index, generation))
        })
    }

    /// The largest order of which there can be a block besides the queues, which stay as long as the arena.
    pub(super) fn largest_order(&self) -> u32 {
        let mut orders = (0..=self.plan().granules.ilog2()).rev();
        self.ask_for_places(|has_place| orders.find(|&order| has_place(order, 0)).unwrap_or(0))
    }

    /// Whether there can be a block of that order besides the queues, which does not lie within the first
    /// `seen` granules.
    pub(super) fn has_place(&self, order: u32, seen: u32) -> bool {
        self.ask_for_places(|has_place| has_place(order, seen))
    }

    fn ask_for_places<R>(&self, ask: impl FnOnce(&dyn Fn(u32, u32) -> bool) -> R) -> R {
        let (blocks, end) = (self.blocks(0), u64::from(self.plan().granules));
        let queues: Vec<_> = self
            .leads()
            .map(|(index, _)| u64::from(index)..u64::from(index) + (1 << blocks.word(index).order()))
            .collect();
        ask(&|order, seen| {
            let length = 1_u64 << order;
            // The first aligned place that does not end before.
            let mut start = u64::from(seen) / length * length;
            while start + length <= end {
                let in_the_way = |queue: &&Range<u64>| queue.start < start + length && start < queue.end;
                let Some(queue) = queues.iter().find(in_the_way) else { return true };
                start = queue.end.next_multiple_of(length);
            }
            false
        })
    }

    /// A queue's geometry, if its block has room for what its title says.
    fn place(&self, index: u32) -> Option<(Place, Title)> {
        let title = self.title(index);
        let (bytes, _) = block_len(title.capacity, self.segment().max_peers())?;
        let order = self.plan().order(bytes, LINE)?;
        let is_within = self.blocks(0).fits(index, order);
        is_within.then_some((Place { index, capacity: title.capacity }, title))
    }

    /// The entries of a queue's participants. Valid as long as the segment, which the caller keeps.
    fn entries<'a>(&self, place: Place) -> Peers<'a> {
        // SAFETY: within the queue's block (`place`), aligned to a line; zeroes are valid entries.
        unsafe {
            let block = self.memory().byte_add((place.index as usize) << self.plan().shift);
            Table::new(block.byte_add(ENTRIES).cast(), self.segment().max_peers())
        }
    }

    /// Where those sleep who wait until all of a queue is done. Valid as long as the segment, which the caller keeps.
    fn joiners<'a>(&self, place: Place) -> &'a WaitWord {
        // SAFETY: within the queue's block (`place`), aligned to a line; zeroes are a wait word.
        unsafe {
            let block = self.memory().byte_add((place.index as usize) << self.plan().shift);
            block.byte_add(JOINERS).cast().as_ref()
        }
    }

    /// The ring of a queue as participant `me` sees it. Valid as long as the segment, which the caller keeps.
    fn ring<'a>(&self, place: Place, me: usize) -> Ring<'a, Parcel> {
        let offset = ENTRIES + self.segment().max_peers() * size_of::<Entry>();
        // SAFETY: within the queue's block (`place`), initialised before it was published; whoever is not `me` repairs for it.
        unsafe {
            let block = self.memory().byte_add((place.index as usize) << self.plan().shift);
            let body = block.byte_add(offset);
            let control: &'a Control = body.cast().as_ref();
            let slots = body.byte_add(layout::slots_offset::<Parcel>()).cast();
            Ring::new(control, slots, place.capacity, self.entries(place), me)
        }
    }
}

/// Whether a block is a queue's own.
pub(super) fn is_queue(ground: &Ground, index: u32, generation: u32) -> bool {
    ground.leads().any(|queue| queue == (index, generation))
}

/// Tells of each block that the queues hold: their own, and what lies in their slots.
pub(super) fn each_held(ground: &Ground, held: &mut dyn FnMut(u32, u32)) {
    let blocks = ground.blocks(0);
    let plan = ground.plan();
    for (index, generation) in ground.leads() {
        held(index, generation);
        let Some((place, _)) = ground.place(index) else { continue };
        let address = |index: u32| {
            // SAFETY: a granule of the arena, as `may_be_taken` has checked.
            unsafe { ground.memory().byte_add((index as usize) << plan.shift) }
        };
        let look = |parcel: Parcel| carried(&parcel, &blocks, address, |order| plan.block_bytes(order));
        let mut keep = |entries: Vec<u64>| {
            for entry in entries {
                held(entry as u32, (entry >> 32) as u32);
            }
        };
        ground.ring(place, 0).each_item(look, &mut keep);
    }
}

fn carried(
    parcel: &Parcel,
    blocks: &Blocks<'_>,
    address: impl Fn(u32) -> std::ptr::NonNull<u8>,
    bytes_of: impl Fn(u32) -> usize,
) -> Vec<u64> {
    parcel.carried(blocks, address, bytes_of)
}

/// Has every queue's ring repaired for a dead participant, as `me`.
pub(super) fn repair_queues(ground: &Ground, me: usize, dead: usize) -> Repair {
    let mut repair = Repair::Done;
    for (index, _) in ground.leads() {
        let Some((place, _)) = ground.place(index) else { continue };
        let ring_entry = ground.entries(place).entry(dead);
        if ring_entry.state.load(Acquire) != JOINED {
            continue;
        }
        match ground.ring(place, me).repair(dead, ground.segment()) {
            Repair::Done => {
                vacate(ring_entry);
                ground.joiners(place).wake(u32::MAX); // what the dead one had claimed may be all that they waited for
            }
            Repair::Later => repair = Repair::Later,
        }
    }
    repair
}

/// Looks for the queue of a name, in an arena where it may be created.
fn find(ground: &Ground, name: &str, item: ItemName) -> Result<Option<Place>, Error> {
    for (index, _) in ground.leads() {
        let (place, title) = ground.place(index).ok_or(Error::Corrupt)?;
        let length = usize::try_from(title.name_len).unwrap_or(usize::MAX);
        if title.name.get(..length) != Some(name.as_bytes()) {
            continue;
        }
        if title.item != item.hash {
            let (found, expected) = (title.label.to_string(), item.label.to_string());
            return Err(Mismatch::Item { found, expected }.into());
        }
        return Ok(Some(place));
    }
    Ok(None)
}

/// Opens the queue of a name.
pub(crate) fn open(core: &Core, name: &str, item: ItemName) -> Result<Place, Error> {
    find(core.ground(), name, item)?.ok_or_else(|| Error::NotFound { name: name.into() })
}

/// Creates a queue of `capacity` slots, a power of two.
pub(crate) fn create(core: &Core, name: &str, item: ItemName, capacity: u64) -> Result<Place, Error> {
    let ground = core.ground();
    if name.is_empty() || name.len() > NAME_BYTES {
        return Err(Error::Setup("a queue in an arena has a name of 1 to 104 bytes"));
    }
    let exists = || Error::Exists { name: name.into() };
    if find(ground, name, item)?.is_some() {
        return Err(exists());
    }
    let max = || ground.plan().block_bytes(ground.largest_order()) / 64;
    let impossible = || Error::Capacity { capacity: capacity as usize, max: max() };
    let (bytes, _) = block_len(capacity, ground.segment().max_peers()).ok_or_else(impossible)?;
    let order = ground.plan().order(bytes, LINE).filter(|&order| ground.has_place(order, 0));
    let order = order.ok_or_else(impossible)?;
    let block = core.allocate(order, None).ok_or_else(|| core.why_full(bytes))?;
    build(
        core,
        block,
        Title {
            capacity,
            item: item.hash,
            name_len: name.len() as u64,
            name: padded(name),
            label: item.label,
        },
    );
    match publish(core, block, name, item) {
        Ok(()) => Ok(Place { index: block.index, capacity }),
        Err(error) => {
            core.free(block);
            Err(error)
        }
    }
}

fn padded(name: &str) -> [u8; NAME_BYTES] {
    let mut bytes = [0; NAME_BYTES];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

/// Writes a queue into a block of ours.
fn build(core: &Core, block: Block, title: Title) {
    let ground = core.ground();
    let base = core.address(block.index);
    let Some((bytes, ring)) = block_len(title.capacity, ground.segment().max_peers()) else { return };
    // SAFETY: the block has so many bytes, aligned to a line, and is ours alone; `init` gets the zeroed bytes of the ring.
    unsafe {
        base.write_bytes(0, bytes);
        base.cast::<Title>().write(title);
        layout::init::<Parcel>(base.byte_add(ring), title.capacity);
    }
}

fn publish(core: &Core, block: Block, name: &str, item: ItemName) -> Result<(), Error> {
    let word = entry(block) + 1;
    for place in core.ground().control().queues.iter() {
        // From here on it may be in the directory without a handle.
        core.leaves_something();
        if place.load(Relaxed) == 0 && place.compare_exchange(0, word, AcqRel, Acquire).is_ok() {
            return Ok(());
        }
        // Somebody else's: perhaps of this very name, from just now.
        if find(core.ground(), name, item)?.is_some() {
            return Err(Error::Exists { name: name.into() });
        }
    }
    Err(Error::Capacity { capacity: QUEUES + 1, max: QUEUES })
}

/// A queue's words, as a participant of it sees them; valid as long as the segment, which the participant keeps.
pub(crate) struct Joined {
    pub(crate) ring: Ring<'static, Parcel>,
    /// The participant's, to be vacated when it leaves.
    pub(crate) entry: &'static Entry,
    /// Where those sleep who wait until all is done.
    pub(crate) joiners: &'static WaitWord,
}

/// Becomes a participant of a queue.
pub(crate) fn join(core: &Core, place: Place) -> Joined {
    let ground = core.ground();
    let entry = ground.entries(place).entry(core.me());
    entry.clear_claims();
    entry.clear_roles();
    entry.pid.store(std::process::id(), Relaxed);
    entry.state.store(JOINED, Release);
    Joined { ring: ground.ring(place, core.me()), entry, joiners: ground.joiners(place) }
}

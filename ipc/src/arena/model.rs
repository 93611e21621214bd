//! An arena in simulated shared memory, for models.

use super::blocks::{Block, Blocks};
use super::extent::Extent;
use super::hints::{CHUNK, Hints};
use super::sharing::Takers;
use super::word::Phase;
use crate::model::{Cell, World};
use crate::peer::{self, Repair};
use crate::sync::{AcqRel, Acquire, AtomicU64, Relaxed, Release};
use crate::table::Table;
use loom::sync::Arc;
use std::convert::Infallible;
use std::ptr::NonNull;

/// Blocks of granules, with places to send them into, for a number of participants. Clones are the same arena.
#[derive(Clone)]
pub struct Arena(Arc<Memory>);

struct Memory {
    words: Box<[AtomicU64]>,
    /// The first word of each granule's memory.
    first_words: Box<[AtomicU64]>,
    /// The rest of it, which only a block's holder touches.
    payloads: Box<[Cell<u64>]>,
    /// The carriers: each holds a descriptor, or 0.
    places: Box<[AtomicU64]>,
    extent: Extent,
    world: World,
}

/// A block that a participant holds.
#[derive(Debug, Clone, Copy)]
pub struct ArenaBlock(Block);

/// A counted reference to a shared block, which a participant holds.
#[derive(Debug, Clone, Copy)]
pub struct ArenaRef(Block);

/// What was taken out of a place.
#[derive(Debug, Clone, Copy)]
pub enum ArenaItem {
    /// A block.
    Block(ArenaBlock),
    /// A reference.
    Reference(ArenaRef),
}

impl ArenaItem {
    /// The block, if it is one.
    pub fn block(self) -> Option<ArenaBlock> {
        if let ArenaItem::Block(block) = self { Some(block) } else { None }
    }

    /// The reference, if it is one.
    pub fn reference(self) -> Option<ArenaRef> {
        if let ArenaItem::Reference(reference) = self { Some(reference) } else { None }
    }
}

/// What lies in a place: never 0.
fn descriptor(block: Block) -> u64 {
    (u64::from(block.generation) << 32) | (u64::from(block.index) + 1)
}

/// The index and the generation of a block that lies in a place.
fn described(descriptor: u64) -> Option<(u32, u32)> {
    Some(((descriptor as u32).checked_sub(1)?, (descriptor >> 32) as u32))
}

impl Arena {
    /// An arena of up to `granules`, of which the first `committed` exist, with so many places, for so many participants.
    pub fn new(granules: u32, committed: u32, places: usize, peers: usize) -> Self {
        let arena = Arena(Arc::new(Memory {
            words: words(granules as usize),
            first_words: words(granules as usize),
            payloads: (0..granules).map(|_| Cell::new(0)).collect(),
            places: words(places.max(1)),
            extent: Extent(AtomicU64::new(u64::from(committed))),
            world: World::new(peers),
        }));
        arena.blocks(0).found(0, committed, |_| {});
        arena
    }

    /// Becomes participant `number`, whose place nobody living has.
    pub fn take_part(&self, number: usize) -> ArenaPeer {
        let peer = ArenaPeer { memory: self.clone(), number };
        let repair = || {
            peer.mend(number);
            Repair::Done
        };
        assert!(self.0.world.join(number, repair), "a place that nobody has");
        peer
    }

    /// Tells the kernel that participant `number` has died.
    pub fn died(&self, number: usize) {
        self.0.world.died(number);
    }

    /// Whether nobody is at `number`, and all that was there is repaired.
    pub fn is_vacant(&self, number: usize) -> bool {
        self.0.world.is_vacant(number)
    }

    /// Whether something lies in a place.
    pub fn is_filled(&self, place: usize) -> bool {
        self.0.places[place].load(Acquire) != 0
    }

    /// How many granules exist.
    pub fn committed(&self) -> u32 {
        self.0.extent.end(self.0.words.len() as u32)
    }

    /// How many granules are free, while nobody does anything. Panics unless the blocks tile what exists, no change of a count is under way, and each shared
    /// block counts the references to it.
    pub fn free_granules(&self) -> u32 {
        let blocks = self.blocks(0);
        let (mut free, mut shared, mut targets) = (0, vec![], vec![]);
        let mut next = 0;
        while next < self.committed() {
            let word = blocks.word(next);
            assert!(!word.is(Phase::Interior), "granule {next} is in no block");
            let end = next + (1 << word.order());
            assert!(end <= self.committed(), "block {next} ends behind the end: {word:?}");
            assert!(
                (next + 1..end).all(|inner| blocks.word(inner).is(Phase::Interior)),
                "block {next} covers another one"
            );
            match word.phase() {
                Phase::Free => free += end - next,
                Phase::Shared => {
                    assert_eq!(word.peer(), None, "a change is under way in {next}");
                    shared.push((next, word.count()));
                }
                Phase::Ref | Phase::SentRef => targets.push(blocks.target(next)),
                _ => {}
            }
            next = end;
        }
        for &(index, count) in &shared {
            let references = targets.iter().filter(|&&target| target == index).count();
            assert_eq!(count as usize, references, "the references to block {index}");
        }
        let dangling = targets.iter().find(|&&target| !shared.iter().any(|&(index, _)| index == target));
        assert_eq!(dangling, None, "a reference to what is not shared");
        free
    }

    fn blocks(&self, me: usize) -> Blocks<'_> {
        let memory = &*self.0;
        let words = NonNull::from(&memory.words[0]);
        let first_words = NonNull::from(&memory.first_words[0]).cast();
        // SAFETY: the boxes live as long as the memory that `self` holds, and do not move; there are as many first words as words, one behind the other;
        // entry `me` is the caller's, or nobody's who changes anything.
        unsafe {
            let words = Table::new(words, memory.words.len());
            Blocks::new(words, first_words, size_of::<AtomicU64>(), memory.world.peers(), me)
        }
    }
}

fn words(count: usize) -> Box<[AtomicU64]> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

/// A participant of an [`Arena`].
pub struct ArenaPeer {
    memory: Arena,
    number: usize,
}

impl ArenaPeer {
    fn blocks(&self) -> Blocks<'_> {
        self.memory.blocks(self.number)
    }

    fn memory(&self) -> &Memory {
        &self.memory.0
    }

    // --- blocks --------------------------------------------------------------------------------------------------

    /// Takes a block of 2^`order` granules, wherever there is one, merging free ones on the way. `None`: there is none, or another one had it in its hands for a moment.
    pub fn allocate(&self, order: u32) -> Option<ArenaBlock> {
        self.sweep(order, false)
    }

    /// The same; `None` says that there is none.
    pub fn allocate_surely(&self, order: u32) -> Option<ArenaBlock> {
        self.sweep(order, true)
    }

    /// Whether somebody says that it has blocks in its hands for a moment.
    pub fn is_anybody_at_it(&self) -> bool {
        self.blocks().handled().1
    }

    fn sweep(&self, order: u32, may_look_again: bool) -> Option<ArenaBlock> {
        let range = || 0..self.memory.committed();
        self.blocks().sweep(order, range, |_| {}, || false, || may_look_again).block().map(ArenaBlock)
    }

    /// Takes one that begins at a granule, if a free block that is large enough does: what a handle does that remembers where it has seen one.
    pub fn allocate_at(&self, index: u32, order: u32) -> Option<ArenaBlock> {
        let blocks = self.blocks();
        blocks.claim_part(blocks.find_at(index, order)?, order, |_| {}).map(ArenaBlock)
    }

    /// Gives a block back. Panics if it is not this participant's.
    pub fn free(&self, block: ArenaBlock) {
        assert!(self.try_free(block), "a block that is held can be freed");
    }

    /// Gives a block back. False: it is not this participant's, or not any more.
    pub fn try_free(&self, block: ArenaBlock) -> bool {
        self.blocks().free(block.0).is_some()
    }

    /// Where a block begins.
    pub fn index(&self, block: ArenaBlock) -> u32 {
        block.0.index
    }

    /// Writes a value into each granule of a block.
    pub fn write(&self, block: ArenaBlock, value: u64) {
        (block.0.index..block.0.end())
            .for_each(|granule| self.memory().payloads[granule as usize].write(value));
    }

    /// Reads what stands in all granules of a block.
    pub fn read(&self, block: ArenaBlock) -> u64 {
        self.read_all(block.0.index, block.0.order)
    }

    fn read_all(&self, index: u32, order: u32) -> u64 {
        let payloads = &self.memory().payloads[index as usize..][..1 << order];
        let value = payloads[0].read();
        assert!(payloads[1..].iter().all(|payload| payload.read() == value), "a block of several hands");
        value
    }

    // --- carriers ------------------------------------------------------------------------------------------------

    /// Sends a block into an empty place; gives it back if the place is filled.
    ///
    /// # Errors
    /// The block.
    pub fn send(&self, place: usize, block: ArenaBlock) -> Result<(), ArenaBlock> {
        self.put(place, block.0, Phase::Held).map_err(ArenaBlock)
    }

    /// Sends a reference into an empty place; gives it back if the place is filled.
    ///
    /// # Errors
    /// The reference.
    pub fn send_reference(&self, place: usize, reference: ArenaRef) -> Result<(), ArenaRef> {
        self.put(place, reference.0, Phase::Ref).map_err(ArenaRef)
    }

    fn put(&self, place: usize, block: Block, phase: Phase) -> Result<(), Block> {
        let blocks = self.blocks();
        let sent = blocks.send(block, phase).expect("a block that is held can be sent");
        let place = &self.memory().places[place];
        if place.compare_exchange(0, descriptor(sent), AcqRel, Relaxed).is_ok() {
            return Ok(());
        }
        Err(blocks.unsend(sent, phase).expect("what no carrier has taken is the sender's").0)
    }

    /// The same participant, for another thread of its process.
    pub fn twin(&self) -> ArenaPeer {
        ArenaPeer { memory: self.memory.clone(), number: self.number }
    }

    /// Marks a block as sent, and takes it back, as where a value is refused; frees it if its handle is gone by then.
    pub fn send_in_vain(&self, block: ArenaBlock, meanwhile: impl FnOnce()) {
        let blocks = self.blocks();
        let sent = blocks.send(block.0, Phase::Held).expect("a block that is held can be sent");
        meanwhile();
        let (back, was_dropped) = blocks.unsend(sent, Phase::Held).expect("no carrier has got it");
        if was_dropped {
            self.free(ArenaBlock(back));
        }
    }

    /// Drops the handle of a block, wherever the block is: what every handle does.
    pub fn drop_handle(&self, block: ArenaBlock) {
        let _ =
            self.try_free(block) || self.blocks().note_dropped(block.0, Phase::Held) || self.try_free(block);
    }

    /// Takes what lies in a place, which is this participant's: nobody else who lives takes out of it meanwhile.
    pub fn take(&self, place: usize) -> Option<ArenaItem> {
        let descriptor = self.look(place)?;
        let item = self.accept(descriptor, Takers::One).expect("what lies in a place can be taken");
        self.memory().places[place].store(0, Release);
        Some(item)
    }

    /// The descriptor that lies in a place: whoever only has it gets nothing by it.
    pub fn look(&self, place: usize) -> Option<u64> {
        Some(self.memory().places[place].load(Acquire)).filter(|&descriptor| descriptor != 0)
    }

    /// Gives a block up for a descriptor, by which whoever has it can take it.
    pub fn give_up(&self, block: ArenaBlock) -> u64 {
        let sent = self.blocks().send(block.0, Phase::Held).expect("a block that is held can be sent");
        assert!(self.blocks().disown(sent, Phase::Held), "what no repair has freed is the sender's");
        descriptor(sent)
    }

    /// Takes what a descriptor leads to, which others may have too, if nobody has taken it yet.
    pub fn take_by(&self, descriptor: u64) -> Option<ArenaItem> {
        self.accept(descriptor, Takers::Many)
    }

    /// Gives up a block that was taken by a descriptor, which is as good as before: what a handle does that finds something else in it than it was told.
    pub fn put_back(&self, block: ArenaBlock) {
        let was_mine = self.blocks().put_back(block.0, Phase::Held);
        assert!(
            was_mine && self.blocks().disown(block.0, Phase::Held),
            "a block that is held can be given up"
        );
    }

    fn accept(&self, descriptor: u64, takers: Takers) -> Option<ArenaItem> {
        let (index, generation) = described(descriptor)?;
        let (block, phase) = self.blocks().take(index, generation, takers)?;
        Some(match phase {
            Phase::Ref => ArenaItem::Reference(ArenaRef(block)),
            _ => ArenaItem::Block(ArenaBlock(block)),
        })
    }

    // --- references ----------------------------------------------------------------------------------------------

    /// Shares a block, through a reference that another block becomes.
    pub fn share(&self, block: ArenaBlock, reference: ArenaBlock) -> ArenaRef {
        let blocks = self.blocks();
        blocks.refer(reference.0, block.0.index);
        assert!(blocks.share(block.0, reference.0, |_| {}), "a block that is held can be shared");
        ArenaRef(reference.0)
    }

    /// Makes a block one more reference to what `of` refers to.
    pub fn add(&self, of: ArenaRef, reference: ArenaBlock) -> ArenaRef {
        let blocks = self.blocks();
        blocks.refer(reference.0, blocks.target(of.0.index));
        blocks.add(reference.0, |_| {}).expect("what is referred to is shared");
        ArenaRef(reference.0)
    }

    /// Drops a reference.
    pub fn drop_reference(&self, reference: ArenaRef) {
        self.blocks().drop_reference(reference.0, |_| {}).expect("what is referred to is shared");
    }

    /// Reads what stands in all granules of a shared block.
    pub fn read_shared(&self, reference: ArenaRef) -> u64 {
        let blocks = self.blocks();
        let target = blocks.target(reference.0.index);
        self.read_all(target, blocks.word(target).order())
    }

    // --- the whole -----------------------------------------------------------------------------------------------

    /// Adds up to `step` granules. False: there are no more.
    pub fn grow(&self, step: u32) -> bool {
        self.grow_beyond(self.memory.committed(), step).is_some()
    }

    /// What there is beyond the first `seen` granules, once up to `step` were added if nobody has added any: from where to where.
    pub fn grow_beyond(&self, seen: u32, step: u32) -> Option<(u32, u32)> {
        let reserve = |_, _| Ok::<_, Infallible>(());
        let grown = self.memory().extent.grow(&self.blocks(), seen, step, reserve)?;
        Some(grown.unwrap_or_else(|never| match never {}))
    }

    /// Mends for the dead; says for how many.
    pub fn recover(&self) -> usize {
        let world = &self.memory().world;
        peer::recover(
            world.peers(),
            world,
            self.number,
            |_| true,
            |dead| {
                self.mend(dead);
                Repair::Done
            },
        )
    }

    /// Leaves what it has sent to the carriers, gives back what it holds, and leaves. Panics if a block still names it.
    pub fn leave(self) {
        if !self.blocks().hand_over(self.memory.committed(), |_, _| false) {
            self.mend(self.number);
        }
        self.blocks().walk(self.memory.committed(), |index, word| {
            assert!(word.peer() != Some(self.number), "block {index} names who has left: {word:?}");
            false
        });
        self.memory().world.leave(self.number);
    }

    fn mend(&self, dead: usize) {
        let blocks = self.blocks();
        blocks.begin_mending(dead, |_| {}); // D1
        let carried: Vec<_> =
            self.memory().places.iter().filter_map(|place| described(place.load(Acquire))).collect(); // D2
        let is_carried = |index, generation| carried.contains(&(index, generation));
        blocks.mend(dead, self.memory.committed(), is_carried, |_| {}); // D3
    }
}

/// The hints of an arena of one chunk, beside the word of one block. Clones are the same.
#[derive(Clone)]
pub struct ArenaHints(Arc<HintWords>);

struct HintWords {
    words: Box<[AtomicU64]>,
    is_free: AtomicU64,
}

impl ArenaHints {
    /// A hint that leads to nothing, and a block that is not free.
    pub fn stale() -> Self {
        let hints = ArenaHints(Arc::new(HintWords {
            words: words((Hints::bytes(CHUNK) / 8) as usize),
            is_free: AtomicU64::new(0),
        }));
        hints.view().set(0, 0);
        hints
    }

    /// Frees the block, and tells of it.
    pub fn free(&self) {
        self.0.is_free.store(1, Release);
        self.view().set(0, 0);
    }

    /// Follows the hint; says whether it has led to the block.
    pub fn search(&self) -> bool {
        self.view().take(0, 0).is_some() && self.0.is_free.load(Acquire) == 1
    }

    fn view(&self) -> Hints<'_> {
        // SAFETY: as many words as hints of one chunk have, which live as long as `self`.
        unsafe { Hints::new(NonNull::from(&self.0.words[0]).cast(), CHUNK) }
    }
}

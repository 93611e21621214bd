//! The blocks of an arena: claimed, split, freed and merged, each by one word.
//!
//! The arena is a row of granules. At any time it is cut into blocks of 2^order granules, each aligned to its size (a binary buddy system: Knowlton, 1965), and the
//! word at a block's first granule is the truth about it (`word.rs`). There is no list of free blocks and no count: whatever finds one faster (`hints.rs`,
//! a handle's own cache) is a hint, and a claim that fails costs nothing.
//!
//! # Steps
//! | step | | pairs with |
//! | --- | --- | --- |
//! | A1 | read the word (Acquire): `Free`, and large enough | F1, S3 |
//! | A2 | CAS it to `Held` by me (AcqRel): **the block is mine** | A1, and repair's look |
//! | S1 | split: upper half's word := `Held` by me, of half the order | |
//! | S2 | word := half the order (Release): the upper half is a block of its own, and mine | |
//! | S3 | upper half's word := `Free` (Release) | A1 |
//! | F1 | free: word, which is `Held` by me := `Free`, next generation (Release) | A1 |
//! | M1 | merge a block of mine: CAS its buddy's word, `Free` and of the same order, to `Held` by me (AcqRel) | F1 |
//! | M2 | the lower one's word := twice the order (Release): it covers the upper one | |
//! | M3 | the upper one's word := `Interior` (Release) | |
//!
//! Freeing needs no CAS: while the word says `Held` by me, nobody else writes to it (invariant 2). Whoever sweeps (looks everywhere for a larger block than there is) claims a small
//! one by A1 and A2, merges it, and frees what still is too small; it looks first whether there is anything to merge, since what it claims is gone for others meanwhile.
//!
//! # Nothing found, and nothing there
//! Whoever cuts or merges has in its hands for a moment what others look for. So it says that it handles blocks (B1, before its claim) and that it is done (B2, when what it does not
//! keep is free again) in its entry's `handled`: `{ times done: 48, at it now: 16 }`. Each of these words only grows, whoever has the entry, so their sum is the same if and
//! only if all of them are. A sweep that finds nothing has missed nothing if before it nobody was at it, and since then nobody began:
//! B1 is before the claim that hides a block, and B2 behind the store that shows it. (What is freed behind the sweep while the same size is claimed before it, and kept, it misses: that
//! arena was full, but for one block at a time.)
//!
//! # Invariants
//! 1. The words of an arena cut all its granules into blocks, but for one overlap: a block that its holder is splitting or merging covers an upper half
//!    whose word still says `Held` by the same holder (between S1 and S2, and between M2 and M3).
//! 2. A block that is not free changes by its holder's hand alone; or, when its holder is dead, by repair's.
//! 3. An index from shared memory is checked against the number of granules before it is used; an order, against the room behind the index.
//!
//! # A kill
//! leaves blocks `Held` by the dead one, each of which repair frees (`mend.rs`): also a half that was split off and not yet freed. Where the dead one's block
//! covers an upper half of its own (invariant 1), repair makes that `Interior` first.

use super::word::{MAX_ORDER, Phase, Word};
use crate::fault;
use crate::peer::Peers;
use crate::sync::{AcqRel, Acquire, AtomicU64, Relaxed, Release, yield_now};
use crate::table::Table;
use std::ops::Range;
use std::ptr::NonNull;

/// A view of an arena's words in memory that whoever made this keeps mapped.
#[derive(Clone, Copy)]
pub(crate) struct Blocks<'a> {
    words: Table<'a, AtomicU64>,
    /// The first word of each granule's memory, `stride` bytes apart: where a reference keeps what it refers to.
    memory: NonNull<u8>,
    stride: usize,
    pub(super) peers: Peers<'a>,
    pub(super) me: usize,
}

/// In an entry's `handled`: this participant is at it once more.
const BEGUN: u64 = 1;
const AT_IT: u64 = 0xffff;
/// It was at it once more, and is no longer: what is added then.
const DONE: u64 = (1 << 16) - BEGUN;

/// A sweep asks once in so many blocks whether it is over, which takes a look at the clock.
const BLOCKS_PER_LOOK: u32 = 1024;

/// Says until it is dropped (B2) that this participant handles blocks.
struct Handling<'a>(&'a AtomicU64);

impl Drop for Handling<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(DONE, AcqRel);
    }
}

/// A free block as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) index: u32,
    pub(crate) word: Word,
}

/// A block in this participant's hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) index: u32,
    pub(crate) generation: u32,
    pub(crate) order: u32,
}

/// What came of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swept {
    /// The block that it was for.
    Taken(Block),
    /// There is none.
    Nothing,
    /// It found none, but others had something in their hands meanwhile.
    Unsure,
    /// It was over when it came to this granule.
    Stopped(u32),
}

impl Swept {
    pub(crate) fn block(self) -> Option<Block> {
        if let Swept::Taken(block) = self { Some(block) } else { None }
    }
}

impl Block {
    /// The block's word while `peer` holds it.
    #[inline]
    pub(crate) const fn held_by(self, peer: usize) -> Word {
        Word::new(self.generation, self.order, Phase::Held, Some(peer))
    }

    /// The first granule behind it.
    #[cfg(loom)]
    pub(crate) const fn end(self) -> u32 {
        self.index + (1 << self.order)
    }
}

impl<'a> Blocks<'a> {
    /// # Safety
    /// At `memory` lie as many granules as there are words, `stride` bytes apart, each beginning with an aligned `AtomicU64`; valid for `'a`. The caller holds
    /// entry `me`.
    pub(crate) unsafe fn new(
        words: Table<'a, AtomicU64>,
        memory: NonNull<u8>,
        stride: usize,
        peers: Peers<'a>,
        me: usize,
    ) -> Self {
        Blocks { words, memory, stride, peers, me }
    }

    /// How many granules there are, those included that are not committed yet.
    #[inline]
    pub(crate) fn granules(&self) -> u32 {
        self.words.count() as u32
    }

    /// The word of a granule; one that does not exist reads as `Interior`.
    #[inline]
    pub(crate) fn word(&self, index: u32) -> Word {
        if index < self.granules() {
            Word(self.slot(index).load(Acquire)) // A1 pairs with F1 and S3
        } else {
            Word(0)
        }
    }

    #[inline]
    pub(super) fn slot(&self, index: u32) -> &'a AtomicU64 {
        self.words.entry(index as usize)
    }

    /// The first word of a granule's memory, while the granule exists.
    #[inline]
    pub(super) fn first_word(&self, index: u32) -> &'a AtomicU64 {
        assert!(index < self.granules(), "the index of a granule was checked");
        // SAFETY: within the granules, as just checked; `new` was promised an atomic at the beginning of each.
        unsafe { self.memory.byte_add(index as usize * self.stride).cast().as_ref() }
    }

    /// Changes a word that is `seen`.
    #[inline]
    pub(super) fn change(&self, index: u32, seen: Word, to: Word) -> bool {
        index < self.granules() && self.slot(index).compare_exchange(seen.0, to.0, AcqRel, Relaxed).is_ok()
    }

    /// Writes a word that nobody else changes meanwhile.
    fn set(&self, index: u32, word: Word) {
        self.slot(index).store(word.0, Release);
    }

    /// Whether a block of that order can begin there.
    #[inline]
    pub(super) fn fits(&self, index: u32, order: u32) -> bool {
        order <= MAX_ORDER
            && u64::from(index) + (1 << order) <= u64::from(self.granules())
            && index.trailing_zeros() >= order
    }

    // --- claim and free ------------------------------------------------------------------------------------------

    /// A free block at a granule, of at least that order.
    #[inline]
    pub(crate) fn find_at(&self, index: u32, order: u32) -> Option<Found> {
        let word = self.word(index);
        let is_one = word.is(Phase::Free) && word.order() >= order && self.fits(index, word.order());
        is_one.then_some(Found { index, word })
    }

    /// A2: takes a free block, unless somebody was faster.
    #[inline]
    pub(crate) fn claim(&self, found: Found) -> Option<Block> {
        let Found { index, word } = found;
        let claimed = self.change(index, word, word.become_of(Phase::Held, Some(self.me)));
        fault::point("allocate: claimed");
        claimed.then_some(Block { index, generation: word.generation(), order: word.order() })
    }

    /// The same, cut down to an order; each half that is cut off is free, and told to `freed`.
    #[inline]
    pub(crate) fn claim_part(&self, found: Found, order: u32, freed: impl FnMut(Found)) -> Option<Block> {
        if found.word.order() == order {
            return self.claim(found);
        }
        let _handling = self.handle();
        Some(self.split(self.claim(found)?, order, freed))
    }

    /// B1: blocks are in my hands from now on that I shall not keep.
    #[inline]
    fn handle(&self) -> Handling<'a> {
        let mine = &self.peers.entry(self.me).handled;
        mine.fetch_add(BEGUN, AcqRel);
        Handling(mine)
    }

    /// How often all participants have said it, together; and whether one is at it.
    pub(super) fn handled(&self) -> (u64, bool) {
        (0..self.peers.count()).fold((0_u64, false), |(all, is_one_at_it), peer| {
            let word = self.peers.entry(peer).handled.load(Acquire);
            (all.wrapping_add(word), is_one_at_it | (word & AT_IT != 0))
        })
    }

    /// B2 for a dead participant, whose blocks are settled: the word grows, so a sweep that began before knows.
    pub(super) fn end_handling_of(&self, dead: usize) {
        let word = &self.peers.entry(dead).handled;
        let seen = word.load(Acquire);
        if seen & AT_IT != 0 {
            word.store((seen | AT_IT).wrapping_add(1), Release);
        }
    }

    /// Cuts a block of mine down to an order; each half that is cut off is free, and told to `freed`.
    #[inline]
    pub(crate) fn split(&self, mut block: Block, order: u32, mut freed: impl FnMut(Found)) -> Block {
        while block.order > order {
            let smaller = Block { order: block.order - 1, ..block };
            let index = block.index + (1 << smaller.order);
            let upper = self.word(index).next(Phase::Held, Some(self.me)).of_order(smaller.order);
            self.set(index, upper); // S1
            fault::point("split: written");
            self.set(block.index, smaller.held_by(self.me)); // S2
            fault::point("split: cut");
            let free = upper.become_of(Phase::Free, None);
            self.set(index, free); // S3 pairs with A1
            freed(Found { index, word: free });
            block = smaller;
        }
        block
    }

    /// F1: gives a block of mine back; `None`: it is not mine, or not any more.
    #[inline]
    pub(crate) fn free(&self, block: Block) -> Option<Found> {
        let held = block.held_by(self.me);
        if self.word(block.index) != held {
            return None;
        }
        let free = held.next(Phase::Free, None);
        self.set(block.index, free); // F1 pairs with A1; between the look and this nobody else changes it (invariant 2)
        fault::point("free: freed");
        Some(Found { index: block.index, word: free })
    }

    // --- merging -------------------------------------------------------------------------------------------------

    /// Lets a block of mine absorb its buddies, as long as they are free.
    pub(crate) fn merge(&self, mut block: Block, end: u32) -> Block {
        while block.order < MAX_ORDER {
            let buddy = block.index ^ (1 << block.order);
            let room = u64::from(buddy.max(block.index)) + (1 << block.order) <= u64::from(end);
            if !room {
                break; // what is not committed is not touched
            }
            let found = self.find_at(buddy, block.order).filter(|found| found.word.order() == block.order);
            let Some(found) = found else { break };
            let Some(buddy) = self.claim(found) else { break }; // M1
            let (lower, upper) = if buddy.index < block.index { (buddy, block) } else { (block, buddy) };
            let merged = Block { order: block.order + 1, ..lower };
            self.set(lower.index, merged.held_by(self.me)); // M2
            fault::point("merge: covered");
            self.set(upper.index, interior(upper.held_by(self.me))); // M3
            block = merged;
        }
        block
    }

    /// Whether a free block has a free buddy: one that has not is left alone, since whoever looks meanwhile would take it for somebody's.
    fn is_mergeable(&self, index: u32, order: u32, end: u32) -> bool {
        let buddy = index ^ (1 << order);
        let room = u64::from(buddy) + (1 << order) <= u64::from(end);
        room && order < MAX_ORDER
            && self.find_at(buddy, order).is_some_and(|found| found.word.order() == order)
    }

    /// Calls `visit` with each block that begins below `end`, until it says that it has seen enough.
    ///
    /// Blocks that others split or merge meanwhile may be left out or shown in two states; one that nobody changes is shown.
    pub(crate) fn walk(&self, end: u32, visit: impl FnMut(u32, Word) -> bool) {
        self.walk_from(0, end, visit);
    }

    /// The same from a granule on.
    pub(crate) fn walk_from(&self, start: u32, end: u32, mut visit: impl FnMut(u32, Word) -> bool) {
        let end = u64::from(end.min(self.granules()));
        let mut next = u64::from(start);
        while next < end {
            let index = next as u32;
            let word = self.word(index);
            if word.is(Phase::Interior) || !self.fits(index, word.order()) {
                // Within a block that was merged just now: it ends where a larger alignment begins, or later.
                next += 1 << index.trailing_zeros().min(MAX_ORDER);
                continue;
            }
            if visit(index, word) {
                return;
            }
            // What the visitor has changed counts: it may have merged the block.
            let now = self.word(index);
            let order = if now.is(Phase::Interior) { word.order() } else { now.order().min(MAX_ORDER) };
            next += 1 << order.max(word.order());
        }
    }

    /// Takes the first free block that is large enough, wherever it is, merging free buddies on the way, and cuts it down to the order; slow.
    ///
    /// If others had in their hands for a moment what it looks for, it looks again, as long as
    /// `may_look_again`. It stops where it is once `is_over`, which is asked now and then. Each block that is free
    /// again since it is cut off, or too small though it was merged, is told to `freed`.
    #[cold]
    pub(crate) fn sweep(
        &self,
        order: u32,
        range: impl Fn() -> Range<u32>,
        mut freed: impl FnMut(Found),
        is_over: impl Fn() -> bool,
        may_look_again: impl Fn() -> bool,
    ) -> Swept {
        loop {
            let before = self.handled();
            match self.sweep_once(order, range(), &mut freed, &is_over) {
                Swept::Nothing if !before.1 && self.handled() == before => return Swept::Nothing,
                Swept::Nothing if may_look_again() => {}
                Swept::Nothing => return Swept::Unsure,
                swept => return swept,
            }
            yield_now();
        }
    }

    fn sweep_once(
        &self,
        order: u32,
        range: Range<u32>,
        freed: &mut impl FnMut(Found),
        is_over: &impl Fn() -> bool,
    ) -> Swept {
        let (end, mut seen, mut swept) = (range.end, 0_u32, Swept::Nothing);
        self.walk_from(range.start, end, |index, word| {
            seen += 1;
            if seen.is_multiple_of(BLOCKS_PER_LOOK) && is_over() {
                swept = Swept::Stopped(index);
                return true;
            }
            if !word.is(Phase::Free) || word.order() < order && !self.is_mergeable(index, word.order(), end) {
                return false;
            }
            let _handling = self.handle();
            let Some(block) = self.claim(Found { index, word }) else { return false };
            let block = if block.order < order { self.merge(block, end) } else { block };
            if block.order >= order {
                swept = Swept::Taken(self.split(block, order, &mut *freed));
                return true;
            }
            if let Some(found) = self.free(block) {
                freed(found);
            }
            false
        });
        swept
    }

    // --- committing ----------------------------------------------------------------------------------------------

    /// Makes free blocks of granules that never were any, as many times as it is asked to; the granules from `start` to `end` exist afterwards.
    ///
    /// Idempotent: a word that was ever written is not zero any more, so whoever dies in here leaves nothing that another one could not finish.
    pub(crate) fn found(&self, start: u32, end: u32, mut freed: impl FnMut(Found)) {
        for (index, order) in cut(start, end) {
            let word = Word::new(0, order, Phase::Free, None);
            if self.change(index, Word(0), word) {
                freed(Found { index, word });
            }
            fault::point("grow: founded");
        }
    }
}

/// The largest aligned blocks that granules can be cut into, in order: where each begins, and its order.
pub(super) fn cut(start: u32, end: u32) -> impl Iterator<Item = (u32, u32)> {
    let mut next = start;
    std::iter::from_fn(move || {
        let aligned = if next == 0 { MAX_ORDER } else { next.trailing_zeros() };
        let order = aligned.min(end.checked_sub(next)?.checked_ilog2()?);
        let index = next;
        next += 1 << order;
        Some((index, order))
    })
}

/// What a word becomes when a larger block covers its granule: never zero, so that it is not taken for one that was never written.
pub(super) fn interior(word: Word) -> Word {
    word.next(Phase::Interior, None).of_order(MAX_ORDER)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Blocks;
    use crate::arena::Arena;

    /// Says that it handles blocks, and that it is done.
    fn handle(arena: &Arena) {
        drop(blocks(arena).handle());
    }

    fn blocks(arena: &Arena) -> &Blocks<'static> {
        arena.core().blocks()
    }

    #[test]
    fn a_sweep_knows_of_everybody_who_has_handled_blocks_meanwhile() {
        for step in 1..70 {
            let arena = Arena::new(1 << 16).unwrap();
            let others: Vec<_> = (0..=step).map(|_| arena.another().unwrap()).collect();
            let before = blocks(&arena).handled();
            handle(&others[0]);
            handle(&others[step]);
            assert_ne!(blocks(&arena).handled(), before, "one, and the {step}th behind it");
        }
    }

    #[test]
    fn a_newcomer_does_not_repeat_what_its_predecessor_has_said() {
        let arena = Arena::new(1 << 16).unwrap();
        let first = arena.another().unwrap();
        handle(&first);
        let (place, before) = (first.core().me(), blocks(&arena).handled());
        drop(first);
        let second = arena.another().unwrap();
        assert_eq!(second.core().me(), place);
        handle(&second);
        assert_ne!(blocks(&arena).handled(), before);
    }
}

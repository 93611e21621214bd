//! Blocks in carriers, and blocks that are shared: how a block changes hands, and how references to it are counted.
//!
//! # Changing hands
//! A block that goes into a carrier (a queue's slot, a task's record) becomes `Sent`, of the next generation, before its descriptor is published; whoever takes the
//! descriptor out takes the block by one CAS, and only then gives the carrier's place up. So there is one rule for every death: *what a carrier holds is
//! the carrier's, and what else names the dead one was in its hands.* The word alone does not say whether a `Sent` block was published; the carrier does.
//!
//! A taker that dies before it gives the place up leaves the block `Held` in a carrier. Whoever gets the place next takes it from there at once, without asking whether that one is
//! dead: it must be, or it would have the place yet; and while somebody repairs for it its entry is locked, as a living one's is. Repair's change of the word comes before
//! this one's or fails.
//!
//! Who decodes a handle takes its block in this way while it still has the place, and may put it back there: `Sent` by itself, of the same generation. A block that was given
//! up for a descriptor lies in no place; it is `Sent` by nobody, and *at large*, which its word says where a shared block has its count. Nothing else can be had by a descriptor alone.
//!
//! # References
//! A shared block is read through references, each a small block of its own that is held, sent and repaired for as any other; so a death costs
//! the references that the dead one held, and no other. The block's word counts them. A count that is changed by somebody who dies beside it cannot be told from one that is
//! not, so each change names its maker in the same CAS, and whoever finds the name finishes the change (helping: Herlihy, 1991).
//!
//! | step | | pairs with |
//! | --- | --- | --- |
//! | C0 | intent := { add or drop, reference } (Release) | H1 |
//! | C1 | CAS the block's word: count ± 1, changed by me, next generation (AcqRel) | H1 |
//! | C2 | CAS the reference's word, unless a helper has: `New` → `Ref` for an add, `Ref` → `Spent` for a drop (AcqRel) | H2 |
//! | C3 | CAS the block's word: changed by nobody; `Free` if the count is 0 (AcqRel) | H3 |
//! | C4 | intent := none (Release) | H1 |
//!
//! The maker does C2 by itself, before it helps itself with the rest: when its intent goes, the reference has its phase, whoever else has been here.
//! Who finds a change under way in word w of a block *helps*: H1 reads its maker's intent, H2 the reference's word, H3 the block's word once more; if that still is w,
//! the two others belong to this change, and H4, H5 do C2 and C3. The first reference is added by the same steps, with `Held` by me → `Shared` in C1.
//!
//! # Invariants
//! 1. Only while a change is under way does a block count a reference that is not `Ref` or `SentRef`, or not count one that is.
//! 2. A word with a change under way never comes again within 2²⁰ changes, since each takes the next generation. So a helper's CAS of H5 succeeds for the change that it
//!    looked at, or not at all. A reference goes `New` → `Ref` → `Spent` once a generation, so that of H4 does too.
//! 3. A participant changes one count at a time: its intent is that of the one change that names it.

use super::blocks::{Block, Blocks, Found};
use super::word::{MAX_COUNT, Phase, Word};
use crate::fault;
use crate::sync::{Acquire, Relaxed, Release};

/// Instead of a count, while a block is `Sent`: it is in no carrier, and belongs to whoever has its descriptor.
const AT_LARGE: u32 = 1;

/// In the same place: it was sent, no carrier has it yet, and its handle is gone. Whoever takes it back frees it.
const DROPPED: u32 = 2;

/// Why a count was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Uncounted {
    /// There are as many references as can be counted.
    TooMany,
    /// The block is not shared: no protocol has led here.
    Corrupt,
}

/// Who may take what lies in a carrier's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takers {
    /// One at a time has the place, and loses it by its death alone: a queue's slot.
    One,
    /// Whoever has the descriptor.
    Many,
    /// The place's last holder, who frees what lies there; what another one has taken is left to that one.
    Last,
}

/// What a participant does to a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Add = 1,
    Drop = 2,
}

/// `{ change: 2, generation: 20, index: 32 }`, with 10 zeroes in between: which reference a participant adds or drops. Zero: none.
#[derive(Clone, Copy)]
struct Intent(u64);

impl Intent {
    fn new(change: Change, reference: Block) -> Self {
        Intent((change as u64) << 62 | u64::from(reference.generation) << 32 | u64::from(reference.index))
    }

    fn change(self) -> Option<Change> {
        match self.0 >> 62 {
            1 => Some(Change::Add),
            2 => Some(Change::Drop),
            _ => None,
        }
    }

    fn index(self) -> u32 {
        self.0 as u32
    }

    /// The reference's word after the change, if `seen` is the one before.
    fn changed(self, seen: Word, maker: usize) -> Option<Word> {
        let (before, after) = match self.change()? {
            Change::Add => (Phase::New, Phase::Ref),
            Change::Drop => (Phase::Ref, Phase::Spent),
        };
        let generation = (self.0 >> 32) as u32 & 0xf_ffff;
        let is_it = seen.is(before) && seen.peer() == Some(maker) && seen.generation() == generation;
        is_it.then(|| seen.become_of(after, Some(maker)))
    }
}

impl Blocks<'_> {
    // --- changing hands ------------------------------------------------------------------------------------------

    /// Before a block of mine goes into a carrier: it is `Sent`, and nobody's whose descriptor is older. `None`: it is not mine.
    #[inline]
    pub(crate) fn send(&self, block: Block, phase: Phase) -> Option<Block> {
        let held = block.held_by(self.me).become_of(phase, Some(self.me));
        let sent = held.next(sent_phase(phase), Some(self.me));
        let was_mine = self.change(block.index, held, sent);
        fault::point("send: marked");
        was_mine.then_some(Block { generation: sent.generation(), ..block })
    }

    /// Lets a block that I have sent be nobody's, and whoever's who has its descriptor: no repair frees it.
    pub(crate) fn disown(&self, sent: Block, phase: Phase) -> bool {
        let seen = sent.held_by(self.me).become_of(sent_phase(phase), Some(self.me));
        self.change(sent.index, seen, seen.become_of(sent_phase(phase), None).with_count(AT_LARGE))
    }

    /// Puts a block of mine back into the carrier's place that I took it from, and still have.
    pub(crate) fn put_back(&self, block: Block, phase: Phase) -> bool {
        let held = block.held_by(self.me).become_of(phase, Some(self.me));
        self.change(block.index, held, held.become_of(sent_phase(phase), Some(self.me)))
    }

    /// Takes back a block that no carrier has got: it is mine again, as before. Returns also whether its handle
    /// [was dropped](Self::note_dropped) meanwhile, so that nobody else will free it.
    pub(crate) fn unsend(&self, sent: Block, phase: Phase) -> Option<(Block, bool)> {
        let seen = sent.held_by(self.me).become_of(sent_phase(phase), Some(self.me));
        let held = seen.previous(phase, Some(self.me));
        let back = Block { generation: held.generation(), ..sent };
        if self.change(sent.index, seen, held) {
            return Some((back, false));
        }
        self.change(sent.index, seen.with_count(DROPPED), held).then_some((back, true))
    }

    /// Notes that the handle of a block was dropped after the block was sent, and before a carrier got it: by
    /// another thread, or by the `Serialize` that sent it. False: it is not sent, or not any more.
    ///
    /// A carrier gets no such block, since the value it was sent with does not own its handle any more.
    pub(crate) fn note_dropped(&self, held: Block, phase: Phase) -> bool {
        let sent =
            held.held_by(self.me).become_of(phase, Some(self.me)).next(sent_phase(phase), Some(self.me));
        self.change(held.index, sent, sent.with_count(DROPPED))
    }

    /// Takes a block by the descriptor that lies in a carrier's place; says whether it is a reference. `None`: it is not there any more.
    #[inline]
    pub(crate) fn take(&self, index: u32, generation: u32, takers: Takers) -> Option<(Block, Phase)> {
        loop {
            let seen = self.word(index);
            let phase = match seen.phase() {
                // What lies in a queue is not to be had by a descriptor.
                Phase::Sent | Phase::SentRef if takers == Takers::Many && seen.count() != AT_LARGE => {
                    return None;
                }
                Phase::Sent => Phase::Held,
                Phase::SentRef => Phase::Ref,
                phase @ (Phase::Held | Phase::Ref)
                    if takers == Takers::One && seen.peer().is_some_and(|peer| peer != self.me) =>
                {
                    phase // a dead one's: nobody else had the place
                }
                _ => return None,
            };
            if seen.generation() != generation || !self.fits(index, seen.order()) {
                return None;
            }
            if self.change(index, seen, seen.become_of(phase, Some(self.me))) {
                fault::point("take: taken");
                return Some((Block { index, generation, order: seen.order() }, phase));
            }
        }
    }

    /// Whether a block lies in a carrier under this generation, or did when its taker died.
    #[inline]
    pub(crate) fn may_be_taken(&self, index: u32, generation: u32) -> Option<Word> {
        let seen = self.word(index);
        let is_one = matches!(seen.phase(), Phase::Sent | Phase::SentRef | Phase::Held | Phase::Ref);
        (is_one && seen.generation() == generation && self.fits(index, seen.order())).then_some(seen)
    }

    // --- references ----------------------------------------------------------------------------------------------

    /// Makes a block of mine a reference to another one, not counted yet.
    pub(crate) fn refer(&self, reference: Block, target: u32) {
        self.first_word(reference.index).store(u64::from(target), Relaxed);
        let new = reference.held_by(self.me).become_of(Phase::New, Some(self.me));
        self.slot(reference.index).store(new.0, Release);
        fault::point("share: referred");
    }

    /// What a reference refers to: checked by whoever uses it.
    pub(crate) fn target(&self, reference: u32) -> u32 {
        if reference >= self.granules() {
            return u32::MAX;
        }
        u32::try_from(self.first_word(reference).load(Relaxed)).unwrap_or(u32::MAX)
    }

    /// Shares a block of mine, which is immutable from now on, through its first reference, which is new. False: it is not mine.
    pub(crate) fn share(&self, block: Block, reference: Block, freed: impl FnMut(Found)) -> bool {
        self.announce(Intent::new(Change::Add, reference)); // C0
        let held = block.held_by(self.me);
        let shared = held.next(Phase::Shared, Some(self.me)).with_count(1);
        let was_mine = self.change(block.index, held, shared); // C1
        fault::point("share: counted");
        if was_mine {
            self.change_reference(Change::Add, reference); // C2
            self.help(block.index, shared, freed);
        }
        self.announce(Intent(0)); // C4
        was_mine
    }

    /// Counts a new reference to a shared block, to which the caller has another one that is counted.
    pub(crate) fn add(&self, reference: Block, freed: impl FnMut(Found)) -> Result<(), Uncounted> {
        self.count(Change::Add, reference, freed)
    }

    /// Drops a counted reference of mine; with the last one the block is free. What becomes free is told to `freed`.
    pub(crate) fn drop_reference(
        &self,
        reference: Block,
        mut freed: impl FnMut(Found),
    ) -> Result<(), Uncounted> {
        self.count(Change::Drop, reference, &mut freed)?;
        self.discard(reference, freed);
        Ok(())
    }

    /// Frees a reference of mine that is not counted: `New`, or `Spent`.
    pub(crate) fn discard(&self, reference: Block, mut freed: impl FnMut(Found)) {
        let seen = self.word(reference.index);
        let is_mine = seen.peer() == Some(self.me) && seen.generation() == reference.generation;
        if is_mine && matches!(seen.phase(), Phase::New | Phase::Spent) {
            let free = seen.next(Phase::Free, None);
            if self.change(reference.index, seen, free) {
                freed(Found { index: reference.index, word: free });
            }
        }
    }

    fn announce(&self, intent: Intent) {
        self.peers.entry(self.me).intent.store(intent.0, Release); // pairs with H1
        fault::point("count: announced");
    }

    fn count(&self, change: Change, reference: Block, mut freed: impl FnMut(Found)) -> Result<(), Uncounted> {
        let target = self.target(reference.index);
        self.announce(Intent::new(change, reference)); // C0
        let outcome = loop {
            let seen = self.word(target);
            if !seen.is(Phase::Shared) {
                break Err(Uncounted::Corrupt);
            }
            if seen.peer().is_some() {
                self.help(target, seen, &mut freed);
                continue;
            }
            let count = match change {
                Change::Add if seen.count() == MAX_COUNT => break Err(Uncounted::TooMany),
                Change::Add => seen.count() + 1,
                Change::Drop if seen.count() == 0 => break Err(Uncounted::Corrupt),
                Change::Drop => seen.count() - 1,
            };
            let changed = seen.next(Phase::Shared, Some(self.me)).with_count(count);
            if self.change(target, seen, changed) {
                fault::point("count: changed"); // C1
                self.change_reference(change, reference); // C2
                self.help(target, changed, &mut freed);
                break Ok(());
            }
        };
        self.announce(Intent(0)); // C4
        outcome
    }

    /// C2 by the maker: done before its intent goes, whatever helpers have found.
    fn change_reference(&self, change: Change, reference: Block) {
        let seen = self.word(reference.index);
        if let Some(changed) = Intent::new(change, reference).changed(seen, self.me) {
            self.change(reference.index, seen, changed);
        }
    }

    /// C2 and C3, for whoever changes the count of a block: its word was `seen` with a change under way.
    pub(super) fn help(&self, index: u32, seen: Word, mut freed: impl FnMut(Found)) {
        let Some(maker) = seen.peer() else { return };
        let intent = if maker < self.peers.count() {
            Intent(self.peers.entry(maker).intent.load(Acquire)) // H1 pairs with C0 and C4
        } else {
            Intent(0) // no protocol has written that name: it goes, and whoever waits for that goes on
        };
        let reference = self.word(intent.index()); // H2 pairs with C2
        if self.word(index) != seen {
            return; // H3 pairs with C3: it is done
        }
        if let Some(changed) = intent.changed(reference, maker) {
            self.change(intent.index(), reference, changed); // H4
            fault::point("count: reference changed");
        }
        let done = if seen.count() == 0 {
            seen.next(Phase::Free, None)
        } else {
            seen.become_of(Phase::Shared, None).with_count(seen.count())
        };
        if self.change(index, seen, done) && done.is(Phase::Free) {
            freed(Found { index, word: done }); // H5
        }
        fault::point("count: done");
    }

    /// Finishes the change that a dead participant has announced, if it has begun.
    pub(super) fn finish_change_of(&self, dead: usize, freed: impl FnMut(Found)) {
        let intent = Intent(self.peers.entry(dead).intent.load(Acquire));
        // A reference that does not name the dead one was settled by a repair that was cut short after this step: its memory is another one's by now.
        let is_theirs = self.word(intent.index()).peer() == Some(dead);
        if intent.change().is_some() && is_theirs {
            let target = self.target(intent.index());
            let seen = self.word(target);
            if seen.is(Phase::Shared) && seen.peer() == Some(dead) {
                self.help(target, seen, freed);
            }
        }
    }
}

fn sent_phase(phase: Phase) -> Phase {
    if phase as u64 == Phase::Ref as u64 { Phase::SentRef } else { Phase::Sent }
}

//! One participant of an arena: allocation and freeing, from the cache outwards.

use super::blocks::{Block, Blocks, Found, Swept};
use super::cache::Cache;
use super::error::AllocError;
use super::ground::Ground;
use super::hints::{CHUNK, Hints};
use super::layout::{Control, Plan};
use super::sharing::Uncounted;
use super::word::{MAX_ORDER, Phase};
use crate::error::{Error, Shortage};
use crate::peer;
use crate::segment::{Member, Segment};
use crate::wait::{Until, wait};
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long another one who handles blocks may be without its processor, or stopped, until the arena is called full without those.
const TRANSIT: Duration = Duration::from_millis(20);

/// A participant's part of an arena. Handles of blocks keep it.
pub(crate) struct Core {
    ground: Ground,
    // Views of what the segment in `ground` keeps mapped.
    blocks: Blocks<'static>,
    hints: Hints<'static>,
    control: &'static Control,
    memory: NonNull<u8>,
    cache: Cache,
    /// One count at a time is changed (invariant 3 of `sharing.rs`), by whatever thread.
    counting: Mutex<()>,
    /// Why the arena could not grow when it last had to.
    short: Mutex<Option<Shortage>>,
    /// Whether a block may name this participant that none of its handles has.
    has_sent: AtomicBool,
    /// Where a search had no more time: the next one goes on there.
    stopped_at: AtomicU32,
    member: Member,
}

// SAFETY: what is shared are atomics, the cache is used by one thread at a time, counts are changed under a lock; the memory is reached through handles alone.
unsafe impl Sync for Core {}
// SAFETY: as above.
unsafe impl Send for Core {}

impl Core {
    /// Becomes a participant.
    pub(super) fn join(ground: Ground) -> Result<Core, Error> {
        let member = ground.segment().join(|dead| ground.mend(dead, dead))?;
        let (blocks, hints) = (ground.blocks(member.peer()), ground.hints());
        let (control, memory) = (ground.control(), ground.memory());
        Ok(Core {
            blocks,
            hints,
            control,
            memory,
            cache: Cache::new(),
            counting: Mutex::new(()),
            short: Mutex::new(None),
            has_sent: AtomicBool::new(false),
            stopped_at: AtomicU32::new(0),
            member,
            ground,
        })
    }

    pub(crate) fn ground(&self) -> &Ground {
        &self.ground
    }

    pub(crate) fn segment(&self) -> &Segment {
        self.ground.segment()
    }

    #[inline]
    pub(super) fn plan(&self) -> Plan {
        self.ground.plan()
    }

    /// This participant's number.
    pub(crate) fn me(&self) -> usize {
        self.member.peer()
    }

    #[inline]
    pub(super) fn blocks(&self) -> &Blocks<'static> {
        &self.blocks
    }

    /// Whether this still is the process that joined.
    #[inline]
    pub(crate) fn is_own(&self) -> bool {
        self.segment().is_own()
    }

    /// Where a granule's memory begins.
    #[inline]
    pub(super) fn address(&self, index: u32) -> NonNull<u8> {
        debug_assert!(index < self.plan().granules);
        // SAFETY: within the arena's memory: the index was checked, or is that of a block of ours.
        unsafe { self.memory.byte_add((index as usize) << self.plan().shift) }
    }

    // --- allocate --------------------------------------------------------------------------------------------------

    /// Takes a block of that order, if there is one. With an `until` the search ends with that, or a moment after it
    /// began, whichever is later.
    #[inline]
    pub(super) fn allocate(&self, order: u32, until: Option<Until>) -> Option<Block> {
        self.remembered(order).or_else(|| self.look_for(order, until))
    }

    /// Takes a block of that order if one is found at once: without a search, and without growth.
    pub(super) fn at_hand(&self, order: u32) -> Option<Block> {
        self.remembered(order).or_else(|| self.hinted(order))
    }

    /// Waits until there is a block of that order; `None` when the time is over, or as soon as `is_over` after
    /// [`wake_all`](Self::wake_all), or as soon as there never will be one.
    #[cold]
    pub(super) fn allocate_until(
        &self,
        order: u32,
        until: Until,
        is_over: impl Fn() -> bool,
    ) -> Option<Block> {
        // Before it sleeps, it looks often, and where that costs little.
        let sleeps = Cell::new(false);
        let look = || {
            if !sleeps.get() {
                return self.at_hand(order).map(Some);
            }
            let block = self.allocate(order, Some(until));
            let is_vain = || is_over() || !self.ground.has_place(order, 0);
            (block.is_some() || is_vain()).then_some(block)
        };
        let check = || {
            sleeps.set(true);
            self.recover() > 0
        };
        wait(&self.control.space.0, until, look, check).flatten()
    }

    /// Wakes those who wait for memory.
    pub(crate) fn wake_all(&self) {
        self.control.space.0.wake(u32::MAX);
    }

    /// Takes what this handle's cache remembers.
    #[inline]
    fn remembered(&self, order: u32) -> Option<Block> {
        while let Some(index) = self.cache.with(|stacks| stacks.pop(order)).flatten() {
            let found = self.blocks.find_at(index, order);
            if let Some(block) = found.and_then(|found| self.take(found, order)) {
                return Some(block);
            }
        }
        None
    }

    fn hinted(&self, order: u32) -> Option<Block> {
        (order..=MAX_ORDER).find_map(|larger| self.follow_hints(order, larger))
    }

    /// Looks where the hints point; then everywhere; then in new stretches, and in what the dead have left. So each
    /// block is looked at once, or twice if somebody has died. A caller that does not wait is told that there is
    /// none after a moment in which those who have something in their hands may put it back.
    #[cold]
    fn look_for(&self, order: u32, until: Option<Until>) -> Option<Block> {
        if let Some(block) = self.hinted(order) {
            return Some(block);
        }
        if !self.ground.has_place(order, 0) {
            return None; // queues are in the way everywhere: nothing is committed for it
        }
        let begun = Instant::now();
        let is_early = || begun.elapsed() < TRANSIT;
        let is_over = || until.is_some_and(Until::is_over) && !is_early();
        let seen = self.ground.end();
        let swept = self.sweep(order, is_over, || false);
        let block = swept.block().or_else(|| self.grow_for(order, seen, is_over));
        if block.is_some() || is_over() {
            return block;
        }
        if self.recover() > 0 {
            return self.sweep(order, is_over, || until.is_none() && is_early()).block();
        }
        if swept == Swept::Unsure && until.is_none() {
            return self.sweep(order, || !is_early(), is_early).block();
        }
        None
    }

    fn follow_hints(&self, order: u32, larger: u32) -> Option<Block> {
        let near = || self.cache.with(|stacks| stacks.near[larger as usize]).unwrap_or(0);
        while let Some(chunk) = self.hints.take(larger, near()) {
            let mut taken = None;
            let mut is_more = None;
            let end = self.ground.end().min(chunk.saturating_add(CHUNK));
            self.cache.with(|stacks| stacks.near[larger as usize] = chunk);
            self.blocks.walk_from(chunk, end, |index, word| {
                if !word.is(Phase::Free) || word.order() != larger {
                    return false;
                }
                if taken.is_none() {
                    taken = self.take(Found { index, word }, order);
                    return false;
                }
                // The next ones of the wanted order go into the cache, which needs no claim.
                let is_kept =
                    larger == order && self.cache.with(|stacks| stacks.push(order, index)) == Some(true);
                if !is_kept {
                    is_more = Some(Found { index, word });
                }
                is_more.is_some()
            });
            if let Some(found) = is_more {
                self.ground.hint(found);
            }
            if taken.is_some() {
                return taken;
            }
        }
        None
    }

    #[inline]
    fn take(&self, found: Found, order: u32) -> Option<Block> {
        self.blocks.claim_part(found, order, |found| self.offer(found))
    }

    /// Looks everywhere: first from where the last search was stopped, so that searches which have little time get
    /// through a large arena together.
    fn sweep(&self, order: u32, is_over: impl Fn() -> bool, may_look_again: impl Fn() -> bool) -> Swept {
        let sweep = |from: u32, may_look_again: &dyn Fn() -> bool| {
            let (range, offer) = (|| from..self.ground.end(), |found| self.offer(found));
            let swept = self.blocks.sweep(order, range, offer, &is_over, may_look_again);
            if let Swept::Stopped(at) = swept {
                self.stopped_at.store(at, Relaxed);
            }
            swept
        };
        let stopped_at = self.stopped_at.swap(0, Relaxed);
        match sweep(stopped_at, &|| stopped_at == 0 && may_look_again()) {
            Swept::Nothing | Swept::Unsure if stopped_at > 0 => sweep(0, &may_look_again),
            swept => swept,
        }
    }

    /// A block of mine, cut down to an order.
    fn cut(&self, block: Block, order: u32) -> Block {
        self.blocks.split(block, order, |found| self.offer(found))
    }

    /// Tells everybody of a free block, and those who wait for one.
    fn offer(&self, found: Found) {
        self.ground.hint(found);
        self.wake_all();
    }

    /// Commits stretches until there is a block of that order, or no more memory, or no place for it in what is left;
    /// below `seen` there was none.
    fn grow_for(&self, order: u32, mut seen: u32, is_over: impl Fn() -> bool) -> Option<Block> {
        let (plan, extent) = (self.plan(), &self.control.extent.0);
        let reserve = |start, end| {
            plan.stretch(start, end).into_iter().try_for_each(|range| self.segment().reserve(range))
        };
        while self.ground.has_place(order, seen) && !is_over() {
            let (start, end) = match extent.grow(&self.blocks, seen, self.ground.step(), reserve)? {
                Ok(added) => added,
                Err(error) => {
                    self.keep_shortage(error);
                    return None;
                }
            };
            self.blocks.walk_from(start, end, |index, word| {
                if word.is(Phase::Free) {
                    self.ground.hint(Found { index, word });
                }
                false
            });
            // What is new may make a block together with what is free before it.
            let range = || start >> order << order..self.ground.end();
            let swept = self.blocks.sweep(order, range, |found| self.offer(found), &is_over, || false);
            if let Some(block) = swept.block() {
                return Some(block);
            }
            seen = end;
        }
        None
    }

    #[cold]
    fn keep_shortage(&self, error: Error) {
        let short = match error {
            Error::NoMemory { short, .. } => Some(short),
            _ => None,
        };
        *self.short.lock().unwrap_or_else(PoisonError::into_inner) = short;
    }

    /// What an arena that may still grow is short of; `None` if it is full because it has grown as far
    /// as it may.
    #[cold]
    pub(crate) fn shortage(&self) -> Option<Shortage> {
        let may_grow = self.ground.end() < self.plan().granules;
        let short = self.short.lock().unwrap_or_else(PoisonError::into_inner);
        short.filter(|_| may_grow)
    }

    /// Why there is no block for so many bytes.
    #[cold]
    pub(crate) fn why_full(&self, bytes: usize) -> AllocError {
        match self.shortage() {
            Some(short) => AllocError::NoMemory { bytes, short },
            None => AllocError::Full { bytes },
        }
    }

    /// Keeps so much of a block of mine, and gives the rest back.
    #[inline]
    pub(super) fn shrink(&self, block: Block, order: u32) -> Block {
        if block.order <= order {
            return block;
        }
        let kept = self.cut(block, order);
        self.wake_all();
        kept
    }

    // --- free ------------------------------------------------------------------------------------------------------

    /// Gives a block of mine back. False: it is not mine, or not any more.
    #[inline]
    pub(super) fn free(&self, block: Block) -> bool {
        let found = self.blocks.free(block);
        if let Some(found) = found {
            self.keep(found);
        }
        found.is_some()
    }

    /// Remembers a free block, and tells those who wait for one.
    #[inline]
    fn keep(&self, found: Found) {
        let order = found.word.order();
        let is_kept = self.cache.with(|stacks| {
            if stacks.push(order, found.index) {
                return true;
            }
            stacks.shed(order, |index| self.hints.set(order, index));
            stacks.push(order, found.index)
        });
        if is_kept != Some(true) {
            self.ground.hint(found);
        }
        self.wake_all();
    }

    // --- carriers and references -----------------------------------------------------------------------------------

    /// Marks a block or a reference of mine as sent.
    pub(super) fn send(&self, block: Block, phase: Phase) -> Option<Block> {
        self.has_sent.store(true, Relaxed);
        self.blocks.send(block, phase)
    }

    /// Gives a block or a reference of mine to nobody, until somebody takes it by its descriptor.
    pub(super) fn detach(&self, block: Block, phase: Phase) -> Option<Block> {
        if !self.is_own() {
            return None;
        }
        let sent = self.send(block, phase)?;
        self.blocks.disown(sent, phase).then_some(sent)
    }

    /// Something of mine lies where repair finds it, and none of my handles has it.
    pub(super) fn leaves_something(&self) {
        self.has_sent.store(true, Relaxed);
    }

    /// Shares a block of mine through a first reference, and gives that.
    pub(super) fn share(&self, block: Block) -> Option<Block> {
        let reference = self.allocate(0, None)?;
        let _counting = self.counting();
        self.blocks.refer(reference, block.index);
        if self.blocks.share(block, reference, |found| self.keep(found)) {
            return Some(reference);
        }
        self.blocks.discard(reference, |found| self.keep(found));
        None
    }

    /// Another reference to what a reference of mine refers to. `Ok(None)`: there is no memory for it.
    pub(super) fn refer_again(&self, target: u32) -> Result<Option<Block>, Uncounted> {
        let Some(reference) = self.allocate(0, None) else { return Ok(None) };
        let _counting = self.counting();
        self.blocks.refer(reference, target);
        match self.blocks.add(reference, |found| self.keep(found)) {
            Ok(()) => Ok(Some(reference)),
            Err(why) => {
                self.blocks.discard(reference, |found| self.keep(found));
                Err(why)
            }
        }
    }

    /// Frees a block of mine, or drops a reference. False: it is not mine, or not any more.
    #[inline]
    pub(super) fn let_go_of(&self, block: Block, phase: Phase) -> bool {
        match phase {
            Phase::Ref => self.drop_reference(block),
            _ => self.free(block),
        }
    }

    /// What dropping a handle does to its block or reference.
    #[inline]
    pub(super) fn drop_handle(&self, block: Block, phase: Phase) {
        if !self.let_go_of(block, phase) {
            self.drop_sent(block, phase);
        }
    }

    /// The same for what is not held: it was sent with a value that is being put, and belongs to no carrier yet.
    /// Whoever takes it back frees it; if that has happened by now, it is to be freed here.
    #[cold]
    fn drop_sent(&self, block: Block, phase: Phase) {
        if !self.blocks.note_dropped(block, phase) {
            self.let_go_of(block, phase);
        }
    }

    /// Drops a counted reference of mine, and with the last one what it refers to. False: it is not mine.
    fn drop_reference(&self, reference: Block) -> bool {
        let word = self.blocks.word(reference.index);
        let is_mine = word.is(Phase::Ref)
            && word.peer() == Some(self.me())
            && word.generation() == reference.generation;
        if is_mine {
            let _counting = self.counting();
            // If it was not counted after all, some process wrote where it may not; there is nothing to free then.
            let _ = self.blocks.drop_reference(reference, |found| self.keep(found));
        }
        is_mine
    }

    fn counting(&self) -> MutexGuard<'_, ()> {
        self.counting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // --- repair ----------------------------------------------------------------------------------------------------

    /// Looks for dead participants, frees what they held, and makes their places free. Says for how many.
    pub(crate) fn recover(&self) -> usize {
        if !self.is_own() || !self.ground.custody().is_mine() {
            return 0;
        }
        let _counting = self.counting();
        let segment = self.segment();
        peer::recover(segment.peers(), segment, self.me(), |_| true, |dead| self.ground.mend(self.me(), dead))
    }

    /// The bytes in blocks that nobody has, as far as others stand still.
    pub(super) fn free_bytes(&self) -> u64 {
        let mut granules = 0_u64;
        self.blocks.walk(self.ground.end(), |_, word| {
            if word.is(Phase::Free) {
                granules += 1 << word.order();
            }
            false
        });
        granules << self.plan().shift
    }
}

impl Drop for Core {
    /// What this participant sent and nobody has taken becomes its carriers'; then `member` leaves.
    fn drop(&mut self) {
        if !self.is_own() {
            return; // in a forked child all of it is the parent's
        }
        if self.has_sent.load(Relaxed) && !self.ground.hand_over(self.me()) {
            if self.ground.custody().is_mine() {
                // Nobody repairs for a living one: it is alone here without the right to repair.
                let _ = self.ground.mend(self.me(), self.me());
            } else {
                self.member.leave_to_repair();
            }
        }
        // What the cache remembers is for everybody.
        for stacks in self.cache.all() {
            for order in 0..=MAX_ORDER {
                while let Some(index) = stacks.pop(order) {
                    self.hints.set(order, index);
                }
            }
        }
    }
}

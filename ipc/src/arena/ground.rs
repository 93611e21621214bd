//! An arena's segment as everybody sees it: its words, its memory, and what repair does in it.

use super::blocks::{Blocks, Found};
use super::carriers::Custody;
use super::directory;
use super::hints::Hints;
use super::layout::{self, Control, Plan};
use super::word::Phase;
use crate::error::{Error, Mismatch};
use crate::header::{Blueprint, Item, Kind};
use crate::peer::Repair;
use crate::segment::Segment;
use crate::sync::{AtomicU64, Relaxed};
use crate::table::Table;
use std::collections::HashSet;
use std::ptr::NonNull;

/// The segment of an arena, checked.
#[derive(Clone)]
pub(crate) struct Ground {
    segment: Segment,
    plan: Plan,
    id: u64,
    step: u32,
    custody: Custody,
}

/// What a program expects of an arena's segment.
pub(super) fn blueprint() -> Blueprint {
    Blueprint { kind: Kind::new(*b"arena\0\0\0"), item: Item::opaque(1), body_len: layout::body_len }
}

impl Ground {
    /// The arena in a segment that was checked against the blueprint.
    pub(super) fn of(segment: Segment, custody: Custody) -> Result<Ground, Error> {
        let (capacity, peers) = (segment.capacity(), segment.max_peers());
        let geometry = || Mismatch::Geometry { capacity, peers: u32::try_from(peers).unwrap_or(u32::MAX) };
        let plan =
            Plan::from_capacity(capacity).filter(|_| peers <= super::word::MAX_PEERS).ok_or_else(geometry)?;
        let mut ground = Ground { segment, plan, id: 0, step: 0, custody };
        let fixed = &ground.control().fixed.0;
        let (id, step) = (fixed.id.load(Relaxed), fixed.step.load(Relaxed));
        if fixed.is_private.load(Relaxed) != 0 && matches!(ground.custody, Custody::Everybody) {
            ground.custody = Custody::Another;
        }
        ground.id = id;
        ground.step = u32::try_from(step).unwrap_or(u32::MAX).max(1);
        Ok(ground)
    }

    #[inline]
    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    #[inline]
    pub(super) fn plan(&self) -> Plan {
        self.plan
    }

    #[inline]
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// How many granules a stretch has.
    pub(super) fn step(&self) -> u32 {
        self.step
    }

    pub(super) fn custody(&self) -> &Custody {
        &self.custody
    }

    /// Valid as long as the segment, which the caller keeps.
    pub(super) fn control<'a>(&self) -> &'a Control {
        // SAFETY: the body has room for it, page aligned and of atomics alone; committed at creation.
        unsafe { self.segment.body().cast().as_ref() }
    }

    /// Valid as long as the segment, which the caller keeps.
    pub(super) fn hints<'a>(&self) -> Hints<'a> {
        // SAFETY: the plan has room for them behind the control page; committed at creation.
        unsafe { Hints::new(self.segment.body().byte_add(self.plan.hints() as usize), self.plan.granules) }
    }

    /// The first granule.
    pub(super) fn memory(&self) -> NonNull<u8> {
        // SAFETY: within the body, as the plan says.
        unsafe { self.segment.body().byte_add(self.plan.memory() as usize) }
    }

    /// The blocks as participant `me` sees them. Valid as long as the segment, which the caller keeps.
    pub(super) fn blocks<'a>(&self, me: usize) -> Blocks<'a> {
        let words: NonNull<AtomicU64> =
            // SAFETY: within the body, as the plan says.
            unsafe { self.segment.body().byte_add(self.plan.words() as usize).cast() };
        // SAFETY: the plan has room for so many words and granules; what is not committed yet is not touched, since no word below `end` says that it is a block.
        // A caller that does not hold entry `me` repairs for whoever did.
        unsafe {
            let words = Table::new(words, self.plan.granules as usize);
            Blocks::new(words, self.memory(), 1 << self.plan.shift, self.segment.kept_peers(), me)
        }
    }

    /// The granules that exist.
    #[inline]
    pub(super) fn end(&self) -> u32 {
        self.control().extent.0.end(self.plan.granules)
    }

    /// Repairs for a dead participant, as `me`, which may be the dead one's own number. The caller holds the dead one's entry, and the right to repair.
    pub(super) fn mend(&self, me: usize, dead: usize) -> Repair {
        if !self.custody.is_mine() {
            return Repair::Later;
        }
        let (blocks, end) = (self.blocks(me), self.end());
        blocks.begin_mending(dead, |found| self.hint(found));
        let mut carried = HashSet::new();
        directory::each_held(self, &mut |index, generation| {
            carried.insert((index, generation));
        });
        self.custody.each_held(&mut |index, generation| {
            carried.insert((index, generation));
        });
        blocks.mend(
            dead,
            end,
            |index, generation| carried.contains(&(index, generation)),
            |found| {
                self.hint(found);
            },
        );
        let repair = directory::repair_queues(self, me, dead);
        // Hints that the dead one had taken went with it.
        blocks.walk(end, |index, word| {
            if word.is(Phase::Free) {
                self.hint(Found { index, word });
            }
            false
        });
        self.control().space.0.wake(u32::MAX);
        repair
    }

    /// Does what is left to do for a participant that leaves in good health. False: repair has to.
    pub(super) fn hand_over(&self, me: usize) -> bool {
        self.blocks(me)
            .hand_over(self.end(), |index, generation| directory::is_queue(self, index, generation))
    }

    /// Tells everybody of a free block.
    pub(super) fn hint(&self, found: Found) {
        self.hints().set(found.word.order(), found.index);
    }
}

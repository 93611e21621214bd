//! The word of a block: whose it is, in 64 bits.
//!
//! `{ generation: 20, order: 5, phase: 4, peer: 12, count: 23 }`. Each granule of an arena has one; it counts at a block's first granule alone.
//!
//! | phase | meaning | `peer` | who may change it |
//! | --- | --- | --- | --- |
//! | `Interior` | no block begins here | | whoever holds the block that covers it |
//! | `Free` | nobody's | | whoever claims it, by one CAS |
//! | `Held` | a block in a process's hands | its holder | the holder, or repair for it |
//! | `Sent` | a block in a carrier: a queue, a task; or at large (`count` 1): whoever's who has its descriptor | who sent it, or nobody | who takes it out, by one CAS; repair |
//! | `Shared` | an immutable block, read through `count` references | who is changing the count, or nobody | who changes the count (`sharing.rs`) |
//! | `New` | a reference that is not counted yet | its holder | the holder, or who helps it |
//! | `Ref` | a reference that is counted | its holder | the holder, or who helps it |
//! | `SentRef` | a counted reference in a carrier, or at large | who sent it, or nobody | who takes it out; repair |
//! | `Spent` | a reference that is counted no more | its holder | the holder |
//!
//! The generation grows with every end of somebody's claim: when a block is freed, sent, or given to be shared. So a handle or a descriptor of an
//! earlier time does not match. It wraps after 2²⁰ of them.

/// What a block is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Interior = 0,
    Free = 1,
    Held = 2,
    Sent = 3,
    Shared = 4,
    New = 5,
    Ref = 6,
    SentRef = 7,
    Spent = 8,
}

const PHASES: [Phase; 9] = [
    Phase::Interior,
    Phase::Free,
    Phase::Held,
    Phase::Sent,
    Phase::Shared,
    Phase::New,
    Phase::Ref,
    Phase::SentRef,
    Phase::Spent,
];

const PEER_SHIFT: u32 = 23;
const PHASE_SHIFT: u32 = 35;
const ORDER_SHIFT: u32 = 39;
const GENERATION_SHIFT: u32 = 44;

/// The largest count of references.
pub(crate) const MAX_COUNT: u32 = (1 << PEER_SHIFT) - 1;

/// The largest order of a block.
pub(crate) const MAX_ORDER: u32 = 31;

/// As many participants can be told apart.
#[cfg(not(loom))]
pub(crate) const MAX_PEERS: usize = (1 << 12) - 1;

const GENERATIONS: u32 = 1 << 20;

/// A block's word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) u64);

impl Word {
    /// A word without a count.
    #[inline]
    pub(crate) const fn new(generation: u32, order: u32, phase: Phase, peer: Option<usize>) -> Self {
        let peer = match peer {
            Some(peer) => peer as u64 + 1,
            None => 0,
        };
        Word(
            (generation as u64) << GENERATION_SHIFT
                | (order as u64) << ORDER_SHIFT
                | (phase as u64) << PHASE_SHIFT
                | peer << PEER_SHIFT,
        )
    }

    #[inline]
    pub(crate) const fn generation(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32
    }

    /// The block has 2^order granules.
    #[inline]
    pub(crate) const fn order(self) -> u32 {
        (self.0 >> ORDER_SHIFT) as u32 & MAX_ORDER
    }

    /// Of a word that no protocol has written: `Interior`, which nobody touches.
    #[inline]
    pub(crate) const fn phase(self) -> Phase {
        let phase = (self.0 >> PHASE_SHIFT) as usize & 15;
        if phase < PHASES.len() { PHASES[phase] } else { Phase::Interior }
    }

    #[inline]
    pub(crate) const fn peer(self) -> Option<usize> {
        let peer = (self.0 >> PEER_SHIFT) as usize & 0xfff;
        if peer == 0 { None } else { Some(peer - 1) }
    }

    #[inline]
    pub(crate) const fn count(self) -> u32 {
        self.0 as u32 & MAX_COUNT
    }

    #[inline]
    pub(crate) const fn is(self, phase: Phase) -> bool {
        self.phase() as u64 == phase as u64
    }

    /// The same block in another phase and another one's hands, of this generation.
    #[inline]
    pub(crate) const fn become_of(self, phase: Phase, peer: Option<usize>) -> Self {
        Word::new(self.generation(), self.order(), phase, peer)
    }

    /// The same block, of the next generation.
    #[inline]
    pub(crate) const fn next(self, phase: Phase, peer: Option<usize>) -> Self {
        Word::new((self.generation() + 1) % GENERATIONS, self.order(), phase, peer)
    }

    /// The generation before a word's.
    #[inline]
    pub(crate) const fn previous(self, phase: Phase, peer: Option<usize>) -> Self {
        Word::new((self.generation() + GENERATIONS - 1) % GENERATIONS, self.order(), phase, peer)
    }

    /// The same with another order.
    #[inline]
    pub(crate) const fn of_order(self, order: u32) -> Self {
        Word(self.0 & !((MAX_ORDER as u64) << ORDER_SHIFT) | (order as u64) << ORDER_SHIFT)
    }

    /// The same with another count.
    #[inline]
    pub(crate) const fn with_count(self, count: u32) -> Self {
        Word(self.0 & !(MAX_COUNT as u64) | count as u64)
    }
}

impl std::fmt::Debug for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Word")
            .field("generation", &self.generation())
            .field("order", &self.order())
            .field("phase", &self.phase())
            .field("peer", &self.peer())
            .field("count", &self.count())
            .finish()
    }
}

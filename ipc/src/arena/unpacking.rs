//! Handles inside of values that are decoded: each looks itself up in the table of what lies in the carrier's place.
//!
//! A handle that is made takes its block, so that it is like any other, wherever user code puts it. If it is dropped while the carrier's place is still held (by a
//! `Deserialize` that only looked, or with a leased value that goes back), the block goes back to the place. So when a lease ends, the table
//! says where each block is: in the place, or with a handle that was moved elsewhere.

use super::blocks::Block;
use super::core::Core;
use super::descriptor::{self, Hold, Lead};
use super::packing::{HOMELESS, Scope};
use super::shareable::Shareable;
use super::sharing::Takers;
use super::word::{Phase, Word};
use crate::sync::biased::{Leaf, Shared};
use serde::{Deserialize, Deserializer, de};
use std::cell::RefCell;
use thin_vec::ThinVec;

thread_local! {
    static UNPACKING: RefCell<Option<Unpacking>> = const { RefCell::new(None) };
}

struct Unpacking {
    core: Leaf<Core>,
    blocks: ThinVec<Lying>,
    error: Option<String>,
}

/// A block of the table.
struct Lying {
    index: u32,
    generation: u32,
    /// What a handle has taken.
    out: Option<(Block, Phase)>,
}

/// The blocks that a carrier's place holds besides the message.
pub(crate) struct Table(ThinVec<Lying>);

impl Table {
    /// From entries as `packing` has written them.
    #[inline]
    pub(crate) fn new(entries: impl IntoIterator<Item = u64>) -> Table {
        let mut entries = entries.into_iter().peekable();
        if entries.peek().is_none() {
            return Table(ThinVec::new()); // the usual case
        }
        let lying = |entry: u64| Lying { index: entry as u32, generation: (entry >> 32) as u32, out: None };
        Table(entries.map(lying).collect())
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Runs `work`, in which handles of these blocks are made or dropped. If it fails, what was wrong with a handle goes before what it says: a type without a tag
    /// may try in vain what a handle is not, and forgets why.
    #[inline]
    pub(crate) fn within<R>(
        &mut self,
        core: &Shared<Core>,
        work: impl FnOnce() -> Result<R, String>,
    ) -> Result<R, String> {
        if self.0.is_empty() {
            return work();
        }
        let _scope = Scope::enter();
        let here = Unpacking { core: core.leaf(), blocks: std::mem::take(&mut self.0), error: None };
        let end = End { table: self, outer: UNPACKING.replace(Some(here)) };
        let result = work();
        let error = end.error();
        result.map_err(|reason| error.unwrap_or(reason))
    }

    /// Notes as taken what does not lie in the carrier's place any more: a handle of this participant has it, or had.
    pub(super) fn note_taken(&mut self, core: &Core) {
        for lying in &mut self.0 {
            let Lying { index, generation, .. } = *lying;
            let seen = core.blocks().may_be_taken(index, generation);
            let is_sent = |word: Word| matches!(word.phase(), Phase::Sent | Phase::SentRef);
            if !seen.is_some_and(|word| is_sent(word) || word.peer() != Some(core.me())) {
                lying.out = Some((Block { index, generation, order: 0 }, Phase::Held));
            }
        }
    }

    /// Whether each block is where the carrier's place says.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.iter().all(|lying| lying.out.is_none())
    }

    /// Takes what no handle has.
    pub(super) fn take_rest(&self, core: &Core) -> Vec<(Block, Phase)> {
        let rest = self.0.iter().filter(|lying| lying.out.is_none());
        rest.filter_map(|lying| core.blocks().take(lying.index, lying.generation, Takers::One)).collect()
    }
}

/// Gives the blocks back to their table, also when user code panics.
struct End<'a> {
    table: &'a mut Table,
    outer: Option<Unpacking>,
}

impl End<'_> {
    /// What was wrong with a handle.
    fn error(self) -> Option<String> {
        UNPACKING.with_borrow_mut(|here| here.as_mut().and_then(|here| here.error.take()))
    }
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        let here = UNPACKING.replace(self.outer.take());
        self.table.0 = here.map(|here| here.blocks).unwrap_or_default();
    }
}

/// Decodes a handle, which takes its block.
pub(super) fn unpack<'de, S: Shareable + ?Sized, D: Deserializer<'de>>(
    deserializer: D,
    hold: Hold,
) -> Result<(Leaf<Core>, Lead), D::Error> {
    let (number, kind, len) = <(u32, u64, u64)>::deserialize(deserializer)?;
    UNPACKING.with_borrow_mut(|unpacking| {
        let here = unpacking.as_mut().ok_or_else(|| de::Error::custom(HOMELESS))?;
        let lead = here.lead::<S>(number as usize, kind, len, hold);
        lead.map(|lead| (here.core.leaf(), lead)).map_err(|reason| {
            let told = de::Error::custom(&reason);
            here.error.get_or_insert(reason);
            told
        })
    })
}

impl Unpacking {
    fn lead<S: Shareable + ?Sized>(
        &mut self,
        number: usize,
        kind: u64,
        len: u64,
        hold: Hold,
    ) -> Result<Lead, String> {
        let count = self.blocks.len();
        let lying = self.blocks.get_mut(number).ok_or_else(|| format!("handle {number} of {count}"))?;
        if lying.out.is_some() {
            return Err(format!("handle {number} occurs twice"));
        }
        let core = &self.core;
        let taken = core.blocks().take(lying.index, lying.generation, Takers::One);
        let (block, phase) =
            taken.ok_or_else(|| format!("handle {number} leads to a block that is not there"))?;
        descriptor::lead::<S>(core, block, phase, kind, len, hold)
            .inspect(|_| lying.out = Some((block, phase)))
            .map_err(|error| {
                core.blocks().put_back(block, phase);
                error.to_string()
            })
    }
}

/// Puts the block of a handle that is dropped back into its carrier's place, if that is held by a scope of this thread; false: it is not.
pub(super) fn put_back(core: &Shared<Core>, block: Block) -> bool {
    UNPACKING.with_borrow_mut(|here| {
        let Some(here) = here.as_mut().filter(|here| here.core.is(core)) else { return false };
        let is_it = |lying: &&mut Lying| lying.out.is_some_and(|(out, _)| out == block);
        let Some(lying) = here.blocks.iter_mut().find(is_it) else { return false };
        let is_back = lying.out.is_some_and(|(block, phase)| core.blocks().put_back(block, phase));
        if is_back {
            lying.out = None;
        }
        is_back
    })
}

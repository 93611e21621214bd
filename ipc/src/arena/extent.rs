//! How much of an arena exists: it grows by stretches of its file, up to the limit that it was created with.
//!
//! The file has its full length from the beginning, and so has everybody's mapping of it; only memory is committed stretch by stretch. So nobody maps anything anew,
//! and an address stays what it is.
//!
//! | step | | pairs with |
//! | --- | --- | --- |
//! | E1 | read `committed`: c (Acquire) | E4 |
//! | E2 | have the kernel reserve the stretch from c on | |
//! | E3 | CAS the words of the stretch's blocks from zero to `Free` | A1 |
//! | E4 | CAS `committed` c → the stretch's end (AcqRel): **the stretch exists** | E1 |
//!
//! A stretch is the same for everybody who finds c, and E2 and E3 may be done by several, and again. So a kill leaves nothing that the next one who needs room does not
//! finish.

use super::blocks::Blocks;
use crate::fault;
use crate::sync::{AcqRel, Acquire, AtomicU64, Relaxed};

/// The word that says how many granules exist.
#[cfg_attr(not(loom), repr(transparent))]
pub(crate) struct Extent(pub(crate) AtomicU64);

impl Extent {
    /// The granules that exist are those below; no more than `limit`, whatever the word says.
    #[inline]
    pub(crate) fn end(&self, limit: u32) -> u32 {
        self.0.load(Acquire).min(u64::from(limit)) as u32 // E1 pairs with E4
    }

    /// What there is beyond `seen`, where the caller has looked: what others have added meanwhile, or the next stretch of `step` granules, the last of which ends at the
    /// limit. `None`: there is nothing, and the limit is reached. `reserve` has the kernel commit memory for the granules from the first number to the second.
    ///
    /// # Errors
    /// What `reserve` returns.
    pub(crate) fn grow<E>(
        &self,
        blocks: &Blocks<'_>,
        seen: u32,
        step: u32,
        reserve: impl FnOnce(u32, u32) -> Result<(), E>,
    ) -> Option<Result<(u32, u32), E>> {
        let limit = blocks.granules();
        let start = self.end(limit); // E1
        if start > seen {
            return Some(Ok((seen, start)));
        }
        if start == limit {
            return None;
        }
        let end = start.saturating_add(step.max(1)).min(limit);
        if let Err(error) = reserve(start, end) {
            return Some(Err(error)); // E2
        }
        fault::point("grow: reserved");
        blocks.found(start, end, |_| {}); // E3
        let _ = self.0.compare_exchange(u64::from(start), u64::from(end), AcqRel, Relaxed); // E4: or somebody else has done it
        fault::point("grow: committed");
        Some(Ok((start, end)))
    }
}

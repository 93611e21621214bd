//! The control block of a call on a slice.
//!
//! ```text
//! word 0          8                 16
//!      +----------+-----------------+----------------------+
//!      | cursor   | stop: 0 or 1    | a word a chunk:      |
//!      | own line | own line        | { runner: 32, state } |
//!      +----------+-----------------+----------------------+
//! ```
//! The steps are those of `slices.rs`. K1 (Acquire) pairs with K4 (Release): who claims a chunk again comes after its dead runner. K2 (Release) pairs with K3 (Acquire): who has seen a chunk done sees
//! its result.

use crate::sync::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Words of a cache line; a model has no lines.
const LINE: usize = if cfg!(loom) { 1 } else { 8 };
/// Words before the first chunk's.
pub(crate) const HEAD: usize = 2 * LINE;
const CURSOR: usize = 0;
const STOP: usize = LINE;

const FREE: u64 = 0;
const DONE: u64 = 2;

const fn claimed_by(runner: u32) -> u64 {
    (runner as u64) << 32 | 1
}

/// A control block that stays where it is for `'a`: the call has it until no runner is left.
pub(crate) struct Chunks<'a> {
    words: &'a [AtomicU64],
    count: usize,
}

/// Where a runner looks next.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// Its last lap, if it has begun, and how far it has come.
    lap: Option<usize>,
}

impl<'a> Chunks<'a> {
    /// `None`: there is no room for one of so many chunks.
    #[cfg(not(loom))]
    pub(super) fn at(arena: &'a skep_ipc::Arena, offset: u64, count: usize) -> Option<Self> {
        let words = count.checked_add(HEAD)?;
        let bytes = words.checked_mul(size_of::<AtomicU64>())?;
        let at = arena.memory_at(offset, bytes, align_of::<AtomicU64>())?;
        let block = std::ptr::NonNull::slice_from_raw_parts(at.cast::<AtomicU64>(), words);
        // SAFETY: memory of the arena, as just checked, which stays there for `'a` and is reached by atomics alone.
        Some(Chunks::over(unsafe { block.as_ref() }))
    }

    /// The chunks of a control block that has at least the words before them.
    pub(crate) fn over(words: &'a [AtomicU64]) -> Self {
        Chunks { words, count: words.len() - HEAD }
    }

    fn word(&self, number: usize) -> &AtomicU64 {
        &self.words[number]
    }

    // --- a runner ------------------------------------------------------------------------------------------------

    /// Claims and runs chunk after chunk, until there is none to claim. `None`: a chunk that was run was not this
    /// runner's any more, so somebody wrote where they may not.
    pub(crate) fn run_all(&self, runner: u32, mut run: impl FnMut(usize)) -> Option<()> {
        let mut search = Search::default();
        while let Some(chunk) = self.claim(runner, &mut search) {
            run(chunk);
            self.finish(chunk, runner).then_some(())?;
        }
        Some(())
    }

    /// K1: a chunk for a runner. `None`: it has seen none free, or was told to stop.
    fn claim(&self, runner: u32, search: &mut Search) -> Option<usize> {
        while search.lap.is_none() && !self.is_stopped() {
            let hint = self.word(CURSOR).fetch_add(1, Relaxed);
            match usize::try_from(hint).ok().filter(|&chunk| chunk < self.count) {
                Some(chunk) if self.try_claim(chunk, runner) => return Some(chunk),
                Some(_) => {}
                None => search.lap = Some(0),
            }
        }
        let mut rest = search.lap?..self.count;
        let claimed = rest.find(|&chunk| !self.is_stopped() && self.try_claim(chunk, runner));
        search.lap = Some(rest.start);
        claimed
    }

    fn try_claim(&self, chunk: usize, runner: u32) -> bool {
        let word = self.word(HEAD + chunk);
        word.load(Relaxed) == FREE
            && word.compare_exchange(FREE, claimed_by(runner), Acquire, Relaxed).is_ok()
    }

    /// K2: the result of a chunk is written. False: it was not this runner's, so some process wrote where it may not.
    #[must_use]
    fn finish(&self, chunk: usize, runner: u32) -> bool {
        let word = self.word(HEAD + chunk);
        word.compare_exchange(claimed_by(runner), DONE, Release, Relaxed).is_ok()
    }

    fn is_stopped(&self) -> bool {
        self.word(STOP).load(Relaxed) != 0
    }

    // --- the caller ----------------------------------------------------------------------------------------------

    /// No runner claims anything from now on.
    pub(crate) fn stop(&self) {
        self.word(STOP).store(1, Relaxed);
    }

    /// K4: makes free what a dead runner has claimed, and tells it.
    pub(crate) fn free_claims_of(&self, runner: u32) -> Vec<usize> {
        let free = |&chunk: &usize| {
            let word = self.word(HEAD + chunk);
            word.compare_exchange(claimed_by(runner), FREE, Release, Relaxed).is_ok()
        };
        (0..self.count).filter(free).collect()
    }

    /// The chunk that a runner has claimed and not finished.
    pub(crate) fn claim_of(&self, runner: u32) -> Option<usize> {
        let is_claimed = |&chunk: &usize| self.word(HEAD + chunk).load(Relaxed) == claimed_by(runner);
        (0..self.count).find(is_claimed)
    }

    /// K3: whether all chunks are done.
    pub(crate) fn are_done(&self) -> bool {
        (0..self.count).all(|chunk| self.word(HEAD + chunk).load(Acquire) == DONE)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use skep_ipc::Arena;

    fn with_chunks(count: usize, test: impl FnOnce(&Chunks<'_>)) {
        let arena = Arena::new(1 << 16).expect("memory");
        let control = arena.slice_zeroed::<u64>(HEAD + count).expect("room");
        let offset = arena.offset_of(&raw const control[..]).expect("it lies there");
        test(&Chunks::at(&arena, offset, count).expect("room"));
    }

    #[test]
    fn two_runners_claim_every_chunk_once() {
        with_chunks(100, |chunks| {
            let mut searches = [Search::default(), Search::default()];
            let mut claimed = Vec::new();
            loop {
                let runner = claimed.len() % 3 % 2;
                let Some(chunk) = chunks.claim(runner as u32, &mut searches[runner]) else { break };
                assert!(!chunks.finish(chunk, 7) && chunks.finish(chunk, runner as u32));
                claimed.push(chunk);
            }
            claimed.sort_unstable();
            assert!(claimed.into_iter().eq(0..100) && chunks.are_done());
        });
    }

    #[test]
    fn what_a_dead_runner_had_is_found_by_one_that_comes_later() {
        with_chunks(10, |chunks| {
            let mut search = Search::default();
            let lost = chunks.claim(0, &mut search).expect("all are free");
            while let Some(chunk) = chunks.claim(1, &mut search) {
                assert!(chunks.finish(chunk, 1));
            }
            assert!(!chunks.are_done());
            assert_eq!((chunks.free_claims_of(0), chunks.free_claims_of(0)), (vec![lost], vec![]));
            assert!(!chunks.finish(lost, 0));
            // Whatever the cursor says.
            chunks.word(CURSOR).store(u64::MAX - 1, Relaxed);
            assert_eq!(chunks.claim(2, &mut Search::default()), Some(lost));
            assert!(chunks.finish(lost, 2) && chunks.are_done());
        });
    }

    #[test]
    fn who_is_told_to_stop_claims_nothing() {
        with_chunks(10, |chunks| {
            chunks.stop();
            assert_eq!(chunks.claim(0, &mut Search::default()), None);
            assert_eq!(chunks.claim(0, &mut Search { lap: Some(0) }), None);
        });
    }
}

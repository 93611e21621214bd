//! Where free blocks may be found: for each order a bitmap over chunks of granules.
//!
//! A hint is never the truth. A bit that is set says that the chunk may have a free block of that order; who looks for one clears the bit *before* looking, and sets it
//! again if there are more. So a block that is freed meanwhile is seen by the look, or its bit stays: both change the word of the bit in one step, so one is first, and who
//! comes second sees what the first did before. (A look at the bit would not do: while the store that frees the block waits in its processor's buffer, the bit may read as
//! set, be cleared, and the block be overlooked.) A searcher that is killed in between takes the
//! hint with it: whoever repairs sets the hints anew. Free blocks in some handle's cache have no bit; a sweep finds them.

use super::word::MAX_ORDER;
use crate::sync::{AcqRel, Acquire, AtomicU64, SeqCst};
use std::ptr::NonNull;

/// Granules in a chunk.
pub(super) const CHUNK: u32 = 1 << 10;

const ORDERS: usize = MAX_ORDER as usize + 1;

/// A view of the bitmaps.
#[derive(Clone, Copy)]
pub(super) struct Hints<'a> {
    /// First a summary word for each order, then the bitmaps.
    words: &'a [AtomicU64],
    /// The words of one bitmap.
    length: usize,
}

impl<'a> Hints<'a> {
    /// The words of one bitmap.
    fn length(granules: u32) -> usize {
        (granules.div_ceil(CHUNK) as usize).div_ceil(64)
    }

    /// The bytes of all bitmaps.
    pub(super) fn bytes(granules: u32) -> u64 {
        (ORDERS * (1 + Hints::length(granules)) * 8) as u64
    }

    /// # Safety
    /// `bytes(granules)` bytes at `base` are initialised, aligned to a word, used as atomics by everybody and valid for `'a`.
    pub(super) unsafe fn new(base: NonNull<u8>, granules: u32) -> Self {
        let length = Hints::length(granules);
        // SAFETY: as the caller promises.
        let words = unsafe { std::slice::from_raw_parts(base.as_ptr().cast(), ORDERS * (1 + length)) };
        Hints { words, length }
    }

    fn summary(&self, order: u32) -> &AtomicU64 {
        &self.words[order as usize]
    }

    fn bitmap(&self, order: u32) -> &[AtomicU64] {
        &self.words[ORDERS + order as usize * self.length..][..self.length]
    }

    /// How many words of a bitmap one bit of its summary stands for.
    fn group(&self) -> usize {
        self.length.div_ceil(64)
    }

    /// There is a free block of that order, which begins at that granule.
    pub(super) fn set(&self, order: u32, index: u32) {
        let chunk = (index / CHUNK) as usize;
        let (word, bit) = (chunk / 64, 1 << (chunk % 64));
        let Some(place) = self.bitmap(order).get(word) else { return };
        place.fetch_or(bit, SeqCst);
        let group = 1 << (word / self.group());
        if self.summary(order).load(SeqCst) & group == 0 {
            self.summary(order).fetch_or(group, SeqCst);
        }
    }

    /// Takes the hint of a chunk that may have a free block of that order: its first granule. The search begins near `from`.
    pub(super) fn take(&self, order: u32, from: u32) -> Option<u32> {
        let bitmap = self.bitmap(order);
        let groups = self.summary(order).load(Acquire);
        if groups == 0 {
            return None;
        }
        let start = ((from / CHUNK) as usize / 64 / self.group()) as u32 % 64;
        let mut left = groups.rotate_right(start);
        while left != 0 {
            let group = ((left.trailing_zeros() + start) % 64) as usize;
            left &= left - 1;
            let words = group * self.group()..((group + 1) * self.group()).min(bitmap.len());
            for word in words.clone() {
                let place = &bitmap[word];
                let mut seen = place.load(Acquire);
                while seen != 0 {
                    let bit = seen & seen.wrapping_neg();
                    if place.fetch_and(!bit, AcqRel) & bit != 0 {
                        return Some((word * 64 + bit.trailing_zeros() as usize) as u32 * CHUNK);
                    }
                    seen = place.load(Acquire);
                }
            }
            // All zero: so says the summary from now on, unless one is set meanwhile.
            self.summary(order).fetch_and(!(1 << group), SeqCst);
            if words.into_iter().any(|word| bitmap[word].load(SeqCst) != 0) {
                self.summary(order).fetch_or(1 << group, SeqCst);
            }
        }
        None
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_taken_once() {
        let granules = 40_000 * CHUNK;
        let words: Vec<AtomicU64> = (0..Hints::bytes(granules) / 8).map(|_| AtomicU64::new(0)).collect();
        // SAFETY: a vector of so many words.
        let hints = unsafe { Hints::new(NonNull::from(&words[0]).cast(), granules) };
        assert_eq!(hints.take(3, 0), None);
        for chunk in [0, 63, 64, 39_999] {
            hints.set(3, chunk * CHUNK + 5);
            hints.set(4, chunk * CHUNK);
        }
        let mut taken: Vec<_> = std::iter::from_fn(|| hints.take(3, 70 * CHUNK)).collect();
        taken.sort_unstable();
        assert_eq!(taken, [0, 63 * CHUNK, 64 * CHUNK, 39_999 * CHUNK]);
        assert_eq!(hints.take(5, 0), None);
        assert!(hints.take(4, 0).is_some());
    }
}

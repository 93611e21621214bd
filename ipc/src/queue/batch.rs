//! Several positions in one claim.
//!
//! A batch takes the steps of `ring.rs` for n positions, with one intent and one CAS. What it adds is the order, which is chosen for the lines that two processors take from each
//! other:
//! - **Put**: all payloads, and then the turns, in order. So whoever looks at the first one finds the others published behind it, and takes many in one claim; and a
//!   producer that is killed leaves a prefix of its batch.
//! - **Get**: from the last position to the first. A producer that waits for the first slot finds the others free behind it. A consumer that is killed leaves
//!   a prefix of its batch, which goes back.
//! - The slots are asked for at once, ahead of their use, if the last one is ready: then as a rule all are. Where items trickle in it is not, and the lines stay with whoever works on them.

use super::intent::MAX_BATCH;
use super::layout::{Slot, published};
use super::ring::{Refusal, Ring};
use crate::fault;
use crate::sync::{Acquire, Release, prefetch_for_write};
use bytemuck::Pod;

/// The bytes that processors pass between each other at a time.
const LINE: usize = 64;

impl<T: Pod> Ring<'_, T> {
    /// Puts as many of `values`, which are not none, as there is room for, in one claim; says how many.
    pub(crate) fn try_put_batch(&self, values: &[T]) -> Result<usize, Refusal> {
        let claim = self.claim_free(self.batch(values.len()))?;
        for (p, &value) in claim.positions().zip(values) {
            self.slot(p).value.write(value); // P4
        }
        fault::point("put: written");
        for p in claim.positions() {
            self.slot(p).turn.store(published(p), Release); // P5 pairs with G1
            fault::point("put: published");
        }
        Ok(claim.count as usize)
    }

    /// Takes up to `into.len()` items, which is not zero, in one claim; says how many.
    pub(crate) fn try_get_batch(&self, into: &mut [T]) -> Result<usize, Refusal> {
        let claim = self.claim_published(self.batch(into.len()))?;
        for n in (0..claim.count).rev() {
            let p = claim.first.wrapping_add(n);
            if let Some(place) = into.get_mut(n as usize) {
                *place = self.read(p); // G4
            }
            self.release(p);
        }
        Ok(claim.count as usize)
    }

    fn batch(&self, length: usize) -> u64 {
        (length.min(MAX_BATCH) as u64).min(self.capacity)
    }

    /// How many positions, up to `wanted`, have the turn that is wanted of them, from p on, whose turn was looked at: P1 and G1 of the others.
    #[inline(always)] // for one position it is nothing
    pub(super) fn count_ready(&self, p: u64, wanted: u64, turn_of: impl Fn(u64) -> u64) -> u64 {
        let is_ready = |&n: &u64| {
            let p = p.wrapping_add(n);
            self.slot(p).turn.load(Acquire) == turn_of(p)
        };
        if wanted > 1 && is_ready(&(wanted - 1)) {
            let slots_a_line = (LINE / size_of::<Slot<T>>()).max(1);
            (1..wanted).step_by(slots_a_line).for_each(|n| prefetch_for_write(self.slot(p.wrapping_add(n))));
        }
        1 + (1..wanted).take_while(is_ready).count() as u64
    }
}

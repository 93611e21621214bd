//! Repair of an arena: every block that names a dead participant is freed, given to the carrier that holds it, or counted no more.
//!
//! # Steps, for dead participant d
//! | step | |
//! | --- | --- |
//! | D1 | finish the change of a count that d has announced, if it has begun (`sharing.rs`) |
//! | D2 | learn what the carriers hold |
//! | D3 | for each block whose word names d: held by a carrier → `Sent` or `SentRef`, by nobody; a counted reference → mine, and dropped; anything else → `Free` |
//!
//! After D1 a reference of d is counted if and only if it is `Ref` or `SentRef`. What d has put into a carrier it put there before its death, and it stays there until its
//! taker has changed the word; so a block that D2 does not find, and that still names d in D3, is in no carrier.
//!
//! Repair may be cut short by a death and done again: each block is settled by one CAS, and a settled one names d no more. The repairer holds d's entry,
//! so no newcomer has d's number meanwhile.
//!
//! Who leaves in good health does D3 for itself, for what it has sent, and frees its place at once
//! ([`hand_over`](Blocks::hand_over)). So a place is free when its participant has left, also where those who come and
//! go do not know the carriers, and do not repair.

use super::blocks::{Block, Blocks, Found, interior};
use super::word::{Phase, Word};
use crate::fault;
use crate::sync::Release;

impl Blocks<'_> {
    /// Settles every block below `end` that names `dead`. `carried` says whether a carrier holds the block of an index and a generation; what becomes free is
    /// told to `freed`.
    pub(crate) fn mend(
        &self,
        dead: usize,
        end: u32,
        carried: impl Fn(u32, u32) -> bool,
        mut freed: impl FnMut(Found),
    ) {
        self.walk(end, |index, seen| {
            if seen.peer() == Some(dead) {
                self.settle(index, seen, &carried, &mut freed);
                fault::point("mend: settled");
            }
            false
        });
        self.end_handling_of(dead);
    }

    /// D1: to be done before the carriers are looked at.
    pub(crate) fn begin_mending(&self, dead: usize, freed: impl FnMut(Found)) {
        self.finish_change_of(dead, freed);
    }

    /// Leaves in good health: what this participant has sent is nobody's but its carriers' from now on, and so is
    /// a block that is `published` in the arena. False: something else still names it, and is repair's.
    ///
    /// This needs no look at the carriers. Nothing can be on its way into one any more, since whatever sends keeps
    /// the participant until the carrier has it, or until it has taken it back; so what says `Sent` by this
    /// participant lies in a carrier, or its taker is about to change the word.
    pub(crate) fn hand_over(&self, end: u32, published: impl Fn(u32, u32) -> bool) -> bool {
        let mut is_all = true;
        self.walk(end, |index, seen| {
            if seen.peer() == Some(self.me) {
                match seen.phase() {
                    Phase::Sent | Phase::SentRef => {
                        self.change(index, seen, seen.become_of(seen.phase(), None));
                    }
                    Phase::Held if published(index, seen.generation()) => {
                        self.change(index, seen, seen.become_of(Phase::Sent, None));
                    }
                    _ => is_all = false,
                }
                fault::point("leave: handed over");
            }
            false
        });
        is_all
    }

    fn settle(
        &self,
        index: u32,
        seen: Word,
        carried: &impl Fn(u32, u32) -> bool,
        mut freed: impl FnMut(Found),
    ) {
        let is_reference = matches!(seen.phase(), Phase::Ref | Phase::SentRef);
        match seen.phase() {
            Phase::Interior | Phase::Free => {}
            // Its maker's intent is gone: no protocol has led here.
            Phase::Shared => self.help(index, seen, freed),
            Phase::Held | Phase::Sent | Phase::Ref | Phase::SentRef if carried(index, seen.generation()) => {
                let sent = if is_reference { Phase::SentRef } else { Phase::Sent };
                self.change(index, seen, seen.become_of(sent, None));
            }
            Phase::Ref | Phase::SentRef => {
                if self.change(index, seen, seen.become_of(Phase::Ref, Some(self.me))) {
                    let reference = Block { index, generation: seen.generation(), order: seen.order() };
                    fault::point("mend: reference taken over");
                    if self.drop_reference(reference, &mut freed).is_err() {
                        // It counted for nothing.
                        self.change(
                            index,
                            seen.become_of(Phase::Ref, Some(self.me)),
                            seen.next(Phase::Free, None),
                        );
                    }
                }
            }
            Phase::Held | Phase::Sent | Phase::New | Phase::Spent => {
                self.uncover(index, seen);
                let free = seen.next(Phase::Free, None);
                if self.change(index, seen, free) {
                    freed(Found { index, word: free });
                }
            }
        }
    }

    /// Where a dead one was splitting or merging, its block covers another one of its own (invariant 1 of `blocks.rs`): which is none any more.
    fn uncover(&self, index: u32, covering: Word) {
        let Some(order) = covering.order().checked_sub(1) else { return };
        let upper = index + (1 << order);
        let word = self.word(upper);
        if word.is(Phase::Held) && word.peer() == covering.peer() && word.order() == order {
            self.slot(upper).store(interior(word).0, Release);
        }
    }
}

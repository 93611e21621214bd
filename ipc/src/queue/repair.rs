//! The ring's repair: what a living participant does for a dead one. Steps and invariants are those of `ring.rs`.

use super::intent::{Intent, Side};
use super::layout::{CLOSED, free, orphaned, published, skipped};
use super::ring::Ring;
use crate::peer::{self, JOINED, Membership, Repair};
use crate::sync::{AcqRel, Acquire, Relaxed};
use bytemuck::Pod;

impl<T: Pod> Ring<'_, T> {
    /// Repairs for every dead peer that is found. Returns for how many.
    pub(crate) fn recover(&self, members: &impl Membership) -> usize {
        peer::recover(self.peers, members, self.me, |_| true, |dead| self.repair(dead, members))
    }

    /// Repairs for the dead who hold up others: those with a position in their hands. Whether anybody, living or dead, has one.
    ///
    /// As long as nobody has, this asks the kernel nothing. The others' places are repaired for whoever needs them.
    pub(crate) fn recover_holders(&self, members: &impl Membership) -> bool {
        let holds = |peer: usize| peer != self.me && self.holds(peer);
        let any = (0..self.peers.count()).any(holds);
        if any {
            peer::recover(self.peers, members, self.me, holds, |dead| self.repair(dead, members));
        }
        any
    }

    /// Whether a position that a peer has announced is claimed and not yet published, or released, or given back with a sign.
    fn holds(&self, peer: usize) -> bool {
        let entry = self.peers.entry(peer);
        let intent = Intent(entry.intent.load(Acquire));
        let Some(side) = intent.side().filter(|_| entry.state.load(Acquire) == JOINED) else { return false };
        intent.claimed_below(self.end_of(side), self.capacity).any(|p| {
            let turn = self.slot(p).turn.load(Acquire);
            self.is_held(turn, side, p) || side == Side::Get && turn == orphaned(p)
        })
    }

    /// The first position that nobody has claimed on this side.
    fn end_of(&self, side: Side) -> u64 {
        match side {
            Side::Put => self.control.tail.0.load(Acquire) & !CLOSED, // R1 pairs with P2 and P3
            Side::Get => self.control.head.0.load(Acquire),           // R2 pairs with G2 and G3
        }
    }

    /// Finishes or undoes what a dead peer announced, and wakes everybody. The caller holds the repair lock.
    pub(crate) fn repair(&self, dead: usize, members: &impl Membership) -> Repair {
        let repair = self.settle(dead, members);
        // The dead one may have been about to wake somebody, and its slots may be ready now.
        self.wake_all();
        repair
    }

    fn settle(&self, dead: usize, members: &impl Membership) -> Repair {
        let intent = Intent(self.peers.entry(dead).intent.load(Acquire));
        let Some(side) = intent.side() else { return Repair::Done };
        let end = self.end_of(side);
        let mut repair = Repair::Done;
        for p in intent.claimed_below(end, self.capacity) {
            let turn = &self.slot(p).turn;
            let orphans = self.orphans_made();
            if !self.is_held(turn.load(Acquire), side, p) {
                continue; // K1
            }
            if self.lives_with_intent(side, p, dead, members) {
                repair = Repair::Later;
                continue;
            }
            // Once more: a living peer may have published between the two looks and announced something else since.
            let seen = turn.load(Acquire);
            if !self.is_held(seen, side, p) {
                continue;
            }
            // Its holder may have put it back, and another one adopted it, between the two looks: the turn is the same again.
            if self.orphans_made() != orphans {
                repair = Repair::Later;
                continue;
            }
            let (repaired, is_orphan) = match side {
                Side::Put => (skipped(p), false), // K2
                Side::Get if seen == skipped(p) => (free(p.wrapping_add(self.capacity)), false), // K3
                Side::Get => (orphaned(p), true),
            };
            if turn.compare_exchange(seen, repaired, AcqRel, Relaxed).is_ok() && is_orphan {
                self.tell_of_orphan();
            }
        }
        if side == Side::Get {
            // A repairer, or this peer in `put_back`, may have died between an orphan and the sign of it.
            self.tell_of_orphan();
        }
        repair
    }

    /// Whether a slot with this turn is in the hands of whoever claimed `p`.
    fn is_held(&self, turn: u64, side: Side, p: u64) -> bool {
        match side {
            Side::Put => turn == free(p),
            Side::Get => turn == published(p) || turn == skipped(p),
        }
    }

    /// Whether a living peer may hold `p`.
    fn lives_with_intent(&self, side: Side, p: u64, dead: usize, members: &impl Membership) -> bool {
        (0..self.peers.count()).filter(|&peer| peer != dead).any(|peer| {
            let entry = self.peers.entry(peer);
            entry.state.load(Acquire) == JOINED
                && Intent(entry.intent.load(Acquire)).covers(side, p)
                && (peer == self.me || !members.is_dead(peer))
        })
    }
}

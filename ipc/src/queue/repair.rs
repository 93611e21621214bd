//! The ring's repair: what a living participant does for a dead one. Steps and invariants are those of `ring.rs`.

use super::intent::{Intent, Side};
use super::layout::{CLOSED, free, is_orphaned, orphaned, returns, skipped};
use super::ring::Ring;
use crate::fault;
use crate::peer::{self, JOINED, LEASES, Membership, Repair};
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

    /// Whether a position that a peer has announced or leased is claimed and not yet published, or released, or given back with a sign.
    fn holds(&self, peer: usize) -> bool {
        if self.peers.entry(peer).state.load(Acquire) != JOINED {
            return false;
        }
        self.claims_of(peer).into_iter().any(|claim| {
            let Some(side) = claim.side() else { return false };
            claim.claimed_below(self.end_of(side), self.capacity).any(|p| {
                let turn = self.slot(p).turn.load(Acquire);
                claim.may_hold(turn, p) || side != Side::Put && is_orphaned(turn, p)
            })
        })
    }

    /// What a peer has announced and leased. The intent is read first: L1 comes before L2, so of a claim that turns into a lease one is seen.
    fn claims_of(&self, peer: usize) -> [Intent; 1 + LEASES] {
        let entry = self.peers.entry(peer);
        let mut claims = [Intent(entry.intent.load(Acquire)); 1 + LEASES]; // pairs with L2
        for (claim, lease) in claims[1..].iter_mut().zip(&entry.leases) {
            *claim = Intent(lease.load(Acquire)); // pairs with L1, A3 and N3
        }
        claims
    }

    /// The first position that nobody has claimed on this side.
    fn end_of(&self, side: Side) -> u64 {
        match side {
            Side::Put => self.control.tail.0.load(Acquire) & !CLOSED, // R1 pairs with P2 and P3
            Side::Get | Side::Lease => self.control.head.0.load(Acquire), // R2 pairs with G2 and G3
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
        let mut repair = Repair::Done;
        let mut is_consumer = false;
        for claim in self.claims_of(dead) {
            let Some(side) = claim.side() else { continue };
            is_consumer |= side != Side::Put;
            for p in claim.claimed_below(self.end_of(side), self.capacity) {
                if self.settle_at(p, claim, dead, members) == Repair::Later {
                    repair = Repair::Later;
                }
            }
        }
        if is_consumer {
            // An orphan was made just now, or this peer or a repairer died between one and the sign of it.
            self.tell_of_orphan();
            fault::point("repair: told");
        }
        repair
    }

    /// The same for one position that one of the dead peer's words covers.
    fn settle_at(&self, p: u64, claim: Intent, dead: usize, members: &impl Membership) -> Repair {
        let turn = &self.slot(p).turn;
        let orphans = self.orphan_count(); // pairs with O3
        let seen = turn.load(Acquire);
        if !claim.may_hold(seen, p) {
            return Repair::Done; // K1
        }
        if !claim.is_certain() {
            match self.other_holder(p, claim, seen, dead, members) {
                Other::Surely => return Repair::Done,
                Other::Perhaps => return Repair::Later,
                Other::Nobody => {}
            }
            // R3, once more: a living peer may have published between the two looks and announced something else since.
            let again = turn.load(Acquire);
            if !claim.may_hold(again, p) {
                return Repair::Done;
            }
            // Its holder may have given it back, and another one adopted it, between the two looks; after many returns the turn is the same again. An adopter
            // that the first look at the count did not see has changed it since (O3), and one that it saw has been seen in its intent.
            if again != seen || self.orphan_count() != orphans {
                return Repair::Later;
            }
        }
        let repaired = if claim.side() == Some(Side::Put) {
            skipped(p) // K2
        } else if seen == skipped(p) {
            free(p.wrapping_add(self.capacity)) // K3
        } else {
            orphaned(p, returns(seen))
        };
        let _ = turn.compare_exchange(seen, repaired, AcqRel, Relaxed); // whoever was faster has settled it
        fault::point("repair: turned");
        Repair::Done
    }

    /// Whether another one than the dead peer holds `p`, whose turn was `seen`.
    fn other_holder(
        &self,
        p: u64,
        claim: Intent,
        seen: u64,
        dead: usize,
        members: &impl Membership,
    ) -> Other {
        let as_consumer = claim.side() != Some(Side::Put);
        let mut other = Other::Nobody;
        for peer in 0..self.peers.count() {
            if self.peers.entry(peer).state.load(Acquire) != JOINED {
                continue;
            }
            let claims = self.claims_of(peer);
            // The dead peer's own lease too: it is settled by itself.
            if claims.iter().any(|claim| claim.is_lease_of(seen, p)) {
                return Other::Surely;
            }
            if peer != dead
                && claims.iter().any(|claim| claim.covers(as_consumer, p) && claim.may_hold(seen, p))
                && (peer == self.me || !members.is_dead(peer))
            {
                other = Other::Perhaps;
            }
        }
        other
    }
}

/// Whether a position is in another one's hands.
enum Other {
    /// In no living one's.
    Nobody,
    /// A living peer's intent covers it, or a lease that may be of an earlier delivery.
    Perhaps,
    /// A lease is of this very delivery: so its maker claimed it, and nobody else.
    Surely,
}

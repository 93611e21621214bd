//! Leases: claims that outlive the operation that made them.
//!
//! # Steps, at position p, whose item came back r times
//! | step | | pairs with |
//! | --- | --- | --- |
//! | G1 to G3 | the claim, as for a get (`ring.rs`), or the adoption of an orphan | |
//! | L1 | lease word := { lease, r, p } (Release) | R2 |
//! | L2 | intent := none (Release) | R2 |
//! | A1 | ack: turn := `free(p + capacity)` (Release): **the item is gone** | P1 |
//! | A2 | wake those who wait for room | |
//! | A3 | lease word := none (Release) | R2 |
//! | N1 | nack: turn := `orphaned(p, r + 1)` (Release): **the item is back** | G1 |
//! | N2 | tell of the orphan | O2 |
//! | N3 | lease word := none (Release), then wake | R2 |
//!
//! # Invariants
//! 1. A delivery (p, r) with r below the highest is claimed once: r grows with each return, and only its holder, or repair for it, lets it return. A lease word
//!    is written by the holder alone. So a lease word { r, p } beside the turn `published(p, r)` names the holder, living or dead.
//! 2. At the highest r a lease word may be left over from an earlier delivery, and counts for no more than an intent.
//!    Two deliveries are told apart by the count of orphans, which the adopter of such an item changes after its intent and before its claim (O3, R3).
//! 3. After L2 no intent covers p: others may come to hold it while this participant lives, and repair for them must not wait for it.
//!
//! # A kill
//! - between G3 and L1: the intent covers p, as for a get; between L1 and L2 the lease word settles it, and the intent changes nothing (invariant 1).
//! - between L2 and A1 or N1: the lease word names the delivery; repair makes it `orphaned(p, r + 1)`.
//! - between A1 and A3: the turn belongs to another position; the word means nothing. Repair wakes.
//! - between N1 and N3: the turn tells of (p, r + 1), which the word is not of; repair tells of the orphan once more.

use super::intent::{Intent, Side};
use super::layout::orphaned;
use super::ring::{Refusal, Ring};
use crate::fault;
use crate::peer::LEASES;
use crate::sync::Release;
use bytemuck::Pod;
use std::cell::Cell;

/// One delivery of one item to whoever leased it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivery {
    pub(crate) position: u64,
    pub(crate) returns: u64,
    /// Which of the participant's lease words names it.
    word: usize,
}

/// What a participant has leased, by lease word.
#[derive(Default)]
pub(crate) struct Leased([Cell<Option<Delivery>>; LEASES]);

impl Leased {
    /// A lease word that is not in use.
    pub(crate) fn vacant(&self) -> Option<usize> {
        self.0.iter().position(|held| held.get().is_none())
    }

    /// What is leased.
    pub(crate) fn deliveries(&self) -> impl Iterator<Item = Delivery> + '_ {
        self.0.iter().filter_map(Cell::get)
    }

    /// Gives back what is leased.
    pub(crate) fn nack_all<T: Pod>(&self, ring: &Ring<'_, T>) {
        for delivery in self.deliveries() {
            ring.nack(self, delivery);
        }
    }
}

impl<T: Pod> Ring<'_, T> {
    /// Claims an item, and has a vacant lease word name it: G1 to L2.
    #[inline]
    pub(crate) fn try_lease(&self, leased: &Leased, word: usize) -> Result<Delivery, Refusal> {
        let claim = self.claim_published(1)?;
        let delivery = Delivery { position: claim.first, returns: claim.returns, word };
        let lease = Intent::new(Side::Lease, claim.first, claim.returns);
        self.mine.leases[word].store(lease.0, Release); // L1
        leased.0[word].set(Some(delivery));
        fault::point("lease: written");
        self.announce(Intent::NONE); // L2
        fault::point("lease: taken");
        Ok(delivery)
    }

    /// A1 to A3: the item is gone.
    #[inline]
    pub(crate) fn ack(&self, leased: &Leased, delivery: Delivery) {
        self.release(delivery.position); // A1
        self.space().wake(1); // A2
        fault::point("ack: woken");
        self.end_lease(leased, delivery); // A3
    }

    /// N1 to N3: the item goes to the next consumer.
    pub(crate) fn nack(&self, leased: &Leased, delivery: Delivery) {
        let Delivery { position, returns, .. } = delivery;
        self.slot(position).turn.store(orphaned(position, returns), Release); // N1
        fault::point("nack: returned");
        self.tell_of_orphan(); // N2
        fault::point("nack: told");
        self.end_lease(leased, delivery); // N3
        // Not passed on: who passes a wake-up on looks at `head`.
        self.items().wake_now(1);
        self.space().wake_now(1);
    }

    #[inline]
    fn end_lease(&self, leased: &Leased, delivery: Delivery) {
        self.mine.leases[delivery.word].store(0, Release);
        fault::point("lease: ended");
        leased.0[delivery.word].set(None);
    }
}

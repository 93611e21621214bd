//! Items that came back, and the word that tells consumers of what is seldom: `signals.orphans`.
//!
//! Every get looks at that word, which hardly ever changes, so that nothing else that is seldom costs a get anything. It is a sign and never the truth: an orphan is what a slot's turn says
//! is one, and closed is what `tail` says is.
//!
//! | step | | pairs with |
//! | --- | --- | --- |
//! | O1 | a turn was made `orphaned`: count + 1, PRESENT | O2 |
//! | O2 | a consumer found PRESENT, and no orphan: if the word is as before the search, clear PRESENT | O1 |
//! | O3 | an adopter announced an item that came back as often as is counted: count + 1 before its claim | R3 |
//! | C1 | somebody is about to close the ring: CLOSING, which stays | G1 |

use super::intent::{Intent, Side};
use super::layout::{CLOSING, MAX_RETURNS, ORPHAN, PRESENT, delivered, orphan_position, returns};
use super::ring::{Claim, Ring};
use crate::fault;
use crate::sync::{AcqRel, Acquire, Relaxed};
use bytemuck::Pod;

impl<T: Pod> Ring<'_, T> {
    /// Claims an orphan, if there is one: G2 and G3 of one. All lie within a lap behind `head`, so from there on they are found in the order of their positions.
    #[cold]
    pub(super) fn adopt(&self) -> Option<Claim> {
        let seen = self.control.signals.0.orphans.load(Acquire); // O2 pairs with O1
        let mut announced = false;
        let head = self.control.head.0.load(Relaxed);
        for place in (0..self.capacity).map(|n| head.wrapping_add(n)) {
            let turn = &self.slot(place).turn;
            let found = turn.load(Acquire);
            let is_here = |p: &u64| (p ^ place) & (self.capacity - 1) == 0;
            let Some(p) = orphan_position(found).filter(is_here) else {
                continue;
            };
            self.announce(Intent::new(Side::Get, p, 1));
            announced = true;
            fault::point("adopt: announced");
            let r = returns(found);
            if r == MAX_RETURNS {
                self.tell_of_orphan(); // O3 pairs with R3: the turn alone does not tell this delivery from the one before
            }
            if turn.compare_exchange(found, delivered(p, r), AcqRel, Relaxed).is_ok() {
                fault::point("adopt: claimed");
                return Some(Claim { first: p, count: 1, returns: r });
            }
        }
        if announced {
            self.announce(Intent::NONE);
        }
        // None left. Who makes one changes the count afterwards, and then this fails.
        let _ = self.control.signals.0.orphans.compare_exchange(seen, seen & !PRESENT, AcqRel, Relaxed);
        None
    }

    /// Changes between an adopter's intent and its claim of an item that came back as often as is counted, and with each orphan that is made.
    pub(super) fn orphan_count(&self) -> u32 {
        self.control.signals.0.orphans.load(Acquire) & !(PRESENT | CLOSING)
    }

    /// Says that a slot has been orphaned: after the turn, so that no finder clears the sign too early.
    pub(super) fn tell_of_orphan(&self) {
        self.tell(|seen| seen.wrapping_add(ORPHAN) | PRESENT); // O1 pairs with O2
    }

    /// Has consumers that find nothing look at `tail`.
    pub(super) fn tell_of_closing(&self) {
        self.tell(|seen| seen | CLOSING);
    }

    fn tell(&self, news: impl Fn(u32) -> u32) {
        let word = &self.control.signals.0.orphans;
        let mut seen = word.load(Relaxed);
        while let Err(now) = word.compare_exchange(seen, news(seen), AcqRel, Relaxed) {
            seen = now;
        }
    }
}

//! The MPMC ring: announce, claim, publish; and its repair.
//!
//! # Put, at position p
//! | step | | pairs with |
//! | --- | --- | --- |
//! | P1 | read `tail`: p; read the slot's turn (Acquire): `free(p)` | G5, K3 |
//! | P2 | intent := { put, p } (Release) | R1 |
//! | P3 | CAS `tail` p → p + 1 (AcqRel): the claim | R1 |
//! | P4 | write the payload | |
//! | P5 | turn := `published(p)` (Release): **the item is put** | G1 |
//!
//! # Get, at position p
//! | step | | pairs with |
//! | --- | --- | --- |
//! | G1 | read `head`: p; read the slot's turn (Acquire): `published(p)` | P5, K2 |
//! | G2 | intent := { get, p } (Release) | R2 |
//! | G3 | CAS `head` p → p + 1 (AcqRel): the claim | R2 |
//! | G4 | read the payload | |
//! | G5 | turn := `free(p + capacity)` (Release): **the item is gone** | P1 |
//!
//! A turn of `skipped(p)` is claimed the same way and freed at once. An orphan is claimed by a CAS on its turn, `orphaned(p, r)` →
//! `published(p, r)`, in the place of G3; it goes before what waits at `head` (`orphans.rs`). A batch claims n positions with one intent
//! and one CAS, having seen all their turns (`batch.rs`).
//!
//! The ring is closed by a bit in `tail` (C2). Before that (C1) a sign tells consumers to look there when they find nothing; without it they do not, since that would take the line from the
//! producers each time.
//!
//! A producer that has seen its position free asks for the slot to be written (`prefetch_for_write`) before P3: the line is on its way while the claim is made. A consumer does
//! not: it would take the line from the producer, who is about to fill the slots behind.
//!
//! # Invariants
//! 1. Between its claim and its publication (P3 to P5, G3 to G5) a position is one participant's alone, and that participant's intent or lease (`leasing.rs`) covers it.
//! 2. Only the holder of a position changes its slot, but for repair, which does so when no living participant can be the holder.
//! 3. A turn that belongs to position p or later was written by somebody who had seen p claimed. So after reading one (Acquire), a participant
//!    that still finds `tail` (or `head`) at p looks at words that no protocol has written: corrupt.
//! 4. Every index is masked and positions wrap; no word in shared memory can lead outside of the slots, or to a panic.
//!
//! # Repair (`repair.rs`) of dead peer d, whose intent covers p
//! - R1 (put): `tail` ≤ p (Acquire): nobody claimed it. Else K1: the turn is not `free(p)`: it was published. Else a living peer's intent covers p: it
//!   either holds p and will publish, or lost the CAS and will move on; later. Else, the turn read once more, p's holder is dead: K2, CAS turn → `skipped(p)`.
//! - R2 (get): the mirror image with `head`; but if anybody's lease is of the very delivery (p, r) that the turn tells of, the dead one has lost its claim:
//!   done. Else, the turn read once more (R3), the holder's item goes back: CAS turn → `orphaned(p, r + 1)`, or, if it was `skipped(p)`, K3: → `free(p + capacity)`.
//!
//! A producer that is killed before P5 has put nothing, after it has put its item. A consumer that is killed before G5 has taken nothing.
//!
//! The ring is Vyukov's bounded MPMC queue (2010) with the announcement added. Unlike rings that publish in the order of their claims, a producer that loses
//! its processor between P3 and P5 holds up the consumers at its own position alone.

use super::intent::{Intent, Side};
use super::layout::{CLOSED, CLOSING, Control, PRESENT, Slot, free, is_before, is_free, published, skipped};
use crate::fault;
use crate::peer::{Entry, Peers};
use crate::relay::Relay;
use crate::sync::{AcqRel, Acquire, AtomicU64, Relaxed, Release, prefetch_for_write, spin_loop};
use bytemuck::Pod;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// How many sleepers a passed-on wake-up wakes: two, so that those who are needed are awake after as many wake-ups, one after the other, as their number has binary digits.
const FURTHER: u32 = 2;

/// Why nothing was claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The slot at the end that was looked at is not ready: full for a producer, empty for a consumer.
    NotReady,
    /// To a consumer: closed, and all positions are claimed; but an item is in another consumer's hands, and may come back.
    Ending,
    /// Closed; for a consumer: and no item is left, in a slot or in a consumer's hands.
    Closed,
    /// Invariant 3 does not hold.
    Corrupt,
}

/// Positions that belong to whoever claimed them.
pub(crate) struct Claim {
    pub(crate) first: u64,
    pub(crate) count: u64,
    /// How often the first item came back before.
    pub(crate) returns: u64,
}

impl Claim {
    #[inline]
    pub(super) fn positions(&self) -> impl Iterator<Item = u64> {
        let first = self.first;
        (0..self.count).map(move |n| first.wrapping_add(n))
    }
}

/// A view of a ring in memory that whoever made this keeps mapped.
pub(crate) struct Ring<'a, T> {
    pub(super) control: &'a Control,
    slots: NonNull<Slot<T>>,
    pub(super) capacity: u64,
    pub(super) peers: Peers<'a>,
    pub(super) me: usize,
    pub(super) mine: &'a Entry,
    _slots: PhantomData<&'a Slot<T>>,
}

// SAFETY: all shared words are atomics, and payloads pass between participants by the protocol alone.
unsafe impl<T: Pod> Send for Ring<'_, T> {}

impl<'a, T: Pod> Ring<'a, T> {
    /// # Safety
    /// `slots` points to `capacity` initialised slots, a power of two, which stay valid for `'a`. The caller holds entry `me`.
    pub(crate) unsafe fn new(
        control: &'a Control,
        slots: NonNull<Slot<T>>,
        capacity: u64,
        peers: Peers<'a>,
        me: usize,
    ) -> Self {
        Ring { control, slots, capacity, peers, me, mine: peers.entry(me), _slots: PhantomData }
    }

    #[inline]
    pub(super) fn slot(&self, position: u64) -> &Slot<T> {
        let index = (position & (self.capacity - 1)) as usize;
        // SAFETY: invariant 4: the mask keeps the index below the number of slots that `new` was promised.
        unsafe { self.slots.add(index).as_ref() }
    }

    #[inline]
    pub(super) fn announce(&self, intent: Intent) {
        self.mine.intent.store(intent.0, Release); // P2 and G2 pair with R1 and R2
    }

    // --- put ---------------------------------------------------------------------------------------------------

    /// Puts a value if there is room.
    #[inline]
    pub(crate) fn try_put(&self, value: T) -> Result<(), Refusal> {
        let claim = self.claim_free(1)?;
        self.publish(claim.first, value);
        Ok(())
    }

    /// P4 and P5, for a position that the caller holds.
    #[inline]
    pub(crate) fn publish(&self, p: u64, value: T) {
        let slot = self.slot(p);
        slot.value.write(value); // P4
        fault::point("put: written");
        slot.turn.store(published(p), Release); // P5 pairs with G1
        fault::point("put: published");
    }

    /// P1 to P3, for up to `wanted` positions.
    #[inline(always)] // for one position it is a tenth of what it is for several
    pub(crate) fn claim_free(&self, wanted: u64) -> Result<Claim, Refusal> {
        let tail = &self.control.tail.0;
        let mut announced = false;
        let refusal = loop {
            let p = tail.load(Relaxed);
            if p & CLOSED != 0 {
                break Refusal::Closed;
            }
            let turn = self.slot(p).turn.load(Acquire); // P1 pairs with G5 and K3
            if turn == free(p) {
                let count = self.count_ready(p, wanted, free);
                self.announce(Intent::new(Side::Put, p, count));
                announced = true;
                fault::point("put: announced");
                prefetch_for_write(self.slot(p));
                if tail.compare_exchange(p, p.wrapping_add(count), AcqRel, Relaxed).is_ok() {
                    fault::point("put: claimed");
                    return Ok(Claim { first: p, count, returns: 0 }); // P3
                }
            } else if tail.load(Relaxed) == p {
                // Invariant 3; a turn of an earlier position means that the slot is still in use.
                break if is_before(turn, free(p)) { Refusal::NotReady } else { Refusal::Corrupt };
            }
            spin_loop();
        };
        if announced {
            self.announce(Intent::NONE);
        }
        Err(refusal)
    }

    /// Whether a put would find room at this moment. Nothing is claimed: another producer may be faster.
    #[cfg(not(loom))]
    pub(crate) fn look_for_room(&self) -> Result<(), Refusal> {
        let tail = &self.control.tail.0;
        loop {
            let p = tail.load(Relaxed);
            let turn = self.slot(p).turn.load(Acquire);
            if p & CLOSED != 0 {
                return Err(Refusal::Closed);
            } else if turn == free(p) {
                return Ok(());
            } else if tail.load(Relaxed) == p {
                return Err(if is_before(turn, free(p)) { Refusal::NotReady } else { Refusal::Corrupt });
            }
            spin_loop();
        }
    }

    // --- get ---------------------------------------------------------------------------------------------------

    /// Claims one position without releasing it: G1 to G3.
    #[inline]
    pub(crate) fn try_claim(&self) -> Result<u64, Refusal> {
        self.claim_published(1).map(|claim| claim.first)
    }

    /// The item at a position that the caller holds.
    #[inline]
    pub(crate) fn read(&self, p: u64) -> T {
        self.slot(p).value.read()
    }

    /// Where the item at a position that the caller holds is.
    #[cfg(not(loom))]
    #[inline]
    pub(crate) fn item(&self, p: u64) -> *const T {
        self.slot(p).value.as_ptr()
    }

    /// G5: gives up a position that the caller holds; its item is gone.
    #[inline]
    pub(crate) fn release(&self, p: u64) {
        self.slot(p).turn.store(free(p.wrapping_add(self.capacity)), Release); // G5 pairs with P1
        fault::point("release: freed");
    }

    /// G1 to G3, for up to `wanted` positions.
    #[inline(always)] // as `claim_free`
    pub(super) fn claim_published(&self, wanted: u64) -> Result<Claim, Refusal> {
        // Read once: a get that overlaps the close may find nothing, and the next one finds the end. A second look where nothing is found costs a seventh of the speed.
        let signals = self.control.signals.0.orphans.load(Acquire); // pairs with O1 and C1
        if signals & PRESENT != 0
            && let Some(orphan) = self.adopt()
        {
            return Ok(orphan);
        }
        let head = &self.control.head.0;
        let mut announced = false;
        let refusal = loop {
            let p = head.load(Relaxed);
            let turn = self.slot(p).turn.load(Acquire); // G1 pairs with P5 and K2
            if turn == published(p) {
                let count = self.count_ready(p, wanted, published);
                self.announce(Intent::new(Side::Get, p, count));
                announced = true;
                fault::point("get: announced");
                if head.compare_exchange(p, p.wrapping_add(count), AcqRel, Relaxed).is_ok() {
                    fault::point("get: claimed");
                    return Ok(Claim { first: p, count, returns: 0 }); // G3
                }
            } else if turn == skipped(p) {
                self.announce(Intent::new(Side::Get, p, 1));
                announced = true;
                if head.compare_exchange(p, p.wrapping_add(1), AcqRel, Relaxed).is_ok() {
                    fault::point("get: skip claimed");
                    self.release_and_wake(p);
                    continue;
                }
            } else if head.load(Relaxed) == p {
                if is_before(published(p), turn) {
                    break Refusal::Corrupt; // invariant 3
                }
                // Not `tail`, which is the producers' line: to look at it for nothing would take it from them.
                break if signals & CLOSING == 0 { Refusal::NotReady } else { self.why_nothing_is_at(p) };
            }
            spin_loop();
        };
        if announced {
            self.announce(Intent::NONE);
        }
        Err(refusal)
    }

    /// Why the position at `head` is not published, when somebody has closed the ring or is about to.
    #[cold]
    fn why_nothing_is_at(&self, p: u64) -> Refusal {
        match self.control.tail.0.load(Acquire) {
            tail if tail != p | CLOSED => Refusal::NotReady,
            _ if self.is_drained() => Refusal::Closed,
            _ => Refusal::Ending,
        }
    }

    /// Whether no slot holds an item. Told at the end, when all positions are claimed: what still is in a consumer's hands may come back.
    #[cold]
    fn is_drained(&self) -> bool {
        (0..self.capacity).all(|index| is_free(self.slot(index).turn.load(Acquire)))
    }

    // --- state -------------------------------------------------------------------------------------------------

    /// Forbids further puts. Who dies after C1 has closed nothing.
    pub(crate) fn close(&self) {
        self.tell_of_closing(); // C1
        let tail = &self.control.tail.0;
        let mut seen = tail.load(Relaxed);
        while seen & CLOSED == 0 {
            match tail.compare_exchange(seen, seen | CLOSED, AcqRel, Relaxed) {
                Ok(_) => return, // C2
                Err(now) => seen = now,
            }
        }
    }

    /// Whether [`close`](Self::close) was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.control.tail.0.load(Acquire) & CLOSED != 0
    }

    /// How many positions are claimed by producers and not by consumers: advisory.
    pub(crate) fn len(&self) -> usize {
        let head = self.control.head.0.load(Acquire);
        let tail = self.control.tail.0.load(Acquire) & !CLOSED;
        tail.saturating_sub(head).min(self.capacity) as usize
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// Passes a wake-up on, after a consumer that had waited has claimed an item.
    ///
    /// Positions may be published out of order, so a sleeper may have been woken for an item behind one that was not ready, and gone to sleep again; and while it was on its way, other
    /// wake-ups were held back (`relay.rs`). So it wakes another one if the next item is ready, who also passes over what was skipped; and having taken the last one of a closed ring, for the end.
    ///
    /// One that never waited may take the item that this looks at, and passes nothing on: then this looks at the next one.
    pub(crate) fn wake_for_next_item(&self) {
        self.pass_on(self.items(), &self.control.head.0, |p| {
            let ended = self.control.tail.0.load(Acquire) == p | CLOSED;
            ended || [published(p), skipped(p)].contains(&self.slot(p).turn.load(Acquire))
        });
    }

    /// The same for producers and free slots.
    pub(crate) fn wake_for_next_space(&self) {
        self.pass_on(self.space(), &self.control.tail.0, |p| self.slot(p).turn.load(Acquire) == free(p));
    }

    /// Wakes further sleepers if what is at `end` is ready; looks again if `end` has moved meanwhile.
    fn pass_on(&self, sleepers: &Relay, end: &AtomicU64, is_ready: impl Fn(u64) -> bool) {
        loop {
            let p = end.load(Acquire);
            if is_ready(p) {
                return sleepers.wake(FURTHER);
            }
            if end.load(Acquire) == p {
                return;
            }
            spin_loop();
        }
    }

    /// Makes every sleeper look again.
    pub(crate) fn wake_all(&self) {
        self.items().wake_now(u32::MAX);
        self.space().wake_now(u32::MAX);
    }

    /// Where consumers sleep.
    #[inline]
    pub(crate) fn items(&self) -> &Relay {
        &self.control.signals.0.items
    }

    /// Where producers sleep.
    #[inline]
    pub(crate) fn space(&self) -> &Relay {
        &self.control.signals.0.space
    }
}

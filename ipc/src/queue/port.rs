//! One participant's working view of a ring: what each handle of a queue does, whatever segment its ring lies in.
//!
//! It tries, and what does not succeed waits; it looks for the dead when it is refused, refuses to work in a forked child, keeps the leases, and says in errors what the ring says in
//! [`Refusal`]s. It is no participant by itself: the handle that owns it holds the entry, and lets go of it after the port is dropped.

use super::leasing::{Delivery, Leased};
use super::ring::{Refusal, Ring};
use crate::error::{Error, GetError, PutBatchError, PutError};
use crate::fork::Epoch;
use crate::participant::Participant;
use crate::peer::{GETS, PUTS};
use crate::refusals::Refusals;
use crate::segment::Segment;
use crate::wait::{SLICE, Until, WaitWord};
use bytemuck::Pod;
use std::cell::Cell;

/// A ring as one participant uses it.
pub(crate) struct Port<T: Pod> {
    // Before `segment`: it points into what that keeps mapped.
    ring: Ring<'static, T>,
    segment: Segment,
    /// The segment's, which each call compares.
    epoch: Epoch,
    // Not shared between threads, for the cells.
    refusals: Refusals,
    leased: Leased,
    /// What this participant has said in its entry that it does.
    roles: Cell<u32>,
}

impl<T: Pod> Port<T> {
    /// A view of `ring`, which lies in `segment`. Whoever made the ring holds its entry there for as long as the port lives.
    pub(crate) fn new(ring: Ring<'static, T>, segment: Segment) -> Self {
        let epoch = segment.epoch();
        Port {
            ring,
            segment,
            epoch,
            refusals: Refusals::default(),
            leased: Leased::default(),
            roles: Cell::new(0),
        }
    }

    // --- put ---------------------------------------------------------------------------------------------------

    /// Puts a value if there is room now.
    #[inline]
    pub(crate) fn try_put(&self, value: T) -> Result<(), PutError<T>> {
        if !self.is_usable() {
            return Err(PutError::Forked(value));
        }
        self.play(PUTS);
        let put = || self.ring.put_and_wake(value);
        put().or_else(|refusal| self.after_a_look(refusal, put)).map_err(|refusal| put_error(refusal, value))
    }

    /// Puts a value, as soon as there is room.
    #[inline]
    pub(crate) fn put_until(&self, value: T, until: impl FnOnce() -> Until) -> Result<(), PutError<T>> {
        match self.try_put(value) {
            Err(PutError::Full(value)) => self.wait_and_put(value, until()),
            done => done,
        }
    }

    /// Returns if there is room for a value now, or as soon as there is. Nothing is claimed: another producer may take
    /// the room.
    pub(crate) fn await_room(&self, until: Option<Until>) -> Result<(), PutError<()>> {
        if !self.is_usable() {
            return Err(PutError::Forked(()));
        }
        self.play(PUTS);
        let look = || self.ring.look_for_room();
        let room = match (look(), until) {
            (Err(Refusal::NotReady), Some(until)) => self.ring.wait_for_room(&self.segment, until),
            (Err(refusal), None) => self.after_a_look(refusal, look),
            (outcome, _) => outcome,
        };
        room.map_err(|refusal| put_error(refusal, ()))
    }

    /// Puts as many of the values as there is room for now, in one claim; says how many.
    pub(crate) fn try_put_batch(&self, values: &[T]) -> Result<usize, PutError<()>> {
        if values.is_empty() {
            return Ok(0);
        }
        if !self.is_usable() {
            return Err(PutError::Forked(()));
        }
        self.play(PUTS);
        let put = || self.ring.put_batch_and_wake(values);
        put().or_else(|refusal| self.after_a_look(refusal, put)).map_err(|refusal| put_error(refusal, ()))
    }

    /// Puts all values in order, several to a claim, waiting for room as often as it takes.
    pub(crate) fn put_batch(&self, values: &[T]) -> Result<(), PutBatchError> {
        let mut put = 0;
        while put < values.len() {
            let step = match self.try_put_batch(&values[put..]) {
                Err(PutError::Full(())) => {
                    self.wait_and_put(values[put], Until::Forever).map(|()| 1).map_err(|e| refused(e, ()))
                }
                step => step,
            };
            put += step.map_err(|reason| PutBatchError { put, reason })?;
        }
        Ok(())
    }

    fn wait_and_put(&self, value: T, until: Until) -> Result<(), PutError<T>> {
        let outcome = self.ring.wait_and_put(&self.segment, value, until);
        outcome.map_err(|refusal| put_error(refusal, value))
    }

    // --- get ---------------------------------------------------------------------------------------------------

    /// Takes the next item if there is one now.
    #[inline]
    pub(crate) fn try_get(&self) -> Result<T, GetError> {
        let p = self.attempt_claim()?;
        Ok(self.take(p))
    }

    /// Takes the next item, as soon as there is one.
    #[inline]
    pub(crate) fn get_until(&self, until: impl FnOnce() -> Until) -> Result<T, GetError> {
        let p = match self.attempt_claim() {
            Err(GetError::Empty) => self.wait_for(until(), || self.ring.try_claim()),
            outcome => outcome,
        }?;
        Ok(self.take(p))
    }

    /// Takes the next item, as soon as there is one; `Alone`, if nobody is left who may put one.
    pub(crate) fn get_while_attached(&self) -> Result<T, GetError> {
        let mut got = self.try_get();
        while let Err(GetError::Empty) = got {
            if self.nobody_may_put() {
                // One that has left since, or is dead, may have put something before.
                return self.try_get().map_err(|e| if e == GetError::Empty { GetError::Alone } else { e });
            }
            got = self.get_until(|| Until::after(SLICE));
        }
        got
    }

    /// Takes up to `into.len()` items that are there now, in one claim; says how many.
    pub(crate) fn try_get_batch(&self, into: &mut [T]) -> Result<usize, GetError> {
        if into.is_empty() {
            return Ok(0);
        }
        self.check_epoch()?;
        self.play(GETS);
        let mut get = || self.ring.get_batch_and_wake(into);
        get().or_else(|refusal| self.after_a_look(refusal, get)).map_err(get_error)
    }

    /// The same, as soon as there is an item.
    pub(crate) fn get_batch(&self, into: &mut [T]) -> Result<usize, GetError> {
        match self.try_get_batch(into) {
            Err(GetError::Empty) => {
                into[0] = self.get_until(|| Until::Forever)?;
                Ok(1)
            }
            outcome => outcome,
        }
    }

    #[inline]
    fn attempt_claim(&self) -> Result<u64, GetError> {
        self.check_epoch()?;
        self.play(GETS);
        let claim = || self.ring.try_claim();
        claim().or_else(|refusal| self.after_a_look(refusal, claim)).map_err(get_error)
    }

    #[inline]
    fn take(&self, p: u64) -> T {
        let value = self.ring.read(p);
        self.ring.release_and_wake(p);
        value
    }

    fn wait_for<R>(&self, until: Until, claim: impl Fn() -> Result<R, Refusal>) -> Result<R, GetError> {
        self.ring.wait_and_claim(&self.segment, until, claim).map_err(get_error)
    }

    // --- lease -------------------------------------------------------------------------------------------------

    /// Leases the next item if there is one now. It is to be [acknowledged](Self::ack) or [given back](Self::nack), once.
    #[inline]
    pub(crate) fn try_lease(&self) -> Result<Delivery, GetError> {
        self.check_epoch()?;
        self.play(GETS);
        let word = self.vacant_lease()?;
        let lease = || self.ring.try_lease(&self.leased, word);
        lease().or_else(|refusal| self.after_a_look(refusal, lease)).map_err(get_error)
    }

    /// Leases the next item, as soon as there is one.
    #[inline]
    pub(crate) fn lease_until(&self, until: impl FnOnce() -> Until) -> Result<Delivery, GetError> {
        match self.try_lease() {
            Err(GetError::Empty) => {
                let word = self.vacant_lease()?;
                self.wait_for(until(), || self.ring.try_lease(&self.leased, word))
            }
            outcome => outcome,
        }
    }

    /// Where the item of a delivery is: nobody writes there until it is acknowledged or given back.
    #[inline]
    pub(crate) fn item(&self, delivery: Delivery) -> *const T {
        self.ring.item(delivery.position)
    }

    /// A leased item is done with, and gone. In a forked child nothing happens: the item is the parent's.
    #[inline]
    pub(crate) fn ack(&self, delivery: Delivery) {
        if self.is_usable() {
            self.ring.ack(&self.leased, delivery);
        }
    }

    /// A leased item goes to the next consumer. In a forked child nothing happens: the item is the parent's.
    pub(crate) fn nack(&self, delivery: Delivery) {
        if self.is_usable() {
            self.ring.nack(&self.leased, delivery);
        }
    }

    /// What is leased: once no lease can be in use any more, those that were forgotten.
    pub(crate) fn deliveries(&self) -> impl Iterator<Item = Delivery> + '_ {
        self.leased.deliveries()
    }

    #[inline]
    fn vacant_lease(&self) -> Result<usize, GetError> {
        self.leased.vacant().ok_or(GetError::TooManyLeases)
    }

    // --- state -------------------------------------------------------------------------------------------------

    /// Closes the ring and wakes everybody.
    pub(crate) fn close(&self) {
        if self.is_usable() {
            self.ring.close_and_wake();
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.ring.is_closed()
    }

    pub(crate) fn len(&self) -> usize {
        self.ring.len()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    /// Waits until everything that was put has been released; false when the time is over. Whoever releases wakes those who sleep on `joiners`.
    pub(crate) fn wait_until_done(&self, joiners: &WaitWord, until: Until) -> Result<bool, GetError> {
        self.check_epoch()?;
        Ok(self.ring.wait_until_done(joiners, &self.segment, until))
    }

    /// Wakes those who sleep on `joiners` if all is done, after something was acknowledged.
    #[inline]
    pub(crate) fn wake_joiners(&self, joiners: &WaitWord) {
        self.ring.wake_joiners(joiners);
    }

    /// Repairs for the dead that are found; says for how many.
    pub(crate) fn recover(&self) -> Result<usize, Error> {
        self.segment.check()?;
        Ok(self.ring.recover(&self.segment))
    }

    /// Who takes part.
    pub(crate) fn participants(&self) -> Result<Vec<Participant>, Error> {
        self.segment.participants(self.ring.peers, self.ring.me)
    }

    /// Whether every other participant is dead, or is known to get only. What cannot be told counts as attached.
    pub(crate) fn nobody_may_put(&self) -> bool {
        let may_put = |other: &Participant| !other.is_this && other.is_alive && (other.puts || !other.gets);
        self.participants().is_ok_and(|all| !all.iter().any(may_put))
    }

    /// Says what this participant does, the first time that it does it.
    #[inline]
    fn play(&self, role: u32) {
        if self.roles.get() & role == 0 {
            self.play_at_first(role);
        }
    }

    #[cold]
    fn play_at_first(&self, role: u32) {
        self.roles.set(self.roles.get() | role);
        self.ring.mine.play(role);
    }

    /// Whether this still is the process that made the handle: one load.
    #[inline]
    fn is_usable(&self) -> bool {
        self.epoch.is_current()
    }

    #[inline]
    fn check_epoch(&self) -> Result<(), GetError> {
        if self.is_usable() { Ok(()) } else { Err(GetError::Forked) }
    }

    /// One more attempt after one that was refused, if it was time to look for the dead. Whoever only tries, again and again, must notice a death too.
    #[cold]
    #[inline(never)]
    fn after_a_look<R>(
        &self,
        refusal: Refusal,
        attempt: impl FnOnce() -> Result<R, Refusal>,
    ) -> Result<R, Refusal> {
        let may_be_for_the_dead = matches!(refusal, Refusal::NotReady | Refusal::Ending);
        if may_be_for_the_dead && self.refusals.is_time_to_look() {
            self.ring.recover_holders(&self.segment);
            return attempt();
        }
        Err(refusal)
    }
}

impl<T: Pod> Drop for Port<T> {
    /// A lease that was forgotten, and so never dropped, ends here.
    fn drop(&mut self) {
        if self.is_usable() {
            self.leased.nack_all(&self.ring);
        }
    }
}

/// A producer's refusal as an error that hands the value back.
fn put_error<T>(refusal: Refusal, value: T) -> PutError<T> {
    match refusal {
        Refusal::NotReady | Refusal::Ending => PutError::Full(value),
        Refusal::Closed => PutError::Closed(value),
        Refusal::Corrupt => PutError::Corrupt(value),
    }
}

/// A consumer's refusal as an error.
fn get_error(refusal: Refusal) -> GetError {
    match refusal {
        Refusal::NotReady | Refusal::Ending => GetError::Empty,
        Refusal::Closed => GetError::Closed,
        Refusal::Corrupt => GetError::Corrupt,
    }
}

/// The same refusal about another value.
fn refused<T, U>(error: PutError<U>, value: T) -> PutError<T> {
    match error {
        PutError::Full(_) => PutError::Full(value),
        PutError::Closed(_) => PutError::Closed(value),
        PutError::Forked(_) => PutError::Forked(value),
        PutError::Corrupt(_) => PutError::Corrupt(value),
    }
}

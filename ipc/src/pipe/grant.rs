//! Grants: bytes of the ring that belong to one side for as long as it borrows them.
//!
//! These are the only references into shared memory that this crate hands out. They stand on the ring's invariants: what lies behind `tail`, up to a lap after
//! `head`, is the sender's until it publishes (S4); what lies between `head` and `tail` is the receiver's until it releases (R4); each role has one holder. A
//! peer that breaks the protocol and writes there all the same can change what is read, but not where.

use super::copy;
use super::held::Held;
use super::layout::record_bytes;
use super::ring::{ReceiveEnd, SendEnd};
use crate::error::SendError;
use std::ops::{Deref, DerefMut};

/// Room for a message, to be written in place; [`commit`](Self::commit) sends it, dropping it does not.
///
/// At first it holds whatever an earlier message left there.
///
/// ```
/// let (mut sender, mut receiver) = skep_ipc::pipe(4096)?;
/// let mut grant = sender.reserve(5)?;
/// grant.copy_from_slice(b"hello");
/// grant.commit()?;
/// let mut grant = sender.reserve(1000)?;
/// grant[..3].copy_from_slice(b"you");
/// grant.commit_len(3)?; // it turned out shorter
/// drop(sender.reserve(8)?); // never mind
/// assert_eq!(&*receiver.recv()?, b"hello");
/// assert_eq!(&*receiver.recv()?, b"you");
/// assert!(receiver.try_recv().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a grant that is not committed sends nothing"]
pub struct WriteGrant<'a> {
    end: &'a mut Held<SendEnd<'static>>,
    length: usize,
}

impl<'a> WriteGrant<'a> {
    /// `length` bytes have been reserved.
    #[inline]
    pub(crate) fn new(end: &'a mut Held<SendEnd<'static>>, length: usize) -> Self {
        WriteGrant { end, length }
    }

    /// Sends a copy of a message of the reserved length, right after it was reserved: this still is the process that did so.
    #[inline]
    pub(crate) fn send(self, message: &[u8]) {
        debug_assert_eq!(self.length, message.len());
        let payload = self.end.ring().payload(self.end.position());
        // SAFETY: so many bytes were reserved here, and are contiguous within the mappings (invariants 1, 2 and 4).
        unsafe { copy::into_shared(payload, message) };
        self.publish(message.len());
    }

    #[inline]
    fn publish(self, length: usize) {
        let at = self.end.position();
        let next = self.end.frame(at, length as u64);
        self.end.publish(next);
        self.end.ring().items().wake(1);
    }

    /// Sends the message.
    ///
    /// # Errors
    /// [`SendError::Forked`].
    #[inline]
    pub fn commit(self) -> Result<(), SendError> {
        let length = self.length;
        self.commit_len(length)
    }

    /// Sends the first `length` bytes as the message.
    ///
    /// # Errors
    /// [`SendError::TooLong`] if fewer were reserved; nothing is sent then. [`SendError::Forked`].
    #[inline]
    pub fn commit_len(self, length: usize) -> Result<(), SendError> {
        if length > self.length {
            return Err(SendError::TooLong { len: length, max: self.length });
        }
        if !self.end.is_own() {
            return Err(SendError::Forked);
        }
        self.publish(length);
        Ok(())
    }
}

impl Deref for WriteGrant<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let payload = self.end.ring().payload(self.end.position());
        // SAFETY: `length` bytes were reserved: by invariant 1 they are this sender's, by invariant 2 nobody else writes there, and the receiver
        // does not read there before they are published, which takes the grant. Contiguous and within the mappings by invariant 4, which the sender that
        // is borrowed keeps; memory from the kernel is initialised.
        unsafe { std::slice::from_raw_parts(payload.as_ptr(), self.length) }
    }
}

impl DerefMut for WriteGrant<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let payload = self.end.ring().payload(self.end.position());
        // SAFETY: as in `deref`; the grant, and with it the only way to these bytes in this process, is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(payload.as_ptr(), self.length) }
    }
}

impl std::fmt::Debug for WriteGrant<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteGrant").field("len", &self.length).finish_non_exhaustive()
    }
}

/// A received message, read in place; dropping it gives its bytes back to the sender.
///
/// If the process dies before that, the message is not taken: the role's next holder receives it.
pub struct ReadGrant<'a> {
    end: &'a mut Held<ReceiveEnd<'static>>,
    length: usize,
}

impl<'a> ReadGrant<'a> {
    /// `length` is the next message's.
    #[inline]
    pub(crate) fn new(end: &'a mut Held<ReceiveEnd<'static>>, length: usize) -> Self {
        ReadGrant { end, length }
    }

    /// Appends a copy to a vector, without a reference to the message.
    pub(crate) fn copy_to(&self, into: &mut Vec<u8>) {
        let payload = self.end.ring().payload(self.end.position());
        // SAFETY: the next message's bytes, behind a word of the ring, in a record of whole words, contiguous within the
        // mappings (invariants 1 and 4), which the receiver that is borrowed keeps.
        unsafe { copy::out_of_shared(payload, self.length, into) };
    }
}

impl Deref for ReadGrant<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let payload = self.end.ring().payload(self.end.position());
        // SAFETY: the next message's bytes: by invariant 1 they are this receiver's, by invariant 2 the sender does not write there before they are released,
        // which drops the grant. Contiguous and within the mappings by invariant 4, which the receiver that is borrowed keeps.
        unsafe { std::slice::from_raw_parts(payload.as_ptr(), self.length) }
    }
}

impl Drop for ReadGrant<'_> {
    #[inline]
    fn drop(&mut self) {
        // In a forked child the message is the parent's.
        if self.end.is_own() {
            let next = self.end.position().wrapping_add(record_bytes(self.length as u64));
            self.end.release(next);
            self.end.ring().space().wake(1);
        }
    }
}

impl std::fmt::Debug for ReadGrant<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadGrant").field("len", &self.length).finish_non_exhaustive()
    }
}

//! Batches: several messages with one publication, or one release.
//!
//! A message of its own takes a store to the word that tells the other side of it, a look whether that one sleeps, and a look at the fork guard. A batch does
//! these once. Its messages are references into shared memory for the reasons that `grant.rs` gives.

use super::copy;
use super::held::Held;
use super::layout::record_bytes;
use super::ring::{ReceiveEnd, Refusal, SendEnd};
use crate::error::SendError;

/// Messages that stand one behind the other and are not sent yet; dropping it sends none.
pub(crate) struct WriteBatch<'a> {
    end: &'a mut Held<SendEnd<'static>>,
    /// Where the next one goes.
    next: u64,
}

impl<'a> WriteBatch<'a> {
    pub(crate) fn new(end: &'a mut Held<SendEnd<'static>>) -> Self {
        let next = end.position();
        WriteBatch { end, next }
    }

    /// Adds a copy of a message, if there is room.
    #[inline]
    pub(crate) fn push(&mut self, message: &[u8]) -> Result<(), Refusal> {
        if message.len() as u64 > self.end.ring().longest() {
            return Err(Refusal::NotReady);
        }
        self.end.reserve_at(self.next, message.len() as u64)?;
        let payload = self.end.ring().payload(self.next);
        // SAFETY: so many bytes were reserved here, and are contiguous within the mappings (invariants 1, 2 and 4).
        unsafe { copy::into_shared(payload, message) };
        self.next = self.end.frame(self.next, message.len() as u64);
        Ok(())
    }

    /// Sends them all.
    pub(crate) fn send(self) -> Result<(), SendError> {
        if !self.end.is_own() {
            return Err(SendError::Forked);
        }
        self.end.publish(self.next);
        self.end.ring().items().wake(1);
        Ok(())
    }
}

/// Received messages, read in place one after the other; dropping it gives the bytes of those that it gave out back to the sender, in one step.
///
/// If the process dies before that, none of them is taken: the role's next holder receives them again. Until it is dropped, the sender has less room.
///
/// ```
/// let (mut sender, mut receiver) = skep_ipc::pipe(4096)?;
/// sender.send_batch(&["many", "short", "messages"])?;
/// let mut batch = receiver.recv_batch()?;
/// assert_eq!(batch.next_message(), Some(&b"many"[..]));
/// assert_eq!(batch.next_message(), Some(&b"short"[..]));
/// drop(batch);
/// assert_eq!(&*receiver.recv()?, b"messages");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ReadBatch<'a> {
    end: &'a mut Held<ReceiveEnd<'static>>,
    /// Where the next one is; what lies before is to be released.
    next: u64,
}

impl<'a> ReadBatch<'a> {
    #[inline]
    pub(crate) fn new(end: &'a mut Held<ReceiveEnd<'static>>) -> Self {
        let next = end.position();
        ReadBatch { end, next }
    }

    /// The next of the messages that were there when the batch began; `None` behind the last, and before one whose length is corrupt, of which the next
    /// call of the receiver tells.
    #[inline]
    pub fn next_message(&mut self) -> Option<&[u8]> {
        let length = self.end.seen(self.next).ok()?;
        let payload = self.end.ring().payload(self.next);
        self.next = self.next.wrapping_add(record_bytes(length));
        // SAFETY: a published message's bytes: this receiver's until it releases them, which drops the batch, and contiguous within the mappings
        // (invariants 1, 2 and 4).
        Some(unsafe { std::slice::from_raw_parts(payload.as_ptr(), length as usize) })
    }
}

impl Drop for ReadBatch<'_> {
    #[inline]
    fn drop(&mut self) {
        // In a forked child the messages are the parent's.
        if self.next != self.end.position() && self.end.is_own() {
            self.end.release(self.next);
            self.end.ring().space().wake(1);
        }
    }
}

impl std::fmt::Debug for ReadBatch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadBatch").finish_non_exhaustive()
    }
}

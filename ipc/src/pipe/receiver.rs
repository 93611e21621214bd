//! The handle of the process that receives.

use super::batch::ReadBatch;
use super::grant::ReadGrant;
use super::handle::Pipe;
use super::held::Held;
use super::ring::{ReceiveEnd, Refusal};
use super::role::Role;
use crate::error::{Error, RecvError};
use crate::refusals::Refusals;
use crate::wait::{self, Until};
use std::cell::Cell;
use std::time::Duration;

/// The receiving side of a [`Pipe`].
///
/// While the pipe is not empty, no operation makes a system call (but to wake a sender that sleeps), takes a lock or allocates.
///
/// # End of file
/// [`RecvError::Eof`] comes once the sender is gone, dropped or dead, and all that it sent was received. A sender that nobody has claimed yet, or that was
/// [detached](super::Sender::detach), is waited for. If the sender's role is claimed anew after the end of file, receiving works again.
///
/// # When the receiver dies
/// it has taken a message if its [`ReadGrant`] was dropped. If not, the role's next holder receives it.
///
/// A handle is for one thread at a time:
/// ```compile_fail
/// fn shared<T: Sync>() {}
/// shared::<skep_ipc::Receiver>();
/// ```
/// ```
/// fn sent<T: Send>() {}
/// sent::<skep_ipc::Receiver>();
/// ```
/// and holds one message at a time:
/// ```compile_fail
/// let (mut sender, mut receiver) = skep_ipc::pipe(4096).unwrap();
/// let first = receiver.recv().unwrap();
/// let second = receiver.recv().unwrap();
/// drop(first);
/// ```
pub struct Receiver {
    // Before `role`, which keeps the memory that it points into.
    end: Held<ReceiveEnd<'static>>,
    role: Role,
    /// Of calls that found the pipe empty.
    refusals: Refusals,
}

impl Receiver {
    pub(crate) fn new(role: Role) -> Result<Self, Error> {
        // SAFETY: the role keeps the memory, and the receiver keeps the role for longer than the end.
        let ring = unsafe { role.memory().ring() };
        let end = ReceiveEnd::new(ring).map_err(|_| Error::Corrupt)?;
        let end = Held::new(end, role.epoch());
        Ok(Receiver { end, role, refusals: Refusals::default() })
    }

    // --- receive -------------------------------------------------------------------------------------------------

    /// Receives the next message, as soon as there is one, to be read in place.
    ///
    /// # Errors
    /// [`RecvError::Eof`], [`RecvError::Forked`], [`RecvError::Corrupt`].
    #[inline]
    pub fn recv(&mut self) -> Result<ReadGrant<'_>, RecvError> {
        let length = self.next_until(|| Until::Forever)?;
        Ok(self.grant(length))
    }

    /// Receives the next message if there is one now.
    ///
    /// # Errors
    /// [`RecvError::Empty`], and as [`recv`](Self::recv).
    #[inline]
    pub fn try_recv(&mut self) -> Result<ReadGrant<'_>, RecvError> {
        match self.attempt() {
            Ok(length) => Ok(self.grant(length)),
            Err(RecvError::Empty) => {
                let length = self.explain_empty()?;
                Ok(self.grant(length))
            }
            Err(e) => Err(e),
        }
    }

    /// Receives the next message, if there is one before `timeout` is over.
    ///
    /// # Errors
    /// [`RecvError::Empty`], and as [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<ReadGrant<'_>, RecvError> {
        let length = self.next_until(|| Until::after(timeout))?;
        Ok(self.grant(length))
    }

    /// Receives the next message, as soon as there is one, into a buffer whose contents it replaces. Returns its length.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_into(&mut self, buffer: &mut Vec<u8>) -> Result<usize, RecvError> {
        let message = self.recv()?;
        buffer.clear();
        message.copy_to(buffer);
        Ok(buffer.len())
    }

    /// Receives the messages that are there, as soon as there is one, to be read in place and given back to the sender together.
    ///
    /// For short messages that takes fewer steps than one by one; but the sender gets no room back meanwhile, so drop a long batch now and then.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    #[inline]
    pub fn recv_batch(&mut self) -> Result<ReadBatch<'_>, RecvError> {
        self.next_until(|| Until::Forever)?;
        Ok(ReadBatch::new(&mut self.end))
    }

    /// Receives the messages that are there now, at least one.
    ///
    /// # Errors
    /// [`RecvError::Empty`], and as [`recv`](Self::recv).
    #[inline]
    pub fn try_recv_batch(&mut self) -> Result<ReadBatch<'_>, RecvError> {
        match self.attempt() {
            Ok(_) => {}
            Err(RecvError::Empty) => _ = self.explain_empty()?,
            Err(e) => return Err(e),
        }
        Ok(ReadBatch::new(&mut self.end))
    }

    #[inline]
    fn next_until(&mut self, until: impl FnOnce() -> Until) -> Result<u64, RecvError> {
        match self.attempt() {
            Err(RecvError::Empty) => self.wait_for_message(until()),
            outcome => outcome,
        }
    }

    #[inline]
    fn attempt(&mut self) -> Result<u64, RecvError> {
        if !self.end.is_own() {
            return Err(RecvError::Forked);
        }
        self.end.next().map_err(refused)
    }

    #[cold]
    fn wait_for_message(&mut self, until: Until) -> Result<u64, RecvError> {
        let Receiver { end, role, .. } = self;
        let (items, gone) = (end.ring().items(), Cell::new(false));
        let look = || match end.next() {
            Err(Refusal::NotReady) if gone.get() || role.other_has_left() => Some(last_look(end)),
            Err(Refusal::NotReady) => None,
            outcome => Some(outcome.map_err(refused)),
        };
        let check = || {
            gone.set(role.other_is_gone());
            true // the other side can die at any time, and a look costs one system call
        };
        wait::wait(items, until, look, check).unwrap_or(Err(RecvError::Empty))
    }

    #[inline]
    fn grant(&mut self, length: u64) -> ReadGrant<'_> {
        ReadGrant::new(&mut self.end, length as usize)
    }

    // --- state -------------------------------------------------------------------------------------------------

    /// The longest message, in bytes.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.end.ring().longest() as usize
    }

    /// Whether the sender is not gone: one lives, or none has come yet. A system call, unless it was dropped.
    ///
    /// True in a forked child, which cannot tell.
    pub fn is_connected(&self) -> bool {
        !self.role.other_is_gone()
    }

    /// Gives the role up, without disconnecting the sender: another process can claim it and go on with the next message.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn detach(self) -> Result<Pipe, Error> {
        Ok(Pipe::of(self.role.hand_on()?))
    }

    /// For a call that does not block: whether more may come. Whoever only tries, again and again, must notice a death too.
    #[cold]
    fn explain_empty(&mut self) -> Result<u64, RecvError> {
        let is_gone = if self.refusals.is_time_to_look() {
            self.role.other_is_gone()
        } else {
            self.role.other_has_left()
        };
        if is_gone { last_look(&mut self.end) } else { Err(RecvError::Empty) }
    }
}

/// The next message of a sender that was seen to be gone, or the end: it may have sent one between the look that found nothing and its going.
fn last_look(end: &mut ReceiveEnd<'static>) -> Result<u64, RecvError> {
    end.next().map_err(|refusal| match refusal {
        Refusal::NotReady => RecvError::Eof,
        Refusal::Corrupt => RecvError::Corrupt,
    })
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

fn refused(refusal: Refusal) -> RecvError {
    match refusal {
        Refusal::NotReady => RecvError::Empty,
        Refusal::Corrupt => RecvError::Corrupt,
    }
}

//! The handle of the process that sends.

use super::batch::WriteBatch;
use super::grant::WriteGrant;
use super::handle::Pipe;
use super::held::Held;
use super::ring::{Refusal, SendEnd};
use super::role::Role;
use crate::error::{Error, SendBatchError, SendError};
use crate::refusals::Refusals;
use crate::wait::{self, Until};
use std::cell::Cell;
use std::time::Duration;

/// The sending side of a [`Pipe`].
///
/// While the pipe is not full, no operation makes a system call (but to wake a receiver that sleeps), takes a lock or allocates.
///
/// # When the receiver goes
/// After it was dropped, every call gives [`SendError::Disconnected`]. After its process died, a call does so that finds the pipe full: at once if it
/// may block and had to sleep, within a tenth of a second if it already slept, and else at the first call after as long, counted from when the kernel has freed the dead
/// process's memory. Before, messages still go into the pipe;
/// [`is_connected`](Self::is_connected) looks without waiting for that. What was sent and not received stays in the pipe, and a receiver that claims the role
/// anew gets it; with the pipe's memory it is gone. Once the role is claimed anew, sending works again.
///
/// # When the sender goes
/// dropped or dead, the receiver gets what was sent and then end of file. A message is sent whole or not at all. [`detach`](Self::detach) gives the role up without
/// end of file.
///
/// A handle is for one thread at a time:
/// ```compile_fail
/// fn shared<T: Sync>() {}
/// shared::<skep_ipc::Sender>();
/// ```
/// ```
/// fn sent<T: Send>() {}
/// sent::<skep_ipc::Sender>();
/// ```
/// and has one message in the making at a time:
/// ```compile_fail
/// let (mut sender, _receiver) = skep_ipc::pipe(4096).unwrap();
/// let first = sender.reserve(1).unwrap();
/// let second = sender.reserve(1).unwrap();
/// first.commit();
/// ```
pub struct Sender {
    // Before `role`, which keeps the memory that it points into.
    end: Held<SendEnd<'static>>,
    role: Role,
    /// Of calls that found the pipe full.
    refusals: Refusals,
}

impl Sender {
    pub(crate) fn new(role: Role) -> Result<Self, Error> {
        // SAFETY: the role keeps the memory, and the sender keeps the role for longer than the end.
        let ring = unsafe { role.memory().ring() };
        let end = SendEnd::new(ring).map_err(|_| Error::Corrupt)?;
        let end = Held::new(end, role.epoch());
        Ok(Sender { end, role, refusals: Refusals::default() })
    }

    // --- copied messages -----------------------------------------------------------------------------------------

    /// Sends a message, as soon as there is room.
    ///
    /// # Errors
    /// [`SendError::TooLong`], [`SendError::Disconnected`], [`SendError::Forked`], [`SendError::Corrupt`].
    #[inline]
    pub fn send(&mut self, message: &[u8]) -> Result<(), SendError> {
        self.reserve(message.len())?.send(message);
        Ok(())
    }

    /// Sends a message if there is room now.
    ///
    /// # Errors
    /// [`SendError::Full`], and as [`send`](Self::send).
    #[inline]
    pub fn try_send(&mut self, message: &[u8]) -> Result<(), SendError> {
        self.try_reserve(message.len())?.send(message);
        Ok(())
    }

    /// Sends a message, if there is room before `timeout` is over.
    ///
    /// # Errors
    /// [`SendError::Full`], and as [`send`](Self::send).
    pub fn send_timeout(&mut self, message: &[u8], timeout: Duration) -> Result<(), SendError> {
        self.reserve_timeout(message.len(), timeout)?.send(message);
        Ok(())
    }

    /// Sends the messages in their order, and waits for room where there is none.
    ///
    /// As many as there is room for are sent together: the receiver, and who finds this process dead, sees all of them or none. For short messages that takes
    /// fewer steps than one by one; but the receiver sees the first of them only once the last is written.
    ///
    /// ```
    /// let (mut sender, mut receiver) = skep_ipc::pipe(4096)?;
    /// sender.send_batch(&["a", "b"])?;
    /// assert_eq!(&*receiver.recv()?, b"a");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Why not all were sent, as [`send`](Self::send), and how many were.
    pub fn send_batch<M: AsRef<[u8]>>(&mut self, messages: &[M]) -> Result<(), SendBatchError> {
        let mut sent = 0;
        while let Some(first) = messages.get(sent) {
            let step = self.reserve(first.as_ref().len()).map(drop);
            let step = step.and_then(|()| self.send_what_fits(&messages[sent..]));
            sent += step.map_err(|reason| SendBatchError { sent, reason })?;
        }
        Ok(())
    }

    /// Sends as many of the messages, from the first on, as there is room for now, together. Returns how many; none only for an empty slice.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send), if the first cannot be sent.
    pub fn try_send_batch<M: AsRef<[u8]>>(&mut self, messages: &[M]) -> Result<usize, SendError> {
        let Some(first) = messages.first() else { return Ok(0) };
        let _ = self.try_reserve(first.as_ref().len())?;
        self.send_what_fits(messages)
    }

    fn send_what_fits<M: AsRef<[u8]>>(&mut self, messages: &[M]) -> Result<usize, SendError> {
        let mut batch = WriteBatch::new(&mut self.end);
        let refused = messages.iter().position(|message| batch.push(message.as_ref()).is_err());
        batch.send()?;
        Ok(refused.unwrap_or(messages.len()))
    }

    // --- messages written in place ---------------------------------------------------------------------------------

    /// Reserves room for a message of up to `length` bytes, as soon as there is some.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[inline]
    pub fn reserve(&mut self, length: usize) -> Result<WriteGrant<'_>, SendError> {
        self.reserve_until(length, || Until::Forever)
    }

    /// Reserves room for a message of up to `length` bytes if there is some now.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send).
    #[inline]
    pub fn try_reserve(&mut self, length: usize) -> Result<WriteGrant<'_>, SendError> {
        match self.attempt(length) {
            Ok(()) => Ok(self.grant(length)),
            Err(SendError::Full) => Err(self.explain_full()),
            Err(e) => Err(e),
        }
    }

    /// Reserves room for a message of up to `length` bytes, if there is some before `timeout` is over.
    ///
    /// # Errors
    /// As [`send_timeout`](Self::send_timeout).
    pub fn reserve_timeout(&mut self, length: usize, timeout: Duration) -> Result<WriteGrant<'_>, SendError> {
        self.reserve_until(length, || Until::after(timeout))
    }

    #[inline]
    fn reserve_until(
        &mut self,
        length: usize,
        until: impl FnOnce() -> Until,
    ) -> Result<WriteGrant<'_>, SendError> {
        match self.attempt(length) {
            Ok(()) => {}
            Err(SendError::Full) => self.wait_for_room(length, until())?,
            Err(e) => return Err(e),
        }
        Ok(self.grant(length))
    }

    #[inline]
    fn attempt(&mut self, length: usize) -> Result<(), SendError> {
        if !self.end.is_own() {
            return Err(SendError::Forked);
        }
        if length > self.capacity() {
            return Err(SendError::TooLong { len: length, max: self.capacity() });
        }
        if self.role.other_has_left() {
            return Err(SendError::Disconnected);
        }
        self.end.reserve(length as u64).map_err(refused)
    }

    #[cold]
    fn wait_for_room(&mut self, length: usize, until: Until) -> Result<(), SendError> {
        let Sender { end, role, .. } = self;
        let (space, gone) = (end.ring().space(), Cell::new(false));
        let look = || match end.reserve(length as u64) {
            // Room does not come any more: only a receiver makes some.
            Err(Refusal::NotReady) if gone.get() || role.other_has_left() => {
                Some(Err(SendError::Disconnected))
            }
            Err(Refusal::NotReady) => None,
            outcome => Some(outcome.map_err(refused)),
        };
        let check = || {
            gone.set(role.other_is_gone());
            true // the other side can die at any time, and a look costs one system call
        };
        wait::wait(space, until, look, check).unwrap_or(Err(SendError::Full))
    }

    #[inline]
    fn grant(&mut self, length: usize) -> WriteGrant<'_> {
        WriteGrant::new(&mut self.end, length)
    }

    // --- state -------------------------------------------------------------------------------------------------

    /// The longest message, in bytes.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.end.ring().longest() as usize
    }

    /// Whether the receiver is not gone: one lives, or none has come yet. A system call, unless it was dropped.
    ///
    /// True in a forked child, which cannot tell.
    pub fn is_connected(&self) -> bool {
        !self.role.other_is_gone()
    }

    /// Undoes the claim of the role, which nobody has noticed.
    pub(super) fn give_back(self) -> Result<(), Error> {
        self.role.give_back()
    }

    /// Gives the role up, without end of file for the receiver: another process can claim it and go on.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn detach(self) -> Result<Pipe, Error> {
        Ok(Pipe::of(self.role.hand_on()?))
    }

    /// For a call that does not block: whether there may be room later. Whoever only tries, again and again, must notice a death too.
    #[cold]
    fn explain_full(&self) -> SendError {
        let is_gone = self.refusals.is_time_to_look() && !self.is_connected();
        if is_gone { SendError::Disconnected } else { SendError::Full }
    }
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

fn refused(refusal: Refusal) -> SendError {
    match refusal {
        Refusal::NotReady => SendError::Full,
        Refusal::Corrupt => SendError::Corrupt,
    }
}

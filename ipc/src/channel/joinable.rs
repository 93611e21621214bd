//! `JoinableQueue`: a queue that knows when the work on its values is done.

use super::lease::ValueLease;
use super::queue::Queue;
use crate::arena::{RecvValueError, SendValueError};
use crate::error::Error;
use crate::message::Message;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// A [`Queue`] whose values are work: each is to be [done](Work::task_done), and [`join`](Self::join) waits until all are.
///
/// Nothing is counted: a value is undone as long as it is in the queue or leased. So a worker that dies, or drops its [`Work`], has not done it, and another one gets it; `join` never waits
/// for the dead, where Python's does for ever.
///
/// ```
/// use skep_ipc::JoinableQueue;
/// let mut work = JoinableQueue::<u32>::new(4)?;
/// work.put(7).unwrap();
/// let seven = work.get().unwrap();
/// assert!(!work.join_timeout(std::time::Duration::ZERO).unwrap());
/// seven.task_done().unwrap();
/// work.join().unwrap();
/// # Ok::<(), skep_ipc::Error>(())
/// ```
#[derive(Debug)]
pub struct JoinableQueue<T>(Queue<T>);

/// A value that is being worked on.
pub type Work<'a, T> = ValueLease<'a, T>;

impl<T> ValueLease<'_, T> {
    /// The work is done: [`ack`](Self::ack), under the name that a [`JoinableQueue`] has for it.
    ///
    /// # Errors
    /// As there.
    pub fn task_done(self) -> Result<T, RecvValueError> {
        self.ack()
    }
}

impl<T: Message> JoinableQueue<T> {
    /// See [`Queue::new`].
    ///
    /// # Errors
    /// As there.
    pub fn new(capacity: usize) -> Result<Self, Error> {
        Queue::new(capacity).map(JoinableQueue)
    }

    /// Makes any queue a joinable one: its participants need not agree on this, if all take values by leases.
    pub fn from_queue(queue: Queue<T>) -> Self {
        JoinableQueue(queue)
    }

    /// Makes another participant.
    ///
    /// # Errors
    /// See [`Queue::try_clone`].
    pub fn try_clone(&self) -> Result<Self, Error> {
        self.0.try_clone().map(JoinableQueue)
    }

    /// Puts a value, as soon as there is room.
    ///
    /// # Errors
    /// See [`Queue::put`].
    pub fn put(&mut self, value: T) -> Result<(), SendValueError<T>> {
        self.0.put(value)
    }

    /// The next value, as soon as there is one, to be worked on. A handle works on up to eight at a time.
    ///
    /// # Errors
    /// See [`Queue::lease`].
    pub fn get(&self) -> Result<Work<'_, T>, RecvValueError> {
        self.0.lease()
    }

    /// The next value if there is one now.
    ///
    /// # Errors
    /// See [`Queue::try_lease`].
    pub fn try_get(&self) -> Result<Work<'_, T>, RecvValueError> {
        self.0.try_lease()
    }

    /// The next value, if there is one before `timeout` is over.
    ///
    /// # Errors
    /// See [`Queue::lease_timeout`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<Work<'_, T>, RecvValueError> {
        self.0.lease_timeout(timeout)
    }

    /// Waits until the work on every value that was put is done.
    ///
    /// # Errors
    /// [`RecvValueError::Forked`].
    pub fn join(&self) -> Result<(), RecvValueError> {
        self.0.join_all(None).map(drop)
    }

    /// The same for up to `timeout`; says whether it is.
    ///
    /// # Errors
    /// [`RecvValueError::Forked`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, RecvValueError> {
        self.0.join_all(Some(timeout))
    }
}

impl<T> Deref for JoinableQueue<T> {
    type Target = Queue<T>;

    fn deref(&self) -> &Queue<T> {
        &self.0
    }
}

impl<T> DerefMut for JoinableQueue<T> {
    fn deref_mut(&mut self) -> &mut Queue<T> {
        &mut self.0
    }
}

//! The handle of a queue: one participant of a ring in a segment.

use super::layout::{self, Control};
use super::options::QueueOptions;
use super::port::Port;
use super::ring::Ring;
use crate::error::{Error, GetError, PutBatchError, PutError};
use crate::header::{Blueprint, Item, Kind};
use crate::participant::Participant;
use crate::segment::{Member, Segment};
use crate::wait::Until;
use bytemuck::Pod;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// A bounded first-in-first-out queue of plain values between any number of processes (and threads).
///
/// A handle is one participant: it puts and gets. It can be sent to another thread, not shared between threads; each thread and process has its
/// own, by [`try_clone`](Self::try_clone), [`open`](Self::open) or [`from_fd`](Self::from_fd), up to the number given at creation (128 by default).
/// While the queue is neither full nor empty, no operation makes a system call, takes a lock or allocates.
///
/// # Order
/// Items come out in the order in which their places were claimed: first in, first out for each producer, and for all of them together. An item
/// that comes back (below) goes before the others. What a producer wrote before `put` is visible to whoever got the item.
///
/// # Blocking
/// `put` and `get` look for a while, then sleep. A producer that is *stopped* between its claim and its
/// publication, while it copies an item or a batch, holds up the consumers in its place until it goes on,
/// and what lies behind. A consumer that is stopped with an item in its hands (in `get`, in `get_with`, with
/// a lease) holds up the producers once they have come round to its place, and those who wait for the end
/// of a closed queue. One that is *killed* there holds
/// up nobody: participants that wait notice it within a tenth of a second, and repair; those that have slept
/// for long on an idle queue, within two seconds. Who only tries notices it at the first try after that
/// tenth. The time begins when the kernel has freed the dead process's memory.
///
/// # When a participant dies
/// at any instruction, of whatever cause, the others go on. A producer killed inside `put` has put its item or has not. A consumer killed inside
/// `get` has taken its item or has not: then another one gets it. Its place among the participants becomes free again.
/// What a killed consumer had [leased](Self::lease) goes to others.
///
/// # Capacity
/// is rounded up to a power of two.
///
/// The ring is Vyukov's bounded MPMC queue with announced claims; see the notes at the head of `queue/ring.rs`.
///
/// ```
/// use skep_ipc::SimpleQueue;
/// let mut squares = SimpleQueue::<u64>::new(16)?;
/// let mut producer = squares.try_clone()?;
/// let thread = std::thread::spawn(move || {
///     (1..=3).for_each(|n| producer.put(n * n).expect("not closed"));
///     producer.close();
/// });
/// let mut got = vec![];
/// while let Ok(n) = squares.get() {
///     got.push(n);
/// }
/// assert_eq!(got, [1, 4, 9]);
/// # thread.join().unwrap();
/// # Ok::<(), skep_ipc::Error>(())
/// ```
///
/// Handles are not shared between threads:
/// ```compile_fail
/// fn shared<T: Sync>() {}
/// shared::<skep_ipc::SimpleQueue<u64>>();
/// ```
/// and items are plain values:
/// ```compile_fail
/// skep_ipc::SimpleQueue::<String>::new(16);
/// ```
pub struct SimpleQueue<T: Pod> {
    // Before `member`: what it still has leased goes back before the entry does.
    pub(super) port: Port<T>,
    member: Member,
}

impl<T: Pod> SimpleQueue<T> {
    /// Makes an anonymous queue of at least `capacity` slots, for up to 128 participants.
    ///
    /// # Errors
    /// [`Error::Capacity`], [`Error::NoMemory`], [`Error::Os`].
    pub fn new(capacity: usize) -> Result<Self, Error> {
        QueueOptions::new(capacity).anonymous()
    }

    /// Makes a named queue of at least `capacity` slots, for up to 128 participants.
    ///
    /// # Errors
    /// See [`QueueOptions::create`].
    pub fn create(name: &str, capacity: usize) -> Result<Self, Error> {
        QueueOptions::new(capacity).create(name)
    }

    /// Joins the queue of that name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Mismatch`] (it holds something else), [`Error::TooManyPeers`], [`Error::Os`].
    pub fn open(name: &str) -> Result<Self, Error> {
        SimpleQueue::join(Segment::open(name, &blueprint::<T>())?)
    }

    /// Joins the queue behind a descriptor that another process passed on ([`AsFd`]).
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::TooManyPeers`], [`Error::Os`].
    pub fn from_fd(file: OwnedFd) -> Result<Self, Error> {
        SimpleQueue::join(Segment::from_fd(file, &blueprint::<T>())?)
    }

    /// Removes a queue's name. Its participants go on; the memory is freed with the last of them.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Name`], [`Error::Os`].
    pub fn unlink(name: &str) -> Result<(), Error> {
        Segment::unlink(name)
    }

    /// Makes another participant.
    ///
    /// # Errors
    /// [`Error::TooManyPeers`], [`Error::Forked`], [`Error::Os`].
    pub fn try_clone(&self) -> Result<Self, Error> {
        SimpleQueue::join(self.member.segment().clone())
    }

    /// Joins the queue in a segment that was checked against the blueprint.
    pub(crate) fn join(segment: Segment) -> Result<Self, Error> {
        let ring = |me| {
            let body = segment.body();
            let slots = layout::slots_offset::<T>();
            // SAFETY: the blueprint's `body_len` has room for the control words and `capacity` slots, all initialised before the segment was
            // published; they stay mapped as long as the segment, which the port keeps; the member beside it holds the entry.
            unsafe {
                let control: &'static Control = body.cast().as_ref();
                Ring::new(control, body.byte_add(slots).cast(), segment.capacity(), segment.kept_peers(), me)
            }
        };
        // Room may be the dead's: whoever joins with nothing vacant left repairs.
        let member = segment.join(|peer| ring(peer).repair(peer, &segment))?;
        let ring = ring(member.peer());
        Ok(SimpleQueue { port: Port::new(ring, segment), member })
    }

    // --- put ---------------------------------------------------------------------------------------------------

    /// Puts a value, as soon as there is room.
    ///
    /// # Errors
    /// [`PutError::Closed`], [`PutError::Forked`], [`PutError::Corrupt`]; the value comes back.
    #[inline]
    pub fn put(&mut self, value: T) -> Result<(), PutError<T>> {
        self.port.put_until(value, || Until::Forever)
    }

    /// Puts a value if there is room now.
    ///
    /// # Errors
    /// [`PutError::Full`], and as [`put`](Self::put); the value comes back.
    #[inline]
    pub fn try_put(&mut self, value: T) -> Result<(), PutError<T>> {
        self.port.try_put(value)
    }

    /// Puts a value, if there is room before `timeout` is over.
    ///
    /// # Errors
    /// [`PutError::Full`], and as [`put`](Self::put); the value comes back.
    pub fn put_timeout(&mut self, value: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.port.put_until(value, || Until::after(timeout))
    }

    /// Puts all values in order, several to a claim, waiting for room as often as it takes. Other producers' items may come in between.
    ///
    /// # Errors
    /// [`PutBatchError`], which says how many were put before the queue was closed, or the like.
    pub fn put_batch(&mut self, values: &[T]) -> Result<(), PutBatchError> {
        self.port.put_batch(values)
    }

    /// Puts as many of the values, from the first on, as there is room for now, in one claim. Returns how many; none only for an empty slice.
    ///
    /// # Errors
    /// [`PutError::Full`] if there is room for none, and as [`put`](Self::put).
    pub fn try_put_batch(&mut self, values: &[T]) -> Result<usize, PutError<()>> {
        self.port.try_put_batch(values)
    }

    // --- get ---------------------------------------------------------------------------------------------------

    /// Takes the next item, as soon as there is one.
    ///
    /// # Errors
    /// [`GetError::Closed`] (and drained), [`GetError::Forked`], [`GetError::Corrupt`].
    #[inline]
    pub fn get(&mut self) -> Result<T, GetError> {
        self.port.get_until(|| Until::Forever)
    }

    /// Takes the next item, as soon as there is one, or ends when nobody is left who could put one.
    ///
    /// That is so when each other participant is dead, or has left, or is known to get only: it has got or tried to, and never put. One
    /// that has done neither may become a producer, and is waited for. So a consumer that comes before all producers
    /// is alone; [`get`](Self::get) waits for them.
    ///
    /// ```
    /// use skep_ipc::{GetError, SimpleQueue};
    /// let mut queue = SimpleQueue::<u64>::new(16)?;
    /// let mut producer = queue.try_clone()?; // in another process
    /// producer.put(7)?;
    /// drop(producer); // or killed: nobody has closed the queue
    /// assert_eq!(queue.get_while_attached(), Ok(7));
    /// assert_eq!(queue.get_while_attached(), Err(GetError::Alone));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`GetError::Alone`], and as [`get`](Self::get). A death is noticed within a tenth of a second and what the kernel takes to free
    /// the dead process's memory.
    pub fn get_while_attached(&mut self) -> Result<T, GetError> {
        self.port.get_while_attached()
    }

    /// Takes the next item if there is one now.
    ///
    /// # Errors
    /// [`GetError::Empty`], and as [`get`](Self::get).
    #[inline]
    pub fn try_get(&mut self) -> Result<T, GetError> {
        self.port.try_get()
    }

    /// Takes the next item, if there is one before `timeout` is over.
    ///
    /// # Errors
    /// [`GetError::Empty`], and as [`get`](Self::get).
    pub fn get_timeout(&mut self, timeout: Duration) -> Result<T, GetError> {
        self.port.get_until(|| Until::after(timeout))
    }

    /// Takes between one item and `into.len()`, those that are there, in one claim, as soon as there is one. Returns how many;
    /// none only for an empty slice.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_batch(&mut self, into: &mut [T]) -> Result<usize, GetError> {
        self.port.get_batch(into)
    }

    /// Takes up to `into.len()` items that are there now, in one claim. Returns how many; none only for an empty slice.
    ///
    /// # Errors
    /// [`GetError::Empty`], and as [`get`](Self::get).
    pub fn try_get_batch(&mut self, into: &mut [T]) -> Result<usize, GetError> {
        self.port.try_get_batch(into)
    }

    // --- state -------------------------------------------------------------------------------------------------

    /// Closes the queue for all participants: nothing can be put any more, what was put can still be got. Wakes everybody.
    pub fn close(&self) {
        self.port.close();
    }

    /// Whether the queue was closed.
    pub fn is_closed(&self) -> bool {
        self.port.is_closed()
    }

    /// How many items are in the queue: out of date as soon as it is known while others put and get.
    pub fn len(&self) -> usize {
        self.port.len()
    }

    /// Whether the queue is empty; as [`len`](Self::len).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many slots it has.
    pub fn capacity(&self) -> usize {
        self.port.capacity()
    }

    /// Lists who takes part, this handle too.
    ///
    /// Asks the kernel about each.
    ///
    /// # Errors
    /// [`Error::Forked`], [`Error::DescriptorLost`].
    pub fn participants(&self) -> Result<Vec<Participant>, Error> {
        self.port.participants()
    }

    /// Looks for dead participants now, finishes or undoes what they were doing, and frees their places. Returns for how many.
    ///
    /// Calls that block do this by themselves; whoever learns of a death by other means can make it happen at once.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn recover(&mut self) -> Result<usize, Error> {
        self.port.recover()
    }
}

impl<T: Pod> AsFd for SimpleQueue<T> {
    /// The descriptor to pass to another process, which joins with [`from_fd`](SimpleQueue::from_fd).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.member.segment().as_fd()
    }
}

impl<T: Pod> std::fmt::Debug for SimpleQueue<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimpleQueue")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// What a program expects of a segment that holds a queue of `T`.
pub(crate) fn blueprint<T: Pod>() -> Blueprint {
    Blueprint { kind: Kind::new(*b"queue\0\0\0"), item: Item::of::<T>(), body_len: layout::body_len::<T> }
}

/// Fills the body of a new queue.
pub(crate) fn init<T: Pod>(body: std::ptr::NonNull<u8>, capacity: u64) -> Result<(), Error> {
    // SAFETY: called by `Segment::build_*` with the zeroed body of this capacity's length, before the segment is published.
    unsafe { layout::init::<T>(body, capacity) };
    Ok(())
}

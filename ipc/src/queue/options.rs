//! How a queue is made.

use super::handle::{SimpleQueue, blueprint, init};
use crate::error::Error;
use crate::header::{Blueprint, Item};
use crate::segment::{Segment, agree, open_or_create};
use bytemuck::Pod;

/// How a queue is made, where [`SimpleQueue::new`] does not say enough.
///
/// ```
/// use skep_ipc::QueueOptions;
/// let mut queue = QueueOptions::new(1000).peers(2).anonymous::<u32>()?;
/// assert_eq!(queue.capacity(), 1024);
/// queue.put(7).unwrap();
/// # Ok::<(), skep_ipc::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct QueueOptions {
    pub(crate) capacity: usize,
    pub(crate) peers: usize,
    pub(crate) type_name: Option<&'static str>,
}

impl QueueOptions {
    /// A queue of at least `capacity` slots and 128 participants.
    pub fn new(capacity: usize) -> Self {
        QueueOptions { capacity, peers: 128, type_name: None }
    }

    /// How many participants there may be at a time, over all processes.
    pub fn peers(self, peers: usize) -> Self {
        QueueOptions { peers, ..self }
    }

    /// What the items' type is called: programs that share a queue must agree on it. Without this it is what the compiler calls
    /// the type, path and crate, which differs between crates and may differ between compilers.
    ///
    /// ```
    /// use skep_ipc::{Arena, Queue, QueueOptions};
    /// let arena = Arena::new(1 << 20)?;
    /// let jobs = QueueOptions::new(16).type_name("job, second form").create_values_in::<(u32, String)>(&arena, "jobs")?;
    /// let error = Queue::<(u32, String)>::open_in(&arena, "jobs").unwrap_err(); // under the compiler's name
    /// assert!(error.to_string().contains("job, second form"));
    /// # Ok::<(), skep_ipc::Error>(())
    /// ```
    pub fn type_name(self, name: &'static str) -> Self {
        QueueOptions { type_name: Some(name), ..self }
    }

    /// Makes an anonymous queue, which lives as long as somebody has it.
    ///
    /// # Errors
    /// [`Error::Capacity`], [`Error::Peers`], [`Error::NoMemory`], [`Error::Os`].
    pub fn anonymous<T: Pod>(self) -> Result<SimpleQueue<T>, Error> {
        self.build(None)
    }

    /// Makes a named queue, which stays until it is [unlinked](SimpleQueue::unlink).
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Name`], and as [`anonymous`](Self::anonymous).
    pub fn create<T: Pod>(self, name: &str) -> Result<SimpleQueue<T>, Error> {
        self.build(Some(name))
    }

    fn build<T: Pod>(self, name: Option<&str>) -> Result<SimpleQueue<T>, Error> {
        let slots = self.slots()?;
        let init = |body| init::<T>(body, slots);
        Segment::build(name, &self.blueprint::<T>(), (slots, self.peers), init, SimpleQueue::join)
    }

    /// Opens the queue of that name. Of the options the type's name counts alone.
    ///
    /// # Errors
    /// As [`SimpleQueue::open`].
    pub fn open<T: Pod>(self, name: &str) -> Result<SimpleQueue<T>, Error> {
        SimpleQueue::join(Segment::open(name, &self.blueprint::<T>())?)
    }

    fn blueprint<T: Pod>(self) -> Blueprint {
        let blueprint = blueprint::<T>();
        let item = self.type_name.map_or(blueprint.item, Item::named::<T>);
        Blueprint { item, ..blueprint }
    }

    /// Opens the queue of that name, or makes it with these options if there is none.
    ///
    /// # Errors
    /// [`Mismatch::Option`] if there is one with another number of slots or participants:
    /// [`SimpleQueue::open`] takes it as it is. Other errors are those of [`create`](Self::create) and
    /// [`SimpleQueue::open`].
    ///
    /// [`Mismatch::Option`]: crate::Mismatch::Option
    pub fn open_or_create<T: Pod>(self, name: &str) -> Result<SimpleQueue<T>, Error> {
        let slots = self.slots()?;
        let open = || {
            let segment = Segment::open(name, &self.blueprint::<T>())?;
            agree("number of slots", segment.capacity(), slots)?;
            segment.agree_on_peers(self.peers)?;
            SimpleQueue::join(segment)
        };
        open_or_create(open, || self.create(name))
    }

    pub(crate) fn slots(self) -> Result<u64, Error> {
        let max = 1 << 62;
        let rounded = self.capacity.checked_next_power_of_two().filter(|_| self.capacity > 0);
        rounded.map(|c| c as u64).ok_or(Error::Capacity { capacity: self.capacity, max })
    }
}

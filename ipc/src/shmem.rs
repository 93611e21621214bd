//! A queue in memory that the [`shared_memory`](https://docs.rs/shared_memory/0.12) crate made.
//!
//! The queue takes over the mapping, and opens the file behind it once more by its name: the locks that tell who lives need a descriptor.
//! What that crate does not give stays missing: the file is not sealed, so a program that shrinks it makes the others crash on their next
//! access; and its name is gone as soon as the `Shmem` that created it is dropped, after which nobody new can join.

use crate::error::{Error, Mismatch};
use crate::fork::Epoch;
use crate::header::Geometry;
use crate::mapping::Mapping;
use crate::memory;
use crate::queue::handle;
use crate::queue::{QueueOptions, SimpleQueue};
use crate::segment::{self, Segment};
use crate::sys;
use bytemuck::Pod;
use shared_memory::Shmem;
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Keeps a caller's mapping.
struct Keeper {
    shmem: ManuallyDrop<Shmem>,
    epoch: Epoch,
    /// Set where the name has become another one's: it stays, even if `shmem` is its owner.
    name_stays: Arc<AtomicBool>,
}

// SAFETY: what makes `Shmem` stay in its thread is the pointer in it. Here it is never looked at again until it is dropped, and unmapping,
// closing and unlinking may be done by any thread.
unsafe impl Send for Keeper {}
// SAFETY: nothing is done through a shared reference.
unsafe impl Sync for Keeper {}

impl Drop for Keeper {
    fn drop(&mut self) {
        // A forked child's copy must not remove the name, which is the parent's.
        if self.epoch.is_current() {
            if self.name_stays.load(Relaxed) {
                self.shmem.set_owner(false);
            }
            // SAFETY: dropped once, here, and not used again.
            unsafe { ManuallyDrop::drop(&mut self.shmem) };
        }
    }
}

/// A caller's memory as a mapping, the file behind it, and its name.
struct Adopted {
    map: Mapping,
    file: OwnedFd,
    bytes: u64,
    name: String,
    name_stays: Arc<AtomicBool>,
}

impl Adopted {
    /// Opens the file by its name, and checks that it is what `shmem` has mapped.
    fn new(shmem: Shmem) -> Result<Self, Error> {
        let name = shmem.get_os_id().trim_start_matches('/').to_owned();
        let renamed = || Mismatch::Renamed { name: name.clone() };
        let file = match sys::open_named(&name) {
            Err(Error::NotFound { .. }) => return Err(renamed().into()),
            opened => opened?,
        };
        let facts = sys::file_facts(&file)?;
        segment::check_file(&facts)?;
        let base = NonNull::new(shmem.as_ptr()).ok_or_else(renamed)?;
        if sys::mapped_file(base)? != Some(facts.identity) {
            return Err(renamed().into());
        }
        let bytes = facts.bytes.min(shmem.len() as u64);
        let name_stays = Arc::new(AtomicBool::new(false));
        let keeper = Keeper {
            shmem: ManuallyDrop::new(shmem),
            epoch: Epoch::current()?,
            name_stays: name_stays.clone(),
        };
        // SAFETY: `Shmem` maps `len` bytes of its file, from the first on, for reading and writing, until it is dropped; so the address is
        // page aligned. The file has at least a page, as just checked.
        let map = unsafe { Mapping::new(base, bytes, Box::new(keeper)) };
        Ok(Adopted { map, file, bytes, name, name_stays })
    }
}

impl QueueOptions {
    /// How large a `Shmem` has to be for a queue of these options.
    ///
    /// # Errors
    /// [`Error::Capacity`], [`Error::Peers`].
    pub fn shmem_size<T: Pod>(self) -> Result<usize, Error> {
        let geometry = segment::possible(&handle::blueprint::<T>(), self.slots()?, self.peers)?;
        Ok(geometry.total as usize) // which `geometry` has seen to fit
    }

    /// Makes a queue in memory of the caller's, and keeps it. What the memory held is overwritten.
    ///
    /// Other processes map the memory by its name, and join with [`SimpleQueue::open_in`]; they find no queue or the whole queue. If the
    /// `Shmem` is the owner of its name, the name goes when this handle and its clones are dropped.
    ///
    /// ```
    /// use skep_ipc::{SimpleQueue};
    /// # use shared_memory::ShmemConf;
    /// let options = QueueOptions::new(100).peers(4);
    /// let memory = ShmemConf::new().size(options.shmem_size::<u64>()?).create()?;
    /// let name = memory.get_os_id().to_owned();
    /// let mut here = options.create_in::<u64>(memory)?;
    /// // in another process:
    /// let mut there = SimpleQueue::<u64>::open_in(ShmemConf::new().os_id(name).open()?)?;
    /// here.put(7)?;
    /// assert_eq!(there.get()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Exists`] if the memory holds an object of skep's already, or another process makes one at this moment; its name stays then. [`Error::Capacity`] with
    /// the largest number of slots that fits, or [`Mismatch::Size`] if none does. [`Mismatch::Renamed`] if the memory's name leads elsewhere.
    /// [`Error::Peers`], [`Error::NoMemory`], [`Error::Os`].
    pub fn create_in<T: Pod>(self, shmem: Shmem) -> Result<SimpleQueue<T>, Error> {
        let adopted = Adopted::new(shmem)?;
        let blueprint = handle::blueprint::<T>();
        let slots = self.slots()?;
        let layout = |slots| blueprint.geometry(slots, self.peers);
        let fits = |geometry: &Geometry| geometry.total <= adopted.bytes;
        let geometry = segment::possible(&blueprint, slots, self.peers)?;
        if !fits(&geometry) {
            let smaller = (0..slots.ilog2()).rev().map(|bit| 1 << bit);
            return Err(match smaller.into_iter().find(|&slots| layout(slots).is_some_and(|g| fits(&g))) {
                Some(max) => Error::Capacity { capacity: self.capacity, max: max as usize },
                None => Mismatch::Size { found: adopted.bytes, expected: geometry.total }.into(),
            });
        }
        // The crate that made the file has not reserved its pages.
        memory::commit(&adopted.file, 0..geometry.total)?;
        let Adopted { map, file, name, name_stays, .. } = adopted;
        let init = |body| handle::init::<T>(body, slots);
        let exists = || {
            name_stays.store(true, Relaxed); // for the sake of the object that is there
            Error::Exists { name: name.clone() }
        };
        SimpleQueue::join(Segment::build_in(map, file, &blueprint, geometry, init, exists)?)
    }
}

impl<T: Pod> SimpleQueue<T> {
    /// Joins the queue in memory of the caller's that [`QueueOptions::create_in`] or [`SimpleQueue::create`] made, and keeps the memory.
    ///
    /// # Errors
    /// [`Error::Mismatch`] (it holds something else or nothing yet, or the memory's name leads elsewhere), [`Error::TooManyPeers`],
    /// [`Error::Os`].
    pub fn open_in(shmem: Shmem) -> Result<Self, Error> {
        let Adopted { map, file, .. } = Adopted::new(shmem)?;
        SimpleQueue::join(Segment::attach(map, file, &handle::blueprint::<T>())?)
    }
}

//! `RawArray`: values in shared memory that nothing orders.

use super::items::Items;
use super::range::{OutOfRange, within};
use super::words;
use crate::error::Error;
use crate::header::Kind;
use crate::segment::{Segment, agree, open_or_create};
use bytemuck::Pod;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

const KIND: Kind = Kind::new(*b"rawarray");

/// A fixed number of values in shared memory without a lock, like Python's `multiprocessing.RawArray`.
///
/// It is for processes that agree by other means who writes which items when: by a [`Semaphore`](crate::Semaphore), a
/// [`Barrier`](crate::Barrier), an index that went through a queue. Such a means also carries what was written before over to whoever reads after.
///
/// # When they do not agree
/// nothing worse happens than a wrong value. Items are copied word by word, a word being as long as the type's alignment, up to eight bytes. So one that is
/// written while it is read may be *torn*: some of its words old, some new. A number of up to eight bytes is one word, and never torn (on 64-bit machines). Which of two writes stays
/// is not said, nor in what order others see the writes to different items.
///
/// # When a process dies, or forks
/// Nobody holds anything: a process that dies while it writes leaves an item whose words are partly new, and nobody is told. There is nothing to repair
/// and nobody to count: any number of processes may open it, clones and threads share a mapping, and a child of `fork()` may go on using its copy.
///
/// ```
/// use skep_ipc::RawArray;
/// let pixels = RawArray::<[u8; 3]>::new(640 * 480)?; // zeroes
/// let elsewhere = pixels.clone(); // or in another process, by name or descriptor
/// elsewhere.set(7, [255, 0, 0])?;
/// assert_eq!(pixels.get(7)?, [255, 0, 0]);
/// let mut row = [[0; 3]; 640];
/// pixels.copy_to(0, &mut row)?;
/// assert_eq!(row[7], [255, 0, 0]);
/// assert!(pixels.get(640 * 480).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RawArray<T: Pod>(Items<T>);

impl<T: Pod> RawArray<T> {
    // --- create and open -----------------------------------------------------------------------------------------

    /// Makes an anonymous array of `len` zeroes, which lives as long as somebody has it.
    ///
    /// # Errors
    /// [`Error::Capacity`] (zero, or too large), [`Error::NoMemory`], [`Error::Os`].
    pub fn new(len: usize) -> Result<Self, Error> {
        Items::anonymous(KIND, len, |_| {}).map(RawArray)
    }

    /// Makes an anonymous array of these items.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_slice(items: &[T]) -> Result<Self, Error> {
        Items::anonymous(KIND, items.len(), |all| all.copy_from_slice(items)).map(RawArray)
    }

    /// Makes a named array of `len` zeroes, which stays until it is [unlinked](Self::unlink).
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Name`], and as [`new`](Self::new).
    pub fn create(name: &str, len: usize) -> Result<Self, Error> {
        Items::named(name, KIND, len, |_| {}).map(RawArray)
    }

    /// Makes a named array of these items: whoever opens it finds them all.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_from_slice(name: &str, items: &[T]) -> Result<Self, Error> {
        Items::named(name, KIND, items.len(), |all| all.copy_from_slice(items)).map(RawArray)
    }

    /// Opens the array of that name, with as many items as it was made with.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Name`], [`Error::Mismatch`] (it holds something else), [`Error::Os`].
    pub fn open(name: &str) -> Result<Self, Error> {
        Items::open(name, KIND).map(RawArray)
    }

    /// Opens the array of that name, or makes it with `len` zeroes if there is none.
    ///
    /// # Errors
    /// [`Mismatch::Option`] if there is one of another length: [`open`](Self::open) takes it as it is.
    /// Other errors are those of [`create`](Self::create) and [`open`](Self::open).
    ///
    /// [`Mismatch::Option`]: crate::Mismatch::Option
    pub fn open_or_create(name: &str, len: usize) -> Result<Self, Error> {
        let open = || {
            let array = Self::open(name)?;
            agree("length", array.len() as u64, len as u64)?;
            Ok(array)
        };
        open_or_create(open, || Self::create(name, len))
    }

    /// Opens the array behind a descriptor that another process passed on ([`AsFd`]).
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::Os`].
    pub fn from_fd(file: OwnedFd) -> Result<Self, Error> {
        Items::from_fd(file, KIND).map(RawArray)
    }

    /// Removes an array's name. Whoever has it open goes on; the memory is freed with the last of them.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Name`], [`Error::Os`].
    pub fn unlink(name: &str) -> Result<(), Error> {
        Segment::unlink(name)
    }

    /// How many items it has: at least one.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.0.all().len()
    }

    // --- items ---------------------------------------------------------------------------------------------------

    /// A copy of one item, which may be torn.
    ///
    /// # Errors
    /// [`OutOfRange`].
    #[inline]
    pub fn get(&self, index: usize) -> Result<T, OutOfRange> {
        within(self.len(), index, 1)?;
        // SAFETY: the array has that item. References to the items exist under the contract of the `slice` calls alone.
        Ok(unsafe { words::load(self.item(index)) })
    }

    /// Replaces one item.
    ///
    /// # Errors
    /// [`OutOfRange`].
    #[inline]
    pub fn set(&self, index: usize, item: T) -> Result<(), OutOfRange> {
        within(self.len(), index, 1)?;
        // SAFETY: as in `get`.
        unsafe { words::store(self.item(index), item) };
        Ok(())
    }

    /// Copies the items from number `start` on out, each as by [`get`](Self::get), as many as there is room for in `to`.
    ///
    /// # Errors
    /// [`OutOfRange`], also if only some of them are; `to` is as it was then.
    pub fn copy_to(&self, start: usize, to: &mut [T]) -> Result<(), OutOfRange> {
        for (index, place) in within(self.len(), start, to.len())?.zip(to) {
            // SAFETY: as in `get`.
            *place = unsafe { words::load(self.item(index)) };
        }
        Ok(())
    }

    /// Replaces the items from number `start` on with those of `from`, each as by [`set`](Self::set).
    ///
    /// # Errors
    /// [`OutOfRange`], also if only some of them are; the array is as it was then.
    pub fn copy_from(&self, start: usize, from: &[T]) -> Result<(), OutOfRange> {
        for (index, &item) in within(self.len(), start, from.len())?.zip(from) {
            // SAFETY: as in `get`.
            unsafe { words::store(self.item(index), item) };
        }
        Ok(())
    }

    /// All items, in place.
    ///
    /// # Safety
    /// As long as the slice is borrowed, nobody writes to the items: no thread of this process, through whatever handle, and no other process.
    #[inline]
    pub unsafe fn as_slice(&self) -> &[T] {
        // SAFETY: mapped as long as `self`, and aligned; any bytes are valid items, and they do not change, as the caller says.
        unsafe { self.0.all().as_ref() }
    }

    /// All items, in place, to write to.
    ///
    /// # Safety
    /// As long as the slice is borrowed, nobody else reads or writes the items: no thread of this process, through whatever handle, and no other process.
    #[inline]
    pub unsafe fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as in `as_slice`; nobody else has them, as the caller says.
        unsafe { self.0.all().as_mut() }
    }

    /// Where an item is, whose number is below the length.
    #[inline]
    fn item(&self, index: usize) -> NonNull<T> {
        // SAFETY: within the items, as the caller has checked.
        unsafe { self.0.all().cast::<T>().add(index) }
    }
}

impl<T: Pod> AsFd for RawArray<T> {
    /// The descriptor to pass to another process, which opens the array with [`from_fd`](RawArray::from_fd).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl<T: Pod> std::fmt::Debug for RawArray<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawArray").field("len", &self.len()).finish_non_exhaustive()
    }
}

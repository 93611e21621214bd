//! `AtomicValue`: an atomic array of one.

use super::atomic::{AtomicArray, AtomicItem};
use crate::error::{Error, Mismatch};
use crate::segment::{Segment, open_or_create};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// An integer in shared memory, without a lock: one of the standard library's atomics.
///
/// It is an [`AtomicArray`] of one, and opens as such. What holds there when a process dies or forks holds here.
///
/// ```
/// use skep_ipc::AtomicValue;
/// use std::sync::atomic::Ordering::Relaxed;
/// let next_id = AtomicValue::new(1_u64)?;
/// let elsewhere = next_id.clone(); // or in another process, by name or descriptor
/// assert_eq!(elsewhere.fetch_add(1, Relaxed), 1);
/// assert_eq!(next_id.load(Relaxed), 2);
/// # Ok::<(), skep_ipc::Error>(())
/// ```
#[derive(Clone)]
pub struct AtomicValue<A: AtomicItem>(AtomicArray<A>);

impl<A: AtomicItem> AtomicValue<A> {
    /// Makes an anonymous value, which lives as long as somebody has it.
    ///
    /// # Errors
    /// [`Error::NoMemory`], [`Error::Os`].
    pub fn new(value: A) -> Result<Self, Error> {
        AtomicArray::from_slice(&[value]).map(AtomicValue)
    }

    /// Makes a named value, which stays until it is [unlinked](Self::unlink).
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Name`], and as [`new`](Self::new).
    pub fn create(name: &str, value: A) -> Result<Self, Error> {
        AtomicArray::create_from_slice(name, &[value]).map(AtomicValue)
    }

    /// Opens the value of that name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Name`], [`Error::Mismatch`] (it holds something else, or several), [`Error::Os`].
    pub fn open(name: &str) -> Result<Self, Error> {
        AtomicArray::open(name).and_then(Self::only)
    }

    /// Opens the value of that name, or makes it if there is none.
    ///
    /// `value` is what a new one starts with: one that exists keeps its own.
    ///
    /// # Errors
    /// As [`create`](Self::create) and [`open`](Self::open).
    pub fn open_or_create(name: &str, value: A) -> Result<Self, Error> {
        open_or_create(|| Self::open(name), || Self::create(name, value))
    }

    /// Opens the value behind a descriptor that another process passed on ([`AsFd`]).
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::Os`].
    pub fn from_fd(file: OwnedFd) -> Result<Self, Error> {
        AtomicArray::from_fd(file).and_then(Self::only)
    }

    /// Removes a value's name. Whoever has it open goes on; the memory is freed with the last of them.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Name`], [`Error::Os`].
    pub fn unlink(name: &str) -> Result<(), Error> {
        Segment::unlink(name)
    }

    fn only(array: AtomicArray<A>) -> Result<Self, Error> {
        match array.len() {
            1 => Ok(AtomicValue(array)),
            len => Err(Mismatch::Geometry { capacity: len as u64, peers: 1 }.into()),
        }
    }
}

impl<A: AtomicItem> Deref for AtomicValue<A> {
    type Target = A::Atomic;

    #[inline]
    fn deref(&self) -> &A::Atomic {
        &self.0[0]
    }
}

impl<A: AtomicItem> AsFd for AtomicValue<A> {
    /// The descriptor to pass to another process, which opens the value with [`from_fd`](AtomicValue::from_fd).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl<A: AtomicItem> std::fmt::Debug for AtomicValue<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

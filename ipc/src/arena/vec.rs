//! `ShmVec`: plain values in a row that grows.

use super::boxed::{ShmBox, ShmSlice};
use super::counted::ShmArc;
use super::error::AllocError;
use super::owned::Owned;
use bytemuck::Pod;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// A vector of plain values in shared memory that one process owns: what `Vec` is on the heap.
///
/// It moves through queues and tasks as [`ShmBox`] does, and grows by moving to a block of twice the size. One that came out of a queue grows in the arena of that queue.
///
/// ```
/// let arena = skep_ipc::Arena::new(1 << 20)?;
/// let mut numbers = arena.vec(4)?;
/// numbers.extend_from_slice(&[1_u32, 2, 3])?;
/// numbers.push(4)?;
/// assert_eq!(numbers[..], [1, 2, 3, 4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ShmVec<T: Pod> {
    block: ShmBox<[T]>,
    /// How long it waits for memory.
    patience: Option<Duration>,
}

impl<T: Pod> ShmVec<T> {
    /// An empty one with a block's room.
    pub(super) fn new(mut block: ShmBox<[T]>, patience: Option<Duration>) -> Self {
        block.set_len(0);
        ShmVec { block, patience }
    }

    /// How many values it has room for without moving.
    pub fn capacity(&self) -> usize {
        self.block.capacity()
    }

    /// Adds a value at the end.
    ///
    /// # Errors
    /// [`AllocError`], if it has to move and cannot; nothing is added then.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), AllocError> {
        self.extend_from_slice(&[value])
    }

    /// Adds values at the end.
    ///
    /// # Errors
    /// [`AllocError`], if it has to move and cannot; nothing is added then.
    #[inline]
    pub fn extend_from_slice(&mut self, values: &[T]) -> Result<(), AllocError> {
        self.reserve(values.len())?;
        let len = self.len();
        self.block.set_len(len + values.len());
        self.block[len..].copy_from_slice(values);
        Ok(())
    }

    /// Takes the last value off.
    pub fn pop(&mut self) -> Option<T> {
        let last = *self.last()?;
        self.truncate(self.len() - 1);
        Some(last)
    }

    /// Keeps the first `len` values.
    pub fn truncate(&mut self, len: usize) {
        self.block.set_len(len.min(self.len()));
    }

    /// Removes all values.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Makes it `len` long; new values are copies of `value`.
    ///
    /// # Errors
    /// [`AllocError`], if it has to move and cannot; nothing is added then.
    pub fn resize(&mut self, len: usize, value: T) -> Result<(), AllocError> {
        let before = self.len();
        if len > before {
            self.reserve(len - before)?;
        }
        self.block.set_len(len);
        if len > before {
            self.block[before..].fill(value);
        }
        Ok(())
    }

    /// Makes room for so many further values.
    ///
    /// # Errors
    /// [`AllocError`].
    #[inline]
    pub fn reserve(&mut self, more: usize) -> Result<(), AllocError> {
        let len = self.len().saturating_add(more);
        if len <= self.capacity() { Ok(()) } else { self.grow(len) }
    }

    #[cold]
    fn grow(&mut self, len: usize) -> Result<(), AllocError> {
        let (core, bytes) = (self.block.owned().core(), len.checked_mul(size_of::<T>()));
        let larger = Owned::allocate(core, bytes, align_of::<T>(), self.patience)?;
        let mut larger = ShmBox::<[T]>::new(larger, len);
        larger[..self.block.len()].copy_from_slice(&self.block);
        larger.set_len(self.block.len());
        self.block = larger;
        Ok(())
    }

    /// The values as they are, without a way to grow. The room behind them stays with the block.
    pub fn into_slice(self) -> ShmSlice<T> {
        self.block
    }

    /// Makes it immutable and counted; see [`ShmBox::share`].
    ///
    /// # Errors
    /// As there.
    pub fn share(self) -> Result<ShmArc<[T]>, AllocError> {
        self.block.share()
    }
}

impl<T: Pod> Deref for ShmVec<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        &self.block
    }
}

impl<T: Pod> DerefMut for ShmVec<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.block
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for ShmVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.block.fmt(f)
    }
}

impl<T: Pod> AsRef<[T]> for ShmVec<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T: Pod> From<ShmVec<T>> for ShmSlice<T> {
    fn from(vec: ShmVec<T>) -> Self {
        vec.into_slice()
    }
}

/// Within a queue or a task of its arena it moves; elsewhere this is an error.
impl<T: Pod> Serialize for ShmVec<T> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        self.block.serialize(serializer)
    }
}

/// Only within a queue or a task of its arena.
impl<'de, T: Pod> Deserialize<'de> for ShmVec<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(ShmVec { block: ShmBox::<[T]>::deserialize(deserializer)?, patience: None })
    }
}

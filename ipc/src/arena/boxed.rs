//! `ShmBox`: a block that one process owns.

use super::counted::ShmArc;
use super::descriptor::{self, Descriptor, Hold, Lead};
use super::error::{AllocError, DescriptorError};
use super::handle::Arena;
use super::owned::Owned;
use super::packing::{self, Handle};
use super::shareable::{Shareable, copy_text};
use super::unpacking;
use bytemuck::Pod;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::string::FromUtf8Error;

/// A value in shared memory that one process owns, as `Box` is on the heap: it is read and written in place, and freed when the handle is dropped.
///
/// `ShmBox<T>` is one plain value, `ShmBox<[T]>` (also called [`ShmSlice<T>`]) a number of them, `ShmBox<str>` a text. [`Arena`] makes them. What goes through a
/// [`Queue`](crate::Queue), or through a pool's task, moves by its descriptor, whatever its size: nothing is copied.
///
/// # When a process dies
/// what it owned is freed by whoever repairs the arena; what it had put into a queue, and what its last task had returned, stays the queue's and the pool's.
///
/// # Panics
/// Dereferencing a handle panics if its block was sent: that takes a handle that is still there after it was put into a queue, as behind `Rc` with serde's feature `rc`,
/// which is not to be used with these handles.
///
/// ```
/// let arena = skep_ipc::Arena::new(1 << 20)?;
/// let mut numbers = arena.slice(&[1_u64, 2, 3])?;
/// numbers[0] = 10;
/// assert_eq!(numbers.iter().sum::<u64>(), 15);
/// let shared = numbers.share()?; // immutable from now on, and counted
/// let other = shared.try_clone()?;
/// drop(shared);
/// assert_eq!(other[..], [10, 2, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ShmBox<S: Shareable + ?Sized> {
    owned: Owned,
    len: usize,
    _value: PhantomData<Box<S>>,
}

/// Plain values in a row in shared memory, owned by one process.
pub type ShmSlice<T> = ShmBox<[T]>;

// SAFETY: it owns its memory alone; plain values can be read from any thread.
unsafe impl<S: Shareable + ?Sized> Send for ShmBox<S> {}
// SAFETY: as above.
unsafe impl<S: Shareable + ?Sized> Sync for ShmBox<S> {}

impl<S: Shareable + ?Sized> ShmBox<S> {
    /// The first `len` items of a block, which are an `S`.
    #[inline]
    pub(super) fn new(owned: Owned, len: usize) -> Self {
        debug_assert!(len * size_of::<S::Item>() <= owned.bytes());
        ShmBox { owned, len, _value: PhantomData }
    }

    /// The block, and how many items of it are in use.
    pub(super) fn into_parts(self) -> (Owned, usize) {
        (self.owned, self.len)
    }

    pub(super) fn owned(&self) -> &Owned {
        &self.owned
    }

    /// How many items the block has room for.
    pub(super) fn capacity(&self) -> usize {
        self.owned.bytes().checked_div(size_of::<S::Item>()).unwrap_or(usize::MAX)
    }

    pub(super) fn set_len(&mut self, len: usize) {
        self.len = len.min(self.capacity());
    }

    #[inline]
    pub(super) fn items(&self) -> *mut S::Item {
        self.owned.address().as_ptr().cast()
    }

    #[inline]
    pub(super) fn check(&self) {
        assert!(self.owned.is_current(), "this handle's block was sent to another process");
    }

    /// Makes it immutable, and gives the first of any number of counted handles to it.
    ///
    /// # Errors
    /// [`AllocError::Full`] if there is no memory for the reference, which takes the smallest block; what was to be shared is freed then.
    pub fn share(self) -> Result<ShmArc<S>, AllocError> {
        let core = self.owned.core().leaf();
        if !core.is_own() {
            return Err(AllocError::Forked);
        }
        let (data, len) = (self.owned.block().index, self.len);
        // The block is the references' now; if not, dropping `self` frees it.
        match core.share(self.owned.block()) {
            Some(reference) => Ok(ShmArc::new(core, reference, data, len)),
            None => Err(core.why_full(core.plan().block_bytes(0))),
        }
    }

    /// Gives the block up for a descriptor; see there. `None`: the block was sent before.
    pub fn into_descriptor(self) -> Option<Descriptor> {
        let sent = self.owned.core().detach(self.owned.block(), Hold::Alone.phase())?;
        Some(Descriptor {
            arena: self.owned.core().ground().id(),
            kind: Hold::Alone.kind::<S>(),
            len: self.len as u64,
            index: sent.index,
            generation: sent.generation,
        })
    }

    /// Takes the block of a descriptor, once.
    ///
    /// # Errors
    /// [`DescriptorError`] says what is wrong with it.
    pub fn from_descriptor(arena: &Arena, descriptor: &Descriptor) -> Result<Self, DescriptorError> {
        let Lead { block, len, .. } = descriptor::take::<S>(arena.core(), descriptor, Hold::Alone)?;
        Ok(ShmBox::new(Owned::new(arena.core().leaf(), block), len))
    }
}

impl ShmBox<str> {
    /// Copies the text out, and checks the copy: for memory that is shared with programs which are not trusted to keep
    /// to the protocol. Dereferencing trusts that nobody has written to the block since it was checked; see `SECURITY.md`.
    ///
    /// # Errors
    /// Some process has written there what is no text.
    ///
    /// # Panics
    /// If the handle was sent.
    pub fn to_checked_string(&self) -> Result<String, FromUtf8Error> {
        self.check();
        copy_text(self.items(), self.len)
    }
}

impl<S: Shareable + ?Sized> Deref for ShmBox<S> {
    type Target = S;

    #[inline]
    fn deref(&self) -> &S {
        self.check();
        // SAFETY: the block holds `len` items that are an `S` (`new`); it is this handle's, which is borrowed, or lies in a leased place, where nobody writes.
        unsafe { S::view(self.items(), self.len) }
    }
}

impl<S: Shareable + ?Sized> DerefMut for ShmBox<S> {
    #[inline]
    fn deref_mut(&mut self) -> &mut S {
        self.check();
        // SAFETY: as in `deref`; borrowed exclusively, which no handle in a leased place can be.
        unsafe { S::view_mut(self.items(), self.len) }
    }
}

impl<S: Shareable + ?Sized + fmt::Debug> fmt::Debug for ShmBox<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<S: Shareable + ?Sized + PartialEq> PartialEq for ShmBox<S> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Pod> AsRef<[T]> for ShmBox<[T]> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

/// Within a queue or a task of its arena it moves; elsewhere this is an error.
impl<S: Shareable + ?Sized> Serialize for ShmBox<S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let handle = Handle { core: self.owned.core(), block: self.owned.block(), hold: Hold::Alone };
        packing::pack(serializer, handle, Hold::Alone.kind::<S>(), self.len)
    }
}

/// Only within a queue or a task of its arena.
impl<'de, S: Shareable + ?Sized> Deserialize<'de> for ShmBox<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (core, lead) = unpacking::unpack::<S, D>(deserializer, Hold::Alone)?;
        Ok(ShmBox::new(Owned::new(core, lead.block), lead.len))
    }
}

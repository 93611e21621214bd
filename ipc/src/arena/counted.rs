//! `ShmArc`: a counted handle of an immutable block.

use super::blocks::Block;
use super::core::Core;
use super::descriptor::{self, Descriptor, Hold, Lead};
use super::error::{AllocError, DescriptorError};
use super::handle::Arena;
use super::owned;
use super::packing::{self, Handle};
use super::shareable::{Shareable, copy_text};
use super::sharing::Uncounted;
use super::unpacking;
use crate::sync::biased::Leaf;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::string::FromUtf8Error;
use std::sync::Arc;

/// A handle of a value in shared memory that nobody changes any more, and that is freed with the last of its handles, in whatever process: what `Arc` is on the heap.
///
/// [`ShmBox::share`](super::ShmBox::share) makes the first. Each handle is a reference of its own, in shared memory: so a process that dies costs the references that it held,
/// and the count is right. A clone takes the smallest block of the arena, and some atomic operations; where many are needed within one process, put one
/// into an `Arc`.
///
/// Through a queue or a task one *moves*: send a clone to keep one.
pub struct ShmArc<S: Shareable + ?Sized> {
    core: Leaf<Core>,
    reference: Block,
    data: u32,
    len: usize,
    _value: PhantomData<Arc<S>>,
}

// SAFETY: nobody writes what it refers to.
unsafe impl<S: Shareable + ?Sized> Send for ShmArc<S> {}
// SAFETY: as above.
unsafe impl<S: Shareable + ?Sized> Sync for ShmArc<S> {}

impl<S: Shareable + ?Sized> ShmArc<S> {
    /// For a reference that is counted, to a block whose first `len` items are an `S`.
    pub(super) fn new(core: Leaf<Core>, reference: Block, data: u32, len: usize) -> Self {
        ShmArc { core, reference, data, len, _value: PhantomData }
    }

    /// Makes another handle.
    ///
    /// # Errors
    /// [`AllocError::Full`], if there is no memory for its reference or too many are counted; [`AllocError::Forked`], [`AllocError::Corrupt`].
    pub fn try_clone(&self) -> Result<Self, AllocError> {
        if !self.core.is_own() {
            return Err(AllocError::Forked);
        }
        let bytes = self.core.plan().block_bytes(0);
        match self.core.refer_again(self.data) {
            Ok(Some(reference)) => Ok(ShmArc::new(self.core.leaf(), reference, self.data, self.len)),
            Ok(None) => Err(self.core.why_full(bytes)),
            Err(Uncounted::TooMany) => Err(AllocError::Full { bytes }),
            Err(Uncounted::Corrupt) => Err(AllocError::Corrupt),
        }
    }

    /// How many handles there are at the moment, in all processes and queues.
    pub fn count(&self) -> usize {
        self.core.blocks().word(self.data).count() as usize
    }

    /// Gives the reference up for a descriptor; see there. `None`: it was sent before.
    pub fn into_descriptor(self) -> Option<Descriptor> {
        let sent = self.core.detach(self.reference, Hold::Counted.phase())?;
        Some(Descriptor {
            arena: self.core.ground().id(),
            kind: Hold::Counted.kind::<S>(),
            len: self.len as u64,
            index: sent.index,
            generation: sent.generation,
        })
    }

    /// Takes the reference of a descriptor, once.
    ///
    /// # Errors
    /// [`DescriptorError`] says what is wrong with it.
    pub fn from_descriptor(arena: &Arena, descriptor: &Descriptor) -> Result<Self, DescriptorError> {
        let Lead { block, data, len } = descriptor::take::<S>(arena.core(), descriptor, Hold::Counted)?;
        Ok(ShmArc::new(arena.core().leaf(), block, data, len))
    }
}

impl ShmArc<str> {
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
        copy_text(self.core.address(self.data).as_ptr(), self.len)
    }
}

impl<S: Shareable + ?Sized> ShmArc<S> {
    #[inline]
    fn check(&self) {
        let word = self.core.blocks().word(self.reference.index);
        assert!(word.generation() == self.reference.generation, "this handle was sent to another process");
    }
}

impl<S: Shareable + ?Sized> Deref for ShmArc<S> {
    type Target = S;

    /// # Panics
    /// If the handle was sent; see [`ShmBox`](super::ShmBox).
    #[inline]
    fn deref(&self) -> &S {
        self.check();
        // SAFETY: the reference is counted, so the block is shared: nobody writes there, and its first `len` items are an `S` (`new`).
        unsafe { S::view(self.core.address(self.data).as_ptr().cast(), self.len) }
    }
}

impl<S: Shareable + ?Sized> Drop for ShmArc<S> {
    fn drop(&mut self) {
        if self.core.is_own() && !owned::is_carried(&self.core, self.reference) {
            self.core.drop_handle(self.reference, Hold::Counted.phase());
        }
    }
}

impl<S: Shareable + ?Sized + fmt::Debug> fmt::Debug for ShmArc<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: bytemuck::Pod> AsRef<[T]> for ShmArc<[T]> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

/// Within a queue or a task of its arena it moves; elsewhere this is an error.
impl<S: Shareable + ?Sized> Serialize for ShmArc<S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let handle = Handle { core: &self.core, block: self.reference, hold: Hold::Counted };
        packing::pack(serializer, handle, Hold::Counted.kind::<S>(), self.len)
    }
}

/// Only within a queue or a task of its arena.
impl<'de, S: Shareable + ?Sized> Deserialize<'de> for ShmArc<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (core, lead) = unpacking::unpack::<S, D>(deserializer, Hold::Counted)?;
        Ok(ShmArc::new(core, lead.block, lead.data, lead.len))
    }
}

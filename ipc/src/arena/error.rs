//! What can go wrong with an arena and what is in it.

use crate::error::{Error, Shortage, debug_as_display};

debug_as_display!(AllocError, DescriptorError, SendValueError<T>, EncodeError, RecvValueError);

/// Why there is no block.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllocError {
    /// There is no free block that is large enough, and the arena has grown as far as it may.
    #[error(
        "the arena has no free block of {bytes} bytes: drop something, wait (`Arena::within`), or create it larger"
    )]
    Full {
        /// What was asked for.
        bytes: usize,
    },
    /// There is no free block that is large enough, and no memory by which the arena could grow.
    #[error("no memory for the arena to grow by, for a block of {bytes} bytes: {short}")]
    NoMemory {
        /// What was asked for.
        bytes: usize,
        /// What there is too little of.
        short: Shortage,
    },
    /// There never can be one: the arena is too small, or its queues, which stay, are in the way wherever it could lie.
    #[error(
        "{bytes} bytes are more than the arena's largest block can have besides its queues, which is {largest}: \
         create it larger"
    )]
    TooLarge {
        /// What was asked for, or its alignment if that is more.
        bytes: usize,
        /// The most that it can ever give at once.
        largest: usize,
    },
    /// No block begins at a multiple of that.
    #[error("blocks are aligned to a power of two up to a page of 4096 bytes, not to {align}")]
    Alignment {
        /// What was asked for.
        align: usize,
    },
    /// The handle was inherited through `fork()`.
    #[error(
        "this handle belongs to the process that forked: attach anew in the child, by name or descriptor"
    )]
    Forked,
    /// A word in shared memory has an impossible value.
    #[error("the shared memory is corrupt: some process wrote where it may not")]
    Corrupt,
}

/// An allocation that was refused, with the value that there is no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused<T> {
    /// What was to be moved into the arena.
    pub value: T,
    /// Why it was not.
    pub reason: AllocError,
}

impl<T> std::fmt::Display for Refused<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.reason.fmt(f)
    }
}

impl<T: std::fmt::Debug> std::error::Error for Refused<T> {}

/// Why a descriptor does not lead to a block.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptorError {
    /// It was made by another arena.
    #[error("this descriptor is of another arena")]
    OtherArena,
    /// It describes another type, or another kind of handle.
    #[error("this descriptor is of another type")]
    OtherType,
    /// Its block was taken already, or freed; or it was never sent.
    #[error("this descriptor leads nowhere: its block was taken already, freed, or never sent")]
    Stale,
    /// It is longer than its block, or lies outside of the arena.
    #[error("this descriptor describes more than its block holds")]
    OutOfBounds,
    /// The handle of the arena was inherited through `fork()`.
    #[error("this arena belongs to the process that forked: attach anew in the child, by name or descriptor")]
    Forked,
}

/// Why a value could not be put.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum SendValueError<T> {
    /// There is no room for it now, in the queue or in the arena.
    #[error("the queue or its arena is full")]
    Full(T),
    /// The queue is closed.
    #[error("the queue is closed")]
    Closed(T),
    /// It cannot be written as bytes, or holds a handle of another arena.
    #[error("the value cannot be encoded: {reason}")]
    NotEncoded {
        /// The value.
        value: T,
        /// What is wrong with it.
        reason: EncodeError,
    },
    /// A handle in it is still there after the value was dropped, as behind an `Rc`; so its block could not go. The value is dropped, and what it alone had is free.
    #[error("a handle in the value was kept, so that its block could not go: values must own their handles")]
    HandleKept,
    /// The value was dropped before it could be put, as the handles in it had to be; then there was no room, or the
    /// queue was closed, and it could not be decoded again. What it had is free.
    #[error("the value was dropped before it could be put, and cannot be decoded again: {reason}")]
    NotRestored {
        /// What its `Deserialize` says, or that the value's destructor has forked.
        reason: String,
    },
    /// The handle was inherited through `fork()`.
    #[error(
        "this handle belongs to the process that forked: attach anew in the child, by name or descriptor"
    )]
    Forked(T),
    /// A word in shared memory has an impossible value.
    #[error("the shared memory is corrupt: some process wrote where it may not")]
    Corrupt(T),
}

impl<T> SendValueError<T> {
    /// Returns the value that was refused; `None` for [`HandleKept`](Self::HandleKept) and
    /// [`NotRestored`](Self::NotRestored).
    pub fn into_value(self) -> Option<T> {
        match self {
            SendValueError::HandleKept | SendValueError::NotRestored { .. } => None,
            SendValueError::Full(value)
            | SendValueError::Closed(value)
            | SendValueError::NotEncoded { value, .. }
            | SendValueError::Forked(value)
            | SendValueError::Corrupt(value) => Some(value),
        }
    }
}

/// Why a value cannot be written as bytes.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Its `Serialize` fails, or does what the format has no form for.
    #[error("{reason}")]
    Serialize {
        /// What serde says.
        reason: String,
    },
    /// Its type's `Deserialize` refuses what its `Serialize` writes, so nobody could get it.
    #[error(
        "its Deserialize refuses what its Serialize writes ({reason}): a field that may be left out needs \
         #[serde(default)], and a type without a tag, or one that is flattened, cannot have a u128"
    )]
    NotDecodable {
        /// The type, and what its `Deserialize` says.
        reason: String,
    },
    /// It holds a handle of another arena, which its receiver could not follow.
    #[error("it holds a handle of another arena: allocate in the arena of the queue or pool")]
    OtherArena,
    /// It holds a handle twice, or one that was sent before.
    #[error("it holds a handle whose block was sent already")]
    Sent,
    /// It is larger than any block that the arena can have besides its queues.
    #[error("it takes more than the arena's largest block, which has {largest} bytes: create it larger")]
    TooLarge {
        /// The most that the arena can give at once.
        largest: usize,
    },
    /// The arena has no room for it, and there is no memory by which it could grow.
    #[error("no memory for the arena to grow by: {0}")]
    NoMemory(Box<Shortage>),
    /// The arena has no room for it now.
    #[error("the arena is full")]
    Full {
        /// The bytes of the block that it takes.
        bytes: usize,
    },
}

/// Why no value was got.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvValueError {
    /// There is none now.
    #[error("the queue is empty")]
    Empty,
    /// The queue is closed, and all that was put has been got.
    #[error("the queue is closed and drained")]
    Closed,
    /// Nobody is left who could put anything ([`get_while_attached`](crate::Queue::get_while_attached)): the others are dead, have
    /// left, or only get.
    #[error("the queue is empty, and nobody is attached who puts: wait with get, or start a producer")]
    Alone,
    /// The next item is no value of this type, as when another program puts what this one does not know. Nothing of it is lost: it stays in the queue, for a consumer that
    /// can decode it, and whoever cannot gets this error again, until [`Queue::remove_undecodable`](crate::Queue::remove_undecodable) takes it out. Only if its
    /// `Deserialize` has kept a handle elsewhere, the item counts as taken.
    #[error(
        "the next item is no {reason}. It stays in the queue, for a program that can decode it; \
         Queue::remove_undecodable takes it out"
    )]
    NotDecoded {
        /// The type, and what serde says, or which handle leads nowhere.
        reason: String,
    },
    /// The handle holds as many leases as it may.
    #[error("this handle holds as many leases as it may: end one first")]
    TooManyLeases,
    /// The handle was inherited through `fork()`.
    #[error(
        "this handle belongs to the process that forked: attach anew in the child, by name or descriptor"
    )]
    Forked,
    /// A word in shared memory has an impossible value.
    #[error("the shared memory is corrupt: some process wrote where it may not")]
    Corrupt,
}

impl From<AllocError> for Error {
    fn from(error: AllocError) -> Self {
        match error {
            AllocError::Full { bytes } | AllocError::TooLarge { bytes, .. } => {
                Error::NoMemory { bytes: bytes as u64, short: Shortage::Arena }
            }
            AllocError::NoMemory { bytes, short } => Error::NoMemory { bytes: bytes as u64, short },
            AllocError::Alignment { .. } => {
                Error::Setup("an arena's blocks are aligned to a power of two up to a page of 4096 bytes")
            }
            AllocError::Forked => Error::Forked,
            AllocError::Corrupt => Error::Corrupt,
        }
    }
}

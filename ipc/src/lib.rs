//! Queues, pipes, locks and an allocator in shared memory, between processes, that a `kill -9` of any
//! participant cannot wedge.
//!
//! - [`SimpleQueue`]: a bounded first-in-first-out queue of plain values, with any number of producers and
//!   consumers.
//! - [`Queue`], [`JoinableQueue`]: the same for any values of any size.
//! - [`Arena`]: memory to allocate from ([`ShmBox`], [`ShmSlice`], [`ShmVec`], [`ShmString`], [`ShmArc`]),
//!   whose values move between processes without being copied.
//! - [`Pipe`]: messages of any length from one [`Sender`] to one [`Receiver`], written and read in place.
//! - [`Mutex`]: a value that one thread of one process holds at a time.
//! - [`RLock`]: the same, whose holder may lock again.
//! - [`RwLock`]: a value that many read at a time, or one writes.
//! - [`Condvar`]: a condition on a mutex's value that processes wait for.
//! - [`Semaphore`]: a number of permits that processes take and give back.
//! - [`Event`]: a flag that processes wait for.
//! - [`Barrier`]: where a number of processes wait for each other.
//! - [`Once`]: what one participant does for all.
//! - [`Value`], [`Array`]: one value, or a row of them, with a lock.
//! - [`AtomicValue`], [`AtomicArray`]: one integer, or a row of them, without a lock.
//! - [`RawArray`]: a row of values for processes that agree by other means who writes when.
//! - [`shared_struct!`]: several locks, or other [parts](Part), in one segment.
//!
//! Anonymous objects travel to other processes by file descriptor; named ones are found under `/dev/shm`.
//! The kernel tells whether a participant lives (by OFD locks and `/proc`), never a timeout. What lies in
//! shared memory as it is, is plain values ([`bytemuck::Pod`]); a `Queue` takes whatever serde can write.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::dbg_macro,
    clippy::todo,
    clippy::print_stdout,
    clippy::print_stderr
)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr))]
#![cfg_attr(loom, allow(dead_code, clippy::expect_used, rustdoc::broken_intra_doc_links))]

mod arena;
mod fault;
mod lock;
mod peer;
mod pipe;
mod queue;
mod relay;
mod sync;
mod table;
mod wait;

#[cfg(loom)]
pub mod model;

#[cfg(not(loom))]
mod array;
#[cfg(not(loom))]
mod channel;
#[cfg(not(loom))]
#[doc(hidden)]
pub mod codec;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod fork;
#[cfg(not(loom))]
mod header;
#[cfg(not(loom))]
mod kept_fd;
#[cfg(not(loom))]
mod label;
#[cfg(not(loom))]
mod liveness;
#[cfg(not(loom))]
mod mapping;
#[cfg(not(loom))]
#[doc(hidden)]
pub mod memory;
#[cfg(not(loom))]
mod message;
#[cfg(not(loom))]
mod part;
#[cfg(not(loom))]
mod participant;
#[cfg(not(loom))]
mod process;
#[cfg(not(loom))]
mod refusals;
#[cfg(not(loom))]
mod segment;
#[cfg(all(feature = "shared_memory", not(loom)))]
mod shmem;
#[cfg(not(loom))]
mod sys;

#[cfg(not(loom))]
#[doc(hidden)]
pub use arena::{Freight, Lading, Taken};
#[cfg(all(feature = "ndarray", not(loom)))]
pub use arena::{NdView, NdViewMut};
#[cfg(skep_faults)]
#[doc(hidden)]
pub use fault::armed as faults;
#[cfg(not(loom))]
#[doc(hidden)]
pub use kept_fd::KeptFd;
#[cfg(all(feature = "raw_sync", not(loom)))]
pub use lock::RawParts;
#[cfg(not(loom))]
pub use {
    arena::{
        AllocError, Arena, ArenaOptions, Descriptor, DescriptorError, EncodeError, RecvValueError, Refused,
        SendValueError, Shareable, ShmArc, ShmBox, ShmSlice, ShmString, ShmVec,
    },
    array::{
        AccessError, Array, ArrayGuard, AtomicArray, AtomicItem, AtomicValue, OutOfRange, RawArray, Value,
    },
    channel::{JoinableQueue, Queue, ValueLease, Work},
    error::{
        BarrierError, Error, GetError, LockError, Mismatch, PutBatchError, PutError, RecvError, ReleaseError,
        SendBatchError, SendError, Shortage, WaitError,
    },
    header::{Blueprint, Item, Kind},
    lock::{
        Barrier, BarrierWait, Condvar, Event, Mutex, MutexGuard, Once, OnceState, Permit, RLock, RLockGuard,
        RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore, SemaphoreSetup, Wakeup,
    },
    message::Message,
    part::{Part, PartOptions, Place, Seat},
    participant::Participant,
    pipe::{Connection, Pipe, ReadBatch, ReadGrant, Receiver, Sender, WriteGrant, pipe},
    queue::{Lease, QueueOptions, SimpleQueue},
    segment::Segment,
};

pub use bytemuck::{self, Pod, Zeroable};

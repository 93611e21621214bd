//! Queues, pipes and locks in shared memory, between processes, that a `kill -9` of any participant cannot wedge.
//!
//! - [`SimpleQueue`]: a bounded first-in-first-out queue with any number of producers and consumers.
//!
//! Anonymous objects travel to other processes by file descriptor; named ones are found under `/dev/shm`. Whether a participant lives is
//! told by the kernel (OFD locks), never by a timeout. Items are plain values ([`bytemuck::Pod`]).
#![cfg_attr(loom, allow(dead_code))]

mod peer;
mod queue;
mod sync;
mod wait;

#[cfg(loom)]
pub mod model;

#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod fork;
#[cfg(not(loom))]
mod header;
#[cfg(not(loom))]
mod segment;
#[cfg(not(loom))]
mod sys;

#[cfg(not(loom))]
pub use {
    error::{Error, GetError, Mismatch, PutBatchError, PutError},
    header::{Blueprint, Item, Kind},
    queue::{QueueOptions, SimpleQueue},
    segment::Segment,
};

pub use bytemuck::Pod;

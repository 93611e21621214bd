//! The arena: allocation in shared memory, by blocks whose owners may die at any instruction.
//!
//! - `word.rs`, `blocks.rs`, `extent.rs`, `sharing.rs`, `mend.rs`: the protocol, which models check
//! - `layout.rs`, `hints.rs`, `cache.rs`, `ground.rs`, `core.rs`: where its words are, and how a free block is found fast
//! - `carriers.rs`, `directory.rs`, `parcel.rs`, `packing.rs`, `unpacking.rs`: how blocks travel inside of values, and how repair finds them
//! - `freight.rs`, `lending.rs`: what a pool's tasks need of it
//! - `handle.rs`, `boxed.rs`, `counted.rs`, `vec.rs`, `string.rs`, `descriptor.rs`: the handles

pub(crate) mod blocks;
pub(crate) mod extent;
mod hints;
mod mend;
#[cfg(loom)]
pub(crate) mod model;
pub(crate) mod sharing;
pub(crate) mod word;

#[cfg(not(loom))]
mod boxed;
#[cfg(not(loom))]
mod cache;
#[cfg(not(loom))]
mod carriers;
#[cfg(not(loom))]
pub(crate) mod core;
#[cfg(not(loom))]
mod counted;
#[cfg(not(loom))]
mod descriptor;
#[cfg(not(loom))]
pub(crate) mod directory;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod freight;
#[cfg(not(loom))]
mod ground;
#[cfg(not(loom))]
mod handle;
#[cfg(not(loom))]
mod layout;
#[cfg(not(loom))]
mod lending;
#[cfg(all(feature = "ndarray", not(loom)))]
mod ndarrays;
#[cfg(not(loom))]
mod owned;
#[cfg(not(loom))]
pub(crate) mod packing;
#[cfg(not(loom))]
pub(crate) mod parcel;
#[cfg(not(loom))]
mod shareable;
#[cfg(not(loom))]
mod string;
#[cfg(all(feature = "bytes", not(loom)))]
mod to_bytes;
#[cfg(not(loom))]
mod unpacking;
#[cfg(not(loom))]
mod vec;
#[cfg(not(loom))]
#[doc(hidden)]
pub use freight::{Freight, Lading, Taken};
#[cfg(all(feature = "ndarray", not(loom)))]
pub use ndarrays::{NdView, NdViewMut};
#[cfg(not(loom))]
pub use {
    boxed::{ShmBox, ShmSlice},
    counted::ShmArc,
    descriptor::Descriptor,
    error::{AllocError, DescriptorError, EncodeError, RecvValueError, Refused, SendValueError},
    handle::{Arena, ArenaOptions},
    shareable::Shareable,
    string::ShmString,
    vec::ShmVec,
};

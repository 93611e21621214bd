//! Python's `multiprocessing` for Rust, over lock-free shared memory: worker processes that run tasks,
//! and queues, pipes and locks between programs. A `kill -9` of any process, at any instruction, wedges
//! none of the others.
//!
//! | for | use |
//! | --- | --- |
//! | work that crashes, leaks or blocks, in other processes | [`Pool`], [`task`], [`init`] |
//! | items from any number of producers to any number of consumers | [`SimpleQueue`], [`QueueOptions`] |
//! | messages of any length from one process to another, in place | [`pipe`], [`Pipe`], [`Sender`], [`Receiver`], [`Connection`] |
//! | a value that one process at a time holds, whose holder may die | [`Mutex`] |
//! | the same, whose holder may lock again | [`RLock`] |
//! | a value that many processes read at a time, or one writes | [`RwLock`] |
//! | a condition on a mutex's value, to wait for | [`Condvar`] |
//! | a number of permits, whose holders may die | [`Semaphore`], [`Permit`] |
//! | a flag that processes wait for | [`Event`] |
//! | a point where processes wait for each other | [`Barrier`] |
//! | something that one process does for all, once | [`Once`] |
//! | a value, or a row of them, with a lock | [`Value`], [`Array`] |
//! | an integer, or a row of them, without a lock | [`AtomicValue`], [`AtomicArray`] |
//! | a row of values for processes that agree by other means who writes when | [`RawArray`] |
//! | memory to allocate from, whose values move between processes without being copied | [`Arena`], [`ShmBox`], [`ShmSlice`], [`ShmVec`], [`ShmString`], [`ShmArc`] |
//! | any values of any size, from any number of producers to any number of consumers | [`Queue`], [`JoinableQueue`] |
//! | several of these in one segment | [`shared_struct!`], [`Part`] |
//! | shared memory for objects of your own | [`Segment`], [`Blueprint`] |
//!
//! ```
//! #[skep::task]
//! fn area(radius: f64) -> f64 {
//!     std::f64::consts::PI * radius * radius
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     skep::init(); // the first line of main: worker processes begin here, and go no further
//!     let pool = skep::Pool::builder().workers(2).build()?;
//!     let areas = pool.map(area, [1.0, 2.0, 3.0])?;
//!     assert_eq!(areas, [area(1.0), area(2.0), area(3.0)]);
//!     Ok(())
//! }
//! ```
//!
//! # Plain values
//! What lies in shared memory as it is (the items of a [`SimpleQueue`], an [`Array`] or a slice, the value
//! in a [`Mutex`]) is [`Pod`]: numbers, arrays of them, and structs without padding. A struct of your own
//! derives it; `bytemuck`, where the trait comes from, need not be among your dependencies:
//!
//! ```
//! use skep::{Pod, QueueOptions, Zeroable};
//!
//! #[derive(Clone, Copy, Pod, Zeroable)]
//! #[bytemuck(crate = "skep::bytemuck")]
//! #[repr(C)]
//! struct Sample {
//!     at: u64,
//!     value: f64,
//! }
//!
//! let mut samples = QueueOptions::new(16).anonymous::<Sample>()?;
//! samples.put(Sample { at: 7, value: 0.5 }).expect("room");
//! assert_eq!(samples.get().expect("a sample").at, 7);
//! # Ok::<(), skep::Error>(())
//! ```
//!
//! This crate is a facade: the primitives are `skep-ipc`, the pool is `skep-pool`. 64-bit Linux only.
//!
//! # Features
//! - `shared_memory`: a caller's `shared_memory::Shmem` as the storage of a queue.
//! - `raw_sync`: users of `raw_sync` attach to a skep mutex.
//! - `ndarray`: memory of an arena as `ndarray` arrays, in place; `bytes`: as `bytes::Bytes`.
#![cfg_attr(loom, allow(rustdoc::broken_intra_doc_links))]

pub use skep_ipc::*;
#[cfg(not(loom))]
pub use {skep_macros::task, skep_pool::*};

/// The README's snippets compile and run.
#[cfg(all(doctest, not(loom)))]
#[doc = include_str!("../README.md")]
struct Readme;

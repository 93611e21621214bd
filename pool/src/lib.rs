//! A pool of worker processes over shared memory: a crash costs one task, never the pool.
//!
//! Mark functions with `#[skep::task]`, call [`init`] first in `main`, and let a [`Pool`] run them in
//! other processes. How it works, and why each task gets its outcome and none hangs, stands in
//! `PROTOCOL.md`.

#![cfg_attr(loom, allow(dead_code, unused_imports, clippy::expect_used, rustdoc::broken_intra_doc_links))]

#[cfg(not(target_os = "linux"))]
compile_error!("skep runs on Linux only: it stands on memfd, futex and pidfd");

#[cfg(not(target_pointer_width = "64"))]
compile_error!("skep runs on 64-bit targets only: its words name positions and blocks in 64 bits");

// The protocol, which runs under loom as well.
#[cfg_attr(loom, path = "model/bell.rs")]
mod bell;
mod collector;
mod core;
mod error;
#[cfg_attr(loom, path = "model/frame.rs")]
mod frame;
mod job;
mod outbox;
mod outcome;
mod record;
#[cfg(not(loom))]
mod slices;
#[cfg(loom)]
mod slices {
    pub(crate) mod chunks;
    pub(crate) mod ledger;
}
#[cfg_attr(loom, path = "model/spill.rs")]
mod spill;
mod state;
mod sync;
#[cfg_attr(loom, path = "model/sys.rs")]
mod sys;
#[cfg_attr(loom, path = "model/task.rs")]
mod task;
#[cfg_attr(loom, path = "model/waiter.rs")]
mod waiter;
#[cfg(not(loom))]
mod worker;
#[cfg(loom)]
mod worker {
    pub(crate) mod steps;
}

#[cfg(loom)]
#[doc(hidden)]
pub mod model;

// Values, processes and callers.
#[cfg(not(loom))]
mod arena;
#[cfg(not(loom))]
mod entry;
#[cfg(not(loom))]
mod future;
#[cfg(not(loom))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(not(loom))]
mod inherited;
#[cfg(not(loom))]
mod launch;
#[cfg(not(loom))]
mod leftover;
#[cfg(not(loom))]
mod lifeline;
#[cfg(not(loom))]
mod map;
#[cfg(not(loom))]
mod numbers;
#[cfg(not(loom))]
mod origin;
#[cfg(not(loom))]
mod panics;
#[cfg(not(loom))]
mod patience;
#[cfg(not(loom))]
mod pool;
#[cfg(not(loom))]
mod signals;
#[cfg(not(loom))]
mod supervisor;
#[cfg(not(loom))]
mod title;
#[cfg(not(loom))]
mod wire;
#[cfg(not(loom))]
mod zygote;

pub use error::{Cause, MapError, PoolError, TaskError};
#[cfg(not(loom))]
pub use {
    arena::arena,
    entry::init,
    future::Future,
    map::Imap,
    origin::Start,
    pool::{Builder, Pool, Stats},
    slices::{Slice, SliceMapTask, SliceMut, SliceTask},
    task::Task,
};

/// For the code that `#[skep::task]` and `test_entry!` write.
#[cfg(not(loom))]
#[doc(hidden)]
pub mod __private {
    pub use crate::entry::{TestEntry, test_entry};
    pub use crate::slices::{run_slice, run_slice_into};
    pub use crate::task::{Call, Ran, TaskEntry, new_task, run};
    pub use inventory;
}

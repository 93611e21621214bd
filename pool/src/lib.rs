//! A pool of worker processes over shared memory: a crash costs one task, never the pool.
//!
//! Mark functions with `#[skep::task]`, call [`init`] first in `main`, and let a [`Pool`] run them in other processes, nearly as cheaply
//! as in threads. How it works, and why no task is lost and none hangs, stands in `PROTOCOL.md`.

#[cfg(not(target_os = "linux"))]
compile_error!("skep runs on Linux only: it stands on memfd, futex and pidfd");

mod arena;
mod collector;
mod core;
mod entry;
mod error;
mod frame;
mod future;
#[doc(hidden)]
pub mod fuzzing;
mod job;
mod launch;
mod map;
mod numbers;
mod outbox;
mod outcome;
mod panics;
mod pool;
mod record;
mod slices;
mod spill;
mod state;
mod supervisor;
mod sync;
mod sys;
mod task;
mod waiter;
mod wire;
mod worker;
mod zygote;

pub use arena::arena;
pub use entry::init;
pub use error::{Cause, PoolError, TaskError};
pub use future::Future;
pub use map::Imap;
pub use pool::{Builder, Pool, Stats};
pub use slices::{Slice, SliceMapTask, SliceMut, SliceTask};
pub use task::Task;

/// For the code that `#[skep::task]` and `test_entry!` write.
#[doc(hidden)]
pub mod __private {
    pub use crate::entry::{TestEntry, test_entry};
    pub use crate::slices::{run_slice, run_slice_into};
    pub use crate::task::{Call, Ran, TaskEntry, new_task, run};
    pub use inventory;
}

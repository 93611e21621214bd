//! The pool's arena: the parent makes it and repairs it, each worker joins it.

use crate::core::Core;
use crate::error::PoolError;
use skep_ipc::{Arena, ArenaOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock, Weak};

/// To how many bytes an arena may grow, unless asked otherwise: addresses, not memory.
pub(crate) const LIMIT: u64 = 1 << 30;
/// What it begins with: memory that every pool pays for when it starts.
const FIRST: u64 = 64 << 10;
/// By how much it grows.
const STRETCH: u64 = 2 << 20;
/// Participants beside the workers: what the parent and its workers make of their own, such as queues in it.
const OTHERS: usize = 128;
/// No arena can have more.
const MOST: usize = 4095;

/// Tells repair what the records hold, as soon as there is a core to ask.
pub(crate) type Hook = Arc<OnceLock<Weak<Core>>>;

pub(crate) fn create(limit: u64, workers: usize) -> Result<(Arena, Hook), PoolError> {
    let hook = Hook::default();
    let asked = hook.clone();
    let carriers = Arc::new(move |held: &mut dyn FnMut(u32, u32)| {
        if let Some(core) = asked.get().and_then(Weak::upgrade) {
            core.each_carried(&mut |entry| held(entry as u32, (entry >> 32) as u32));
        }
    });
    let options = ArenaOptions::new(FIRST.min(limit)).limit(limit).stretch(STRETCH);
    // Each worker, and its replacement while it is not yet repaired.
    let arena = options.peers((2 * workers + OTHERS).min(MOST)).anonymous_for(carriers)?;
    Ok((arena, hook))
}

pub(crate) fn join(file: OwnedFd) -> Result<Arena, skep_ipc::Error> {
    Arena::from_fd_of_another(file)
}

/// A copy of the descriptor that workers join by.
pub(crate) fn fd(arena: &Arena) -> std::io::Result<OwnedFd> {
    arena.as_fd().try_clone_to_owned()
}

static OF_THIS_WORKER: OnceLock<Arena> = OnceLock::new();

/// In a process that becomes a worker.
pub(crate) fn keep(arena: &Arena) {
    let _ = OF_THIS_WORKER.set(arena.clone());
}

/// In a worker, the arena of its pool: where a task allocates what it returns. The parent has it by [`Pool::arena`](crate::Pool::arena).
///
/// What a task allocates and does not return is freed when it drops it, or when its worker ends.
///
/// # Errors
/// [`PoolError::NotAWorker`] outside of a worker.
///
/// ```
/// # mod skep { pub use skep_pool::*; pub use skep_ipc::*; }
/// // #[skep::task]
/// fn ramp(length: usize) -> skep::ShmSlice<f64> {
///     let arena = skep::arena().expect("tasks run in workers");
///     arena.slice_with(length, |n| n as f64).expect("room")
/// }
/// assert!(skep::arena().is_err()); // this is no worker
/// ```
pub fn arena() -> Result<&'static Arena, PoolError> {
    OF_THIS_WORKER.get().ok_or(PoolError::NotAWorker)
}

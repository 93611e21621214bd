//! A core's parts, as a machine gives them, and what workers attach to.

use super::Core;
use crate::arena::{self, Hook};
use crate::bell::Bell;
use crate::error::PoolError;
use crate::record::Table;
use crate::sync::lock;
use skep_ipc::{Arena, QueueOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

impl Core {
    pub(crate) fn new(depth: u32, workers: usize, arena_bytes: u64) -> Result<Arc<Core>, PoolError> {
        let table = Table::create(depth)?;
        let (arena, hook): (Arena, Hook) = arena::create(arena_bytes, workers)?;
        // Each worker, its replacement while it is not yet repaired, and this process's handles.
        let peers = 2 * workers + 16;
        // Ids may be doubled when a worker dies; in between there is at most one for each record.
        let ring = || QueueOptions::new(2 * depth as usize + 64).peers(peers).anonymous::<u64>();
        let done = ring()?;
        let again = done.try_clone()?;
        let core = Arc::new(Core::over(table, arena, ring()?, [done, again], Bell::new()?));
        let _ = hook.set(Arc::downgrade(&core));
        Ok(core)
    }

    /// Copies of the descriptors that workers attach to: tasks, done, records, spill file, arena.
    pub(crate) fn fds(&self) -> std::io::Result<[OwnedFd; 5]> {
        let [records, spill] = self.table.fds();
        Ok([
            lock(&self.tasks).ring.as_fd().try_clone_to_owned()?,
            lock(&self.announce).ring.as_fd().try_clone_to_owned()?,
            records.try_clone_to_owned()?,
            spill.try_clone_to_owned()?,
            arena::fd(&self.arena)?,
        ])
    }
}

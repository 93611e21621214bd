//! A result that is not there yet.

use crate::core::Core;
use crate::error::TaskError;
use crate::job::Job;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// The result of a task that a pool runs or will run; [`Pool::apply_async`](crate::Pool::apply_async) gives it.
///
/// It may outlive its pool: then it has the result that was there, or [`TaskError::Terminated`]. Dropping it does not stop the task.
#[must_use = "an error of the task is seen only by who gets its result"]
pub struct Future<R> {
    job: Arc<Job>,
    core: Weak<Core>,
    /// The process that has the pool.
    owner: u32,
    result: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> Future<R> {
    pub(crate) fn new(job: Arc<Job>, core: &Arc<Core>) -> Self {
        Future { job, core: Arc::downgrade(core), owner: core.owner(), result: PhantomData }
    }

    /// The result.
    ///
    /// Blocks until the task has one. If its worker dies, that is the task's error (or it is run again, if it was declared `retry`).
    ///
    /// # Errors
    /// [`TaskError`] says why the task gave no result.
    pub fn get(self) -> Result<R, TaskError> {
        let core = self.core.upgrade();
        self.wait(core.as_deref(), None);
        self.resolve(core.as_deref())
    }

    /// The result, or this future again if `timeout` passes before it is there.
    ///
    /// The task goes on in any case.
    ///
    /// # Errors
    /// The future itself when the time is over. The inner error is that of [`get`](Self::get).
    pub fn get_timeout(self, timeout: Duration) -> Result<Result<R, TaskError>, Self> {
        let deadline = Instant::now().checked_add(timeout);
        let core = self.core.upgrade();
        if self.wait(core.as_deref(), deadline) { Ok(self.resolve(core.as_deref())) } else { Err(self) }
    }

    /// Whether the result is there, so that [`get`](Self::get) will not block. Never blocks.
    pub fn is_ready(&self) -> bool {
        let core = self.core.upgrade();
        if self.is_copy(core.as_deref()) || self.job.peek(1) {
            return true;
        }
        let Some(core) = core else { return true };
        core.collect();
        self.job.peek(1)
    }

    fn wait(&self, core: Option<&Core>, deadline: Option<Instant>) -> bool {
        if self.is_copy(core) || self.job.peek(1) {
            return true;
        }
        // A pool that is gone has told all its jobs.
        core.is_none_or(|core| core.wait(&self.job, 1, deadline))
    }

    /// Whether this is a forked child's, where nobody delivers.
    fn is_copy(&self, core: Option<&Core>) -> bool {
        core.map_or_else(|| std::process::id() != self.owner, |core| !core.is_own())
    }

    fn resolve(self, core: Option<&Core>) -> Result<R, TaskError> {
        if self.is_copy(core) {
            return Err(TaskError::Forked);
        }
        resolve(self.job, core)
    }
}

/// What has come of a job of one part with one item, whose pool uses it again, if it is there.
pub(crate) fn resolve<R: DeserializeOwned>(job: Arc<Job>, core: Option<&Core>) -> Result<R, TaskError> {
    let Some((_, result)) = job.take_single() else { return Err(TaskError::Terminated) };
    if let Some(core) = core {
        core.reuse(job);
    }
    result
}

impl<R> fmt::Debug for Future<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Future").field("is_there", &self.job.peek(1)).finish_non_exhaustive()
    }
}

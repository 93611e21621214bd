//! The way in: batches of calls are laid into free records.

use super::{Core, Ticket, corrupt};
use crate::error::TaskError;
use crate::job::Job;
use crate::record::Work;
use crate::state::{Id, State};
use crate::sync::{Freight, lock};
use crate::task::TaskRef;
use crate::waiter::Waker;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The free records, and who waits for one.
#[derive(Default)]
pub(super) struct Free {
    pub(super) indices: Vec<u32>,
    /// How many calls are open.
    pub(super) calls: usize,
    pub(super) waiters: VecDeque<Waker>,
}

/// One record's worth of calls: `count` arguments, encoded as frames.
pub(crate) struct Batch<'a> {
    pub(crate) task: TaskRef,
    pub(crate) count: u32,
    pub(crate) arguments: &'a [u8],
    /// What the arguments' handles have sent, each with the item that it belongs to. Empty when the batch was submitted.
    pub(crate) freight: &'a mut Vec<(u32, Freight)>,
    /// Whether it belongs to a call that was [opened](Core::open_call), and so goes in although the pool was closed meanwhile.
    pub(crate) is_continued: bool,
}

/// A call that submits more than once. As long as it is open, [`Core::wait_for_all`] waits.
pub(crate) struct OpenCall<'a>(&'a Core);

impl Drop for OpenCall<'_> {
    fn drop(&mut self) {
        let core = self.0;
        if core.is_own() {
            core.change_free(|free| free.calls -= 1);
            if core.is_closed() {
                core.nudge(); // whoever waits for this may lead
            }
        }
    }
}

impl Batch<'_> {
    /// The record has its blocks now.
    fn let_go(&mut self) {
        for (_, freight) in self.freight.drain(..) {
            // SAFETY: `frame::encode` gives no freight but of a value that it has surrendered.
            unsafe { freight.let_go() };
        }
    }
}

impl Core {
    /// Lays a batch into a record and queues it, if there is a free record; its outcome goes to `job`.
    pub(crate) fn try_submit(
        &self,
        batch: &mut Batch<'_>,
        job: &Arc<Job>,
        part: u32,
    ) -> Result<bool, TaskError> {
        if batch.is_continued { self.lives() } else { self.admits() }?;
        let Some(index) = lock(&self.free).indices.pop() else { return Ok(false) };
        let Some(record) = self.table.record(index) else { return Err(corrupt()) };
        let Some(State { generation, .. }) = record.state.load() else {
            self.give_back(index);
            return Err(corrupt());
        };
        let work = Work { task: batch.task.id, count: batch.count };
        if let Err(error) = self.table.write_task(index, work, batch.arguments) {
            self.give_back(index);
            self.nudge(); // whoever waits for a record may lead
            return Err(error);
        }
        let ticket = Ticket {
            job: job.clone(),
            part,
            task: batch.task.name,
            count: batch.count,
            retries: batch.task.retries,
            arguments: batch
                .freight
                .iter()
                .flat_map(|(item, freight)| freight.entries().map(|entry| (*item, entry)))
                .collect(),
            deaths: (0, 0),
            has_killed: false,
        };
        *lock(&self.tickets[index as usize]) = Some(ticket);
        if let Some(ending) = self.ending.get() {
            // C2: if the ticket is gone, the job has been told.
            if lock(&self.tickets[index as usize]).take().is_some() {
                return Err(ending.clone());
            }
            batch.let_go();
            return Ok(true);
        }
        batch.let_go();
        record.state.queue(generation);
        self.put_task(Id { generation, index }); // if that fails, the job has been told
        Ok(true)
    }

    /// Lays a batch into a record and queues it. Waits for a free record, and collects meanwhile; gives
    /// [`TaskError::Full`] if there is none until the deadline.
    pub(crate) fn submit(
        &self,
        batch: &mut Batch<'_>,
        job: &Arc<Job>,
        part: u32,
        deadline: Option<Instant>,
    ) -> Result<(), TaskError> {
        while !self.try_submit(batch, job, part)? {
            if !self.collector.wait(self, deadline, |this| self.has_free(this)) {
                return Err(TaskError::Full);
            }
        }
        Ok(())
    }

    /// Begins a call whose batches are continued.
    pub(crate) fn open_call(&self) -> Result<OpenCall<'_>, TaskError> {
        self.lives()?;
        lock(&self.free).calls += 1;
        let open = OpenCall(self);
        // After it is counted: whoever closes the pool and then waits for all waits for this call, or this sees the close.
        self.admits()?;
        Ok(open)
    }

    fn admits(&self) -> Result<(), TaskError> {
        self.lives()?;
        if self.closed.load(Ordering::Relaxed) { Err(TaskError::Closed) } else { Ok(()) }
    }

    fn lives(&self) -> Result<(), TaskError> {
        match self.ending.get() {
            _ if !self.is_own() => Err(TaskError::Forked),
            Some(ending) => Err(ending.clone()),
            None => Ok(()),
        }
    }

    /// Returns whether there is a free record, or never will be. If not, `this` is woken when one is freed.
    fn has_free(&self, this: &Waker) -> bool {
        self.free_is(|free| !free.indices.is_empty(), this)
    }

    pub(super) fn free_is(&self, enough: impl Fn(&Free) -> bool, this: &Waker) -> bool {
        let mut free = lock(&self.free);
        let is_enough = enough(&free) || self.ending.get().is_some();
        if !is_enough && !free.waiters.contains(this) {
            free.waiters.push_back(this.clone());
        }
        is_enough
    }

    pub(super) fn give_back(&self, index: u32) {
        self.change_free(|free| free.indices.push(index));
    }

    /// Whether workers have something of a caller's in their hands.
    pub(crate) fn has_open_calls(&self) -> bool {
        lock(&self.free).calls > 0
    }

    fn change_free(&self, change: impl FnOnce(&mut Free)) {
        let waiting = {
            let mut free = lock(&self.free);
            change(&mut free);
            free.waiters.len()
        };
        // One by one, since a wake-up takes longer than the mutex may be held. Who waits again meanwhile comes behind those who waited then.
        for _ in 0..waiting {
            let Some(waiter) = lock(&self.free).waiters.pop_front() else { break };
            waiter.wake();
        }
    }
}

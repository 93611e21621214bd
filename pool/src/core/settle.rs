//! What a dead worker's records come to: finished, queued again, or with the error of the item that it was running.

use super::Core;
use crate::error::{Cause, TaskError};
use crate::frame;
use crate::state::{Id, Phase};
use crate::sync::lock;

impl Core {
    /// Repairs what a dead worker has left in the rings and in the arena, and settles the records that name it.
    pub(crate) fn settle(&self, worker: u32, pid: u32, cause: Cause) {
        // A repair that fails now is done by the next blocked call.
        let _ = lock(&self.tasks).ring.recover();
        let _ = lock(&self.announce).ring.recover();
        self.mend_arena(); // while the records still say what it was at
        for index in 0..self.table.len() {
            let Some(record) = self.table.record(index) else { continue };
            let Some(state) = record.state.load().filter(|state| state.worker == worker) else { continue };
            let id = Id { generation: state.generation, index };
            match state.phase {
                Phase::Done => self.announce(id), // perhaps once more
                Phase::Running => self.settle_record(id, worker, pid, cause),
                Phase::Free | Phase::Queued => {}
            }
        }
    }

    /// The record is the supervisor's now, since the worker that it names is dead (R1).
    fn settle_record(&self, id: Id, worker: u32, pid: u32, cause: Cause) {
        let Some(record) = self.table.record(id.index) else { return };
        let mut slot = lock(&self.tickets[id.index as usize]);
        let Some(ticket) = &mut *slot else { return }; // the pool has ended
        ticket.has_killed = true;
        let mut item = record.progress().items;
        let mut lost = Vec::new();
        if item < ticket.count && !record.take_handed_back() {
            let deaths = if ticket.deaths.0 == item { ticket.deaths.1 } else { 0 };
            if deaths < ticket.retries {
                ticket.deaths = (item, deaths + 1);
            } else {
                let frame =
                    frame::error_frame(TaskError::WorkerDied { task: ticket.task.into(), pid, cause });
                let appended =
                    self.table.append_results(id.index, false).map(|mut to| to.append(&frame, false));
                lost = ticket.arguments_of(item);
                // Without room for it the record ends here, and what is missing is reported when it is collected.
                item = if let Some(Ok(())) = appended { item + 1 } else { ticket.count };
            }
        }
        if item >= ticket.count {
            record.state.finish(id.generation, worker);
            drop(slot);
            self.dispose(&lost);
            return self.announce(id);
        }
        record.state.queue(id.generation);
        drop(slot);
        self.dispose(&lost);
        self.put_task(id);
    }
}

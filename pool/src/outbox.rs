//! Putting ids into a ring without ever blocking.
//!
//! A ring with more slots than there are records can still be full for a while: a consumer that died, or is stopped, between taking an id
//! and letting go of its slot blocks that slot, one lap later. Whoever waited for it here, holding the lock, could keep the supervisor from
//! replacing that very consumer. So what finds no slot stays in a backlog, in order, and the supervisor looks after it.

use crate::sync::{PutError, SimpleQueue};
use std::collections::VecDeque;

pub(crate) struct Outbox {
    pub(crate) ring: SimpleQueue<u64>,
    backlog: VecDeque<u64>,
}

impl Outbox {
    pub(crate) fn new(ring: SimpleQueue<u64>) -> Outbox {
        Outbox { ring, backlog: VecDeque::new() }
    }

    /// Puts the id, behind those that wait; tells whether all are put.
    pub(crate) fn put(&mut self, id: u64) -> Result<bool, PutError<()>> {
        if self.backlog.is_empty() && self.ring.try_put(id).is_ok() {
            return Ok(true);
        }
        self.backlog.push_back(id);
        self.flush()
    }

    /// Puts what there is room for; tells whether that is all.
    pub(crate) fn flush(&mut self) -> Result<bool, PutError<()>> {
        while let Some(id) = self.backlog.front() {
            match self.ring.try_put(*id) {
                Ok(()) => drop(self.backlog.pop_front()),
                Err(PutError::Full(_)) => {
                    // Perhaps a dead participant holds the slot; if this fails, the next flush tries again.
                    let _ = self.ring.recover();
                    return Ok(false);
                }
                // It is closed when all tasks are done: what is left here was a second hint at one of them.
                Err(PutError::Closed(_)) => self.backlog.clear(),
                Err(PutError::Forked(_)) => return Err(PutError::Forked(())),
                Err(PutError::Corrupt(_)) => return Err(PutError::Corrupt(())),
            }
        }
        Ok(true)
    }
}

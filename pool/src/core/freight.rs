//! What records hold of the arena, and what becomes of it when nobody takes it.
//!
//! A record is a carrier. The blocks of an item's argument are the record's from its submission until the item is counted: a worker that takes them and dies before that
//! leaves them to the record, as far as they are what they were. The blocks of a result are the record's from its count until it is delivered. Repair asks for both
//! ([`each_carried`](Core::each_carried)); the ticket's mutex keeps the record what it is meanwhile.

use super::{Core, Ticket};
use crate::sync::{Condvar, Mutex, lock};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// What is left when the pool ends.
#[derive(Default)]
pub(super) struct Estate {
    inner: Mutex<Left>,
    settled: Condvar,
}

#[derive(Default)]
struct Left {
    /// The blocks of arguments that no worker will take.
    entries: Vec<u64>,
    /// No process is left that could take anything.
    is_alone: bool,
}

impl Ticket {
    /// The blocks in arguments from an item on.
    pub(super) fn arguments_from(&self, item: u32) -> impl Iterator<Item = u64> + '_ {
        self.arguments.iter().filter(move |(of, _)| *of >= item).map(|(_, entry)| *entry)
    }

    /// The blocks in one item's arguments.
    pub(super) fn arguments_of(&self, item: u32) -> Vec<u64> {
        self.arguments.iter().filter(|(of, _)| *of == item).map(|(_, entry)| *entry).collect()
    }
}

impl Core {
    /// Tells what all records hold.
    pub(crate) fn each_carried(&self, held: &mut dyn FnMut(u64)) {
        for (index, ticket) in (0..).zip(&self.tickets) {
            let ticket = lock(ticket);
            let (Some(ticket), Some(record)) = (&*ticket, self.table.record(index)) else { continue };
            ticket.arguments_from(record.progress().items).for_each(&mut *held);
            self.table.each_result_entry(index, held);
        }
    }

    /// Frees blocks that lie in a carrier's place which is the parent's now. Not under a ticket's mutex: freeing counts, and who counts may repair, and ask for tickets.
    pub(super) fn dispose(&self, entries: &[u64]) {
        // SAFETY: the entries are those of a record's table, whose values were surrendered when it was filled; the
        // record is the parent's now, so no worker looks there.
        unsafe { self.arena.free_sent(entries.iter().copied()) };
    }

    /// Repairs the arena for dead workers. One whose death the kernel does not tell yet is repaired for the next time.
    pub(crate) fn mend_arena(&self) {
        let _ = self.arena.recover();
    }

    /// The pool has ended, and this ticket's arguments will not be taken; as long as workers live, one may be at it.
    pub(super) fn leave(&self, ticket: &Ticket) {
        let mut left = lock(&self.estate.inner);
        left.entries.extend(ticket.arguments_from(0));
        let entries = if left.is_alone { std::mem::take(&mut left.entries) } else { Vec::new() };
        drop(left);
        self.dispose(&entries);
    }

    /// Supervisor: no process is left. Frees what the dead held, and what is in records that nobody will look at.
    pub(crate) fn bury_all(&self) {
        self.mend_arena();
        let mut entries = Vec::new();
        if self.has_ended() {
            for (index, ticket) in (0..).zip(&self.tickets) {
                let ticket = lock(ticket);
                if ticket.is_none() && self.table.is_in_use(index) {
                    self.table.each_result_entry(index, &mut |entry| entries.push(entry));
                }
            }
        }
        let mut left = lock(&self.estate.inner);
        entries.append(&mut left.entries);
        left.is_alone = true;
        drop(left);
        self.dispose(&entries);
        self.estate.settled.notify_all();
    }

    /// Waits until no process of the pool is left, which somebody must have ordered, or for the
    /// deadline; tells which.
    pub(crate) fn wait_until_alone(&self, deadline: Option<Instant>) -> bool {
        let mut left = lock(&self.estate.inner);
        while !left.is_alone {
            left = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => self.estate.settled.wait(left).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return false,
                Some(time) => {
                    let waited = self.estate.settled.wait_timeout(left, time);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        true
    }
}

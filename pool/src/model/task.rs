//! A model's tasks: one function of a number, and of the block that its argument may have.

use crate::error::TaskError;
use crate::frame::Payload;
use crate::sync::{Arena, Freight, Lading};

#[derive(Clone, Copy)]
pub(crate) struct TaskRef {
    pub(crate) name: &'static str,
    pub(crate) id: u64,
    pub(crate) retries: u8,
}

/// What the result is above the argument.
pub(crate) const STEP: u8 = 100;

/// A task's number says whether it may be retried.
pub(crate) struct TaskEntry {
    is_retried: bool,
}

pub(crate) struct Ran<'a> {
    pub(crate) result: Result<Freight, Box<TaskError>>,
    pub(crate) argument: Lading<'a>,
}

impl TaskEntry {
    /// Adds [`STEP`]. If the argument has a block, what it says is checked, and so the result has one.
    pub(crate) fn run<'a>(&self, argument: &Payload, result: &mut Vec<u8>, arena: &'a Arena) -> Ran<'a> {
        let value = argument.value.expect("no argument is an error");
        // SAFETY: a model's arena checks it.
        let mut lading = unsafe { arena.lading(argument.entries()) };
        lading.within(self.is_retried, |says| assert_eq!(says, u64::from(value)));
        let value = value + STEP;
        let mut freight = Freight::default();
        if argument.block.is_some() {
            freight = arena.send(value.into());
        }
        crate::frame::put(result, value, freight.entries().next());
        Ran { result: Ok(freight), argument: lading }
    }
}

static ENTRIES: [TaskEntry; 2] = [TaskEntry { is_retried: false }, TaskEntry { is_retried: true }];

pub(crate) fn find(id: u64) -> Result<&'static TaskEntry, TaskError> {
    Ok(&ENTRIES[id as usize])
}

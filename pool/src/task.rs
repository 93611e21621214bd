//! Tasks: functions that workers can run, and the registry in which a worker finds them.
//!
//! A task travels as a number, the hash of its path, signature and place; never as a code address. Each `#[skep::task]` puts an
//! entry into the registry of the executable, and since workers run the same executable they have the same registry.

use crate::error::TaskError;
use crate::frame::{self, Payload};
use crate::panics;
use skep_ipc::{Arena, Freight, Lading, Message};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

/// A function that the workers of a [`Pool`](crate::Pool) can run: from `A` to `R`, callable as the plain function `F`.
///
/// `#[skep::task]` makes them; see there.
pub struct Task<A, R, F> {
    name: &'static str,
    id: u64,
    retries: u8,
    function: F,
    signature: PhantomData<fn(A) -> R>,
}

/// What the pool needs to know of a task, without its types.
#[derive(Clone, Copy)]
pub(crate) struct TaskRef {
    pub(crate) name: &'static str,
    pub(crate) id: u64,
    pub(crate) retries: u8,
}

impl<A, R, F> Task<A, R, F> {
    /// Its path: `crate::module::name`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How often it is run again if its worker dies.
    pub fn retries(&self) -> u8 {
        self.retries
    }

    pub(crate) fn untyped(&self) -> TaskRef {
        TaskRef { name: self.name, id: self.id, retries: self.retries }
    }
}

impl<A, R, F: Copy> Clone for Task<A, R, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A, R, F: Copy> Copy for Task<A, R, F> {}

impl<A, R, F> Deref for Task<A, R, F> {
    type Target = F;

    fn deref(&self) -> &F {
        &self.function
    }
}

impl<A, R, F> fmt::Debug for Task<A, R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Task").field(&self.name).finish()
    }
}

/// For `#[skep::task]`.
#[doc(hidden)]
pub const fn new_task<A, R, F: Copy>(entry: &TaskEntry, function: F) -> Task<A, R, F> {
    Task { name: entry.name, id: entry.id, retries: entry.retries, function, signature: PhantomData }
}

/// One call of a task in its worker.
#[doc(hidden)]
pub struct Call<'r, 'a> {
    pub(crate) argument: &'r Payload<'r>,
    /// Where the encoded result is appended.
    pub(crate) result: &'r mut Vec<u8>,
    pub(crate) arena: &'a Arena,
    /// Whether this may be run again if the worker dies.
    pub(crate) is_retried: bool,
}

/// What came of a call.
#[doc(hidden)]
pub struct Ran<'a> {
    /// What the result's handles have sent.
    pub(crate) result: Result<Freight, Box<TaskError>>,
    /// What is left of the argument. To be kept until the result is counted.
    pub(crate) argument: Lading<'a>,
}

/// Decodes an argument, runs the task on it, and appends the encoded result.
type Run = for<'a> fn(Call<'_, 'a>) -> Ran<'a>;

/// A task in the registry.
#[doc(hidden)]
pub struct TaskEntry {
    name: &'static str,
    id: u64,
    place: &'static str,
    retries: u8,
    run: Run,
}

impl TaskEntry {
    /// For `#[skep::task]`. The place tells tasks of one path apart: those of two functions' bodies, or of two versions of a crate.
    pub const fn new(
        name: &'static str,
        signature: &'static str,
        place: &'static str,
        retries: u8,
        run: Run,
    ) -> Self {
        TaskEntry { name, id: fnv1a(fnv1a(fnv1a(FNV_BASIS, name), signature), place), place, retries, run }
    }

    pub(crate) fn run<'r, 'a>(
        &self,
        argument: &'r Payload<'r>,
        result: &'r mut Vec<u8>,
        arena: &'a Arena,
    ) -> Ran<'a> {
        (self.run)(Call { argument, result, arena, is_retried: self.retries > 0 })
    }
}

inventory::collect!(TaskEntry);

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

const fn fnv1a(mut hash: u64, text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

/// Each task under its number. Several under one are all refused when they are called.
type Registry = BTreeMap<u64, Result<&'static TaskEntry, Clash>>;

/// Two entries with the same number.
type Clash = (&'static TaskEntry, &'static TaskEntry);

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| registry(inventory::iter::<TaskEntry>.into_iter()));

fn registry(entries: impl Iterator<Item = &'static TaskEntry>) -> Registry {
    let mut registry = Registry::new();
    for entry in entries {
        let slot = registry.entry(entry.id);
        slot.and_modify(|first| *first = first.and_then(|first| Err((first, entry)))).or_insert(Ok(entry));
    }
    registry
}

/// Returns the task with this number, or why a worker cannot run it.
pub(crate) fn find(id: u64) -> Result<&'static TaskEntry, TaskError> {
    match REGISTRY.get(&id) {
        Some(Ok(entry)) => Ok(entry),
        Some(Err((first, second))) => Err(TaskError::DuplicateTask {
            name: first.name.into(),
            first: first.place.into(),
            second: second.place.into(),
        }),
        None => Err(TaskError::UnknownTask { name: format!("{id:#018x}") }),
    }
}

/// For `#[skep::task]`: the body of a registered function. A panic stops here.
#[doc(hidden)]
pub fn run<'a, A: Message, R: Message>(call: Call<'_, 'a>, function: impl FnOnce(A) -> R) -> Ran<'a> {
    let Call { argument, result, arena, is_retried } = call;
    // SAFETY: the table is that of a record which this worker has claimed: its submitter has let go of the blocks.
    let mut lading = unsafe { arena.lading(argument.entries()) };
    let not_decoded = |reason| TaskError::ArgumentNotDecoded { reason };
    let finish = |argument| {
        let not_encoded = |reason| TaskError::ResultNotEncoded { reason };
        frame::encode(result, function(argument), arena, not_encoded)
    };
    let result = contained(|| {
        if is_retried {
            // What the task drops of its argument goes back to the record, for the next run if this one ends in a death.
            return lading.within(|| argument.argument().map(finish)).map_err(not_decoded)?;
        }
        let argument = lading.within(|| argument.argument()).map_err(not_decoded)?;
        finish(argument)
    });
    Ran { result, argument: lading }
}

/// Runs user code, which may panic in every step. What it shared with the outside is its own business, as with threads.
pub(crate) fn contained<R>(steps: impl FnOnce() -> Result<R, Box<TaskError>>) -> Result<R, Box<TaskError>> {
    panics::clear();
    catch_unwind(AssertUnwindSafe(steps)).unwrap_or_else(|payload| {
        let told = panics::told_by(&*payload);
        // A payload may panic when it is dropped; one that does is left behind.
        if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(another);
        }
        Err(told.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing<'a>(call: Call<'_, 'a>) -> Ran<'a> {
        run(call, |(): ()| ())
    }

    static A: TaskEntry = TaskEntry::new("m::f", "fn f ()", "a.rs:1:1", 0, nothing);
    static SAME: TaskEntry = TaskEntry::new("m::f", "fn f ()", "a.rs:1:1", 0, nothing);
    static OTHER_NAME: TaskEntry = TaskEntry::new("m::g", "fn f ()", "a.rs:1:1", 0, nothing);
    static OTHER_SIGNATURE: TaskEntry = TaskEntry::new("m::f", "fn f (n : u8)", "a.rs:1:1", 0, nothing);
    static OTHER_PLACE: TaskEntry = TaskEntry::new("m::f", "fn f ()", "a.rs:9:1", 0, nothing);

    #[test]
    fn path_signature_and_place_tell_tasks_apart() {
        let registry = registry([&A, &OTHER_NAME, &OTHER_SIGNATURE, &OTHER_PLACE].into_iter());
        assert_eq!(registry.values().filter(|entry| entry.is_ok()).count(), 4);
    }

    #[test]
    fn two_tasks_that_cannot_be_told_apart_cost_only_themselves() {
        let registry = registry([&A, &OTHER_NAME, &SAME, &SAME].into_iter());
        assert!(registry[&OTHER_NAME.id].is_ok());
        let clash = registry[&A.id].err();
        assert_eq!(clash.map(|(a, b)| (a.place, b.place)), Some(("a.rs:1:1", "a.rs:1:1")));
    }
}

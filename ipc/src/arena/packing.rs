//! Handles inside of values that are encoded: each writes its number in a table of sent blocks.
//!
//! Which carrier a value goes into, serde's traits cannot tell a handle; a thread's current one is noted here. Without one a handle has no serialised form.
//!
//! `serialize` has but a reference to the handle, so nothing there says that the handle ends: it may lie behind an `Rc`, or be borrowed from elsewhere by a type that
//! serialises what it refers to. So before the carrier has the blocks the value is dropped ([`Cargo::surrender`]), and each of its handles must be dropped with it.

use super::blocks::Block;
use super::core::Core;
use super::descriptor::Hold;
use super::error::EncodeError;
use super::word::Phase;
use crate::sync::biased::{Leaf, Shared};
use serde::{Serialize, Serializer, ser};
use std::cell::{Cell, RefCell};

pub(super) const HOMELESS: &str =
    "a handle of shared memory travels through the queues and tasks of its arena only";

thread_local! {
    static PACKING: RefCell<Option<Packing>> = const { RefCell::new(None) };
    static SURRENDERING: RefCell<Option<Vec<Sent>>> = const { RefCell::new(None) };
    /// How many scopes of this thread want to know of handles that are dropped.
    static SCOPES: Cell<u32> = const { Cell::new(0) };
}

/// Counts as a scope that wants to know of handles that are dropped.
pub(super) struct Scope(());

impl Scope {
    pub(super) fn enter() -> Scope {
        SCOPES.set(SCOPES.get() + 1);
        Scope(())
    }

    /// Whether there is any on this thread.
    #[inline]
    pub(super) fn is_any() -> bool {
        SCOPES.get() > 0
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        SCOPES.set(SCOPES.get() - 1);
    }
}

/// What is known of a handle that is encoded.
pub(super) struct Handle<'a> {
    pub(super) core: &'a Shared<Core>,
    pub(super) block: Block,
    pub(super) hold: Hold,
}

/// A block that was marked as sent.
struct Sent {
    core: Leaf<Core>,
    /// As its handle knows it.
    held: Block,
    block: Block,
    phase: Phase,
    is_surrendered: bool,
}

/// The blocks that a value's handles have sent. Until they are [let go](Self::let_go) dropping this takes them back.
#[derive(Default)]
pub(crate) struct Cargo(Vec<Sent>);

impl Cargo {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `{ generation: 32, index: 32 }` of each, in the order of their numbers.
    pub(crate) fn entries(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.0.iter().map(|sent| entry(sent.block))
    }

    /// Runs `drop_value`, which drops the value that was encoded. False: some handle is still there, so the blocks must not go anywhere.
    pub(crate) fn surrender(&mut self, drop_value: impl FnOnce()) -> bool {
        if !self.is_empty() {
            let _scope = Scope::enter();
            let outer = SURRENDERING.replace(Some(std::mem::take(&mut self.0)));
            let _end = Surrender { cargo: self, outer };
            drop_value();
        } else {
            drop_value();
        }
        self.0.iter().all(|sent| sent.is_surrendered)
    }

    /// The carrier has them now.
    pub(crate) fn let_go(mut self) {
        self.0.clear();
    }
}

impl Drop for Cargo {
    fn drop(&mut self) {
        for Sent { core, block, phase, is_surrendered, .. } in self.0.drain(..) {
            if !core.is_own() {
                continue;
            }
            let back = core.blocks().unsend(block, phase);
            if let Some(back) = back.filter(|_| is_surrendered) {
                core.let_go_of(back, phase);
            }
        }
    }
}

/// Gives the blocks back to their cargo, also when the value's destructor panics.
struct Surrender<'a> {
    cargo: &'a mut Cargo,
    outer: Option<Vec<Sent>>,
}

impl Drop for Surrender<'_> {
    fn drop(&mut self) {
        self.cargo.0 = SURRENDERING.replace(self.outer.take()).unwrap_or_default();
    }
}

/// Notes that a handle is dropped whose block was sent by a value that is being surrendered; false: it is none.
pub(super) fn note_surrender(core: &Shared<Core>, held: Block) -> bool {
    SURRENDERING.with_borrow_mut(|sent| {
        let mut sent = sent.iter_mut().flatten();
        let it = sent.find(|sent| sent.held == held && !sent.is_surrendered && sent.core.is(core));
        it.map(|sent| sent.is_surrendered = true).is_some()
    })
}

/// The form of a block in a table.
pub(super) fn entry(block: Block) -> u64 {
    u64::from(block.generation) << 32 | u64::from(block.index)
}

struct Packing {
    arena: u64,
    cargo: Cargo,
    error: Option<EncodeError>,
}

/// Runs `encode`, whose handles are of that arena; gives what they sent.
pub(crate) fn packing<R>(
    arena: u64,
    encode: impl FnOnce() -> Result<R, EncodeError>,
) -> Result<(R, Cargo), EncodeError> {
    let here = Packing { arena, cargo: Cargo::default(), error: None };
    // One within the other is possible: a `Serialize` may put something into a queue.
    let _outer = Restore(PACKING.replace(Some(here)));
    let result = encode();
    let here = PACKING.take();
    match (result, here) {
        (Ok(value), Some(Packing { cargo, error: None, .. })) => Ok((value, cargo)),
        (_, Some(Packing { error: Some(error), .. })) => Err(error),
        (Err(error), _) => Err(error),
        (Ok(_), None) => Err(EncodeError::Serialize { reason: HOMELESS.into() }),
    }
}

/// Puts back what was noted before, also when user code panics.
struct Restore(Option<Packing>);

impl Drop for Restore {
    fn drop(&mut self) {
        let outer = self.0.take();
        drop(PACKING.replace(outer));
    }
}

/// Encodes a handle, whose block is sent.
pub(super) fn pack<Z: Serializer>(
    serializer: Z,
    handle: Handle<'_>,
    kind: u64,
    len: usize,
) -> Result<Z::Ok, Z::Error> {
    let number = PACKING.with_borrow_mut(|packing| {
        let packing = packing.as_mut().ok_or_else(|| ser::Error::custom(HOMELESS))?;
        let mut fail = |error: EncodeError| {
            let told = ser::Error::custom(&error);
            packing.error = Some(error);
            told
        };
        if handle.core.ground().id() != packing.arena || !handle.core.is_own() {
            return Err(fail(EncodeError::OtherArena));
        }
        let (held, phase) = (handle.block, handle.hold.phase());
        let Some(block) = handle.core.send(held, phase) else { return Err(fail(EncodeError::Sent)) };
        let sent = &mut packing.cargo.0;
        sent.push(Sent { core: handle.core.leaf(), held, block, phase, is_surrendered: false });
        Ok(sent.len() as u32 - 1)
    })?;
    (number, kind, len as u64).serialize(serializer)
}

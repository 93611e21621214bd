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
use std::ptr;
use thin_vec::ThinVec;

pub(super) const HOMELESS: &str =
    "a handle of shared memory travels through the queues and tasks of its arena only";

thread_local! {
    /// The innermost [`packing`] that this thread is in; null: none. A pointer, since a plain word costs every item of every task next to nothing.
    static PACKING: Cell<*const Packing> = const { Cell::new(ptr::null()) };
    static SURRENDERING: RefCell<Option<ThinVec<Sent>>> = const { RefCell::new(None) };
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
pub(crate) struct Cargo(ThinVec<Sent>);

impl Cargo {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `{ generation: 32, index: 32 }` of each, in the order of their numbers.
    pub(crate) fn entries(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.0.iter().map(|sent| entry(sent.block))
    }

    /// Runs `drop_value`, which drops the value that was encoded. False: some handle is still there, so the blocks must not go anywhere.
    #[inline]
    pub(crate) fn surrender(&mut self, drop_value: impl FnOnce()) -> bool {
        if self.is_empty() {
            drop_value();
            return true;
        }
        {
            let _scope = Scope::enter();
            let outer = SURRENDERING.replace(Some(std::mem::take(&mut self.0)));
            let _end = Surrender { cargo: self, outer };
            drop_value();
        }
        self.0.iter().all(|sent| sent.is_surrendered)
    }

    /// The carrier has them now.
    #[inline]
    pub(crate) fn let_go(mut self) {
        if !self.is_empty() {
            self.0.clear();
        }
    }
}

impl Drop for Cargo {
    #[inline]
    fn drop(&mut self) {
        if !self.is_empty() {
            self.take_back();
        }
    }
}

impl Cargo {
    #[cold]
    fn take_back(&mut self) {
        for Sent { core, block, phase, is_surrendered, .. } in self.0.drain(..) {
            if !core.is_own() {
                continue;
            }
            let back = core.blocks().unsend(block, phase);
            if let Some((back, _)) = back.filter(|&(_, was_dropped)| is_surrendered || was_dropped) {
                core.let_go_of(back, phase);
            }
        }
    }
}

/// Gives the blocks back to their cargo, also when the value's destructor panics.
struct Surrender<'a> {
    cargo: &'a mut Cargo,
    outer: Option<ThinVec<Sent>>,
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
    cargo: RefCell<Cargo>,
    error: Cell<Option<Box<EncodeError>>>,
}

/// Runs `encode`, whose handles are of that arena; gives what they sent.
#[inline]
pub(crate) fn packing<R>(
    arena: u64,
    encode: impl FnOnce() -> Result<R, EncodeError>,
) -> Result<(R, Cargo), EncodeError> {
    let here = Packing { arena, cargo: RefCell::default(), error: Cell::new(None) };
    // One within the other is possible: a `Serialize` may put something into a queue.
    let inside = Inside { outer: PACKING.replace(&raw const here) };
    let result = encode();
    drop(inside);
    if let Some(error) = here.error.into_inner() {
        return Err(*error);
    }
    Ok((result?, here.cargo.into_inner()))
}

/// While this lives, `PACKING` points to what lives longer. Dropping it, also when user code panics, puts back what was noted before.
struct Inside {
    outer: *const Packing,
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        PACKING.set(self.outer);
    }
}

/// The packing that this thread is in.
fn with_packing<R>(f: impl FnOnce(&Packing) -> R) -> Option<R> {
    // SAFETY: null, or what `packing` further up on this thread's stack has noted and not yet taken back (`Inside`); nobody has it but by shared reference.
    unsafe { PACKING.get().as_ref() }.map(f)
}

/// Encodes a handle, whose block is sent.
pub(super) fn pack<Z: Serializer>(
    serializer: Z,
    handle: Handle<'_>,
    kind: u64,
    len: usize,
) -> Result<Z::Ok, Z::Error> {
    let number = with_packing(|packing| {
        let fail = |error: EncodeError| {
            let told = ser::Error::custom(&error);
            packing.error.set(Some(Box::new(error)));
            told
        };
        if handle.core.ground().id() != packing.arena || !handle.core.is_own() {
            return Err(fail(EncodeError::OtherArena));
        }
        let (held, phase) = (handle.block, handle.hold.phase());
        let Some(block) = handle.core.send(held, phase) else { return Err(fail(EncodeError::Sent)) };
        let sent = &mut packing.cargo.borrow_mut().0;
        sent.push(Sent { core: handle.core.leaf(), held, block, phase, is_surrendered: false });
        Ok(sent.len() as u32 - 1)
    });
    let number = number.unwrap_or_else(|| Err(ser::Error::custom(HOMELESS)))?;
    (number, kind, len as u64).serialize(serializer)
}

//! Handles inside of serde values: while a value is encoded for a carrier, its handles write their number in a table of sent blocks; while it is decoded they
//! look themselves up there.
//!
//! Which carrier that is, serde's traits cannot tell a handle; a thread's current one is noted here. Without one a handle has no serialised form.

use super::blocks::Block;
use super::core::Core;
use super::descriptor::{self, Descriptor, Hold, Lead};
use super::error::EncodeError;
use super::shareable::Shareable;
use super::word::Phase;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::cell::RefCell;
use std::sync::Arc;

const HOMELESS: &str = "a handle of shared memory travels through the queues and tasks of its arena only";

thread_local! {
    static PACKING: RefCell<Option<Packing>> = const { RefCell::new(None) };
    static UNPACKING: RefCell<Option<Unpacking>> = const { RefCell::new(None) };
}

/// What is known of a handle that is encoded.
pub(super) struct Handle<'a> {
    pub(super) core: &'a Arc<Core>,
    pub(super) block: Block,
    pub(super) hold: Hold,
}

/// A block that was marked as sent.
struct Sent {
    core: Arc<Core>,
    block: Block,
    phase: Phase,
}

/// The blocks that a value's handles have sent. Until they are [let go](Self::let_go) dropping this takes them back.
#[derive(Default)]
pub(crate) struct Cargo(Vec<Sent>);

impl Cargo {
    /// `{ generation: 32, index: 32 }` of each, in the order of their numbers.
    pub(crate) fn entries(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.0.iter().map(|sent| entry(sent.block))
    }

    /// The carrier has them now.
    pub(crate) fn let_go(mut self) {
        self.0.clear();
    }
}

impl Drop for Cargo {
    fn drop(&mut self) {
        for Sent { core, block, phase } in self.0.drain(..) {
            core.blocks().unsend(block, phase);
        }
    }
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

struct Unpacking {
    core: Arc<Core>,
    table: Vec<u64>,
    used: Vec<bool>,
    error: Option<String>,
}

/// Runs `encode`, whose handles are of that arena; gives what they sent.
pub(crate) fn packing<R>(
    arena: u64,
    encode: impl FnOnce() -> Result<R, EncodeError>,
) -> Result<(R, Cargo), EncodeError> {
    let here = Packing { arena, cargo: Cargo::default(), error: None };
    // One within the other is possible: a `Serialize` may put something into a queue.
    let _outer = Restore { place: &PACKING, outer: PACKING.replace(Some(here)) };
    let result = encode();
    let here = PACKING.take();
    match (result, here) {
        (Ok(value), Some(Packing { cargo, error: None, .. })) => Ok((value, cargo)),
        (_, Some(Packing { error: Some(error), .. })) => Err(error),
        (Err(error), _) => Err(error),
        (Ok(_), None) => Err(EncodeError::Serialize { reason: HOMELESS.into() }),
    }
}

/// Runs `decode`, whose handles are found in `table`; says which of them were. What is wrong with one goes before what `decode` says.
pub(crate) fn unpacking<R>(
    core: &Arc<Core>,
    table: Vec<u64>,
    decode: impl FnOnce() -> Result<R, String>,
) -> (Result<R, String>, Vec<u64>, Vec<bool>) {
    let used = vec![false; table.len()];
    let here = Unpacking { core: core.clone(), table, used, error: None };
    let _outer = Restore { place: &UNPACKING, outer: UNPACKING.replace(Some(here)) };
    let result = decode();
    match UNPACKING.take() {
        Some(Unpacking { table, used, error, .. }) => (error.map_or(result, Err), table, used),
        None => (result, Vec::new(), Vec::new()),
    }
}

/// Puts back what was noted before, also when user code panics.
struct Restore<T: 'static> {
    place: &'static std::thread::LocalKey<RefCell<Option<T>>>,
    outer: Option<T>,
}

impl<T> Drop for Restore<T> {
    fn drop(&mut self) {
        let outer = self.outer.take();
        drop(self.place.replace(outer));
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
        let phase = handle.hold.phase();
        let Some(block) = handle.core.send(handle.block, phase) else { return Err(fail(EncodeError::Sent)) };
        let sent = &mut packing.cargo.0;
        sent.push(Sent { core: handle.core.clone(), block, phase });
        Ok(sent.len() as u32 - 1)
    })?;
    (number, kind, len as u64).serialize(serializer)
}

/// Decodes a handle: one that lies in a carrier, and is not taken yet.
pub(super) fn unpack<'de, S: Shareable + ?Sized, D: Deserializer<'de>>(
    deserializer: D,
    hold: Hold,
) -> Result<(Arc<Core>, Lead), D::Error> {
    let (number, kind, len) = <(u32, u64, u64)>::deserialize(deserializer)?;
    UNPACKING.with_borrow_mut(|unpacking| {
        let here = unpacking.as_mut().ok_or_else(|| de::Error::custom(HOMELESS))?;
        let lead = here.lead::<S>(number as usize, kind, len, hold);
        lead.map(|lead| (here.core.clone(), lead)).map_err(|reason| {
            let told = de::Error::custom(&reason);
            here.error.get_or_insert(reason);
            told
        })
    })
}

impl Unpacking {
    fn lead<S: Shareable + ?Sized>(
        &mut self,
        number: usize,
        kind: u64,
        len: u64,
        hold: Hold,
    ) -> Result<Lead, String> {
        let (Some(&entry), Some(used)) = (self.table.get(number), self.used.get_mut(number)) else {
            return Err(format!("handle {number} of {}", self.table.len()));
        };
        if std::mem::replace(used, true) {
            return Err(format!("handle {number} occurs twice"));
        }
        let arena = self.core.ground().id();
        let descriptor =
            Descriptor { arena, kind, len, index: entry as u32, generation: (entry >> 32) as u32 };
        descriptor::follow::<S>(&self.core, &descriptor, hold).map_err(|error| {
            *used = false;
            error.to_string()
        })
    }
}

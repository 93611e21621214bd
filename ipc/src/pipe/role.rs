//! The two roles of a pipe: who holds them, and whether the other one's holder is gone.
//!
//! Entry 0 of the segment's peer table is the sender's, entry 1 the receiver's.
//! Whether it is gone, or has handed its role on, is told in `handover.rs`.

use super::handover;
use super::map::Memory;
use crate::error::Error;
use crate::fork::Epoch;
use crate::peer::{Entry, GETS, JOINED, LEFT, Membership, PUTS, Repair};
use crate::segment::Member;
use crate::sync::{Acquire, AtomicU32, Release, yield_now};
use std::sync::Arc;

/// How often a claim is tried again while the holder is just coming or going.
const PATIENCE: u32 = 1000;

/// One side of a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Sender = 0,
    Receiver = 1,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Side::Sender => "sender",
            Side::Receiver => "receiver",
        }
    }

    fn other(self) -> Side {
        match self {
            Side::Sender => Side::Receiver,
            Side::Receiver => Side::Sender,
        }
    }
}

/// A role, held until dropped.
pub(crate) struct Role {
    // Before `memory`: the entry is left while the words that tell of it are mapped.
    member: Member,
    /// The other side's entry, which `memory` keeps mapped; here since each message looks at it.
    other: &'static Entry,
    epoch: Epoch,
    memory: Arc<Memory>,
    side: Side,
    handed_on: bool,
}

impl Role {
    /// Takes a role that is nobody's, or whose holder is gone.
    pub(crate) fn claim(memory: Arc<Memory>, side: Side) -> Result<Role, Error> {
        let entry = memory.segment().peers().entry(side as usize);
        for _ in 0..PATIENCE {
            // A dead holder has left nothing to repair (`ring.rs`).
            if let Some(member) = memory.segment().join_as(side as usize, |_| Repair::Done)? {
                // SAFETY: the role keeps the memory, and with it the segment, beside the entry.
                let other = unsafe { memory.segment().kept_peers() }.entry(side.other() as usize);
                let epoch = memory.segment().epoch();
                entry.play(if side == Side::Sender { PUTS } else { GETS });
                return Ok(Role { member, other, epoch, memory, side, handed_on: false });
            }
            // The lock is taken before the entry says so, and let go of after: these few steps are worth waiting for.
            if entry.state.load(Acquire) == JOINED {
                break;
            }
            yield_now();
        }
        Err(Error::RoleTaken { role: side.name(), pid: entry.pid.load(Acquire) })
    }

    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Whether this still is the process that claimed the role.
    #[inline]
    pub(crate) fn is_own(&self) -> bool {
        self.epoch.is_current()
    }

    #[inline]
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    #[inline]
    fn entry_of(&self, side: Side) -> &Entry {
        self.memory.segment().peers().entry(side as usize)
    }

    /// Whether the other side was dropped: one load.
    #[inline]
    pub(crate) fn other_has_left(&self) -> bool {
        self.other.state.load(Acquire) == LEFT
    }

    /// Whether the other side was dropped, or died: a system call. Never in a forked child, which cannot tell.
    pub(crate) fn other_is_gone(&self) -> bool {
        if !self.is_own() {
            return false;
        }
        let other = self.side.other();
        handover::is_gone(self.other, self.handovers(other), || self.member.segment().is_dead(other as usize))
    }

    fn handovers(&self, side: Side) -> &AtomicU32 {
        &self.memory.control().signals.0.handovers[side as usize]
    }

    /// Gives the role up for somebody else to claim; the other side does not notice.
    pub(crate) fn hand_on(mut self) -> Result<Arc<Memory>, Error> {
        if !self.is_own() {
            return Err(Error::Forked);
        }
        self.handed_on = true;
        handover::hand_on(self.entry_of(self.side), self.handovers(self.side)); // and then `member` lets go of the lock
        Ok(self.memory.clone())
    }
}

impl Role {
    /// Undoes the claim: whoever waits for this side goes on waiting, or finds it gone as before.
    pub(crate) fn give_back(self) -> Result<(), Error> {
        if self.member.found_vacant() {
            self.hand_on()?;
        }
        Ok(())
    }
}

impl Drop for Role {
    /// Leaves, unless the role was handed on; then `member` lets go of the lock.
    fn drop(&mut self) {
        if self.handed_on || !self.is_own() {
            return; // in a forked child: the role is the parent's
        }
        self.entry_of(self.side).state.store(LEFT, Release);
        let signals = &self.memory.control().signals.0;
        match self.side {
            Side::Sender => signals.items.wake(u32::MAX),
            Side::Receiver => signals.space.wake(u32::MAX),
        }
    }
}

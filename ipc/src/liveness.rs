//! Who lives: OFD locks on one open file description of this process, far beyond a segment's data.
//!
//! One byte for each entry of the peer table, and one for the right to repair. Whoever holds an entry's byte is alive, or is somebody who
//! has just found its holder dead and deals with it. The kernel lets go of the bytes when the process ends.
//!
//! Locks of one description do not exclude each other, so what this description holds is kept in a table of its own.

use crate::error::Error;
use crate::fork::{self, Epoch};
use crate::sys;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// The byte whose lock is the right to repair; the bytes after it belong to the entries.
const REPAIR_BYTE: i64 = 1 << 61;

fn entry_byte(peer: usize) -> i64 {
    REPAIR_BYTE + 1 + peer as i64
}

/// The locks that one attachment of a segment holds.
pub(crate) struct Locks {
    /// In a forked child the number is closed, and perhaps another's.
    description: ManuallyDrop<OwnedFd>,
    epoch: Epoch,
    /// Which entries' bytes are held through `description`.
    held: Mutex<Vec<bool>>,
    /// Excludes repairers of this process, as the lock on `REPAIR_BYTE` does others.
    repairing: Mutex<()>,
}

impl Locks {
    /// A description of `file` of this process's own, for a table of `peers` entries.
    pub(crate) fn open(file: &OwnedFd, peers: usize) -> Result<Locks, Error> {
        let epoch = Epoch::current()?;
        Ok(Locks {
            description: ManuallyDrop::new(fork::open_closed_on_fork(|| sys::open_again(file))?),
            epoch,
            held: Mutex::new(vec![false; peers]),
            repairing: Mutex::new(()),
        })
    }

    /// The process that opened it.
    #[inline]
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Takes an entry's lock, unless somebody has it.
    pub(crate) fn try_hold(&self, peer: usize) -> Result<bool, Error> {
        let mut held = self.held();
        if held[peer] || !sys::try_lock_byte(self.fd(), entry_byte(peer))? {
            return Ok(false);
        }
        held[peer] = true;
        Ok(true)
    }

    /// Lets go of an entry's lock.
    pub(crate) fn let_go(&self, peer: usize) {
        let mut held = self.held();
        held[peer] = false;
        // Should this fail, the entry stays locked until this process ends.
        let _ = sys::unlock_byte(self.fd(), entry_byte(peer));
    }

    /// Whether nobody holds the entry's lock. It may be taken right after.
    pub(crate) fn is_free(&self, peer: usize) -> bool {
        // What cannot be told counts as alive: repairing for the living would break the protocol, waiting does not.
        !self.held()[peer] && sys::is_byte_locked(self.fd(), entry_byte(peer)).is_ok_and(|locked| !locked)
    }

    /// The right to repair, unless somebody has it.
    pub(crate) fn try_repair(&self) -> Option<Repairer<'_>> {
        let this_process = match self.repairing.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        sys::try_lock_byte(self.fd(), REPAIR_BYTE)
            .ok()?
            .then(|| Repairer { locks: self, _this_process: this_process })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.description.as_fd()
    }

    fn held(&self) -> MutexGuard<'_, Vec<bool>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Locks {
    fn drop(&mut self) {
        // In a forked child the description is closed already.
        if self.epoch.is_current() {
            // SAFETY: taken once, here, and not used again.
            fork::close(unsafe { ManuallyDrop::take(&mut self.description) });
        }
    }
}

/// The right to repair, until dropped.
pub(crate) struct Repairer<'a> {
    locks: &'a Locks,
    _this_process: MutexGuard<'a, ()>,
}

impl Drop for Repairer<'_> {
    fn drop(&mut self) {
        // Should this fail, repair stays with this process until it ends.
        let _ = sys::unlock_byte(self.locks.fd(), REPAIR_BYTE);
    }
}

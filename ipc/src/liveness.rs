//! Who lives: OFD locks on one open file description of this process, far beyond a segment's data.
//!
//! One byte for each entry of the peer table, and one for the right to repair. Whoever holds an entry's byte is alive, or is somebody who
//! has just found its holder dead and deals with it. The kernel lets go of the bytes when the process ends. It also does when the
//! program closes the descriptor, by mistake; `process.rs` says how such a one is known to live.
//!
//! Locks of one description do not exclude each other, so what this description holds is kept in a table of its own.
//!
//! # A description that is lost
//! Ours is known by its offset, which is moved once, to where nobody else moves one, and never used. A number that leads to another
//! description, be it of the same file, has another offset, and is left alone: it is somebody's. A lost description is
//! [replaced](Locks::renew) when it is needed, and takes the locks again that it held.

use crate::error::Error;
use crate::fork::{self, Epoch};
use crate::sys;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// The byte whose lock is the right to repair; the bytes after it belong to the entries.
const REPAIR_BYTE: i64 = 1 << 61;

fn entry_byte(peer: usize) -> i64 {
    REPAIR_BYTE + 1 + peer as i64
}

/// The locks that one attachment of a segment holds.
pub(crate) struct Locks {
    epoch: Epoch,
    state: Mutex<State>,
    /// Excludes repairers of this process, as the lock on `REPAIR_BYTE` does others.
    repairing: Mutex<()>,
}

struct State {
    description: Description,
    /// Which entries' bytes are held through it.
    held: Vec<bool>,
}

impl Locks {
    /// A description of `file` of this process's own, for a table of `peers` entries.
    pub(crate) fn open(file: &OwnedFd, peers: usize) -> Result<Locks, Error> {
        let epoch = Epoch::current()?;
        let state = State { description: Description::open(file)?, held: vec![false; peers] };
        Ok(Locks { epoch, state: Mutex::new(state), repairing: Mutex::new(()) })
    }

    /// The process that opened it.
    #[inline]
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether the description is lost. One system call.
    pub(crate) fn are_lost(&self) -> bool {
        self.state().description.get().is_none()
    }

    /// Replaces a lost description by one of `file`, the same file, and takes the locks again of those entries that still are this
    /// process's. Whoever holds one of them at this moment asks after its participant, and hears that it lives.
    pub(crate) fn renew(&self, file: &OwnedFd, is_ours: impl Fn(usize) -> bool) -> Result<(), Error> {
        let mut state = self.state();
        if state.description.get().is_some() {
            return Ok(());
        }
        let description = Description::open(file)?;
        for peer in (0..state.held.len()).filter(|&peer| state.held[peer] && is_ours(peer)) {
            let _ = sys::try_lock_byte(description.number(), entry_byte(peer));
        }
        state.description.close();
        state.description = description;
        Ok(())
    }

    /// Takes an entry's lock, unless somebody has it.
    pub(crate) fn try_hold(&self, peer: usize) -> Result<bool, Error> {
        let mut state = self.state();
        if state.held[peer] || !sys::try_lock_byte(state.description.use_it()?, entry_byte(peer))? {
            return Ok(false);
        }
        state.held[peer] = true;
        Ok(true)
    }

    /// Lets go of an entry's lock.
    pub(crate) fn let_go(&self, peer: usize) {
        let mut state = self.state();
        state.held[peer] = false;
        if let Some(fd) = state.description.get() {
            // Should this fail, the entry stays locked until this process ends.
            let _ = sys::unlock_byte(fd, entry_byte(peer));
        }
    }

    /// Whether nobody holds the entry's lock. It may be taken right after.
    pub(crate) fn is_free(&self, peer: usize) -> bool {
        let state = self.state();
        let Some(fd) = state.description.get().filter(|_| !state.held[peer]) else { return false };
        // What cannot be told counts as alive: repairing for the living would break the protocol, waiting does not.
        sys::is_byte_locked(fd, entry_byte(peer)).is_ok_and(|locked| !locked)
    }

    /// The right to repair, unless somebody has it.
    pub(crate) fn try_repair(&self) -> Option<Repairer<'_>> {
        let this_process = match self.repairing.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        sys::try_lock_byte(self.state().description.get()?, REPAIR_BYTE)
            .ok()?
            .then(|| Repairer { locks: self, _this_process: this_process })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Locks {
    fn drop(&mut self) {
        // In a forked child the description is closed already, and its number perhaps another's.
        if self.epoch.is_current() {
            self.state.get_mut().unwrap_or_else(PoisonError::into_inner).description.close();
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
        if let Some(fd) = self.locks.state().description.get() {
            // Should this fail, repair stays with this process until it ends.
            let _ = sys::unlock_byte(fd, REPAIR_BYTE);
        }
    }
}

/// An open file description that no other process and no other attachment has. In a forked child the number is closed, and perhaps
/// another's.
struct Description {
    fd: ManuallyDrop<OwnedFd>,
    /// Its offset.
    mark: i64,
}

/// Offsets for those of this process: beyond what a file's reader or writer comes to, and below what file systems allow.
static NEXT_MARK: AtomicI64 = AtomicI64::new(0);
const FIRST_MARK: i64 = 1 << 40;

impl Description {
    fn open(file: &OwnedFd) -> Result<Description, Error> {
        // The clock makes the marks of two programs differ, of which one has passed a description of its own on.
        let drawn = (sys::nanoseconds() & 0xffff_ffff) as i64;
        let mark = FIRST_MARK + (drawn << 8) + (NEXT_MARK.fetch_add(1, Ordering::Relaxed) & 0xff);
        let path = sys::path_again(file)?;
        let open = || {
            let fd = sys::open_again(&path)?;
            sys::set_offset(fd.as_fd(), mark)?;
            Ok(fd)
        };
        Ok(Description { fd: ManuallyDrop::new(fork::open_closed_on_fork(mark, open)?), mark })
    }

    /// The number, wherever it leads.
    fn number(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The descriptor; `None` if it was closed behind our back, and perhaps is another's now.
    fn get(&self) -> Option<BorrowedFd<'_>> {
        (sys::offset(self.number()) == Some(self.mark)).then(|| self.number())
    }

    fn use_it(&self) -> Result<BorrowedFd<'_>, Error> {
        self.get().ok_or(Error::DescriptorLost)
    }

    /// Closes it, if it still is ours. Not to be used afterwards.
    fn close(&self) {
        fork::close(self.fd.as_raw_fd(), self.mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_not_held_twice_nor_free_to_others() {
        let file = sys::anonymous_file(c"test").unwrap();
        let (here, elsewhere) = (Locks::open(&file, 2).unwrap(), Locks::open(&file, 2).unwrap());
        assert!(here.try_hold(0).unwrap());
        assert!(!here.try_hold(0).unwrap(), "the kernel would not refuse it");
        assert!(!here.is_free(0) && !elsewhere.is_free(0) && !elsewhere.try_hold(0).unwrap());
        here.let_go(0);
        assert!(here.is_free(0) && elsewhere.try_hold(0).unwrap());
    }

    #[test]
    fn a_lost_description_is_replaced_with_its_locks() {
        let file = sys::anonymous_file(c"test").unwrap();
        let (here, elsewhere) = (Locks::open(&file, 3).unwrap(), Locks::open(&file, 3).unwrap());
        assert!(here.try_hold(0).unwrap() && here.try_hold(1).unwrap());
        sys::close_number(here.state().description.number().as_raw_fd());
        assert!(here.are_lost() && here.try_hold(2).is_err() && elsewhere.is_free(0));
        here.renew(&file, |peer| peer != 1).unwrap();
        assert!(!here.are_lost() && !elsewhere.is_free(0));
        assert!(elsewhere.is_free(1), "it is another one's by now");
    }
}

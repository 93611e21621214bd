//! A descriptor that this process relies on, though its program may close it.
//!
//! Code of the host program, or of a task, closes descriptors that it does not own: all from 3 on, or one twice.
//! The number may then be another file's, which must be neither read, nor written to, nor closed here.

use crate::sys::{self, FileId};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

/// A descriptor of one file. Who uses it asks first whether it still leads there.
#[doc(hidden)]
pub struct KeptFd {
    fd: ManuallyDrop<OwnedFd>,
    file: FileId,
    serial: u32,
}

/// Whose each number was last: one that was closed behind our back may lead to the same file again, as another one's of ours. Without a
/// lock, which a fork could leave locked in its child.
static OWNERS: [AtomicU32; 4096] = [const { AtomicU32::new(0) }; 4096];
static SERIALS: AtomicU32 = AtomicU32::new(1);

fn owner(fd: &OwnedFd) -> Option<&'static AtomicU32> {
    OWNERS.get(usize::try_from(fd.as_raw_fd()).ok()?)
}

impl KeptFd {
    /// Keeps a descriptor.
    ///
    /// # Errors
    /// The number is closed already, or the kernel cannot tell where it leads.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let file = sys::file_id(fd.as_fd())?;
        Ok(KeptFd::of(fd, file))
    }

    fn of(fd: OwnedFd, file: FileId) -> Self {
        let serial = SERIALS.fetch_add(1, Relaxed);
        if let Some(owner) = owner(&fd) {
            owner.store(serial, Relaxed);
        }
        KeptFd { fd: ManuallyDrop::new(fd), file, serial }
    }

    /// The descriptor; `None` if it was closed behind our back, and perhaps is another file's now.
    pub fn get(&self) -> Option<&OwnedFd> {
        let is_owner = owner(&self.fd).is_none_or(|owner| owner.load(Relaxed) == self.serial);
        let leads_there = || match sys::file_id(self.fd.as_fd()) {
            Ok(file) => file == self.file,
            // A look that fails for want of something else says nothing, and it was ours before.
            Err(error) => error.raw_os_error() != Some(libc::EBADF),
        };
        (is_owner && leads_there()).then_some(&self.fd)
    }

    /// The descriptor as it was at first, wherever its number leads by now.
    pub fn number(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Another descriptor of the same file, once this one is lost: found with this process, or with one of the processes `others`. `None` if no way leads there.
    #[cold]
    pub fn again(&self, others: impl IntoIterator<Item = u32>) -> Option<KeptFd> {
        let fd = sys::open_by_id(self.file, others.into_iter())?;
        Some(KeptFd::of(fd, self.file))
    }

    pub(crate) fn file(&self) -> FileId {
        self.file
    }
}

impl Drop for KeptFd {
    fn drop(&mut self) {
        if self.get().is_some() {
            // SAFETY: taken once, here, and not used again.
            drop(unsafe { ManuallyDrop::take(&mut self.fd) });
        }
    }
}

impl std::fmt::Debug for KeptFd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("KeptFd").field(&self.fd.as_raw_fd()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_one_does_not_close_its_successor_under_the_same_number() {
        let file = sys::anonymous_file(c"test").unwrap();
        let copy = || file.try_clone().unwrap();
        let lost = KeptFd::new(copy()).unwrap();
        let number = lost.number().as_raw_fd();
        // The same number, as it is if nobody else opens one meanwhile.
        let fd = copy();
        // SAFETY: both are ours; `dup2` closes what stands under the number.
        let successor = unsafe {
            assert_eq!(libc::dup2(fd.as_raw_fd(), number), number);
            KeptFd::new(std::os::fd::FromRawFd::from_raw_fd(number)).unwrap()
        };
        assert!(lost.get().is_none());
        drop(lost);
        assert!(successor.get().is_some());
    }
}

//! A descriptor that this process relies on, though its program may close it.
//!
//! Code of the host program, or of a task, closes descriptors that it does not own: all from 3 on, or one twice.
//! The number may then be another file's, which must be neither read, nor written to, nor closed here.

use crate::sys::{self, FileId};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A descriptor of one file. Who uses it asks first whether it still leads there.
#[doc(hidden)]
pub struct KeptFd {
    fd: ManuallyDrop<OwnedFd>,
    file: FileId,
}

impl KeptFd {
    /// Keeps a descriptor.
    ///
    /// # Errors
    /// The number is closed already.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let file = sys::file_id(fd.as_fd()).ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
        Ok(KeptFd { fd: ManuallyDrop::new(fd), file })
    }

    /// The descriptor; `None` if it was closed behind our back, and perhaps is another file's now.
    pub fn get(&self) -> Option<&OwnedFd> {
        (sys::file_id(self.fd.as_fd()) == Some(self.file)).then_some(&self.fd)
    }

    /// The descriptor as it was at first, wherever its number leads by now.
    pub fn number(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
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

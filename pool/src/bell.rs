//! The bell that wakes the supervisor: an eventfd, which can be polled beside its sockets.

use crate::error::PoolError;
use rustix::event::EventfdFlags;
use skep_ipc::KeptFd;
use std::os::fd::OwnedFd;

pub(crate) struct Bell(KeptFd);

impl Bell {
    pub(crate) fn new() -> Result<Bell, PoolError> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let fd = rustix::event::eventfd(0, flags).map_err(PoolError::os("eventfd"))?;
        KeptFd::new(fd).map(Bell).map_err(|source| PoolError::Os { call: "fstat", source })
    }

    /// If the program has closed it, nobody hears that: the supervisor looks around now and then.
    pub(crate) fn ring(&self) {
        if let Some(fd) = self.fd() {
            let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
        }
    }

    /// The supervisor has heard it.
    pub(crate) fn silence(&self) {
        if let Some(fd) = self.fd() {
            let _ = rustix::io::read(fd, &mut [0; 8]);
        }
    }
    /// Readable when it was rung; `None` if the program has closed it.
    pub(crate) fn fd(&self) -> Option<&OwnedFd> {
        self.0.get()
    }
}

//! The page of memory by which a subject and its trial talk without a system call. It is the subject's standard input.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// What the subject is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Phase {
    /// It has not begun, or has nothing left.
    Aside,
    Start,
    Load,
    End,
}

pub const PHASES: [Phase; 3] = [Phase::Start, Phase::Load, Phase::End];

#[derive(Default)]
pub struct Page {
    phase: AtomicU32,
    /// The subject's descriptor by which its questions are answered, once it has one; negative: the kernel's refusal.
    pub listener: AtomicI32,
    /// Somebody answers.
    pub is_heard: AtomicU32,
}

impl Page {
    pub fn file() -> File {
        // SAFETY: the name is a C string; the descriptor is new.
        unsafe {
            let fd = libc::memfd_create(c"failures".as_ptr(), libc::MFD_CLOEXEC);
            assert!(fd >= 0, "{}", io::Error::last_os_error());
            File::from(OwnedFd::from_raw_fd(fd))
        }
    }

    /// Maps the page, for good: there are few.
    pub fn map(file: &impl AsRawFd) -> &'static Page {
        let (read_write, fd) = (libc::PROT_READ | libc::PROT_WRITE, file.as_raw_fd());
        // SAFETY: a new mapping of a file that is made long enough; zeroes are a valid page, and all of it is atomic.
        unsafe {
            libc::ftruncate(fd, size_of::<Page>() as i64);
            let at = libc::mmap(std::ptr::null_mut(), size_of::<Page>(), read_write, libc::MAP_SHARED, fd, 0);
            assert!(at != libc::MAP_FAILED, "{}", io::Error::last_os_error());
            &*at.cast::<Page>()
        }
    }

    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u32, Ordering::SeqCst);
    }

    pub fn phase(&self) -> Phase {
        PHASES.into_iter().find(|p| *p as u32 == self.phase.load(Ordering::SeqCst)).unwrap_or(Phase::Aside)
    }
}

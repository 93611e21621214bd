//! Descriptors that a new process inherits because nobody has marked them close-on-exec.
//!
//! A worker keeps those with which its program was started (a jobserver's, a service manager's
//! sockets, a shell's redirections), for as long as the program leaves them open and inheritable,
//! and those that constructors have opened in it. What the program has opened since is not for
//! workers: it would stay open in them when the program closes it. The parent lists those, and the
//! new process closes what is listed.

use rustix::io::FdFlags;
use std::fmt;
use std::fs;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

/// A number, and what was open there.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Descriptor {
    number: RawFd,
    device: u64,
    inode: u64,
}

/// Those with which the program was started.
static AT_THE_START: OnceLock<Vec<Descriptor>> = OnceLock::new();

/// A list fits into a variable of the environment; what is beyond stays open in workers.
const MOST: usize = 2000;

/// Remembers those that are there. When the program begins.
pub(crate) fn remember() {
    AT_THE_START.get_or_init(inheritable);
}

/// Lists those that the program has opened since.
pub(crate) fn since_the_start() -> String {
    let earlier = AT_THE_START.get().map_or(&[][..], |descriptors| descriptors);
    let mut list = inheritable();
    list.retain(|descriptor| !earlier.contains(descriptor));
    list.iter().take(MOST).map(|descriptor| format!("{descriptor},")).collect()
}

/// In a new process: closes what is listed and still the same.
pub(crate) fn close(list: &str) {
    let listed = list.split(',').filter_map(Descriptor::parse);
    for descriptor in
        listed.filter(|descriptor| Descriptor::inheritable(descriptor.number) == Some(*descriptor))
    {
        // SAFETY: it is open, and was before this process began, so nobody here owns it.
        drop(unsafe { OwnedFd::from_raw_fd(descriptor.number) });
    }
}

fn inheritable() -> Vec<Descriptor> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter(|number| *number > 2).filter_map(Descriptor::inheritable).collect()
}

impl Descriptor {
    /// What is open there and not marked close-on-exec.
    fn inheritable(number: RawFd) -> Option<Descriptor> {
        // SAFETY: it is looked at alone, and a number that is closed by now gives errors.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        let flags = rustix::io::fcntl_getfd(fd).ok()?;
        let stat = rustix::fs::fstat(fd).ok()?;
        let is_inheritable = !flags.contains(FdFlags::CLOEXEC);
        is_inheritable.then_some(Descriptor { number, device: stat.st_dev as u64, inode: stat.st_ino as u64 })
    }

    fn parse(text: &str) -> Option<Descriptor> {
        let mut words = text.split(':').map(str::parse::<u64>);
        let mut next = || words.next()?.ok();
        Some(Descriptor { number: next()?.try_into().ok()?, device: next()?, inode: next()? })
    }
}

impl fmt::Display for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.number, self.device, self.inode)
    }
}

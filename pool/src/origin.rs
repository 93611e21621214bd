//! What the processes of a pool have of the program: as it was when the pool was made, also where
//! they are started much later.
//!
//! So a worker and its successor do not differ because the program has moved meanwhile. What cannot
//! be had again is told: a program that has become another user cannot start the processes of the
//! one that it was.

use crate::entry::{Entry, MARKER, Role};
use crate::error::PoolError;
use crate::inherited;
use crate::sys;
use serde::{Deserialize, Serialize};
use skep_ipc::KeptFd;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// How a pool starts its workers; [`Builder::start_by`](crate::Builder::start_by) says it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// They are forked from a process that has reached [`init`](crate::init) and has done nothing
    /// since. In that process there may be no other thread at `init`.
    #[default]
    Fork,
    /// Each executes the program and comes to [`init`](crate::init) by itself. That takes as long
    /// as the program needs to get there, some milliseconds at least. For programs that have
    /// threads before `main`, as some C libraries start them, and for libraries that do not work in
    /// a forked child. What stands before `init` is run in each worker, and tasks run where `init`
    /// is called: beside the threads that are there, and inside of an async runtime if that is
    /// where it is.
    Execute,
}

/// Taken once by each pool.
pub(crate) struct Origin {
    entry: Entry,
    start: Start,
    /// Missing where the program may not enter the directory that it is in: then processes start
    /// where it is later.
    directory: Option<KeptFd>,
    environment: Vec<(OsString, OsString)>,
    /// Missing where the program had closed it.
    output: Option<KeptFd>,
    errors: Option<KeptFd>,
    identity: Identity,
    /// What a new process sets by itself.
    pub(crate) manners: Manners,
}

/// Real, effective and saved user and group, and the supplementary groups.
#[derive(PartialEq, Eq)]
struct Identity {
    users: [u32; 3],
    groups: [u32; 3],
    more: Vec<u32>,
}

/// What a process sets for itself, and hands on to those that it forks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manners {
    umask: Option<u32>,
    /// Soft and hard limit of each resource, in the kernel's order.
    limits: Vec<(u64, u64)>,
}

impl Origin {
    pub(crate) fn capture(entry: Entry, start: Start) -> Origin {
        let copy = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().and_then(KeptFd::new).ok();
        Origin {
            entry,
            start,
            directory: sys::current_directory().ok().and_then(|fd| KeptFd::new(fd).ok()),
            environment: std::env::vars_os().collect(),
            output: copy(rustix::stdio::stdout()),
            errors: copy(rustix::stdio::stderr()),
            identity: Identity::now(),
            manners: Manners { umask: umask(), limits: sys::limits() },
        }
    }

    /// Where tasks print to.
    pub(crate) fn output(&self) -> BorrowedFd<'_> {
        open(&self.output).map_or(rustix::stdio::stdout(), |fd| fd.as_fd())
    }

    /// Tells whether a zygote of this program would still be the same user, which no waiting
    /// changes.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (was, is) = (&self.identity, Identity::now());
        if is == *was {
            return Ok(());
        }
        Err(format!(
            "the program was {was} when the pool was made, and is {is} now: make the pool after the change"
        ))
    }

    /// The executable of this process, to be started once more as a zygote.
    ///
    /// # Errors
    /// If the program is another user by now.
    pub(crate) fn command(&self) -> Result<Command, PoolError> {
        self.check().map_err(|reason| PoolError::Start { reason })?;
        let mut command = match self.entry {
            Entry::Main => this_program(std::env::args_os().skip(1)),
            Entry::Test(path) => this_program([path, "--exact", "--test-threads=1", "--nocapture"]),
        };
        command
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env(MARKER, Role::Zygote(self.start).marker(&inherited::since_the_start()));
        if let Some(directory) = open(&self.directory) {
            command.current_dir(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        }
        if let Some(errors) = open(&self.errors).and_then(|fd| fd.try_clone().ok()) {
            command.stderr(Stdio::from(errors));
        }
        Ok(command)
    }
}

/// Also missing once the program has closed it.
fn open(fd: &Option<KeptFd>) -> Option<&OwnedFd> {
    fd.as_ref().and_then(KeptFd::get)
}

/// The executable of this process with these arguments. No pre_exec: so this is a vfork, whose cost
/// does not grow with this process.
pub(crate) fn this_program(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(std::env::args_os().next().unwrap_or_default()).args(arguments);
    command
}

impl Identity {
    fn now() -> Identity {
        let (users, groups, more) = sys::identity();
        Identity { users, groups, more }
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "user {} of group {}", self.users[1], self.groups[1])?;
        if self.users != [self.users[1]; 3] || self.groups != [self.groups[1]; 3] || !self.more.is_empty() {
            write!(f, " (users {:?}, groups {:?} and {:?})", self.users, self.groups, self.more)?;
        }
        Ok(())
    }
}

impl Manners {
    /// In a new process. A limit that the program has lowered for good since then stays as low.
    pub(crate) fn adopt(&self) {
        if let Some(umask) = self.umask {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
        }
        sys::set_limits(&self.limits);
    }
}

/// Reads the mask without changing it, which would let another thread see that.
fn umask() -> Option<u32> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let digits = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(digits.trim(), 8).ok()
}

//! What memory there is, and how it is committed: the one way in which each part of skep asks.
//!
//! Shared memory is promised long before it is used. A promise that the kernel cannot keep ends in a
//! SIGBUS or in the OOM killer, so every page is committed with `fallocate` before it is touched, and
//! before that this file asks what would be short:
//!
//! | asked | where it is found | what counts as available |
//! | --- | --- | --- |
//! | the machine | `/proc/meminfo` | `MemAvailable` |
//! | each control group, from this process's own up to the root | `/proc/thread-self/cgroup`, `mountinfo` | the limit, less the usage, plus what the kernel can reclaim |
//! | the file system, for a named object | `fstatvfs` | its free blocks |
//! | `ulimit -f` | `getrlimit` | beyond it the kernel sends SIGXFSZ |
//! | `ulimit -v` | `getrlimit`, once `mmap` has failed | |
//!
//! **What is reclaimable**: the pages of files on disk, and in version 2 of control groups the kernel's
//! reclaimable slabs. The pages of a tmpfs are counted as cache too, but only swap could take them, so
//! they are not: `memory.stat` lists them with the anonymous pages. Swap is not counted on. `memory.high`
//! is no limit: beyond it the kernel slows a process down, and kills none.
//!
//! **A look costs** some tenths of a millisecond, so it leaves a small credit, a 64th of what it found
//! available, from which this process commits without another look for a tenth of a second.
//!
//! **Pieces.** Before 6.11 the kernel's `fallocate` on a tmpfs starts afresh at every signal, so that a
//! process with a timer never ends a large one. Memory is committed in pieces, which a signal makes
//! smaller; and each piece looks again, since others commit at the same time.

use crate::error::{Error, Shortage};
use crate::sys::{self, Limit};
use std::ffi::CStr;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Commits memory for a range of a file, and makes the file at least so long.
///
/// What is committed already stays as it is. After an error a part may be committed: a later call
/// goes on from there, and an unfinished file goes with its descriptor.
///
/// # Errors
/// [`Error::NoMemory`], [`Error::Os`].
pub fn commit(file: impl AsFd, range: Range<u64>) -> Result<(), Error> {
    let file = file.as_fd();
    let bytes = range.end.saturating_sub(range.start);
    let short = |short| Error::NoMemory { bytes, short };
    in_pieces(
        range.clone(),
        |rest| ask(rest.end - rest.start, rest.end).map_err(short),
        |piece| match sys::fallocate(file, piece) {
            Ok(()) => Ok(true),
            Err(nix::Error::EINTR) => Ok(false),
            Err(nix::Error::ENOSPC | nix::Error::ENOMEM) => Err(short(exhausted(file))),
            Err(nix::Error::EFBIG) => Err(short(too_long())),
            Err(e) => Err(Error::os("fallocate", e)),
        },
    )
}

/// Asks whether `bytes` more may be committed, in a file that ends at `end` then. Returns how many of
/// them at once.
///
/// # Errors
/// What is short.
pub fn ask(bytes: u64, end: u64) -> Result<u64, Shortage> {
    check_file_size(end)?;
    if bytes <= LARGEST_PIECE && CREDIT.spend(bytes) {
        return Ok(bytes);
    }
    match tightest(Path::new("/")) {
        Some(room) if needed(bytes) > room.available => Err(room.shortage()),
        room => {
            let available = room.map_or(u64::MAX, |room| room.available);
            CREDIT.grant(available.saturating_sub(needed(bytes)));
            Ok((available / 8).clamp(LEAST_PIECE, LARGEST_PIECE))
        }
    }
}

/// What committing `bytes` takes: besides the pages, the kernel's own to find them by and to map them,
/// which count as the group's as well, and some room to breathe.
fn needed(bytes: u64) -> u64 {
    bytes.saturating_add(bytes / 64).saturating_add(bytes.min(2 << 20))
}

/// Creates an anonymous file of that length, without memory behind it, which nobody can shrink or grow.
///
/// # Errors
/// [`Error::NoMemory`], [`Error::Os`].
pub fn anonymous_file(name: &CStr, bytes: u64) -> Result<OwnedFd, Error> {
    let file = sys::anonymous_file(name)?;
    set_length(&file, bytes)?;
    sys::seal(&file)?;
    Ok(file)
}

/// Makes a file so long, without memory behind it.
pub(crate) fn set_length(file: &OwnedFd, bytes: u64) -> Result<(), Error> {
    check_file_size(bytes).map_err(|short| Error::NoMemory { bytes, short })?;
    sys::set_length(file, bytes).map_err(|e| match e {
        nix::Error::EFBIG => Error::NoMemory { bytes, short: too_long() },
        e => Error::os("ftruncate", e),
    })
}

/// The file size limit, if a file that ends at `end` would exceed it: the kernel would send SIGXFSZ.
fn check_file_size(end: u64) -> Result<(), Shortage> {
    match sys::limit(Limit::FileSize) {
        Some(limit) if end > limit => Err(Shortage::FileSize { limit }),
        _ => Ok(()),
    }
}

/// Why a file cannot be so long, although its limit allows it.
fn too_long() -> Shortage {
    Shortage::FileSize { limit: sys::limit(Limit::FileSize).unwrap_or(i64::MAX as u64) }
}

/// What the kernel found short, where nothing seemed to be: others have committed meanwhile.
fn exhausted(file: BorrowedFd<'_>) -> Shortage {
    match sys::free_in_file_system(file) {
        Some(available) => Shortage::FileSystem { available },
        // An anonymous file's file system has no limit. What is left is the machine's own, as with
        // `vm.overcommit_memory=2`.
        None => tightest(Path::new("/")).map_or(Shortage::Machine { available: 0 }, |room| room.shortage()),
    }
}

/// Why `bytes` could not be mapped.
pub fn unmapped(call: &'static str, bytes: u64, error: impl Into<std::io::Error>) -> Error {
    let error = error.into();
    let limit = sys::limit(Limit::AddressSpace);
    let is_short =
        |&limit: &u64| sys::mapped_bytes().is_none_or(|mapped| mapped.saturating_add(bytes) > limit);
    match (error.raw_os_error(), limit.filter(is_short)) {
        (Some(libc::ENOMEM), Some(limit)) => {
            Error::NoMemory { bytes, short: Shortage::AddressSpace { limit } }
        }
        _ => Error::os(call, error),
    }
}

// --- pieces ----------------------------------------------------------------------------------------------------

/// The most that is committed at a time.
const LARGEST_PIECE: u64 = 64 << 20;
/// The least that is committed at a time, unless signals come faster.
const LEAST_PIECE: u64 = 1 << 20;
/// A page: less cannot be committed.
const PAGE: u64 = 4096;

/// Commits a range piece by piece. `ask` says how large the next piece of the rest may be; `commit`
/// says whether a piece is committed, or was interrupted and has to begin afresh.
fn in_pieces<E>(
    range: Range<u64>,
    mut ask: impl FnMut(Range<u64>) -> Result<u64, E>,
    mut commit: impl FnMut(Range<u64>) -> Result<bool, E>,
) -> Result<(), E> {
    let (mut at, mut largest) = (range.start, LARGEST_PIECE);
    while at < range.end {
        let mut asked_for = ask(at..range.end)?;
        // A small piece does not ask anew.
        while at < range.end && asked_for > 0 {
            let piece = at..range.end.min(at + largest.min(asked_for.max(PAGE)));
            let length = piece.end - piece.start;
            if commit(piece.clone())? {
                at = piece.end;
                asked_for = asked_for.saturating_sub(length);
                largest = largest.saturating_mul(2).min(LARGEST_PIECE);
            } else {
                largest = (length / 2).next_multiple_of(PAGE);
            }
        }
    }
    Ok(())
}

// --- credit ----------------------------------------------------------------------------------------------------

/// What this process may commit without another look: `{ milliseconds: 32, KiB: 32 }`, one word.
struct Credit(AtomicU64);

static CREDIT: Credit = Credit(AtomicU64::new(0));

/// For how long a look is good, in milliseconds.
const GOOD_FOR: u32 = 100;

impl Credit {
    fn spend(&self, bytes: u64) -> bool {
        let now = sys::milliseconds();
        let pay = |word: u64| {
            let (then, kib) = ((word >> 32) as u32, word & u64::from(u32::MAX));
            let is_good = now.wrapping_sub(then) < GOOD_FOR;
            let left = kib.checked_sub(bytes.div_ceil(1024)).filter(|_| is_good)?;
            Some(u64::from(then) << 32 | left)
        };
        self.0.fetch_update(Relaxed, Relaxed, pay).is_ok()
    }

    fn grant(&self, available: u64) {
        let kib = (available / 64 / 1024).min(16 << 10);
        self.0.store(u64::from(sys::milliseconds()) << 32 | kib, Relaxed);
    }
}

// --- the machine and its groups --------------------------------------------------------------------------------

/// What the machine, or a control group, has available.
#[derive(Debug, PartialEq, Eq)]
struct Room {
    available: u64,
    /// A group's folder and limit.
    group: Option<(PathBuf, u64)>,
}

impl Room {
    /// What to tell of it where it is too little.
    #[cold]
    fn shortage(self) -> Shortage {
        match self.group {
            Some((folder, limit)) => {
                let group = kept(&folder.to_string_lossy());
                Shortage::Group { group, limit, available: self.available }
            }
            None => Shortage::Machine { available: self.available },
        }
    }
}

/// What has the least memory available: the machine, or one of this process's control groups, as the
/// files below `root` say. `None` if they say nothing.
fn tightest(root: &Path) -> Option<Room> {
    groups(root).into_iter().chain(machine(root)).min_by_key(|room| room.available)
}

fn machine(root: &Path) -> Option<Room> {
    let meminfo = sys::read_text(&root.join("proc/meminfo"))?;
    let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib = kib.trim().trim_end_matches(" kB").parse::<u64>().ok()?;
    Some(Room { available: kib.saturating_mul(1024), group: None })
}

/// The versions of control groups, which name their files differently.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    /// The names of a limit and of what counts towards it.
    fn limits(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Version::One => &[
                ("memory.limit_in_bytes", "memory.usage_in_bytes"),
                ("memory.memsw.limit_in_bytes", "memory.memsw.usage_in_bytes"),
            ],
            Version::Two => &[("memory.max", "memory.current")],
        }
    }

    /// The lines of `memory.stat` whose pages the kernel can take back, here and in all groups below.
    fn reclaimable(self) -> &'static [&'static str] {
        match self {
            Version::One => &["total_inactive_file", "total_active_file"],
            Version::Two => &["inactive_file", "active_file", "slab_reclaimable"],
        }
    }
}

/// Each limit of each control group that this process is in, from its own group up to the highest one
/// that can be seen.
fn groups(root: &Path) -> Vec<Room> {
    let own = sys::read_text(&root.join("proc/thread-self/cgroup")).unwrap_or_default();
    let mounts = sys::read_text(&root.join("proc/thread-self/mountinfo")).unwrap_or_default();
    let mut found = vec![];
    for (version, path) in own.lines().filter_map(membership) {
        for mount in mounts.lines().filter_map(|line| Mount::parse(line, version)) {
            for folder in mount.folders(&path) {
                found.extend(limits_in(root, &folder, version));
            }
        }
    }
    found
}

/// The path of a line of `/proc/self/cgroup`, `id:controllers:path`, if it is about memory.
fn membership(line: &str) -> Option<(Version, PathBuf)> {
    let mut fields = line.splitn(3, ':');
    let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let version = if id == "0" && controllers.is_empty() {
        Version::Two
    } else if controllers.split(',').any(|name| name == "memory") {
        Version::One
    } else {
        return None;
    };
    Some((version, path.into()))
}

/// Where groups are mounted.
struct Mount {
    /// The group that is mounted. In a container it is the container's own, or the path of a group
    /// that means something outside only.
    group: PathBuf,
    point: PathBuf,
}

impl Mount {
    /// Reads a line of `/proc/self/mountinfo`: `id parent device root point options… - type source
    /// options`.
    fn parse(line: &str, version: Version) -> Option<Mount> {
        let (mount, system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (group, point) = (unescaped(mount.next()?), unescaped(mount.next()?));
        let mut system = system.split(' ');
        let (kind, options) = (system.next()?, system.nth(1).unwrap_or_default());
        let is_it = match version {
            Version::One => kind == "cgroup" && options.split(',').any(|option| option == "memory"),
            Version::Two => kind == "cgroup2",
        };
        is_it.then(|| Mount { group: group.into(), point: point.into() })
    }

    /// The folders of a group and of those above it, up to the one that is mounted. Of a group that
    /// does not lie below that one, as seen through a namespace, the mounted one alone.
    fn folders(&self, path: &Path) -> Vec<PathBuf> {
        let below = path.strip_prefix(&self.group).unwrap_or(Path::new(""));
        let is_plain = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        let below = if is_plain { below } else { Path::new("") };
        let own: PathBuf = self.point.components().chain(below.components()).collect();
        own.ancestors().take_while(|folder| folder.starts_with(&self.point)).map(Path::to_owned).collect()
    }
}

/// `mountinfo` writes a space as `\040`, and likewise what else would break a line.
fn unescaped(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                text.push(char::from(byte));
                text.push_str(&part[3..]);
            }
            None => {
                text.push('\\');
                text.push_str(part);
            }
        }
    }
    text
}

/// The limits of one group that it has, with what is available within each.
fn limits_in(root: &Path, folder: &Path, version: Version) -> Vec<Room> {
    let here = root.join(folder.strip_prefix("/").unwrap_or(folder));
    let number = |name: &str| sys::read_text(&here.join(name))?.trim().parse::<u64>().ok();
    let stat = sys::read_text(&here.join("memory.stat")).unwrap_or_default();
    let line = |name: &str| {
        let mut words = stat.lines().filter_map(|line| line.split_once(' '));
        words.find_map(|(word, value)| (word == name).then(|| value.trim().parse::<u64>().ok())?)
    };
    let reclaimable = version.reclaimable().iter().filter_map(|name| line(name)).fold(0, u64::saturating_add);
    let limit = |&(limit, usage): &(&str, &str)| {
        // In version 1 a group that is mounted nowhere here, above a container's, shows in this line.
        let inherited = line("hierarchical_memory_limit").filter(|_| limit == "memory.limit_in_bytes");
        let limit = number(limit)?.min(inherited.unwrap_or(u64::MAX));
        let used = number(usage)?.saturating_sub(reclaimable);
        Some(Room { available: limit.saturating_sub(used), group: Some((folder.to_owned(), limit)) })
    };
    version.limits().iter().filter_map(limit).collect()
}

/// The name of a group for an error, which is copied about and outlives everything. A process meets few
/// groups that are short, and each name is kept once.
fn kept(name: &str) -> &'static str {
    static NAMES: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    // Never waits: in a forked child the lock may be held for good.
    let Ok(mut names) = NAMES.try_lock() else { return String::from(name).leak() };
    if let Some(known) = names.iter().find(|&&known| known == name) {
        return known;
    }
    let name: &'static str = String::from(name).leak();
    names.push(name);
    name
}

#[cfg(test)]
mod tests;

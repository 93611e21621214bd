//! Every system call of this crate, and only here: each a small function with one purpose.
//!
//! A call that the kernel may interrupt is repeated.

use crate::error::Error;
use crate::memory;
use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags, FcntlArg, OFlag, SealFlag};
use nix::sys::memfd::MFdFlags;
use nix::sys::mman::{self, MapFlags, ProtFlags};
use nix::sys::stat::Mode;
use rustix::thread::{self, MembarrierCommand, futex};
use std::ffi::{CStr, CString, c_void};
use std::fs::File;
use std::io::{self, BufRead};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Where named segments live: the file system behind `shm_open`.
const SHM: &str = "/dev/shm";

/// Where the kernel shows this thread's process: under `/proc/self` there is nothing any more once the first thread has ended.
const PROC: &str = "/proc/thread-self";

// --- files -----------------------------------------------------------------------------------------------------

/// A new anonymous file in memory, empty.
///
/// It can never be executed, which a machine may demand (`vm.memfd_noexec=2`). Kernels before 6.3 know
/// neither the demand nor the flag.
pub(crate) fn anonymous_file(name: &CStr) -> Result<OwnedFd, Error> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let no_exec = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    match nix::sys::memfd::memfd_create(name, flags | no_exec) {
        Err(nix::Error::EINVAL) => nix::sys::memfd::memfd_create(name, flags),
        made => made,
    }
    .map_err(|e| Error::os("memfd_create", e))
    .and_then(above_stdio)
}

/// A new file in `/dev/shm` that has no name yet, mode 0600, empty.
pub(crate) fn unnamed_file() -> Result<OwnedFd, Error> {
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    nix::fcntl::open(SHM, flags, Mode::S_IRUSR | Mode::S_IWUSR)
        .map_err(|e| Error::os("open O_TMPFILE in /dev/shm", e))
        .and_then(above_stdio)
}

/// The same file under a number that is not standard input's, output's or error's, should the program have closed those: what it prints
/// would be written there.
fn above_stdio(file: OwnedFd) -> Result<OwnedFd, Error> {
    if file.as_raw_fd() > 2 {
        return Ok(file);
    }
    // The copy that is closed behind it has the same description, on which nothing is locked yet.
    file.try_clone().map_err(|e| Error::os("dup", e))
}

/// Makes the file so long, without memory behind it: none of it may be touched before it is
/// [committed](crate::memory::commit).
///
/// # Errors
/// `EFBIG` if it cannot be so long. Beyond `ulimit -f` a signal comes instead.
pub(crate) fn set_length(file: &OwnedFd, bytes: u64) -> Result<(), nix::Error> {
    nix::unistd::ftruncate(file, i64::try_from(bytes).map_err(|_| nix::Error::EFBIG)?)
}

/// Has the kernel commit memory for a range of a file, which is at least so long then.
pub(crate) fn fallocate(file: BorrowedFd<'_>, range: Range<u64>) -> Result<(), nix::Error> {
    let signed = |n: u64| i64::try_from(n).map_err(|_| nix::Error::EFBIG);
    let (start, length) = (signed(range.start)?, signed(range.end.saturating_sub(range.start))?);
    nix::fcntl::fallocate(file, FallocateFlags::empty(), start, length)
}

/// The free bytes of the file system that a file is in; `None` if that has no limit.
pub(crate) fn free_in_file_system(file: BorrowedFd<'_>) -> Option<u64> {
    let facts = nix::sys::statvfs::fstatvfs(file).ok()?;
    (facts.blocks() > 0).then(|| facts.blocks_available().saturating_mul(facts.fragment_size()))
}

/// A text of the kernel's or of a test's, such as those under `/proc`.
pub(crate) fn read_text(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// What a process may use.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    /// The length of a file (`ulimit -f`).
    FileSize,
    /// What is mapped in all (`ulimit -v`).
    AddressSpace,
}

/// This process's limit in bytes; `None` if there is none.
pub(crate) fn limit(which: Limit) -> Option<u64> {
    rustix::process::getrlimit(match which {
        Limit::FileSize => rustix::process::Resource::Fsize,
        Limit::AddressSpace => rustix::process::Resource::As,
    })
    .current
}

/// How many bytes this process has mapped.
pub(crate) fn mapped_bytes() -> Option<u64> {
    let pages = read_text(&Path::new(PROC).join("statm"))?.split(' ').next()?.parse::<u64>().ok()?;
    pages.checked_mul(page_size() as u64)
}

/// Says how mapped memory will be used. `bytes` at `base`, whole pages, are mapped.
pub(crate) fn advise(base: NonNull<u8>, bytes: usize, advice: Advice) -> Result<(), Error> {
    let advice = match advice {
        Advice::HugePages => libc::MADV_HUGEPAGE,
        Advice::Populate => libc::MADV_POPULATE_WRITE,
    };
    // SAFETY: neither advice changes what the memory holds.
    match unsafe { libc::madvise(base.as_ptr().cast(), bytes, advice) } {
        0 => Ok(()),
        _ => Err(Error::os("madvise", std::io::Error::last_os_error())),
    }
}

/// What [`advise`] can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Back it with huge pages, where there are.
    HugePages,
    /// All of it will be written: map it now.
    Populate,
}

/// Forbids to shrink or grow the file, and to change that.
pub(crate) fn seal(file: &OwnedFd) -> Result<(), Error> {
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    nix::fcntl::fcntl(file, FcntlArg::F_ADD_SEALS(seals)).map_err(|e| Error::os("fcntl F_ADD_SEALS", e))?;
    Ok(())
}

/// Where a segment of that name is found. A name is one path component.
pub(crate) fn named_path(name: &str) -> Result<PathBuf, Error> {
    let bad = name.is_empty() || name.len() > 250 || name.starts_with('.') || name.contains(['/', '\0']);
    if bad { Err(Error::Name { name: name.into() }) } else { Ok(Path::new(SHM).join(name)) }
}

/// Whether a new segment can have that name: a look before any memory is committed. Only
/// [`publish`] decides.
pub(crate) fn check_unused(name: &str) -> Result<(), Error> {
    match named_path(name)?.symlink_metadata() {
        Ok(_) => Err(Error::Exists { name: name.into() }),
        Err(_) => Ok(()),
    }
}

/// Gives an unnamed file its name, in one step: the name is new and the file whole, or nothing happened.
pub(crate) fn publish(file: &OwnedFd, name: &str) -> Result<(), Error> {
    let path = named_path(name)?;
    match nix::unistd::linkat(AT_FDCWD, &proc_path(file)?, AT_FDCWD, &path, AtFlags::AT_SYMLINK_FOLLOW) {
        Ok(()) => Ok(()),
        Err(nix::Error::EEXIST) => Err(Error::Exists { name: name.into() }),
        Err(e) => Err(Error::os("linkat into /dev/shm", e)),
    }
}

/// Opens a segment's file by name; never follows a symbolic link.
pub(crate) fn open_named(name: &str) -> Result<OwnedFd, Error> {
    let path = named_path(name)?;
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    match File::options().read(true).write(true).custom_flags(flags).open(path) {
        Ok(file) => above_stdio(file.into()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::NotFound { name: name.into() }),
        Err(e) => Err(Error::os("open in /dev/shm", e)),
    }
}

/// Removes a name. Whoever is attached stays so.
pub(crate) fn unlink(name: &str) -> Result<(), Error> {
    match nix::unistd::unlink(&named_path(name)?) {
        Ok(()) => Ok(()),
        Err(nix::Error::ENOENT) => Err(Error::NotFound { name: name.into() }),
        Err(e) => Err(Error::os("unlink in /dev/shm", e)),
    }
}

/// Device and inode: which file it is.
pub(crate) type FileId = (u64, u64);

/// What attach checks of a file.
pub(crate) struct FileFacts {
    pub(crate) bytes: u64,
    pub(crate) owner: u32,
    pub(crate) is_regular: bool,
    pub(crate) access: Access,
    #[cfg(feature = "shared_memory")]
    pub(crate) identity: FileId,
}

/// Returns which file a descriptor leads to. `EBADF`: it is closed.
pub(crate) fn file_id(fd: BorrowedFd<'_>) -> io::Result<FileId> {
    Ok(nix::sys::stat::fstat(fd).map(|facts| (facts.st_dev, facts.st_ino))?)
}

/// The offset of an open file description; `None` if there is none behind the number.
pub(crate) fn offset(fd: BorrowedFd<'_>) -> Option<i64> {
    offset_of_number(fd.as_raw_fd())
}

/// The same by number, for both sides of a fork.
pub(crate) fn offset_of_number(fd: i32) -> Option<i64> {
    // SAFETY: asks for a number; defined for any descriptor.
    let offset = unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) };
    (offset >= 0).then_some(offset)
}

/// Moves the offset of an open file description.
pub(crate) fn set_offset(fd: BorrowedFd<'_>, offset: i64) -> Result<(), Error> {
    nix::unistd::lseek(fd, offset, nix::unistd::Whence::SeekSet).map_err(|e| Error::os("lseek", e))?;
    Ok(())
}

/// How processes get hold of a file.
pub(crate) enum Access {
    /// It is anonymous: by its descriptor.
    Descriptor { can_shrink: bool },
    /// It has a name, or had one: by that, as its permissions allow.
    Name { mode: u32 },
}

fn access(file: &OwnedFd, mode: u32) -> Result<Access, Error> {
    let target =
        std::fs::read_link(proc_path(file)?).map_err(|e| Error::os("readlink /proc/thread-self/fd", e))?;
    if !target.as_os_str().as_encoded_bytes().starts_with(b"/memfd:") {
        return Ok(Access::Name { mode });
    }
    let seals =
        nix::fcntl::fcntl(file, FcntlArg::F_GET_SEALS).map_err(|e| Error::os("fcntl F_GET_SEALS", e))?;
    let can_shrink = !SealFlag::from_bits_retain(seals).contains(SealFlag::F_SEAL_SHRINK);
    Ok(Access::Descriptor { can_shrink })
}

/// Size, owner, type and access of a file.
pub(crate) fn file_facts(file: &OwnedFd) -> Result<FileFacts, Error> {
    let meta = File::from(file.try_clone().map_err(|e| Error::os("dup", e))?).metadata();
    let meta = meta.map_err(|e| Error::os("fstat", e))?;
    Ok(FileFacts {
        bytes: meta.len(),
        owner: meta.uid(),
        is_regular: meta.is_file(),
        access: access(file, meta.mode() & 0o7777)?,
        #[cfg(feature = "shared_memory")]
        identity: (meta.dev(), meta.ino()),
    })
}

/// Device and inode of the file whose first byte is mapped at `address`; `None` if none is.
///
/// # Errors
/// [`Error::Os`] if `/proc` cannot be read.
#[cfg(feature = "shared_memory")]
pub(crate) fn mapped_file(address: NonNull<u8>) -> Result<Option<FileId>, Error> {
    let starts_there = |m: &Mapped| m.addresses.start == address.addr().get() && m.offset == 0;
    let found = find_mapping(&format!("{PROC}/maps"), starts_there);
    Ok(found.map_err(|e| Error::os("read /proc/thread-self/maps", e))?.map(|mapped| mapped.file))
}

/// The user that this process acts as.
pub(crate) fn user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Where the same file can be opened once more, by [`open_again`].
pub(crate) fn path_again(file: &OwnedFd) -> Result<CString, Error> {
    let path = proc_path(file)?.into_os_string().into_encoded_bytes();
    CString::new(path).map_err(|e| Error::os("open /proc/thread-self/fd", io::Error::from(e)))
}

/// Opens the same file once more: an open file description of this process's own, as OFD locks need it.
/// Allocates nothing.
pub(crate) fn open_again(path: &CStr) -> Result<OwnedFd, Error> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty())
        .map_err(|e| Error::os("open /proc/thread-self/fd", e))
        .and_then(above_stdio)
}

/// The name under which `/proc` shows a descriptor of this process.
fn proc_path(file: &OwnedFd) -> Result<PathBuf, Error> {
    let path = PathBuf::from(format!("{PROC}/fd/{}", file.as_raw_fd()));
    if path.symlink_metadata().is_err() {
        return Err(without_proc("open /proc/thread-self/fd"));
    }
    Ok(path)
}

/// What to do where `/proc` is missing.
fn without_proc(call: &'static str) -> Error {
    let why = "/proc does not show this process, and skep needs it to open a segment's descriptor again: \
               mount it (mount -t proc proc /proc)";
    Error::os(call, io::Error::new(io::ErrorKind::NotFound, why))
}

/// Opens a file of which this process has lost its descriptors: through any other that leads there, its own
/// or one of the processes `others`; by the name under which it is mapped; through the mapping itself,
/// which the kernel permits to a privileged process. `None` if none of these leads there.
pub(crate) fn open_by_id(file: FileId, others: impl Iterator<Item = u32>) -> Option<OwnedFd> {
    open_through(&format!("{PROC}/fd"), file)
        .or_else(|| open_mapped(file))
        .or_else(|| others.into_iter().find_map(|pid| open_through(&format!("/proc/{pid}/fd"), file)))
}

/// Opens a file through one of the descriptors that a directory of `/proc` shows.
fn open_through(directory: &str, file: FileId) -> Option<OwnedFd> {
    let paths = std::fs::read_dir(directory).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    paths.into_iter().find_map(|path| open_if(&path, file))
}

/// Opens the mapped file of that identity.
fn open_mapped(file: FileId) -> Option<OwnedFd> {
    let mapped = find_mapping(&format!("{PROC}/maps"), |mapped| mapped.file == file).ok()??;
    let Range { start, end } = mapped.addresses;
    let path = std::ffi::OsStr::from_bytes(&mapped.path);
    open_if(Path::new(path), file)
        .or_else(|| open_if(Path::new(&format!("{PROC}/map_files/{start:x}-{end:x}")), file))
}

/// Opens a path, if it leads to that file.
fn open_if(path: &Path, file: FileId) -> Option<OwnedFd> {
    let facts = path.metadata().ok()?; // before it is opened: opening other files may do something
    if (facts.dev(), facts.ino()) != file {
        return None;
    }
    let opened = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    let opened = above_stdio(opened.into()).ok()?;
    file_id(opened.as_fd()).is_ok_and(|id| id == file).then_some(opened)
}

// --- processes -------------------------------------------------------------------------------------------------

/// A stretch of a process's addresses with a file behind it.
struct Mapped {
    addresses: Range<usize>,
    #[cfg(feature = "shared_memory")]
    offset: u64,
    file: FileId,
    path: Vec<u8>,
}

impl Mapped {
    /// A line of `/proc/PID/maps`: `start-end perms offset major:minor inode path`.
    fn parse(line: &[u8]) -> Option<Mapped> {
        let (numbers, path) = match line.iter().position(|&byte| byte == b'/') {
            Some(at) => line.split_at(at),
            None => (line, &b""[..]),
        };
        let mut words = std::str::from_utf8(numbers).ok()?.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let _offset = words.nth(1)?;
        let (major, minor) = words.next()?.split_once(':')?;
        let address = |digits| usize::from_str_radix(digits, 16).ok();
        let device = |digits| u32::from_str_radix(digits, 16).ok();
        Some(Mapped {
            addresses: address(start)?..address(end)?,
            #[cfg(feature = "shared_memory")]
            offset: u64::from_str_radix(_offset, 16).ok()?,
            file: (libc::makedev(device(major)?, device(minor)?), words.next()?.parse().ok()?),
            path: path.trim_ascii_end().to_vec(),
        })
    }
}

/// The first mapping like that which a file such as `/proc/PID/maps` shows.
fn find_mapping(maps: &str, is_it: impl Fn(&Mapped) -> bool) -> io::Result<Option<Mapped>> {
    let mut lines = io::BufReader::new(File::open(maps)?);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        if let Some(mapped) = Mapped::parse(&line).filter(&is_it) {
            return Ok(Some(mapped));
        }
        line.clear();
    }
    Ok(None)
}

/// Whether a process has a file mapped. Without its first thread, any other one tells.
pub(crate) fn has_mapped(pid: u32, file: FileId) -> io::Result<bool> {
    let maps = |directory: &str| find_mapping(&format!("{directory}/maps"), |mapped| mapped.file == file);
    if maps(&format!("/proc/{pid}"))?.is_some() {
        return Ok(true);
    }
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let Some(thread) = thread?.file_name().to_str().map(str::to_owned) else { continue };
        match maps(&format!("/proc/{pid}/task/{thread}")) {
            Ok(None) => {}
            Ok(Some(_)) => return Ok(true),
            Err(error) if is_gone(&error) => {} // this thread has ended
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// When a process was started, in clock ticks since the machine was; `None` for this process.
pub(crate) fn started(pid: Option<u32>) -> io::Result<u64> {
    let path = pid.map_or("/proc/self/stat".to_owned(), |pid| format!("/proc/{pid}/stat"));
    // "pid (name) state …": the name may hold anything, so look behind its last parenthesis.
    let stat = std::fs::read(path)?;
    let behind = stat.iter().rposition(|&byte| byte == b')').map_or(stat.len(), |at| at + 1);
    let fields = String::from_utf8_lossy(&stat[behind..]).into_owned();
    let field = fields.split_ascii_whitespace().nth(22 - 3).and_then(|field| field.parse().ok());
    field.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Whether an error of `/proc` says that the process or thread is no more.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// Whether an error of `/proc` says that this process may not know.
pub(crate) fn is_forbidden(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Returns the nanoseconds on the monotonic clock as of its last tick: no system call, nor a look at the
/// hardware.
pub(crate) fn coarse_nanoseconds() -> u64 {
    clock(libc::CLOCK_MONOTONIC_COARSE)
}

/// Returns the nanoseconds on the monotonic clock.
pub(crate) fn nanoseconds() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

/// Asks by the C library: rustix finds the kernel's page of clocks by itself, and crashes where valgrind
/// hides it.
fn clock(which: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place for a time. Each kernel that skep runs on has both clocks.
    unsafe { libc::clock_gettime(which, &raw mut now) };
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

// --- liveness: OFD locks -----------------------------------------------------------------------------------------

fn byte_lock(kind: i32, byte: i64) -> libc::flock {
    // `l_pid` must be zero for OFD locks.
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: byte, l_len: 1, l_pid: 0 }
}

/// Takes the exclusive lock on one byte, unless another open file description has it.
pub(crate) fn try_lock_byte(file: BorrowedFd<'_>, byte: i64) -> Result<bool, Error> {
    loop {
        match nix::fcntl::fcntl(file, FcntlArg::F_OFD_SETLK(&byte_lock(libc::F_WRLCK, byte))) {
            Ok(_) => return Ok(true),
            Err(nix::Error::EAGAIN | nix::Error::EACCES) => return Ok(false),
            Err(nix::Error::EINTR) => continue,
            Err(e) => return Err(Error::os("fcntl F_OFD_SETLK", e)),
        }
    }
}

/// Lets go of one byte.
pub(crate) fn unlock_byte(file: BorrowedFd<'_>, byte: i64) -> Result<(), Error> {
    nix::fcntl::fcntl(file, FcntlArg::F_OFD_SETLK(&byte_lock(libc::F_UNLCK, byte)))
        .map_err(|e| Error::os("fcntl F_OFD_SETLK", e))?;
    Ok(())
}

/// Whether another open file description holds the byte.
pub(crate) fn is_byte_locked(file: BorrowedFd<'_>, byte: i64) -> Result<bool, Error> {
    let mut lock = byte_lock(libc::F_WRLCK, byte);
    nix::fcntl::fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))
        .map_err(|e| Error::os("fcntl F_OFD_GETLK", e))?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

// --- futex -----------------------------------------------------------------------------------------------------

/// Sleeps while `word` is `expected`, at most for `timeout`. May return for no reason; the caller looks again.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
    let timeout = timeout.map(|t| futex::Timespec {
        tv_sec: t.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: t.subsec_nanos().into(),
    });
    let _ = futex::wait(word, futex::Flags::empty(), expected, timeout.as_ref());
}

/// Wakes up to `n` sleepers; says how many slept.
pub(crate) fn futex_wake(word: &AtomicU32, n: u32) -> usize {
    // The kernel reads the number as signed, and wakes one if it is negative.
    futex::wake(word, futex::Flags::empty(), n.min(i32::MAX as u32)).unwrap_or(0)
}

/// Milliseconds on the monotonic clock as of its last tick: no system call, nor a look at the hardware.
pub(crate) fn milliseconds() -> u32 {
    (coarse_nanoseconds() / 1_000_000) as u32
}

// --- membarrier -----------------------------------------------------------------------------------------------

/// Registers this process for [`membarrier`]; false where that is not possible.
pub(crate) fn register_membarrier() -> bool {
    thread::membarrier(MembarrierCommand::RegisterGlobalExpedited).is_ok()
}

/// Runs a full fence on every processor that runs a thread of a registered process; false if that failed.
pub(crate) fn membarrier() -> bool {
    thread::membarrier(MembarrierCommand::GlobalExpedited).is_ok()
}

// --- fork ------------------------------------------------------------------------------------------------------

/// A page of this process's own that reads zero in a child of `fork()`.
pub(crate) fn page_wiped_on_fork() -> Result<NonNull<AtomicU32>, Error> {
    let length = NonZeroUsize::MIN.saturating_add(page_size() - 1);
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let flags = MapFlags::MAP_PRIVATE;
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nothing that exists.
    let page = unsafe { mman::mmap_anonymous(None, length, protection, flags) }
        .map_err(|e| memory::unmapped("mmap", length.get() as u64, e))?;
    // SAFETY: exactly the page that was mapped in the line above.
    unsafe { madvise_wipe_on_fork(page, length.get()) }?;
    Ok(page.cast())
}

/// # Safety
/// `page..page + length` is a private anonymous mapping of the caller's.
unsafe fn madvise_wipe_on_fork(page: NonNull<c_void>, length: usize) -> Result<(), Error> {
    // SAFETY: as the caller promises; the advice changes what a forked child sees, nothing here.
    let result = unsafe { libc::madvise(page.as_ptr(), length, libc::MADV_WIPEONFORK) };
    if result == 0 { Ok(()) } else { Err(Error::os("madvise MADV_WIPEONFORK", io::Error::last_os_error())) }
}

/// Registers functions that run around every `fork()` of this process.
pub(crate) fn at_fork(
    before: extern "C" fn(),
    parent: extern "C" fn(),
    child: extern "C" fn(),
) -> Result<(), Error> {
    // SAFETY: the functions are `extern "C"`, take nothing, and live as long as the program.
    let result = unsafe { libc::pthread_atfork(Some(before), Some(parent), Some(child)) };
    if result == 0 { Ok(()) } else { Err(Error::os("pthread_atfork", io::Error::from_raw_os_error(result))) }
}

/// Closes a descriptor by number.
pub(crate) fn close_number(fd: i32) {
    // SAFETY: closing is defined for any number; the caller owns the descriptor behind it.
    unsafe { libc::close(fd) };
}

// --- mappings --------------------------------------------------------------------------------------------------

/// Maps the same `bytes` of a file twice in a row, shared; offset and bytes are whole pages.
pub(crate) fn map_twice(
    file: BorrowedFd<'_>,
    offset: i64,
    bytes: NonZeroUsize,
) -> Result<NonNull<u8>, Error> {
    let unmapped = |error| memory::unmapped("mmap", 2 * bytes.get() as u64, error);
    let both = bytes.checked_mul(TWO).ok_or_else(|| unmapped(nix::Error::ENOMEM))?;
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nothing that exists.
    let base = unsafe {
        mman::mmap_anonymous(
            None,
            both,
            ProtFlags::PROT_NONE,
            MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE,
        )
    }
    .map_err(unmapped)?;
    let (access, flags) =
        (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED | MapFlags::MAP_FIXED);
    for address in [base.addr(), base.addr().saturating_add(bytes.get())] {
        // SAFETY: `MAP_FIXED` replaces pages of the reservation that was made above, and of nothing else.
        if let Err(e) = unsafe { mman::mmap(Some(address), bytes, access, flags, file, offset) } {
            // SAFETY: the reservation of above, of which nobody has heard yet.
            unsafe { unmap_twice(base.cast(), bytes) };
            return Err(unmapped(e));
        }
    }
    Ok(base.cast())
}

/// Undoes [`map_twice`].
///
/// # Safety
/// `base` is what `map_twice` returned for `bytes`, and nobody uses it any more.
pub(crate) unsafe fn unmap_twice(base: NonNull<u8>, bytes: NonZeroUsize) {
    // SAFETY: as the caller promises. It cannot fail for a mapping that exists; if it did, addresses would be lost and nothing else.
    let _ = unsafe { mman::munmap(base.cast(), 2 * bytes.get()) };
}

const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

// --- odds and ends ---------------------------------------------------------------------------------------------

/// The number of this thread, as the kernel writes it into a robust lock.
pub(crate) fn thread_id() -> u32 {
    nix::unistd::gettid().as_raw().cast_unsigned()
}

/// Whether there is a thread of that number in this process's pid namespace, its own or another's.
pub(crate) fn is_thread(number: u32) -> bool {
    // SAFETY: signal 0 is none; the call asks whether one could be sent.
    let code = i32::try_from(number).map_or(-1, |number| unsafe { libc::kill(number, 0) });
    code == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// The pid namespace of this process, in which [`thread_id`] counts; 0 if the kernel has none.
pub(crate) fn pid_namespace() -> Result<u64, Error> {
    match std::fs::metadata(format!("{PROC}/ns/pid")) {
        Ok(facts) => Ok(facts.ino()),
        Err(_) if Path::new(PROC).exists() => Ok(0),
        Err(_) => Err(without_proc("stat /proc/thread-self/ns/pid")),
    }
}

/// Ends this process as `kill -9` does.
#[cfg(skep_faults)]
pub(crate) fn kill_self() -> ! {
    loop {
        // SAFETY: a plain system call; it does not return.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
}

/// Stops this process until it is sent `SIGCONT`.
#[cfg(skep_faults)]
pub(crate) fn stop_self() {
    // SAFETY: a plain system call; it returns when the process goes on.
    unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) };
}

/// The machine's page size in bytes.
pub(crate) fn page_size() -> usize {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(4096)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    /// Whether a thread of this process sleeps in a futex.
    pub(crate) fn is_asleep(thread: libc::pid_t) -> bool {
        std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall"))
            .is_ok_and(|line| line.split(' ').next() == Some(&libc::SYS_futex.to_string()))
    }

    /// The kernel reads the number of those to wake as signed: of `u32::MAX` it would make -1, and wake one.
    #[test]
    fn a_wake_of_all_wakes_all() {
        static WORD: AtomicU32 = AtomicU32::new(0);
        let (tell, told) = std::sync::mpsc::channel();
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let tell = tell.clone();
                std::thread::spawn(move || {
                    // SAFETY: a plain system call.
                    tell.send(unsafe { libc::gettid() }).unwrap();
                    while WORD.load(Ordering::Acquire) == 0 {
                        futex_wait(&WORD, 0, None);
                    }
                })
            })
            .collect();
        for thread in told.iter().take(3) {
            while !is_asleep(thread) {
                std::thread::yield_now();
            }
        }
        WORD.store(1, Ordering::Release);
        assert_eq!(futex_wake(&WORD, u32::MAX), 3);
        threads.into_iter().for_each(|t| t.join().unwrap());
    }
}

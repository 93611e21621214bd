//! Every system call of this crate, and only here: each a small function with one purpose.
//!
//! A call that the kernel may interrupt is repeated.

use crate::error::Error;
use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags, FcntlArg, OFlag, SealFlag};
use nix::sys::memfd::MFdFlags;
use nix::sys::mman::{self, MapFlags, ProtFlags};
use nix::sys::stat::Mode;
use rustix::thread::{self, MembarrierCommand, futex};
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
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
pub(crate) fn anonymous_file() -> Result<OwnedFd, Error> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    nix::sys::memfd::memfd_create(c"skep", flags).map_err(|e| Error::os("memfd_create", e))
}

/// A new file in `/dev/shm` that has no name yet, mode 0600, empty.
pub(crate) fn unnamed_file() -> Result<OwnedFd, Error> {
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    nix::fcntl::open(SHM, flags, Mode::S_IRUSR | Mode::S_IWUSR)
        .map_err(|e| Error::os("open O_TMPFILE in /dev/shm", e))
}

/// Makes the file so long, without memory behind it: none of it may be touched before it is [reserved](reserve).
pub(crate) fn set_length(file: &OwnedFd, bytes: u64) -> Result<(), Error> {
    let length = i64::try_from(bytes).map_err(|_| Error::NoMemory { bytes })?;
    nix::unistd::ftruncate(file, length).map_err(|e| Error::os("ftruncate", e))
}

/// Makes the file at least as long as the range and reserves every page of it, so that a full memory is an error now and not a SIGBUS later.
///
/// An anonymous file has no limit of its own: asked for more than there is, the kernel would kill a process to find it. So
/// what the machine and the control group say is available is looked at first.
pub(crate) fn reserve(file: &OwnedFd, range: Range<u64>) -> Result<(), Error> {
    let bytes = range.end - range.start;
    if bytes >= WORTH_A_LOOK && available_memory().is_some_and(|available| bytes > available) {
        return Err(Error::NoMemory { bytes });
    }
    let signed = |n: u64| i64::try_from(n).map_err(|_| Error::NoMemory { bytes });
    let (start, length) = (signed(range.start)?, signed(bytes)?);
    loop {
        match nix::fcntl::fallocate(file, FallocateFlags::empty(), start, length) {
            Ok(()) => return Ok(()),
            Err(nix::Error::EINTR) => continue,
            Err(nix::Error::ENOSPC | nix::Error::ENOMEM | nix::Error::EFBIG) => {
                return Err(Error::NoMemory { bytes });
            }
            Err(e) => return Err(Error::os("fallocate", e)),
        }
    }
}

/// Below this a reservation is made without a look at what is available.
const WORTH_A_LOOK: u64 = 1 << 20;

/// How many bytes may be allocated without harm, as far as the kernel tells.
fn available_memory() -> Option<u64> {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let machine = line.trim().trim_end_matches(" kB").parse::<u64>().ok()?.saturating_mul(1024);
    // In a container its own group is mounted there, in version 2 or 1.
    let group = [
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ]
    .iter()
    .filter_map(|(limit, usage)| Some(number(limit)?.saturating_sub(number(usage)?)))
    .min();
    Some(machine.min(group.unwrap_or(u64::MAX)))
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
        Ok(file) => Ok(file.into()),
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

/// What attach checks of a file.
pub(crate) struct FileFacts {
    pub(crate) bytes: u64,
    pub(crate) owner: u32,
    pub(crate) is_regular: bool,
    /// Device and inode: which file it is.
    #[cfg(feature = "shared_memory")]
    pub(crate) identity: (u64, u64),
}

/// Size, owner and type of a file.
pub(crate) fn file_facts(file: &OwnedFd) -> Result<FileFacts, Error> {
    let file = File::from(file.try_clone().map_err(|e| Error::os("dup", e))?);
    let meta = file.metadata().map_err(|e| Error::os("fstat", e))?;
    Ok(FileFacts {
        bytes: meta.len(),
        owner: meta.uid(),
        is_regular: meta.is_file(),
        #[cfg(feature = "shared_memory")]
        identity: (meta.dev(), meta.ino()),
    })
}

/// Device and inode of the file whose first byte is mapped at `address`; `None` if none is.
///
/// # Errors
/// [`Error::Os`] if `/proc` cannot be read.
#[cfg(feature = "shared_memory")]
pub(crate) fn mapped_file(address: NonNull<u8>) -> Result<Option<(u64, u64)>, Error> {
    let maps = std::fs::read_to_string(format!("{PROC}/maps"))
        .map_err(|e| Error::os("read /proc/thread-self/maps", e))?;
    // start-end perms offset major:minor inode path
    let parse = |line: &str| -> Option<(usize, u64, (u64, u64))> {
        let mut words = line.split_ascii_whitespace();
        let (start, _) = words.next()?.split_once('-')?;
        let offset = words.nth(1)?;
        let (major, minor) = words.next()?.split_once(':')?;
        let hex = |digits| u32::from_str_radix(digits, 16).ok();
        let device = libc::makedev(hex(major)?, hex(minor)?);
        let start = usize::from_str_radix(start, 16).ok()?;
        Some((start, u64::from_str_radix(offset, 16).ok()?, (device, words.next()?.parse().ok()?)))
    };
    let at_start = |&(start, offset, _): &(usize, u64, _)| start == address.addr().get() && offset == 0;
    Ok(maps.lines().filter_map(parse).find(at_start).map(|(_, _, file)| file))
}

/// The user that this process acts as.
pub(crate) fn user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Opens the same file once more: an open file description of this process's own, as OFD locks need it.
pub(crate) fn open_again(file: &OwnedFd) -> Result<OwnedFd, Error> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
    nix::fcntl::open(&proc_path(file)?, flags, Mode::empty())
        .map_err(|e| Error::os("open /proc/thread-self/fd", e))
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
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    (now.tv_sec as u32).wrapping_mul(1000).wrapping_add(now.tv_nsec as u32 / 1_000_000)
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
    let page =
        unsafe { mman::mmap_anonymous(None, length, protection, flags) }.map_err(|e| Error::os("mmap", e))?;
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

/// Closes a descriptor by number; for the child's side of a fork.
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
    let both = bytes.checked_mul(TWO).ok_or(Error::NoMemory { bytes: u64::MAX })?;
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nothing that exists.
    let base = unsafe {
        mman::mmap_anonymous(
            None,
            both,
            ProtFlags::PROT_NONE,
            MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE,
        )
    }
    .map_err(|e| Error::os("mmap to reserve addresses", e))?;
    let (access, flags) =
        (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED | MapFlags::MAP_FIXED);
    for address in [base.addr(), base.addr().saturating_add(bytes.get())] {
        // SAFETY: `MAP_FIXED` replaces pages of the reservation that was made above, and of nothing else.
        if let Err(e) = unsafe { mman::mmap(Some(address), bytes, access, flags, file, offset) } {
            // SAFETY: the reservation of above, of which nobody has heard yet.
            unsafe { unmap_twice(base.cast(), bytes) };
            return Err(Error::os("mmap", e));
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

//! System calls that need more than a line: what of them is `unsafe` is here alone.

use crate::error::Cause;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions};
use skep_ipc::KeptFd;
use std::convert::Infallible;
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Names of this process's threads' directories, which are their ids.
fn thread_ids() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect()
}

/// Returns the names of this process's other threads; none if that cannot be told.
pub(crate) fn other_threads() -> Vec<String> {
    let this = rustix::thread::gettid().as_raw_nonzero().to_string();
    let others = thread_ids().into_iter().filter(|id| *id != this);
    let name = |id| fs::read(format!("/proc/self/task/{id}/comm")).ok();
    others.filter_map(name).map(|name| String::from_utf8_lossy(&name).trim_end().to_owned()).collect()
}

/// Whether every other thread of this process sleeps.
pub(crate) fn others_sleep() -> bool {
    let this = rustix::thread::gettid().as_raw_nonzero().to_string();
    thread_ids().iter().filter(|id| **id != this).all(|id| {
        // "tid (name) S …": the name may hold anything, so look behind its last parenthesis.
        let stat = fs::read_to_string(format!("/proc/self/task/{id}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
    })
}

/// Forks on a new thread of that name. The child gets the state, and the thread that forked it; its thread-local values are
/// new, as in no thread before: hash keys, generators, caches. The parent has the state back.
///
/// For the zygote alone: no other thread of this process may hold a lock that the child could want.
pub(crate) fn fork<T: Send>(
    state: T,
    name: String,
    child: impl FnOnce(T, Pid) -> Infallible + Send,
) -> (T, Result<Pid, Errno>) {
    let mut state = Some(state);
    let (given, may_fork) = (&mut state, &AtomicBool::new(false));
    let forked = thread::scope(|scope| {
        let forker = move || {
            while !may_fork.load(Ordering::Acquire) {
                thread::yield_now();
            }
            let this = rustix::thread::gettid();
            // SAFETY: the thread that waits for this one holds nothing from the store below on, until this one has ended. The
            // zygote's other thread, if a test harness made one, sleeps for good and holds nothing (`zygote.rs`, Z1).
            match unsafe { libc::fork() } {
                -1 => Err(last_error()),
                0 => match given.take() {
                    Some(state) => match child(state, this) {},
                    None => vanish(),
                },
                pid => Pid::from_raw(pid).ok_or(Errno::SRCH),
            }
        };
        let forker = thread::Builder::new().name(name).stack_size(stack_bytes()).spawn_scoped(scope, forker);
        let forker = forker.map_err(|e| errno(&e))?;
        may_fork.store(true, Ordering::Release);
        forker.join().unwrap_or(Err(Errno::IO))
    });
    match state {
        Some(state) => (state, forked),
        None => vanish(), // only a child has taken it, and that one does not come here
    }
}

/// As much stack as the main thread of a program may use.
fn stack_bytes() -> usize {
    const LEAST: u64 = 2 << 20;
    const MOST: u64 = 256 << 20;
    limit(libc::RLIMIT_STACK as _).map_or(LEAST, |(soft, _)| soft.clamp(LEAST, MOST)) as usize
}

/// Lets the kernel kill this process when its parent dies, of which a passing thread has forked it, if one is named. False: the
/// parent has died.
pub(crate) fn die_with(parent: Pid, forker: Option<Pid>) -> bool {
    let lives = || rustix::process::getppid() == Some(parent);
    // The kernel would do so when the forking thread ends. When it has, this process is another thread's child.
    let is_there = |forker: Pid| {
        // SAFETY: signal 0 is none: this only looks whether there is such a thread.
        unsafe { libc::syscall(libc::SYS_tgkill, parent.as_raw_pid(), forker.as_raw_pid(), 0) == 0 }
    };
    while lives() && forker.is_some_and(is_there) {
        thread::sleep(Duration::from_micros(20));
    }
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    lives()
}

/// Writes out what the C library's streams hold back.
pub(crate) fn flush_streams() {
    // SAFETY: no stream at all means each, and each is valid.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}

/// Ends this process, and nothing else: what its parent has not flushed yet is not written here too.
pub(crate) fn vanish() -> ! {
    // SAFETY: runs no code of ours or anybody's.
    unsafe { libc::_exit(0) }
}

fn last_error() -> Errno {
    errno(&std::io::Error::last_os_error())
}

/// The number that the kernel has given.
pub(crate) fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}

/// Sets the name of this thread; that of a process's first thread is the process's.
pub(crate) fn set_name(name: &str) {
    if let Ok(name) = CString::new(name) {
        let _ = rustix::thread::set_name(&name);
    }
}

/// Removes a variable from the environment.
pub(crate) fn forget_variable(name: &str) {
    // SAFETY: as for `fork`: nobody else reads or writes the environment now. Where other threads are allowed, before workers that
    // are executed, one that reads it through C meanwhile finds each entry there or gone: the C library moves pointers up and frees
    // nothing.
    unsafe { std::env::remove_var(name) };
}

/// Whether the kernel has started this program with rights that its caller does not have: a set-user-ID, set-group-ID or
/// set-capability file.
pub(crate) fn is_privileged() -> bool {
    // SAFETY: reads a number that the kernel has given to this process.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Lets this process, and those that it forks, have no controlling terminal: opening `/dev/tty` is an error from then on, and no
/// use of a terminal that they have inherited stops them (SIGTTIN, SIGTTOU). In the background of a terminal they would be stopped
/// by a question for a password, until a shell that knows nothing of it brings them to the foreground.
pub(crate) fn leave_terminal() {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let terminal = rustix::fs::open("/dev/tty", flags, Mode::empty());
    // Where there is no such file, standard error may be the terminal; of what is none this is an error.
    let terminal = terminal.as_ref().map_or(rustix::stdio::stderr(), |terminal| terminal.as_fd());
    // SAFETY: takes no argument, and concerns this process alone: it leads no session.
    unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCNOTTY) };
}

/// Returns a handle of the directory that this process is in, whatever becomes of its name.
pub(crate) fn current_directory() -> Result<OwnedFd, Errno> {
    rustix::fs::open(".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Real, effective and saved user; the same for groups; supplementary groups.
pub(crate) fn identity() -> ([u32; 3], [u32; 3], Vec<u32>) {
    let ([mut u0, mut u1, mut u2], [mut g0, mut g1, mut g2]) = ([0; 3], [0; 3]);
    // SAFETY: each call gets valid places, and as many as it is told.
    unsafe {
        libc::getresuid(&mut u0, &mut u1, &mut u2);
        libc::getresgid(&mut g0, &mut g1, &mut g2);
        let count = libc::getgroups(0, std::ptr::null_mut()).max(0);
        let mut more = vec![0; count as usize];
        let count = libc::getgroups(count, more.as_mut_ptr()).max(0);
        more.truncate(count as usize);
        ([u0, u1, u2], [g0, g1, g2], more)
    }
}

/// How many kinds of limits the kernel has.
const LIMITS: u32 = 16;

/// Soft and hard limit of each resource.
pub(crate) fn limits() -> Vec<(u64, u64)> {
    (0..LIMITS)
        .map(|resource| limit(resource).unwrap_or((libc::RLIM_INFINITY, libc::RLIM_INFINITY)))
        .collect()
}

fn limit(resource: u32) -> Option<(u64, u64)> {
    // SAFETY: the place is valid; an unknown resource is an error.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        (libc::getrlimit(resource as _, &mut limit) == 0).then_some((limit.rlim_cur, limit.rlim_max))
    }
}

/// Sets these limits, as far as this process may.
pub(crate) fn set_limits(limits: &[(u64, u64)]) {
    for (resource, &(soft, hard)) in (0..).zip(limits) {
        let Some((_, most)) = limit(resource).filter(|now| *now != (soft, hard)) else { continue };
        for hard in [hard, hard.min(most)] {
            let limit = libc::rlimit { rlim_cur: soft.min(hard), rlim_max: hard };
            // SAFETY: the place is valid.
            if unsafe { libc::setrlimit(resource as _, &limit) } == 0 {
                break;
            }
        }
    }
}

/// Asks the kernel to kill this process's group when something happens to what is open there.
pub(crate) fn kill_group_at_event(file: BorrowedFd<'_>) -> Result<(), Errno> {
    const F_SETSIG: libc::c_int = 10; // on all of Linux's architectures
    let group = rustix::process::getpgrp().as_raw_pid();
    for (command, argument) in [
        (libc::F_SETOWN, -group),
        (F_SETSIG, libc::SIGKILL),
        (libc::F_SETFL, libc::O_ASYNC | libc::O_NONBLOCK),
    ] {
        // SAFETY: these commands take an integer, and change what is open there alone.
        if unsafe { libc::fcntl(file.as_raw_fd(), command, argument) } < 0 {
            return Err(last_error());
        }
    }
    Ok(())
}

/// Kills all processes of a group whose leader has that pidfd.
///
/// Since Linux 6.9 by the pidfd alone. Before, by its number, which is the group's as long as the leader is not reaped: if somebody
/// else has done that, and the last of the group is gone, the number may be another's.
pub(crate) fn kill_group(leader: &OwnedFd, group: Pid) {
    const PROCESS_GROUP: libc::c_uint = 4;
    // SAFETY: the descriptor is open, and no information is sent along.
    let killed = unsafe {
        let (fd, none) = (leader.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
        libc::syscall(libc::SYS_pidfd_send_signal, fd, libc::SIGKILL, none, PROCESS_GROUP)
    };
    if killed < 0 && last_error() == Errno::INVAL {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if rustix::process::waitid(WaitId::PidFd(leader.as_fd()), look).is_ok() {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

/// The same for a child of this process, of which it has no pidfd any more: as long as it is not reaped, the number is its own.
pub(crate) fn kill_group_of_child(leader: Pid) {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    if rustix::process::waitid(WaitId::Pid(leader), look).is_ok() {
        let _ = rustix::process::kill_process_group(leader, Signal::KILL);
    }
}

/// Reaps the children of this process in that group, which are about to end, but waits no longer than `at_most`.
pub(crate) fn reap_dying(group: Pid, at_most: Duration) {
    let deadline = Instant::now() + at_most;
    loop {
        match rustix::process::waitpgid(group, WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
            _ => return, // none is left, which is an error of the call
        }
    }
}

/// Reaps the children of this process in that group, once they have ended, and returns how its leader did.
///
/// Blocks until no child is left in it. Most processes of the group are children of its leader; they are this process's where it
/// takes in orphans, as the first process of a container does.
pub(crate) fn reap_group(group: Pid) -> Cause {
    let mut leaders = Cause::Unknown; // if somebody else has reaped it
    loop {
        match rustix::process::waitpgid(group, WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == group => {
                leaders = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Cause::Exited(code),
                    (_, Some(signal)) => Cause::Signal(signal),
                    _ => Cause::Unknown,
                }
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return leaders,
        }
    }
}

/// How a waited-for process ended.
pub(crate) fn cause(status: &WaitIdStatus) -> Cause {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Cause::Exited(code),
        (_, Some(signal)) => Cause::Signal(signal),
        _ => Cause::Unknown,
    }
}

/// Which of `fds` can be read (or are at their end), waiting until one can, or for `timeout`.
pub(crate) fn readable<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    timeout: Option<Duration>,
) -> Result<[bool; N], Errno> {
    let mut polled = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    poll(&mut polled, timeout)?;
    Ok(std::array::from_fn(|n| !polled[n].revents().is_empty()))
}

/// `poll` that goes on after a signal.
pub(crate) fn poll(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> Result<(), Errno> {
    let deadline = timeout.map(|t| Instant::now() + t);
    insist(|| {
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let left = left.map(|t| Timespec { tv_sec: t.as_secs() as _, tv_nsec: t.subsec_nanos() as _ });
        rustix::event::poll(fds, left.as_ref()).map(drop)
    })
}

/// A descriptor that the program may have closed by mistake, which is an error then.
pub(crate) fn kept(fd: &KeptFd) -> Result<&OwnedFd, Errno> {
    fd.get().ok_or(Errno::BADF)
}

/// Whether something can be read, such as the end of a process from its pidfd; waits for it as long as `timeout`.
pub(crate) fn has_ended(fd: impl AsFd, timeout: Duration) -> Result<bool, Errno> {
    readable([fd.as_fd()], Some(timeout)).map(|[ended]| ended)
}

/// Makes a system call, again if a signal has interrupted it, and for half a second if the kernel is short of what it needs.
pub(crate) fn insist<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    let mut pauses = (0..9).map(|n| Duration::from_millis(1 << n));
    loop {
        match call() {
            Err(Errno::INTR) => {}
            Err(Errno::NOMEM | Errno::NOBUFS | Errno::MFILE | Errno::NFILE | Errno::TOOMANYREFS)
                if let Some(pause) = pauses.next() =>
            {
                std::thread::sleep(pause);
            }
            result => return result,
        }
    }
}

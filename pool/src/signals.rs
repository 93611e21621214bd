//! Signals. The host's are its own: no thread of ours takes one. What is sent to the whole program
//! is the parent's to answer, so workers go on until it decides.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicI32, Ordering};

/// By these somebody tells a program something, and they end one that does not listen. A service
/// manager sends SIGTERM to every process of a service (or SIGINT or SIGQUIT, if it is told to), a
/// script `pkill -HUP name` to every process of that name.
const MESSAGES: [c_int; 6] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2];

/// These are sent to the thread that has made the fault, and kill it where they are blocked,
/// whatever handler there is.
const FAULTS: [c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];

/// Calls a function that starts a thread or a process, which then takes no signals but those of its
/// own faults: it begins with the mask of the thread that starts it, so there is no moment at which
/// it could take one.
pub(crate) fn deaf<R>(start: impl FnOnce() -> R) -> R {
    struct Restore(libc::sigset_t);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: the set is what `pthread_sigmask` has given.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
        }
    }
    // SAFETY: zeroes are room for a set; each call gets valid pointers.
    let _restore = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        FAULTS.iter().for_each(|fault| {
            libc::sigdelset(&mut all, *fault);
        });
        let mut before = std::mem::zeroed();
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        Restore(before)
    };
    start()
}

/// The process that leaves messages to its parent; a child that it forks does not.
static LEAVES_MESSAGES: AtomicI32 = AtomicI32::new(0);

/// In a new process: lets every signal do what it does by default, where the parent had it ignored,
/// but for messages from others, which do nothing from now on: the parent hears them too, and ends
/// this process if that is what they mean. Those that came before were blocked ([`deaf`]), and are
/// heard now.
///
/// Messages have a handler and are not ignored, since programs that a task executes would ignore
/// them as well. Handlers that are there already, set by a constructor of the program, stay. Rust
/// itself ignores SIGPIPE, as in every program.
pub(crate) fn leave_messages() {
    for signal in (1..=libc::SIGRTMAX()).filter(|signal| *signal != libc::SIGPIPE) {
        if disposition(signal) == Some(libc::SIG_IGN) {
            set(signal, libc::SIG_DFL, 0);
        }
    }
    for signal in MESSAGES {
        if disposition(signal) == Some(libc::SIG_DFL) {
            let flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
            set(signal, hear as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize, flags);
        }
    }
    leave_messages_here();
}

/// The same in a process just forked, [`deaf`], from one that does.
pub(crate) fn leave_messages_here() {
    LEAVES_MESSAGES.store(std::process::id() as i32, Ordering::Relaxed);
    // SAFETY: an empty set is valid for sigprocmask.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Only calls what may be called in a handler.
extern "C" fn hear(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: no pointer is involved; the kernel gives a valid `info`, and for what somebody has
    // sent it names the sender.
    let (this, sender) = unsafe { (libc::getpid(), (*info).si_pid()) };
    if this == LEAVES_MESSAGES.load(Ordering::Relaxed) && sender != this {
        return;
    }
    // What a task sends to itself, and what a process gets that a task has forked, does what it
    // does by default: as soon as this handler has returned, until when the signal is blocked.
    set(signal, libc::SIG_DFL, 0);
    // SAFETY: no pointer is involved.
    unsafe { libc::raise(signal) };
}

fn disposition(signal: c_int) -> Option<usize> {
    // SAFETY: zeroes are a valid sigaction, which is only filled in.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        (libc::sigaction(signal, std::ptr::null(), &mut action) == 0).then_some(action.sa_sigaction)
    }
}

fn set(signal: c_int, handler: usize, flags: c_int) {
    // SAFETY: zeroes are a valid sigaction, whose mask is then filled; the handler is the default
    // or `hear`, which has that signature.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        (action.sa_sigaction, action.sa_flags) = (handler, flags);
        // One at a time: the stack on which handlers run has no room for all of them, one in the
        // other.
        libc::sigfillset(&mut action.sa_mask);
        libc::sigaction(signal, &action, std::ptr::null_mut());
    }
}

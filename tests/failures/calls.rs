//! The system calls that can fail, and how.

/// A system call, and with what it may fail while nothing is wrong with its arguments.
pub struct Call {
    pub name: &'static str,
    pub number: i64,
    pub errors: &'static [i32],
}

macro_rules! calls {
    ($($(#[$cfg:meta])* $name:literal $number:ident: $($error:ident)+;)*) => {
        pub const CALLS: &[Call] = &[
            $($(#[$cfg])* Call { name: $name, number: libc::$number, errors: &[$(libc::$error),+] },)*
        ];
    };
}

// Left out: what cannot fail with right arguments (close, munmap, kill, getpid, sigaction), or ends the caller (exit_group).
calls! {
    "openat" SYS_openat: EMFILE ENFILE ENOMEM EINTR;
    #[cfg(target_arch = "x86_64")]
    "open" SYS_open: EMFILE ENFILE ENOMEM EINTR;
    "fcntl" SYS_fcntl: EMFILE ENOLCK EINTR;
    "dup" SYS_dup: EMFILE;
    #[cfg(target_arch = "x86_64")]
    "dup2" SYS_dup2: EINTR EBUSY;
    "dup3" SYS_dup3: EINTR EBUSY;
    "pipe2" SYS_pipe2: EMFILE ENFILE ENOMEM;
    "socketpair" SYS_socketpair: EMFILE ENFILE ENOMEM;
    "sendmsg" SYS_sendmsg: ENOMEM ENOBUFS EINTR ETOOMANYREFS;
    "recvmsg" SYS_recvmsg: ENOMEM EINTR;
    "shutdown" SYS_shutdown: ENOTCONN;
    #[cfg(target_arch = "x86_64")]
    "poll" SYS_poll: ENOMEM EINTR;
    "ppoll" SYS_ppoll: ENOMEM EINTR;
    "pidfd_open" SYS_pidfd_open: EMFILE ENFILE ENOMEM;
    "pidfd_send_signal" SYS_pidfd_send_signal: ENOMEM;
    "waitid" SYS_waitid: EINTR;
    "wait4" SYS_wait4: EINTR;
    "clone" SYS_clone: EAGAIN ENOMEM;
    "clone3" SYS_clone3: EAGAIN ENOMEM;
    #[cfg(target_arch = "x86_64")]
    "fork" SYS_fork: EAGAIN ENOMEM;
    #[cfg(target_arch = "x86_64")]
    "vfork" SYS_vfork: EAGAIN ENOMEM;
    "execve" SYS_execve: EAGAIN ENOMEM EMFILE;
    "memfd_create" SYS_memfd_create: EMFILE ENFILE ENOMEM;
    "ftruncate" SYS_ftruncate: EINTR ENOSPC;
    "fallocate" SYS_fallocate: ENOSPC ENOMEM EINTR;
    "mmap" SYS_mmap: ENOMEM EAGAIN;
    "mremap" SYS_mremap: ENOMEM;
    "mprotect" SYS_mprotect: ENOMEM;
    "madvise" SYS_madvise: ENOMEM EAGAIN;
    "membarrier" SYS_membarrier: ENOMEM;
    "eventfd2" SYS_eventfd2: EMFILE ENFILE ENOMEM;
    "signalfd4" SYS_signalfd4: EMFILE ENFILE ENOMEM;
    "read" SYS_read: EINTR ENOMEM;
    "write" SYS_write: EINTR ENOSPC;
    "pread64" SYS_pread64: EINTR ENOMEM;
    "pwrite64" SYS_pwrite64: EINTR ENOSPC ENOMEM;
    "lseek" SYS_lseek: ENOMEM;
    "getdents64" SYS_getdents64: ENOMEM;
    "statx" SYS_statx: ENOMEM;
    "fstat" SYS_fstat: ENOMEM;
    "newfstatat" SYS_newfstatat: ENOMEM;
    "futex" SYS_futex: EINTR EAGAIN;
    "setpgid" SYS_setpgid: EPERM;
    "prctl" SYS_prctl: EPERM;
}

pub fn name(error: i32) -> &'static str {
    match error {
        libc::EAGAIN => "EAGAIN",
        libc::EBUSY => "EBUSY",
        libc::EINTR => "EINTR",
        libc::EMFILE => "EMFILE",
        libc::ENFILE => "ENFILE",
        libc::ENOBUFS => "ENOBUFS",
        libc::ENOLCK => "ENOLCK",
        libc::ENOMEM => "ENOMEM",
        libc::ENOSPC => "ENOSPC",
        libc::ENOTCONN => "ENOTCONN",
        libc::EPERM => "EPERM",
        libc::ETOOMANYREFS => "ETOOMANYREFS",
        _ => "another error",
    }
}

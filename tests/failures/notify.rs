//! The kernel asks another process about system calls (seccomp's user notification), and that one may let them fail.

use crate::calls::CALLS;
use std::io;
use std::mem::{offset_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// `_IOWR('!', 0, struct seccomp_notif)`.
const RECEIVE: libc::Ioctl = request(0, size_of::<libc::seccomp_notif>());
/// `_IOWR('!', 1, struct seccomp_notif_resp)`.
const SEND: libc::Ioctl = request(1, size_of::<libc::seccomp_notif_resp>());
const ALLOW: u32 = 0x7fff_0000;
const ASK: u32 = 0x7fc0_0000;
const GO_ON: u32 = 1;
/// The futex calls that wait.
const WAITS: [i32; 2] = [libc::FUTEX_WAIT, libc::FUTEX_WAIT_BITSET];

const fn request(number: u32, bytes: usize) -> libc::Ioctl {
    (3 << 30 | (bytes as u32) << 16 | 0x21 << 8 | number) as libc::Ioctl
}

/// A system call that waits to be told whether it may go on.
pub struct Question {
    id: u64,
    /// The thread that makes it.
    pub thread: u32,
    pub number: i64,
    /// A futex call that wakes cannot.
    pub can_fail: bool,
}

/// From now on this process and its descendants ask about these system calls, or about all of [`CALLS`]. Returns the number of the
/// descriptor by which they are answered.
///
/// The caller is its process's only thread, and makes no such call before somebody answers.
pub fn ask(only: Option<i64>) -> io::Result<i32> {
    let statement = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let (load, equal, give) = (0x20, 0x15, 0x06); // BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET | BPF_K
    let numbers: Vec<i64> = only.map_or_else(|| CALLS.iter().map(|call| call.number).collect(), |n| vec![n]);
    let mut filter = vec![statement(load, offset_of!(libc::seccomp_data, nr) as u32)];
    for (left, number) in (0..numbers.len()).rev().zip(&numbers) {
        filter.push(libc::sock_filter { jt: left as u8 + 1, ..statement(equal, *number as u32) });
    }
    filter.extend([statement(give, ALLOW), statement(give, ASK)]);
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its filter are valid for the call; both calls change this process alone.
    let listener = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    if listener < 0 { Err(io::Error::last_os_error()) } else { Ok(listener as i32) }
}

/// Answers the questions of one process and its descendants.
pub struct Listener(OwnedFd);

/// What there is to do for a listener.
pub enum Heard {
    Question(Question),
    /// The last process that could ask is gone, and reaped.
    End,
    Nothing,
}

impl Listener {
    /// Takes a copy of another process's descriptor.
    pub fn of(pid: u32, descriptor: i32) -> io::Result<Listener> {
        // SAFETY: both return a new descriptor, or an error.
        unsafe {
            let pidfd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
            if pidfd < 0 {
                return Err(io::Error::last_os_error());
            }
            let pidfd = OwnedFd::from_raw_fd(pidfd as i32);
            let copy = libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), descriptor, 0);
            if copy < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Listener(OwnedFd::from_raw_fd(copy as i32)))
        }
    }

    /// Waits at most so long.
    pub fn hear(&self, at_most: Duration) -> Heard {
        let mut fd = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd.
        unsafe { libc::poll(&mut fd, 1, at_most.as_millis() as i32) };
        if fd.revents & libc::POLLIN != 0 {
            // SAFETY: the kernel wants zeroes, and fills them in.
            let mut asked: libc::seccomp_notif = unsafe { zeroed() };
            // SAFETY: as above; the pointer is valid.
            if unsafe { libc::ioctl(self.0.as_raw_fd(), RECEIVE, &raw mut asked) } == 0 {
                let number = i64::from(asked.data.nr);
                let wakes = number == libc::SYS_futex && !WAITS.contains(&(asked.data.args[1] as i32 & 0x7f));
                let question = Question { id: asked.id, thread: asked.pid, number, can_fail: !wakes };
                return Heard::Question(question);
            }
        } else if fd.revents & libc::POLLHUP != 0 {
            return Heard::End;
        }
        Heard::Nothing
    }

    /// Lets the call happen, or fail. Who was killed meanwhile does not hear it.
    pub fn answer(&self, question: &Question, error: Option<i32>) {
        let flags = if error.is_some() { 0 } else { GO_ON };
        let answer = libc::seccomp_notif_resp { id: question.id, val: 0, error: -error.unwrap_or(0), flags };
        // SAFETY: the pointer is valid.
        unsafe { libc::ioctl(self.0.as_raw_fd(), SEND, &raw const answer) };
    }
}

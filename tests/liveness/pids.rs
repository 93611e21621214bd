//! Process ids tell nothing: one is given again, a zombie has one, and a process lives on after its first thread.

use crate::common::Other;
use crate::scene::{Scene, hold_and_wait, wait};
use std::io;

/// `kill -9`, until the process is over; it is not reaped.
fn kill_unreaped(other: &Other) {
    other.signal(libc::SIGKILL);
    let mut info = std::mem::MaybeUninit::uninit();
    // SAFETY: waits for the child, and writes to `info`; the child can still be waited for.
    let code = unsafe {
        let options = libc::WEXITED | libc::WNOWAIT;
        libc::waitid(libc::P_PID, other.pid() as u32, info.as_mut_ptr(), options)
    };
    assert_eq!(code, 0);
}

/// The state that `ps` shows.
fn state_of(pid: i32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().chars().next().unwrap()
}

pub fn until_zombie(pid: i32) {
    while state_of(pid) != 'Z' {
        std::thread::yield_now();
    }
}

#[test]
fn a_zombie_is_dead() {
    let mut scene = Scene::new("zombie");
    let other = scene.start("hold");
    scene.assert_alive();
    kill_unreaped(&other);
    assert_eq!(state_of(other.pid()), 'Z');
    scene.assert_dead();
}

/// Whoever looks at its state sees a zombie.
#[test]
fn a_process_whose_first_thread_has_ended_is_alive() {
    let mut scene = Scene::new("first-thread");
    let name = scene.name.clone();
    // SAFETY: the child runs what follows; glibc keeps malloc usable in a forked child.
    let other = match unsafe { libc::fork() } {
        0 => hold_without_first_thread(name),
        -1 => panic!("fork: {}", io::Error::last_os_error()),
        pid => Child(pid),
    };
    assert_eq!(scene.report(), other.0 as u64, "it could attach without its first thread");
    assert_eq!(state_of(other.0), 'Z');
    scene.assert_alive();
    drop(other);
    scene.assert_dead();
}

fn hold_without_first_thread(name: String) -> ! {
    std::thread::spawn(move || {
        // SAFETY: asks for this process's number.
        until_zombie(unsafe { libc::getpid() });
        hold_and_wait(&name)
    });
    loop {
        // SAFETY: ends this thread alone, whose stack the others do not use.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
}

#[test]
fn a_dead_process_is_dead_although_another_one_has_its_pid() {
    let mut scene = Scene::new("pid-reuse");
    let other = scene.start("hold");
    let pid = other.pid();
    other.kill();
    let Some(namesake) = Child::with_pid(pid) else { return };
    assert_eq!(namesake.0, pid);
    scene.assert_dead();
}

/// A process that is killed and reaped when this is dropped.
struct Child(i32);

impl Child {
    /// One that does nothing, with this pid, which is nobody's; `None` if the kernel does not permit it.
    fn with_pid(pid: i32) -> Option<Child> {
        // SAFETY: zeroes are valid.
        let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
        arguments.exit_signal = libc::SIGCHLD as u64;
        arguments.set_tid = (&raw const pid).addr() as u64;
        arguments.set_tid_size = 1;
        // SAFETY: the arguments are valid during the call; the child makes no other call than this one.
        match unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of_val(&arguments)) } {
            0 => wait(),
            -1 if io::Error::last_os_error().raw_os_error() == Some(libc::EPERM) => {
                eprintln!("SKIPPED: this process may not choose a pid");
                None
            }
            -1 => panic!("clone3: {}", io::Error::last_os_error()),
            child => Some(Child(child as i32)),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: a child of ours that is not reaped yet.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

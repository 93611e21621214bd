//! Forks that keep their parent's handles and descriptors, whenever they come.

use crate::scene::{Part, Scene, hold, take_part, wait};
use skep::PutError;
use std::io::{self, Read, Write};
use std::sync::Mutex as Local;

/// A process that another one of ours made and left to us.
struct Orphan(i32);

impl Orphan {
    /// From now on this process inherits the children of its children.
    fn adopt_all() {
        // SAFETY: changes whose children orphans become.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }, 0);
    }

    /// Nobody has waited for it: it lives.
    fn assert_lives(&self) {
        // SAFETY: looks, and does not wait.
        assert_eq!(unsafe { libc::waitpid(self.0, std::ptr::null_mut(), libc::WNOHANG) }, 0);
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        // SAFETY: a child of ours that is not reaped yet.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

/// A scene with a process in a role that has forked and was killed, and the child that it left.
fn killed_parent(test: &str, role: &str) -> (Scene, Orphan) {
    Orphan::adopt_all();
    let mut scene = Scene::new(test);
    let other = scene.start_unheard(role);
    let child = scene.report() as i32;
    scene.assert_alive_in_queue_and_pipe();
    other.kill();
    let orphan = Orphan(child);
    orphan.assert_lives();
    (scene, orphan)
}

#[test]
fn a_dead_process_is_dead_although_its_forked_child_lives() {
    let (mut scene, orphan) = killed_parent("fork", "hold, and fork");
    scene.assert_dead();
    orphan.assert_lives();
}

pub fn hold_and_fork(name: &str) {
    let mut part = hold(name);
    let child = fork_and_go_on();
    part.queue.put(child as u64).unwrap();
    wait();
}

/// Forks a child that waits to be killed; returns once it is back from its fork.
fn fork_and_go_on() -> i32 {
    let (mut told, mut tell) = io::pipe().unwrap();
    // SAFETY: the child says that it is there, and waits.
    match unsafe { libc::fork() } {
        0 => {
            let _ = tell.write_all(&[1]);
            wait()
        }
        -1 => panic!("fork: {}", io::Error::last_os_error()),
        child => {
            told.read_exact(&mut [0]).unwrap();
            child
        }
    }
}

/// Nobody tells such a child to close what it shares with its parent; the kernel cannot tell them apart.
#[test]
fn a_dead_process_that_forked_past_libc_is_dead_once_its_child_is() {
    let (mut scene, orphan) = killed_parent("clone", "hold, and fork past libc");
    scene.assert_alive_in_queue_and_pipe();
    scene.assert_dead_in_mutex();
    drop(orphan);
    scene.assert_dead_in_queue_and_pipe();
}

pub fn hold_and_clone(name: &str) {
    let mut part = hold(name);
    let child = bare_clone(|| match part.queue.try_put(2) {
        Err(PutError::Forked(2)) => 0,
        _ => 1,
    });
    let mut status = 0;
    // SAFETY: waits for the child just made.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child used its parent's handle");
    let child = bare_clone(|| wait());
    part.queue.put(child as u64).unwrap();
    wait();
}

/// Forks by the system call alone; the child ends with the code that `work` returns.
fn bare_clone(work: impl FnOnce() -> i32) -> i32 {
    // SAFETY: a child with a copy of everything, as fork makes it; it does not allocate.
    match unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } {
        0 => {
            let code = work();
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(code) }
        }
        -1 => panic!("clone: {}", io::Error::last_os_error()),
        child => child as i32,
    }
}

/// The C library has called the handlers that were registered before the fork, and forks then.
#[test]
fn a_process_whose_first_use_came_during_a_fork_is_dead_although_its_child_lives() {
    let (mut scene, orphan) = killed_parent("during-fork", "begin to hold during a fork");
    scene.assert_dead_in_queue_and_pipe();
    orphan.assert_lives();
}

static NAME: Local<String> = Local::new(String::new());
static PART: Local<Option<Part>> = Local::new(None);

pub fn begin_during_a_fork(name: &str) {
    extern "C" fn begin() {
        *PART.lock().unwrap() = Some(take_part(&NAME.lock().unwrap()));
    }
    *NAME.lock().unwrap() = name.to_owned();
    // SAFETY: the function lives as long as the program.
    assert_eq!(unsafe { libc::pthread_atfork(Some(begin), None, None) }, 0);
    let child = fork_and_go_on();
    PART.lock().unwrap().as_mut().unwrap().queue.put(child as u64).unwrap();
    wait();
}

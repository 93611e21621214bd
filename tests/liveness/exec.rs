//! A process that executes another program keeps its pid and nothing else, but what it passes on on purpose.

use crate::common::{Other, in_forked_child};
use crate::scene::{HANG, Scene, hold};
use skep::{QueueOptions, SimpleQueue};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// By any of its threads. If it is not the first one, it becomes that, and the kernel does not see any more that it held a mutex: who waits sees it.
#[test]
fn a_process_that_executes_another_program_is_dead() {
    for role in ["hold, and execute another program", "hold in the first thread, and execute another program"]
    {
        let mut scene = Scene::new("exec");
        let other = scene.start_unheard(role);
        let pid = scene.report() as i32;
        let path = format!("/proc/{pid}/comm");
        let pid = KilledAtTheEnd(pid);
        while std::fs::read_to_string(&path).unwrap() != "sleep\n" {
            std::thread::yield_now();
        }
        // The new program has its name a moment before the kernel has closed the old one's files.
        while scene.receiver.is_connected() {
            std::thread::yield_now();
        }
        scene.assert_dead();
        drop(pid);
        other.wait();
    }
}

/// A process, ours or the child of one of ours, that is not reaped and is killed when the test is done with it.
struct KilledAtTheEnd(i32);

impl Drop for KilledAtTheEnd {
    fn drop(&mut self) {
        // SAFETY: a plain system call.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
    }
}

pub fn hold_and_execute(name: &str) {
    // SAFETY: asks for numbers.
    assert_ne!(unsafe { libc::gettid() }, unsafe { libc::getpid() }, "tests run in threads of their own");
    execute(name);
}

pub fn hold_in_first_thread_and_execute(name: &str) {
    in_forked_child(|| execute(name));
}

fn execute(name: &str) -> ! {
    let mut part = hold(name);
    part.queue.put(std::process::id().into()).unwrap();
    panic!("{}", Command::new("sleep").arg("1000").exec());
}

#[test]
fn a_descriptor_passed_on_works_in_the_executed_program() {
    let mut queue = QueueOptions::new(4).peers(2).anonymous::<u64>().unwrap();
    // Started by fork and exec, with a copy of this process's descriptors in between.
    Other::start_with_fd("join and put a number", "", queue.as_fd()).finish();
    assert_eq!(queue.get_timeout(HANG), Ok(7));
    assert_eq!(queue.recover().unwrap(), 0, "it left");
}

pub fn join_and_put(fd: OwnedFd) {
    SimpleQueue::from_fd(fd).unwrap().put(7_u64).unwrap();
}

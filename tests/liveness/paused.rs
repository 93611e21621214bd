//! Stopped processes, by a signal or a debugger: they are alive for as long as it takes.

use crate::scene::{HANG, Scene};
use crate::stepped::{Now, Step, Stepped};
use skep::{GetError, PutError, QueueOptions, SimpleQueue};
use std::os::fd::AsFd;
use std::time::Duration;

/// Longer than any sleep between two looks for the dead.
const SECONDS: Duration = Duration::from_secs(2);

#[test]
fn a_stopped_process_is_alive_for_seconds() {
    let mut scene = Scene::new("stopped");
    let other = scene.start("hold");
    other.signal(libc::SIGSTOP);
    scene.assert_alive();
    assert_eq!(scene.queue.get_timeout(SECONDS), Err(GetError::Empty));
    assert!(matches!(scene.mutex.lock_timeout(SECONDS), Err(skep::LockError::Timeout)));
    assert_eq!(scene.receiver.recv_timeout(SECONDS).err(), Some(skep::RecvError::Empty));
    scene.assert_alive();
    other.signal(libc::SIGCONT);
    scene.assert_alive();
    other.kill();
    scene.assert_dead();
}

/// A queue for so many participants and a process that is stopped by its debugger between its claim of the first slot and its publication there.
pub fn stopped_in_a_put(capacity: usize, peers: usize) -> (SimpleQueue<u64>, Stepped) {
    let mut queue = QueueOptions::new(capacity).peers(peers).anonymous::<u64>().unwrap();
    let fd = queue.as_fd().try_clone_to_owned().unwrap();
    let prepare = || SimpleQueue::from_fd(fd).unwrap();
    let put = |mut queue: SimpleQueue<u64>| {
        queue.put(7).unwrap();
        std::mem::forget(queue); // it ends without leaving
    };
    let other = Stepped::start(prepare, put);
    while queue.is_empty() {
        assert_eq!(other.step(Step::Instruction), Now::Stopped);
    }
    assert_eq!(queue.try_get(), Err(GetError::Empty), "claimed, and published in the same instruction");
    (queue, other)
}

/// What a claim of a living process means: those behind it wait, the others go on.
fn assert_claim_holds(queue: &mut SimpleQueue<u64>) {
    assert_eq!(queue.recover().unwrap(), 0);
    for n in 1..=3 {
        queue.try_put(n).unwrap();
    }
    assert_eq!(queue.try_put(4), Err(PutError::Full(4)));
    assert_eq!(queue.get_timeout(SECONDS), Err(GetError::Empty));
    assert_eq!(queue.put_timeout(4, SECONDS), Err(PutError::Full(4)));
    assert_eq!(queue.recover().unwrap(), 0);
}

#[test]
fn those_behind_a_process_that_a_debugger_stops_wait_and_go_on_with_it() {
    let (mut queue, other) = stopped_in_a_put(4, 2);
    assert_claim_holds(&mut queue);
    assert_eq!(other.let_go().code(), Some(0));
    for n in [7, 1, 2, 3] {
        assert_eq!(queue.get_timeout(HANG), Ok(n));
    }
    assert_eq!(queue.recover().unwrap(), 1, "it ended without leaving");
}

#[test]
fn those_behind_a_process_stopped_by_a_signal_wait_and_go_on_with_it() {
    let (mut queue, other) = stopped_in_a_put(4, 2);
    let other = other.leave_stopped();
    assert_claim_holds(&mut queue);
    assert_eq!(other.go_on().code(), Some(0));
    for n in [7, 1, 2, 3] {
        assert_eq!(queue.get_timeout(HANG), Ok(n));
    }
}

#[test]
fn a_process_killed_under_its_debugger_is_dead() {
    let (mut queue, other) = stopped_in_a_put(4, 2);
    queue.put(8).unwrap();
    other.kill();
    assert_eq!(queue.recover().unwrap(), 1);
    assert_eq!(queue.try_get(), Ok(8));
}

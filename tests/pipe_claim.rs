//! A pipe's role, claimed by a process that is killed at each of its system calls, or by one that gives it back.
#![cfg(not(loom))]

#[path = "common/stepped.rs"]
mod stepped;

use skep::{Connection, Pipe, RecvError};
use std::os::fd::AsFd;
use std::time::Duration;
use stepped::{Now, Step, Stepped};

/// So long that only a wait without end reaches it.
const HANG: Duration = Duration::from_secs(10);

/// A process with the pipe behind `pipe`, stopped before it claims the sender's role; it ends without leaving it.
fn claimer(pipe: &Pipe) -> Stepped {
    let fd = pipe.as_fd().try_clone_to_owned().unwrap();
    Stepped::start(|| Pipe::from_fd(fd).unwrap(), |own| std::mem::forget(own.sender().unwrap()))
}

/// The successor of a dead sender that is killed in the middle of its claim is a dead sender too: the end of file stays.
#[test]
fn a_successor_killed_while_it_claims_leaves_the_end_of_file() {
    let mut stops = 0;
    for kill_at in 0.. {
        let pipe = Pipe::new(100).unwrap();
        let mut receiver = pipe.receiver().unwrap();
        let dead = claimer(&pipe);
        while dead.step(Step::SystemCall) == Now::Stopped {}
        let next = claimer(&pipe);
        let over = (0..kill_at).any(|_| next.step(Step::SystemCall) == Now::Over);
        if !over {
            next.kill();
        }
        assert!(!receiver.is_connected(), "killed at stop {kill_at}");
        assert_eq!(receiver.recv_timeout(HANG).map(drop), Err(RecvError::Eof), "killed at stop {kill_at}");
        stops = kill_at;
        if over {
            break;
        }
    }
    assert!(stops > 4, "the claim makes system calls: {stops}");
}

#[test]
fn a_connection_that_cannot_join_leaves_an_end_of_file_where_it_was() {
    let (outgoing, incoming) = (Pipe::new(100).unwrap(), Pipe::new(100).unwrap());
    let mut receiver = outgoing.receiver().unwrap();
    drop(outgoing.sender().unwrap());
    let _taken = incoming.receiver().unwrap();
    assert!(Connection::join(&outgoing, &incoming).is_err());
    assert_eq!(receiver.recv_timeout(HANG).map(drop), Err(RecvError::Eof));
}

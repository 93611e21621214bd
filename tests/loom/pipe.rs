//! The pipe's ring: streams, and a kill before every step of either side.

use crate::support::{Outcomes, report, spawn};
use skep::model::{Pipe, explore, kill_at_every_step, process};

/// Three messages through a ring of one or two, both sides sleeping and waking, then the end.
///
/// Permitted: all three, in order, under every interleaving. A lost wake-up is a deadlock; a publication or release too early is two
/// accesses to one cell at the same time. Both are reported by loom.
fn stream(messages: usize, preemptions: usize) {
    report(&format!("pipe, a stream through {messages}"), || {
        explore(preemptions, move || {
            let pipe = Pipe::new(messages);
            let mut receiver = pipe.receiver();
            let thread = spawn(move || {
                let mut sender = pipe.sender();
                (1..=3).for_each(|n| sender.send(n));
                sender.leave();
            });
            let got: Vec<u64> = std::iter::from_fn(|| receiver.recv_with(|n| n)).collect();
            assert_eq!(got, [1, 2, 3]);
            thread.join().unwrap();
        })
    });
}

#[test]
fn a_stream_through_a_ring_of_one_arrives() {
    stream(1, 2);
}

#[test]
fn a_stream_through_a_ring_of_two_arrives() {
    stream(2, 2);
}

/// A sender of two messages is killed before each of its operations; its successor sends 9.
///
/// | permitted | killed |
/// | --- | --- |
/// | 9 | before the first message's S4 |
/// | 1 9 | after it, before the second's |
/// | 1 2 9 | after that |
///
/// The receiver may find the end of the stream before the successor comes, and goes on then.
#[test]
fn a_killed_sender_leaves_a_prefix_to_which_its_successor_adds() {
    let outcomes = Outcomes::new();
    let seen = outcomes.clone();
    report("pipe, a killed sender", || {
        kill_at_every_step(1, move |kill_at| {
            let pipe = Pipe::new(1);
            let mut receiver = pipe.receiver();
            let thread = spawn(move || {
                let life = || {
                    let mut sender = pipe.sender();
                    (1..=2).for_each(|n| sender.send(n));
                };
                let was_killed = process(kill_at, life).is_none();
                pipe.sender_died();
                let mut successor = pipe.sender();
                successor.send(9);
                successor.leave();
                was_killed
            });
            let mut got: Vec<u64> = vec![];
            while got.last() != Some(&9) {
                got.extend(receiver.recv_with(|n| n));
            }
            seen.saw(got);
            thread.join().unwrap()
        })
    });
    outcomes.are_exactly(&[vec![9], vec![1, 9], vec![1, 2, 9]]);
}

/// A receiver is killed before each of its operations; what it has read, and what its successor reads.
///
/// | permitted | killed |
/// | --- | --- |
/// | 1 2 | before it read anything, or after R4, or never |
/// | 1 1 2 | between its read and its R4: the message is not taken, and comes again |
#[test]
fn a_killed_receiver_leaves_what_it_had_not_released() {
    let outcomes = Outcomes::new();
    let seen = outcomes.clone();
    report("pipe, a killed receiver", || {
        kill_at_every_step(1, move |kill_at| {
            let pipe = Pipe::new(1);
            let sending = pipe.clone();
            let thread = spawn(move || {
                let mut sender = sending.sender();
                (1..=2).for_each(|n| sender.send(n));
                sender.leave();
            });
            let mut read = vec![];
            let life = || {
                let mut receiver = pipe.receiver();
                receiver.recv_with(|n| read.push(n));
            };
            let was_killed = process(kill_at, life).is_none();
            pipe.receiver_died();
            let mut successor = pipe.receiver();
            while successor.recv_with(|n| read.push(n)).is_some() {}
            seen.saw(read);
            thread.join().unwrap();
            was_killed
        })
    });
    outcomes.are_exactly(&[vec![1, 2], vec![1, 1, 2]]);
}

/// A sender hands its role on, and a successor claims it, while the receiver looks whether the sender is gone: never.
#[test]
fn a_role_that_is_handed_on_is_not_a_death() {
    report("pipe, a role handed on", || {
        explore(4, || {
            let pipe = Pipe::new(1);
            let (sender, places) = (pipe.sender(), pipe.clone());
            let hands = spawn(move || {
                sender.hand_on();
                places.sender().hand_on();
                places.sender()
            });
            assert!(!pipe.sender_is_gone());
            hands.join().unwrap();
        })
    });
}

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

/// Two messages sent together and one more, through a ring of two, received in batches, both sides sleeping and waking.
///
/// Permitted: the first two in one batch, the third in another, since it only fits once both are released.
#[test]
fn a_batch_is_seen_whole_and_released_whole() {
    report("pipe, batches", || {
        explore(2, || {
            let pipe = Pipe::new(2);
            let mut receiver = pipe.receiver();
            let thread = spawn(move || {
                let mut sender = pipe.sender();
                sender.send_batch(&[1, 2]);
                sender.send(3);
                sender.leave();
            });
            let mut got = vec![vec![]];
            while receiver.recv_batch_with(|n| got.last_mut().unwrap().push(n)) {
                got.push(vec![]);
            }
            assert_eq!(got, [vec![1, 2], vec![3], vec![]]);
            thread.join().unwrap();
        })
    });
}

/// A sender of a batch is killed before each of its operations; its successor sends 9.
///
/// | permitted | killed |
/// | --- | --- |
/// | 9 | before S4 |
/// | 1 2 9 | after it |
#[test]
fn a_sender_killed_in_a_batch_has_sent_all_of_it_or_nothing() {
    let outcomes = Outcomes::new();
    let seen = outcomes.clone();
    report("pipe, a sender killed in a batch", || {
        kill_at_every_step(1, move |kill_at| {
            let pipe = Pipe::new(2);
            let mut receiver = pipe.receiver();
            let thread = spawn(move || {
                let was_killed = process(kill_at, || pipe.sender().send_batch(&[1, 2])).is_none();
                pipe.sender_died();
                let mut successor = pipe.sender();
                successor.send(9);
                successor.leave();
                was_killed
            });
            let mut got: Vec<u64> = vec![];
            while got.last() != Some(&9) {
                receiver.recv_batch_with(|n| got.push(n));
            }
            seen.saw(got);
            thread.join().unwrap()
        })
    });
    outcomes.are_exactly(&[vec![9], vec![1, 2, 9]]);
}

/// A receiver of a batch is killed before each of its operations; what it has read, and what its successor reads.
///
/// | permitted | killed |
/// | --- | --- |
/// | 1 2 | before it read anything, or after R4, or never |
/// | 1 1 2 | between its two reads: neither message is taken |
/// | 1 2 1 2 | between the second and R4: the same |
#[test]
fn a_receiver_killed_in_a_batch_has_taken_all_of_it_or_nothing() {
    let outcomes = Outcomes::new();
    let seen = outcomes.clone();
    report("pipe, a receiver killed in a batch", || {
        kill_at_every_step(1, move |kill_at| {
            let pipe = Pipe::new(2);
            let sending = pipe.clone();
            let thread = spawn(move || {
                let mut sender = sending.sender();
                sender.send_batch(&[1, 2]);
                sender.leave();
            });
            let mut read = vec![];
            let was_killed = process(kill_at, || pipe.receiver().recv_batch_with(|n| read.push(n))).is_none();
            pipe.receiver_died();
            let mut successor = pipe.receiver();
            while successor.recv_with(|n| read.push(n)).is_some() {}
            seen.saw(read);
            thread.join().unwrap();
            was_killed
        })
    });
    outcomes.are_exactly(&[vec![1, 2], vec![1, 1, 2], vec![1, 2, 1, 2]]);
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

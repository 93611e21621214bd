//! The laws of `Pipe` as one process sees them: messages, grants, roles and their ends.

mod common;

use common::Random;
use skep::{Connection, Error, Pipe, RecvError, SendBatchError, SendError, pipe};
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(5);

/// Bytes that tell a message from every other.
fn message(random: &mut Random, length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..length.div_ceil(8)).flat_map(|_| random.below(u64::MAX).to_ne_bytes()).collect();
    bytes.truncate(length);
    bytes
}

#[test]
fn messages_of_each_length_arrive_as_they_were_sent() {
    let (mut sender, mut receiver) = pipe(5000).unwrap();
    let longest = sender.capacity();
    assert_eq!((longest, receiver.capacity()), (8192 - 8, 8192 - 8));
    let mut random = Random(1);
    for length in [0, 1, 7, 8, 9, 15, 16, 4088, 4096, longest - 1, longest] {
        let sent = message(&mut random, length);
        sender.send(&sent).unwrap();
        assert_eq!(*receiver.recv().unwrap(), *sent, "{length} bytes");
    }
    assert_eq!(
        sender.send(&vec![0; longest + 1]),
        Err(SendError::TooLong { len: longest + 1, max: longest })
    );
    assert_eq!(receiver.try_recv().unwrap_err(), RecvError::Empty);
}

/// Against a plain queue of buffers, many laps around, at every alignment of records and seam.
#[test]
fn a_pipe_does_what_a_queue_of_buffers_does() {
    let (mut sender, mut receiver) = pipe(4000).unwrap();
    let (mut random, mut model, mut buffer) = (Random(0xbee), VecDeque::new(), Vec::new());
    let (mut used, mut refused, mut bytes) = (0, 0, 0);
    while bytes < 5_000_000 {
        if random.below(5) < 3 {
            let limit = [16, 600, 4088][random.below(3) as usize];
            let length = random.below(limit + 1) as usize;
            let (sent, record) = (message(&mut random, length), 8 + length.next_multiple_of(8));
            let outcome = sender.try_send(&sent);
            if used + record <= 4096 {
                assert_eq!(outcome, Ok(()), "{used} bytes used, {record} more fit");
                used += record;
                bytes += length;
                model.push_back(sent);
            } else {
                assert_eq!(outcome, Err(SendError::Full), "{used} bytes used, {record} more do not fit");
                refused += 1;
            }
        } else if let Some(expected) = model.pop_front() {
            assert_eq!(receiver.recv_into(&mut buffer), Ok(expected.len()));
            assert_eq!(buffer, expected);
            used -= 8 + expected.len().next_multiple_of(8);
        } else {
            assert_eq!(receiver.try_recv().unwrap_err(), RecvError::Empty);
        }
    }
    assert!(refused > 100, "the model never was full");
}

#[test]
fn a_grant_is_sent_by_commit_alone() {
    let (mut sender, mut receiver) = pipe(4096).unwrap();
    let mut grant = sender.reserve(100).unwrap();
    grant.fill(1);
    drop(grant);
    assert_eq!(receiver.try_recv().unwrap_err(), RecvError::Empty, "an abort sends nothing");

    let mut grant = sender.try_reserve(100).unwrap();
    assert_eq!(grant.len(), 100);
    grant.fill(2);
    grant.commit().unwrap();
    let mut grant = sender.reserve_timeout(100, SHORT).unwrap();
    grant.fill(3);
    grant.commit_len(40).unwrap();
    let grant = sender.reserve(10).unwrap();
    assert_eq!(grant.commit_len(11), Err(SendError::TooLong { len: 11, max: 10 }));
    sender.reserve(10).unwrap().commit_len(0).unwrap();

    assert_eq!(*receiver.recv().unwrap(), [2; 100]);
    assert_eq!(*receiver.recv().unwrap(), [3; 40]);
    assert_eq!(*receiver.recv().unwrap(), []);
    assert_eq!(receiver.try_recv().unwrap_err(), RecvError::Empty);
}

#[test]
fn a_batch_arrives_in_its_order_as_messages_of_their_own() {
    let (mut sender, mut receiver) = pipe(4096).unwrap();
    let mut random = Random(7);
    let sent: Vec<_> = (0..60).map(|length| message(&mut random, length)).collect();
    assert_eq!(sender.try_send_batch(&sent), Ok(60));
    sender.send_batch(&sent).unwrap();
    let mut batch = receiver.try_recv_batch().unwrap();
    for expected in sent.iter().chain(&sent[..20]) {
        assert_eq!(batch.next_message(), Some(&expected[..]));
    }
    drop(batch);
    for expected in &sent[20..] {
        assert_eq!(
            *receiver.try_recv().unwrap(),
            expected[..],
            "what a batch has not given out is still there"
        );
    }
    assert_eq!(receiver.try_recv_batch().unwrap_err(), RecvError::Empty);
}

#[test]
fn a_batch_gives_its_room_back_when_it_is_dropped() {
    let (mut sender, mut receiver) = pipe(4088).unwrap();
    assert_eq!(sender.try_send_batch(&[[1; 1016]; 4]), Ok(4));
    assert_eq!(sender.try_send(&[2]), Err(SendError::Full));
    let mut batch = receiver.recv_batch().unwrap();
    for _ in 0..4 {
        assert_eq!(batch.next_message(), Some(&[1; 1016][..]));
    }
    assert_eq!(batch.next_message(), None);
    assert_eq!(sender.try_send(&[2]), Err(SendError::Full));
    drop(batch);
    assert_eq!(sender.try_send_batch(&[[2; 1016]; 4]), Ok(4));
    std::mem::forget(receiver.try_recv_batch().unwrap()); // never released: they are still the next ones
    assert_eq!(*receiver.try_recv().unwrap(), [2; 1016]);
}

#[test]
fn a_batch_that_does_not_fit_is_sent_as_far_as_it_does() {
    let (mut sender, mut receiver) = pipe(4088).unwrap();
    assert_eq!(sender.try_send_batch::<[u8; 8]>(&[]), Ok(0));
    assert_eq!(sender.try_send_batch(&[[1; 1016]; 9]), Ok(4));
    assert_eq!(sender.try_send_batch(&[[1; 1016]; 9]), Err(SendError::Full));
    while receiver.try_recv().is_ok() {}
    let too_long = SendError::TooLong { len: 4089, max: 4088 };
    let messages = [vec![1; 8], vec![2; 8], vec![3; 4089], vec![4; 8]];
    assert_eq!(sender.try_send_batch(&messages), Ok(2));
    assert_eq!(sender.try_send_batch(&messages[2..]), Err(too_long));
    assert_eq!(sender.send_batch(&messages), Err(SendBatchError { sent: 2, reason: too_long }));
    assert_eq!(
        receiver
            .try_recv_batch()
            .map(|mut batch| std::iter::from_fn(|| batch.next_message().map(drop)).count()),
        Ok(4)
    );
}

/// Many laps of a ring that is much smaller than the batches, against what was sent.
#[test]
fn long_batches_pass_through_a_short_pipe() {
    let (mut sender, mut receiver) = pipe(4088).unwrap();
    let mut random = Random(3);
    let messages: Vec<_> = (0..20_000).map(|n| message(&mut random, n % 50)).collect();
    let sent = messages.clone();
    let sending = std::thread::spawn(move || sender.send_batch(&messages));
    let mut received = 0;
    while let Ok(mut batch) = receiver.recv_batch() {
        while let Some(message) = batch.next_message() {
            assert_eq!(*message, *sent[received]);
            received += 1;
        }
    }
    assert_eq!((received, sending.join().unwrap()), (20_000, Ok(())));
}

#[test]
fn a_message_keeps_its_room_until_its_grant_is_dropped() {
    let (mut sender, mut receiver) = pipe(4088).unwrap();
    sender.send(&[1; 4088]).unwrap();
    let held = receiver.recv().unwrap();
    assert_eq!(sender.try_send(&[2]), Err(SendError::Full));
    assert_eq!(*held, [1; 4088]);
    drop(held);
    sender.send(&[2]).unwrap();
    std::mem::forget(receiver.recv().unwrap()); // never released: it is still the next one
    assert_eq!(*receiver.recv().unwrap(), [2]);
}

#[test]
fn timeouts_end_a_wait() {
    let (mut sender, mut receiver) = pipe(4088).unwrap();
    assert_eq!(receiver.recv_timeout(SHORT).unwrap_err(), RecvError::Empty);
    sender.send_timeout(&[0; 4000], SHORT).unwrap();
    assert_eq!(sender.send_timeout(&[0; 4000], SHORT), Err(SendError::Full));
    assert_eq!(sender.reserve_timeout(4000, SHORT).unwrap_err(), SendError::Full);
    assert_eq!(receiver.recv_timeout(SHORT).unwrap().len(), 4000);
}

#[test]
fn a_dropped_sender_is_end_of_file_once_drained() {
    let (mut sender, mut receiver) = pipe(4096).unwrap();
    sender.send(b"last").unwrap();
    assert!(receiver.is_connected());
    drop(sender);
    assert!(!receiver.is_connected());
    assert_eq!(*receiver.recv().unwrap(), *b"last");
    assert_eq!(receiver.recv().unwrap_err(), RecvError::Eof);
    assert_eq!(receiver.try_recv().unwrap_err(), RecvError::Eof);
    assert_eq!(receiver.recv_timeout(SHORT).unwrap_err(), RecvError::Eof);
}

#[test]
fn a_dropped_receiver_disconnects() {
    let (mut sender, receiver) = pipe(4096).unwrap();
    drop(receiver);
    assert!(!sender.is_connected());
    assert_eq!(sender.send(b"x"), Err(SendError::Disconnected));
    assert_eq!(sender.try_reserve(1).unwrap_err(), SendError::Disconnected);
}

#[test]
fn whoever_blocks_hears_of_the_other_sides_drop() {
    for _ in 0..20 {
        let (sender, mut receiver) = pipe(4096).unwrap();
        let waiter = std::thread::spawn(move || receiver.recv().map(drop));
        std::thread::sleep(Duration::from_millis(1));
        drop(sender);
        assert_eq!(waiter.join().unwrap(), Err(RecvError::Eof));

        let (mut sender, receiver) = pipe(4088).unwrap();
        sender.send(&[0; 4088]).unwrap();
        let waiter = std::thread::spawn(move || sender.send(b"no room"));
        std::thread::sleep(Duration::from_millis(1));
        drop(receiver);
        assert_eq!(waiter.join().unwrap(), Err(SendError::Disconnected));
    }
}

/// A sender may send and leave between the receiver's look at the ring and its look at the sender: that last message counts.
///
/// Permitted: the message (sent before either look), or the message (sent between them). Never: end of file first.
#[test]
fn nothing_that_was_sent_is_lost_to_the_end_of_file() {
    let pipe = Pipe::new(4096).unwrap();
    for n in 0..20_000_u32 {
        let mut sender = pipe.sender().unwrap();
        let mut receiver = pipe.receiver().unwrap();
        std::thread::scope(|scope| {
            let polling = scope.spawn(move || {
                loop {
                    match receiver.try_recv().map(|got| got.to_vec()) {
                        Err(RecvError::Empty) => continue,
                        outcome => break outcome,
                    }
                }
            });
            sender.send(&n.to_ne_bytes()).unwrap();
            drop(sender);
            assert_eq!(polling.join().unwrap(), Ok(n.to_ne_bytes().to_vec()), "round {n}");
        });
    }
}

#[test]
fn threads_exchange_messages_without_loss_through_a_small_ring() {
    let (mut sender, mut receiver) = pipe(256).unwrap();
    let thread = std::thread::spawn(move || {
        let mut random = Random(7);
        for n in 0..300_000_u64 {
            let mut grant = sender.reserve(8 + random.below(200) as usize).unwrap();
            grant[..8].copy_from_slice(&n.to_ne_bytes());
            grant[8..].fill(n as u8);
            grant.commit().unwrap();
        }
    });
    let mut random = Random(7);
    for n in 0..300_000_u64 {
        let got = receiver.recv().unwrap();
        assert_eq!(got.len(), 8 + random.below(200) as usize);
        assert_eq!(got[..8], n.to_ne_bytes());
        assert!(got[8..].iter().all(|&b| b == n as u8), "message {n} is torn");
    }
    assert_eq!(receiver.recv().unwrap_err(), RecvError::Eof);
    thread.join().unwrap();
}

#[test]
fn a_role_has_one_holder_at_a_time() {
    let pipe = Pipe::new(4096).unwrap();
    let elsewhere = Pipe::from_fd(pipe.as_fd().try_clone_to_owned().unwrap()).unwrap();
    let me = std::process::id();
    let (mut sender, mut receiver) = (pipe.sender().unwrap(), pipe.receiver().unwrap());
    for attached in [&pipe, &elsewhere] {
        assert!(matches!(attached.sender(), Err(Error::RoleTaken { role: "sender", pid }) if pid == me));
        assert!(matches!(attached.receiver(), Err(Error::RoleTaken { role: "receiver", pid }) if pid == me));
    }
    // A new holder goes on where the last one stopped.
    sender.send(b"one").unwrap();
    sender.send(b"two").unwrap();
    drop(sender);
    assert_eq!(*receiver.recv().unwrap(), *b"one");
    drop(receiver);
    let (mut sender, mut receiver) = (elsewhere.sender().unwrap(), elsewhere.receiver().unwrap());
    sender.send(b"three").unwrap();
    assert_eq!(*receiver.recv().unwrap(), *b"two");
    assert_eq!(*receiver.recv().unwrap(), *b"three");
    assert_eq!(receiver.try_recv().unwrap_err(), RecvError::Empty);
}

#[test]
fn a_role_that_is_unclaimed_or_detached_is_waited_for() {
    let pipe = Pipe::new(4096).unwrap();
    let mut sender = pipe.sender().unwrap();
    sender.send(b"early").unwrap();
    let mut receiver = pipe.receiver().unwrap();
    assert_eq!(*receiver.recv().unwrap(), *b"early");
    let handed_on = sender.detach().unwrap();
    assert!(receiver.is_connected());
    assert_eq!(receiver.recv_timeout(SHORT).unwrap_err(), RecvError::Empty, "no end of file");
    let mut sender = handed_on.sender().unwrap();
    let handed_on = receiver.detach().unwrap();
    sender.send(b"late").unwrap();
    assert_eq!(*handed_on.receiver().unwrap().recv().unwrap(), *b"late");
}

/// Whoever looks while the role changes hands sees a holder come and go, and takes neither for a death.
#[test]
fn a_role_on_its_way_to_another_holder_is_never_gone() {
    let pipe = Pipe::new(4096).unwrap();
    let receiver = pipe.receiver().unwrap();
    let mut sender = pipe.sender().unwrap();
    std::thread::scope(|scope| {
        let handing_on = scope.spawn(move || {
            for _ in 0..50_000 {
                sender = sender.detach().unwrap().sender().unwrap();
            }
            sender // not dropped before the last look
        });
        while !handing_on.is_finished() {
            assert!(receiver.is_connected());
        }
        drop(handing_on.join().unwrap());
        assert!(!receiver.is_connected());
    });
}

#[test]
fn after_the_end_of_file_a_new_sender_is_heard() {
    let pipe = Pipe::new(4096).unwrap();
    let mut receiver = pipe.receiver().unwrap();
    drop(pipe.sender().unwrap());
    assert_eq!(receiver.recv().unwrap_err(), RecvError::Eof);
    let mut sender = pipe.sender().unwrap();
    sender.send(b"again").unwrap();
    assert_eq!(*receiver.recv().unwrap(), *b"again");
}

#[test]
fn a_connection_carries_both_directions() {
    let (mut here, mut there) = Pipe::duplex(4096).unwrap();
    let echo = std::thread::spawn(move || {
        while let Ok(message) = there.receiver.recv() {
            there.sender.send(&message).unwrap();
        }
    });
    for n in 0..1000_u32 {
        here.send(&n.to_ne_bytes()).unwrap();
        assert_eq!(*here.recv().unwrap(), n.to_ne_bytes());
    }
    drop(here);
    echo.join().unwrap();
}

#[test]
fn a_connection_that_cannot_join_leaves_the_pipes_as_they_were() {
    let (a, b) = (Pipe::new(64).unwrap(), Pipe::new(64).unwrap());
    let _taken = b.receiver().unwrap();
    let mut other_end = a.receiver().unwrap();
    assert!(matches!(Connection::join(&a, &b), Err(Error::RoleTaken { role: "receiver", .. })));
    assert_eq!(other_end.try_recv().unwrap_err(), RecvError::Empty, "no end of file");
    a.sender().unwrap();
}

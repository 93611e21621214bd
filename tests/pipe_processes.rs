//! Real processes, killed for real, at the two ends of a pipe.

mod common;

use common::{Other, Random, Unlink, fresh_name, given_fd, role, until_asleep};
use skep::{Connection, Error, Pipe, Receiver, RecvError, SendError, Sender};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// So long that only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);
/// Longer than a blocked call sleeps before it looks whether the other side lives.
const SOME_SLICES: Duration = Duration::from_millis(350);

#[test]
fn the_other_process() {
    let Some((role, argument)) = role() else { return };
    match role.as_str() {
        "count up" => {
            let mut sender = Pipe::from_fd(given_fd()).unwrap().sender().unwrap();
            let id = argument.parse().unwrap();
            for n in 0.. {
                send_numbered(&mut sender, id, n).unwrap();
            }
        }
        "count to" => {
            let mut sender = Pipe::from_fd(given_fd()).unwrap().sender().unwrap();
            (0..argument.parse().unwrap()).for_each(|n| send_numbered(&mut sender, 0, n).unwrap());
        }
        "forward" => {
            let mut from = Pipe::from_fd(given_fd()).unwrap().receiver().unwrap();
            let mut to = Pipe::open(&argument).unwrap().sender().unwrap();
            while let Ok(message) = from.recv() {
                to.send(&message).unwrap(); // released only after it was passed on
            }
        }
        "receive one and wait" => {
            let mut receiver = Pipe::from_fd(given_fd()).unwrap().receiver().unwrap();
            assert_eq!(receiver.recv().unwrap().len(), 4000);
            loop {
                std::thread::park();
            }
        }
        "echo" => {
            let name = |suffix: &str| format!("{argument}{suffix}");
            let mut there =
                Connection::join(&Pipe::open(&name("a")).unwrap(), &Pipe::open(&name("b")).unwrap()).unwrap();
            echo(&mut there);
        }
        "echo by descriptors" => {
            let pipe = |number: &str| {
                // SAFETY: the parent left this descriptor open for us, and nobody else here knows it.
                let fd = unsafe { OwnedFd::from_raw_fd(number.parse().unwrap()) };
                Pipe::from_fd(fd).unwrap()
            };
            let (outgoing, incoming) = argument.split_once(' ').unwrap();
            echo(&mut Connection::join(&pipe(outgoing), &pipe(incoming)).unwrap());
        }
        other => panic!("no such role: {other}"),
    }
    std::process::exit(0);
}

fn echo(there: &mut Connection) {
    while let Ok(message) = there.receiver.recv() {
        there.sender.send(&message).unwrap();
    }
}

/// How long the n-th message is: between 16 and 1000 bytes.
fn length_of(n: u64) -> usize {
    16 + (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % 985
}

/// Sends `{ id, n, n's low byte … }`, written in place byte by byte, so that a kill falls into the middle of it.
fn send_numbered(sender: &mut Sender, id: u64, n: u64) -> Result<(), SendError> {
    let mut grant = sender.reserve(length_of(n))?;
    grant[..8].copy_from_slice(&id.to_ne_bytes());
    grant[8..16].copy_from_slice(&n.to_ne_bytes());
    grant[16..].fill(n as u8);
    grant.commit()
}

/// The id and number of a message, which must be whole.
fn numbered(message: &[u8]) -> (u64, u64) {
    let word = |at: usize| u64::from_ne_bytes(message[at..at + 8].try_into().unwrap());
    let (id, n) = (word(0), word(8));
    assert_eq!(message.len(), length_of(n), "message {n} of {id} is torn");
    assert!(message[16..].iter().all(|&b| b == n as u8), "message {n} of {id} is torn");
    (id, n)
}

fn next(receiver: &mut Receiver) -> Result<(u64, u64), RecvError> {
    receiver.recv_timeout(HANG).map(|message| numbered(&message))
}

/// The first message of the next sender.
fn after_the_end(receiver: &mut Receiver) -> Result<(u64, u64), RecvError> {
    let deadline = Instant::now() + HANG;
    loop {
        match next(receiver) {
            Err(RecvError::Eof) if Instant::now() < deadline => std::thread::yield_now(),
            outcome => return outcome,
        }
    }
}

#[test]
fn another_processes_messages_all_arrive_in_order() {
    let pipe = Pipe::new(60_000).unwrap();
    let mut receiver = pipe.receiver().unwrap();
    let other = Other::start_with_fd("count to", "300000", pipe.as_fd());
    for n in 0..300_000 {
        assert_eq!(next(&mut receiver), Ok((0, n)));
    }
    assert_eq!(next(&mut receiver), Err(RecvError::Eof));
    other.finish();
}

/// Permitted: any prefix of what the killed sender would have sent, at least up to the last message that was seen before the kill; then end of file,
/// and a new sender in the same ring.
#[test]
fn a_sender_killed_at_random_leaves_a_prefix_of_its_messages() {
    let pipe = Pipe::new(4000).unwrap();
    let mut receiver = pipe.receiver().unwrap();
    let mut random = Random(0x5eed);
    for id in 1..=200 {
        let other = Other::start_with_fd("count up", &id.to_string(), pipe.as_fd());
        // Until the new one has claimed the role, it is the end of the last one's.
        assert_eq!(after_the_end(&mut receiver), Ok((id, 0)));
        let mut expected = 1;
        for _ in 0..random.below(200) {
            assert_eq!(next(&mut receiver), Ok((id, expected)));
            expected += 1;
        }
        let until = Instant::now() + Duration::from_micros(random.below(50));
        while Instant::now() < until && random.below(2) == 0 {
            if receiver.try_recv().map(|message| assert_eq!(numbered(&message), (id, expected))).is_ok() {
                expected += 1;
            }
        }
        other.kill();
        let end = loop {
            match next(&mut receiver) {
                Ok(message) => assert_eq!(message, (id, expected)),
                Err(end) => break end,
            }
            expected += 1;
        };
        assert_eq!(end, RecvError::Eof);
    }
}

/// Permitted: each message once, but for the one that a killed receiver passed on and had not released: twice.
#[test]
fn a_receiver_killed_at_random_takes_nothing_with_it() {
    let name = fresh_name("forwarded");
    let _unlink = Unlink(name.clone());
    let (to_other, from_other) = (Pipe::new(4000).unwrap(), Pipe::create(&name, 4000).unwrap());
    let (mut sender, mut receiver) = (to_other.sender().unwrap(), from_other.receiver().unwrap());
    let (mut random, mut sent, mut back) = (Random(0xdead), 0, 0);
    let mut exchange = |until: u64| {
        let deadline = Instant::now() + HANG;
        let mut repeated = 0;
        while back < until {
            assert!(Instant::now() < deadline, "a killed receiver wedged the pipe");
            if sender.try_reserve(length_of(sent)).map(drop).is_ok() {
                send_numbered(&mut sender, 0, sent).unwrap();
                sent += 1;
            }
            match receiver.try_recv().map(|message| numbered(&message).1) {
                Ok(n) if n == back => back += 1,
                Ok(n) => {
                    assert_eq!(n + 1, back, "lost, or more than one repeated");
                    repeated += 1;
                }
                Err(_) => std::thread::yield_now(), // empty, or the end of file of the last one
            }
        }
        assert!(repeated <= 1, "{repeated} messages came twice");
        back
    };
    let mut reached = 0;
    for _ in 0..50 {
        let other = Other::start_with_fd("forward", &name, to_other.as_fd());
        reached = exchange(reached + 1 + random.below(300));
        other.kill();
    }
}

#[test]
fn who_blocks_hears_of_a_killed_sender() {
    let pipe = Pipe::new(4000).unwrap();
    let mut receiver = pipe.receiver().unwrap();
    let other = Other::start_with_fd("count up", "1", pipe.as_fd());
    assert_eq!(next(&mut receiver), Ok((1, 0)));
    other.signal(libc::SIGSTOP);
    while receiver.recv_timeout(SOME_SLICES).is_ok() {}
    // SAFETY: a plain system call.
    let sleeper = unsafe { libc::gettid() };
    let killer = std::thread::spawn(move || {
        until_asleep(sleeper);
        other.kill();
    });
    assert_eq!(next(&mut receiver), Err(RecvError::Eof), "while it slept");
    killer.join().unwrap();
    // The first refused try of a handle, and one a tenth of a second later, ask the kernel.
    assert_eq!(receiver.try_recv().unwrap_err(), RecvError::Eof, "a try hears of it too");
}

/// A wait that is over before it sleeps looks for the dead all the same.
#[test]
fn who_waits_for_moments_hears_of_a_killed_sender() {
    let pipe = Pipe::new(4000).unwrap();
    let mut receiver = pipe.receiver().unwrap();
    let other = Other::start_with_fd("count up", "1", pipe.as_fd());
    assert_eq!(next(&mut receiver), Ok((1, 0)));
    other.kill();
    let wait = |receiver: &mut Receiver| receiver.recv_timeout(Duration::ZERO).err();
    let heard = (0..2000).find_map(|_| wait(&mut receiver).filter(|&e| e != RecvError::Empty));
    assert_eq!(heard, Some(RecvError::Eof));
}

#[test]
fn who_blocks_hears_of_a_killed_receiver_and_a_new_one_gets_the_rest() {
    let pipe = Pipe::new(4088).unwrap();
    let mut sender = pipe.sender().unwrap();
    sender.send(&[1; 4000]).unwrap();
    let other = Other::start_with_fd("receive one and wait", "", pipe.as_fd());
    sender.send_timeout(&[2; 4000], HANG).unwrap();
    assert!(sender.is_connected());
    // SAFETY: a plain system call.
    let sleeper = unsafe { libc::gettid() };
    let killer = std::thread::spawn(move || {
        until_asleep(sleeper);
        other.kill();
    });
    assert_eq!(sender.send(&[3; 4000]), Err(SendError::Disconnected), "while it slept");
    killer.join().unwrap();
    assert!(!sender.is_connected());
    let polled = (0..2000).find_map(|_| sender.try_send(&[3; 4000]).err().filter(|&e| e != SendError::Full));
    assert_eq!(polled, Some(SendError::Disconnected), "who polls hears of it too");

    let mut receiver = pipe.receiver().unwrap();
    assert_eq!(*receiver.recv().unwrap(), [2; 4000]);
    sender.send(&[4; 4000]).unwrap();
    assert_eq!(*receiver.recv().unwrap(), [4; 4000]);
}

#[test]
fn a_stopped_sender_is_not_dead() {
    let pipe = Pipe::new(4000).unwrap();
    let mut receiver = pipe.receiver().unwrap();
    let other = Other::start_with_fd("count up", "1", pipe.as_fd());
    assert_eq!(next(&mut receiver), Ok((1, 0)));
    other.signal(libc::SIGSTOP);
    let mut expected = 1;
    let end = loop {
        match receiver.recv_timeout(SOME_SLICES).map(|message| numbered(&message)) {
            Ok(message) => assert_eq!(message, (1, expected)),
            Err(end) => break end,
        }
        expected += 1;
    };
    assert_eq!(end, RecvError::Empty, "no end of file while it is stopped");
    assert!(receiver.is_connected());
    let pid = other.pid() as u32;
    assert!(matches!(pipe.sender(), Err(Error::RoleTaken { role: "sender", pid: p }) if p == pid));
    other.signal(libc::SIGCONT);
    assert_eq!(next(&mut receiver), Ok((1, expected)));
}

#[test]
fn a_role_of_another_process_is_taken_until_that_dies() {
    let pipe = Pipe::new(4000).unwrap();
    let mut receiver = pipe.receiver().unwrap();
    let other = Other::start_with_fd("count up", "1", pipe.as_fd());
    assert_eq!(next(&mut receiver), Ok((1, 0)));
    let pid = other.pid() as u32;
    assert!(matches!(pipe.sender(), Err(Error::RoleTaken { role: "sender", pid: p }) if p == pid));
    other.kill();
    let mut sender = pipe.sender().expect("taken over from the dead");
    // Its messages first, whole; then those of its successor.
    let mut expected = 1;
    while let Ok(message) = receiver.try_recv().map(|message| numbered(&message)) {
        assert_eq!(message, (1, expected));
        expected += 1;
    }
    send_numbered(&mut sender, 2, 0).unwrap();
    assert_eq!(next(&mut receiver), Ok((2, 0)));
}

#[test]
fn two_processes_meet_by_name() {
    let name = fresh_name("by-name");
    let unlink = ["a", "b"].map(|suffix| Unlink(format!("{name}{suffix}")));
    let (incoming, outgoing) =
        (Pipe::create(&unlink[0].0, 1000).unwrap(), Pipe::create(&unlink[1].0, 1000).unwrap());
    let here = Connection::join(&outgoing, &incoming).unwrap();
    converse(here, Other::start("echo", &name));
}

#[test]
fn a_connection_goes_to_another_process_as_two_descriptors() {
    let (here, there) = Pipe::duplex(1000).unwrap();
    let (outgoing, incoming) = there.detach().unwrap();
    let left_open = [outgoing, incoming].map(|pipe| {
        // SAFETY: duplicates a descriptor of ours; the new one is not closed on exec, and is ours alone.
        unsafe { OwnedFd::from_raw_fd(libc::dup(pipe.as_fd().as_raw_fd())) }
    });
    let argument = format!("{} {}", left_open[0].as_raw_fd(), left_open[1].as_raw_fd());
    converse(here, Other::start("echo by descriptors", &argument));
}

/// Hears each message back, then hangs up, which ends the other process.
fn converse(mut here: Connection, other: Other) {
    for n in 0..1000 {
        send_numbered(&mut here.sender, 0, n).unwrap();
        assert_eq!(next(&mut here.receiver), Ok((0, n)));
    }
    drop(here.sender);
    assert_eq!(next(&mut here.receiver), Err(RecvError::Eof));
    other.finish();
}

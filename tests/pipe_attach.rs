//! A pipe's memory as those see it who attach to it, inherit it, or find it corrupt.

mod common;

use common::{Unlink, fresh_name, in_forked_child};
use skep::{Blueprint, Error, Item, Kind, Mismatch, Pipe, RecvError, Segment, SendError, SimpleQueue};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;

#[test]
fn named_pipes_are_created_once_and_found_by_name() {
    let name = fresh_name("named-pipe");
    let _unlink = Unlink(name.clone());
    assert!(matches!(Pipe::open(&name), Err(Error::NotFound { .. })));
    let mut sender = Pipe::create(&name, 10_000).unwrap().sender().unwrap();
    assert!(matches!(Pipe::create(&name, 10), Err(Error::Exists { .. })));
    let opened = Pipe::open_or_create(&name, 10_001).unwrap();
    assert_eq!(opened.capacity(), 16384 - 8);
    sender.send(b"by name").unwrap();
    Pipe::unlink(&name).unwrap();
    assert_eq!(*opened.receiver().unwrap().recv().unwrap(), *b"by name");
    let anew = Pipe::open_or_create(&name, 10).unwrap();
    assert_eq!(anew.capacity(), 4096 - 8);
    assert!(matches!(SimpleQueue::<u8>::open(&name), Err(Error::Mismatch(Mismatch::Kind { .. }))));
}

#[test]
fn impossible_capacities_are_refused() {
    for capacity in [0, usize::MAX, usize::MAX / 2 + 1, 1 << 46] {
        let refused = Pipe::new(capacity);
        assert!(matches!(refused, Err(Error::Capacity { capacity: c, .. }) if c == capacity), "{refused:?}");
    }
}

#[test]
fn a_forked_child_is_refused_and_disturbs_nothing() {
    let pipe = Pipe::new(4088).unwrap();
    let (mut sender, mut receiver) = (pipe.sender().unwrap(), pipe.receiver().unwrap());
    sender.send(b"the parent's").unwrap();
    let status = in_forked_child(|| {
        assert_eq!(sender.send(b"x"), Err(SendError::Forked));
        assert_eq!(sender.try_reserve(1).unwrap_err(), SendError::Forked);
        assert_eq!(receiver.recv().unwrap_err(), RecvError::Forked);
        assert_eq!(receiver.try_recv().unwrap_err(), RecvError::Forked);
        assert_eq!(sender.try_send_batch(&["x"]), Err(SendError::Forked));
        assert_eq!(receiver.recv_batch().unwrap_err(), RecvError::Forked);
        assert!(matches!(pipe.sender(), Err(Error::Forked)));
        // As a child does that unwinds: neither end of file nor a role for somebody else.
        // SAFETY: the originals are not used again: this child ends without them.
        unsafe {
            drop(std::ptr::read(&raw const sender));
            drop(std::ptr::read(&raw const receiver));
        }
        0
    });
    assert_eq!((status.code(), status.signal()), (Some(0), None));
    let grant = sender.reserve(3).unwrap();
    let status = in_forked_child(|| {
        assert_eq!(grant.commit(), Err(SendError::Forked));
        0
    });
    assert_eq!((status.code(), status.signal()), (Some(0), None));
    let held = receiver.recv().unwrap();
    let status = in_forked_child(|| {
        // SAFETY: as above.
        unsafe { drop(std::ptr::read(&raw const held)) };
        0
    });
    assert_eq!((status.code(), status.signal()), (Some(0), None));
    assert_eq!(sender.try_send(&[0; 4088]), Err(SendError::Full), "the parent still reads there");
    drop(held);
    sender.try_send(&[0; 4088]).unwrap();
}

/// Positions and lengths that no protocol has written are refused, whatever they are.
#[test]
fn bad_positions_and_lengths_are_corrupt_and_nothing_worse() {
    const BODY: u64 = 8192;
    const DATA: u64 = BODY + 4096;
    let write = |pipe: &Pipe, at: u64, value: u64| {
        let file = File::from(pipe.as_fd().try_clone_to_owned().unwrap());
        file.write_all_at(&value.to_ne_bytes(), at).unwrap();
    };
    for tail in [1, 12, 4096 + 8, 1 << 63, u64::MAX, u64::MAX - 7] {
        let pipe = Pipe::new(4088).unwrap();
        let mut receiver = pipe.receiver().unwrap();
        write(&pipe, BODY, tail);
        assert_eq!(receiver.try_recv().unwrap_err(), RecvError::Corrupt, "tail {tail}");
        assert!(matches!(pipe.sender(), Err(Error::Corrupt)), "tail {tail}");
    }
    for head in [1, 8, 4096 + 16, 1 << 63, u64::MAX] {
        let pipe = Pipe::new(4088).unwrap();
        let mut sender = pipe.sender().unwrap();
        sender.send(&[0; 2000]).unwrap();
        sender.send(&[0; 2000]).unwrap();
        // 8 is a place within a record: the sender cannot know, a receiver reads a wrong length.
        write(&pipe, BODY + 128, head);
        let expected = if head == 8 { SendError::Full } else { SendError::Corrupt };
        assert_eq!(sender.try_send(&[0; 2000]), Err(expected), "head {head}");
    }
    for length in [9, 17, 4088, 4096, 1 << 40, u64::MAX - 7, u64::MAX - 8, u64::MAX] {
        let pipe = Pipe::new(4088).unwrap();
        let (mut sender, mut receiver) = (pipe.sender().unwrap(), pipe.receiver().unwrap());
        sender.send(&[1; 8]).unwrap();
        write(&pipe, DATA, length);
        assert_eq!(receiver.try_recv().unwrap_err(), RecvError::Corrupt, "length {length}");
        assert_eq!(receiver.try_recv_batch().unwrap_err(), RecvError::Corrupt, "length {length}");
        // Behind a good one: the batch ends before it, and the next call tells.
        write(&pipe, DATA, 0);
        write(&pipe, DATA + 8, length);
        let mut batch = receiver.try_recv_batch().unwrap();
        assert_eq!(batch.next_message(), Some(&[][..]), "length {length}");
        assert_eq!(batch.next_message(), None, "length {length}");
        drop(batch);
        assert_eq!(receiver.try_recv_batch().unwrap_err(), RecvError::Corrupt, "length {length}");
    }
}

#[test]
fn a_segment_without_a_place_for_each_role_is_no_pipe() {
    let kind = Kind::new(*b"pipe\0\0\0\0");
    let blueprint = Blueprint { kind, item: Item::opaque(1), body_len: |n| n.checked_add(8192) };
    for peers in [1, 3] {
        let segment = Segment::anonymous(&blueprint, 4096, peers).unwrap();
        let opened = Pipe::from_fd(segment.as_fd().try_clone_to_owned().unwrap());
        assert!(matches!(opened, Err(Error::Mismatch(Mismatch::Geometry { .. }))), "{peers} places");
    }
}

#[test]
fn the_memory_outlives_the_pipe_and_its_name() {
    let (mut sender, mut receiver) = {
        let name = fresh_name("pipe-gone");
        let pipe = Pipe::create(&name, 100).unwrap();
        Segment::unlink(&name).unwrap();
        (pipe.sender().unwrap(), pipe.receiver().unwrap())
    };
    sender.send(b"still here").unwrap();
    assert_eq!(*receiver.recv().unwrap(), *b"still here");
}

/// In a forked child the descriptor that tells is closed, and its number may be another's.
#[test]
fn a_forked_child_does_not_take_the_living_for_gone() {
    let pipe = Pipe::new(100).unwrap();
    let other = Pipe::from_fd(pipe.as_fd().try_clone_to_owned().unwrap()).unwrap();
    let _sender = pipe.sender().unwrap();
    let receiver = other.receiver().unwrap();
    let status = in_forked_child(|| {
        // Whatever number is free now gets a file that nobody has locked.
        let files: Vec<_> = (0..20).map(|_| tempfile::tempfile().unwrap()).collect();
        i32::from(!receiver.is_connected()) + i32::from(files.is_empty())
    });
    assert!(status.success(), "{status}");
}

//! Messages of any length through a pipe, against a list of byte vectors; and lengths that the sender never wrote.
//!
//! An input is `{ capacity: 2 }`, then steps `{ code: 1, decisions }`.

use super::input::Input;
use skep_ipc::{Pipe, Receiver, RecvError, SendError, Sender};
use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

/// More steps find nothing that fewer do not.
const STEPS: usize = 200;
/// Where the data starts: behind the header, the table and the control words, a page each.
const DATA: u64 = 12288;

struct Framing {
    file: File,
    sender: Sender,
    receiver: Receiver,
    sent: VecDeque<Vec<u8>>,
    /// The bytes of all messages that were received, and so the position of the next.
    head: u64,
    next: u8,
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let pipe = Pipe::new(1 + input.up_to(20_000)).expect("memory for a few pages");
    let file = File::from(pipe.as_fd().try_clone_to_owned().expect("a free descriptor"));
    let (sender, receiver) = (pipe.sender().expect("a free role"), pipe.receiver().expect("a free role"));
    let mut framing = Framing { file, sender, receiver, sent: VecDeque::new(), head: 0, next: 0 };
    for _ in 0..STEPS {
        let Some(code) = input.step() else { break };
        match code % 8 {
            0 | 1 => framing.send_copied(&mut input),
            2 => framing.send_in_place(&mut input),
            3 => framing.change_ones_mind(&mut input),
            4 | 5 => framing.receive_in_place(),
            6 => framing.receive_copied(),
            _ => framing.lie_about_length(&mut input),
        }
    }
    while !framing.sent.is_empty() {
        framing.receive_in_place();
    }
    assert_eq!(framing.receiver.try_recv().expect_err("all was received"), RecvError::Empty);
}

fn record(length: usize) -> u64 {
    8 + (length as u64).next_multiple_of(8)
}

impl Framing {
    fn ring(&self) -> u64 {
        self.sender.capacity() as u64 + 8
    }

    fn unread(&self) -> u64 {
        self.sent.iter().map(|message| record(message.len())).sum()
    }

    /// A length up to one more than the longest, mostly near an end of that range, or near what is left.
    fn length(&self, input: &mut Input<'_>) -> usize {
        let (most, left) = (self.sender.capacity(), (self.ring() - self.unread()) as usize);
        match input.below(4) {
            0 => input.below(32),
            1 => input.up_to(most + 1),
            2 => (left + 8).saturating_sub(input.below(32)).min(most + 1),
            _ => most + 1 - input.below(32),
        }
    }

    /// What sending a message of this length must come to.
    fn expected(&self, length: usize) -> Result<(), SendError> {
        if length > self.sender.capacity() {
            return Err(SendError::TooLong { len: length, max: self.sender.capacity() });
        }
        if record(length) > self.ring() - self.unread() { Err(SendError::Full) } else { Ok(()) }
    }

    /// A message unlike the ones before it.
    fn message(&mut self, length: usize) -> Vec<u8> {
        self.next = self.next.wrapping_add(1);
        (0..length).map(|n| (n as u8).wrapping_mul(31).wrapping_add(self.next)).collect()
    }

    fn send_copied(&mut self, input: &mut Input<'_>) {
        let length = self.length(input);
        let (expected, message) = (self.expected(length), self.message(length));
        assert_eq!(self.sender.try_send(&message), expected);
        if expected.is_ok() {
            self.sent.push_back(message);
        }
    }

    fn send_in_place(&mut self, input: &mut Input<'_>) {
        let reserved = self.length(input);
        let length = reserved.saturating_sub(input.below(256));
        let (expected, message) = (self.expected(reserved), self.message(length));
        match self.sender.try_reserve(reserved) {
            Ok(mut grant) => {
                assert_eq!((grant.len(), expected), (reserved, Ok(())));
                grant[..length].copy_from_slice(&message);
                grant.commit_len(length).expect("no longer than reserved");
                self.sent.push_back(message);
            }
            Err(error) => assert_eq!(Err(error), expected),
        }
    }

    /// A grant that is dropped, or that more is asked of than it has, sends nothing.
    fn change_ones_mind(&mut self, input: &mut Input<'_>) {
        let length = self.length(input);
        if let Ok(mut grant) = self.sender.try_reserve(length) {
            grant.fill(0xff);
            if input.below(2) == 1 {
                let error = grant.commit_len(length + 1).expect_err("longer than reserved");
                assert_eq!(error, SendError::TooLong { len: length + 1, max: length });
            }
        }
    }

    fn receive_in_place(&mut self) {
        let expected = self.sent.pop_front();
        let got = self.receiver.try_recv();
        match &expected {
            Some(message) => assert!(*got.expect("a message is there") == message[..]),
            None => assert_eq!(got.expect_err("nothing is there"), RecvError::Empty),
        }
        self.head += expected.map_or(0, |message| record(message.len()));
    }

    fn receive_copied(&mut self) {
        let Some(message) = self.sent.pop_front() else { return };
        let mut copy = vec![1, 2, 3];
        assert_eq!(self.receiver.recv_into(&mut copy), Ok(message.len()));
        assert!(copy == message);
        self.head += record(message.len());
    }

    /// Overwrites the next message's length, looks what comes of it, and puts it right again.
    fn lie_about_length(&mut self, input: &mut Input<'_>) {
        let Some(message) = self.sent.front() else { return };
        let (truth, at) = (message.len() as u64, DATA + self.head % self.ring());
        let lie = match input.below(4) {
            0 => input.word(),
            1 => truth ^ 1 << input.below(64),
            2 => u64::MAX - input.below(32) as u64,
            _ => (self.unread() + 16).saturating_sub(input.below(32) as u64),
        };
        let write = |length: u64| self.file.write_all_at(&length.to_ne_bytes(), at).expect("a reserved page");
        let published = self.unread();
        write(lie);
        match self.receiver.try_recv() {
            Ok(grant) => {
                assert_eq!(grant.len() as u64, lie);
                assert!(record(grant.len()) <= published, "{lie} of {published} bytes");
                std::hint::black_box(grant.to_vec());
                std::mem::forget(grant); // not to be released by a length that is none
            }
            Err(error) => {
                assert_eq!(error, RecvError::Corrupt);
                // A receiver that knows of the first message alone refuses what goes beyond it.
                let fits = lie <= truth.next_multiple_of(8);
                assert!(!fits, "a length of {lie} is possible where {truth} was");
            }
        }
        write(truth);
    }
}

//! The two roles of a pipe, dropped, handed on, lost to a death and taken over.

use super::{End, HAS_FAULTS, Input, STEPS, arm, in_mortal};
use skep_ipc::{Pipe, Receiver, RecvError, SendError, Sender};
use std::collections::VecDeque;
use std::os::fd::AsFd;

/// The bytes of the ring.
const RING: usize = 4096;

/// A role, as the other side sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Other {
    /// Held, or nobody's yet.
    Here,
    Left,
    Dead,
}

struct Model {
    sent: VecDeque<Vec<u8>>,
    sender: Other,
    receiver: Other,
}

impl Model {
    fn room(&self) -> usize {
        RING - self.sent.iter().map(|message| record(message.len())).sum::<usize>()
    }

    fn send(&mut self, message: Vec<u8>) -> Result<(), SendError> {
        if self.receiver == Other::Left {
            return Err(SendError::Disconnected);
        }
        if record(message.len()) > self.room() {
            return Err(SendError::Full);
        }
        self.sent.push_back(message);
        Ok(())
    }

    fn receive(&mut self) -> Result<Vec<u8>, RecvError> {
        let nothing = if self.sender == Other::Left { RecvError::Eof } else { RecvError::Empty };
        self.sent.pop_front().ok_or(nothing)
    }
}

/// Sends, and holds the outcome against the model.
///
/// A sender that finds no room may look whether the receiver lives, or not yet: it has a tenth of a second.
fn try_send(own: &mut Sender, message: Vec<u8>, model: &mut Model) {
    let (sent, receiver) = (own.try_send(&message), model.receiver);
    match (sent, model.send(message)) {
        (Err(SendError::Disconnected), Err(SendError::Full)) if receiver == Other::Dead => {}
        (sent, expected) => assert_eq!(sent, expected),
    }
}

/// The same for a receiver that finds nothing, and the sender.
fn try_receive(own: &mut Receiver, model: &mut Model) {
    let received = own.try_recv().map(|grant| grant.to_vec());
    match (received, model.receive()) {
        (Err(RecvError::Eof), Err(RecvError::Empty)) if model.sender == Other::Dead => {}
        (received, expected) => assert_eq!(received, expected),
    }
}

fn record(length: usize) -> usize {
    8 + length.next_multiple_of(8)
}

/// Runs one input.
pub fn run(input: &mut Input<'_>) {
    let pipe = Pipe::new(RING - 8).expect("memory for a few pages");
    let mut model = Model { sent: VecDeque::new(), sender: Other::Here, receiver: Other::Here };
    let (mut sender, mut receiver): (Option<Sender>, Option<Receiver>) = (None, None);
    for step in 0..STEPS {
        let Some(code) = input.step() else { break };
        let message = vec![step as u8; input.up_to(RING / 3)];
        match (code % 8, &mut sender, &mut receiver) {
            (0..=1, Some(own), _) => try_send(own, message, &mut model),
            (0..=2, None, _) => {
                sender = Some(pipe.sender().expect("nobody has it"));
                model.sender = Other::Here;
            }
            (2, Some(_), _) => {
                sender = None;
                model.sender = Other::Left;
            }
            (3, ..) => drop(sender.take().map(|own| own.detach().expect("our own"))),
            (4..=5, _, Some(own)) => try_receive(own, &mut model),
            (4..=6, _, None) => {
                receiver = Some(pipe.receiver().expect("nobody has it"));
                model.receiver = Other::Here;
            }
            (6, _, Some(_)) => {
                receiver = None;
                model.receiver = Other::Left;
            }
            _ => match (input.below(3), &sender, &receiver) {
                (0, None, _) => kill_sender(&pipe, &mut model, message, input),
                (1, _, None) => kill_receiver(&pipe, &mut model, input),
                _ => drop(receiver.take().map(|own| own.detach().expect("our own"))),
            },
        }
        let is_here = |own: Option<bool>, other: Other| {
            assert!(own.is_none_or(|is_connected| is_connected == (other == Other::Here)));
        };
        is_here(sender.as_ref().map(Sender::is_connected), model.receiver);
        is_here(receiver.as_ref().map(Receiver::is_connected), model.sender);
    }
    drop(receiver);
    let mut last = pipe.receiver().expect("nobody has it");
    for message in model.sent {
        assert!(*last.try_recv().expect("a message is there") == message[..]);
    }
    assert!(last.try_recv().is_err(), "more than was sent");
}

fn attached_anew(pipe: &Pipe) -> Pipe {
    Pipe::from_fd(pipe.as_fd().try_clone_to_owned().expect("a free descriptor")).expect("a pipe")
}

/// Has a forked process take the sender's role, send, and die.
fn kill_sender(pipe: &Pipe, model: &mut Model, message: Vec<u8>, input: &mut Input<'_>) {
    let label = ["send: written", "send: sent", "nowhere"][input.below(3)];
    let end = in_mortal(|| {
        let mut own = attached_anew(pipe).sender().expect("nobody has it");
        arm(label, 1);
        try_send(&mut own, message.clone(), model);
        std::mem::forget(own);
    });
    model.sender = Other::Dead;
    if end == End::Killed {
        assert!(HAS_FAULTS && record(message.len()) <= model.room());
    }
    if end == End::Done || label == "send: sent" {
        let _ = model.send(message);
    }
}

/// Has a forked process take the receiver's role, receive, and die.
fn kill_receiver(pipe: &Pipe, model: &mut Model, input: &mut Input<'_>) {
    let label = ["receive: read", "receive: released", "nowhere"][input.below(3)];
    let end = in_mortal(|| {
        let mut own = attached_anew(pipe).receiver().expect("nobody has it");
        arm(label, 1);
        try_receive(&mut own, model);
        std::mem::forget(own);
    });
    model.receiver = Other::Dead;
    if end == End::Killed {
        assert!(HAS_FAULTS && !model.sent.is_empty());
    }
    if end == End::Done || label == "receive: released" {
        let _ = model.receive();
    }
}

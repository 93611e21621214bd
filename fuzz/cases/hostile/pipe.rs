//! A pipe under attack.

use super::{Input, Peer, Victim, descriptor};
use skep_ipc::{Pipe, Receiver, Sender};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A pipe, and those of its roles that this process has.
pub struct Roles {
    pipe: Pipe,
    sender: Option<Sender>,
    receiver: Option<Receiver>,
}

impl Roles {
    pub fn new() -> Self {
        let pipe = Pipe::new(4000).expect("memory for a few pages");
        let (sender, receiver) = (pipe.sender().ok(), pipe.receiver().ok());
        Roles { pipe, sender, receiver }
    }

    fn send(&mut self, code: u8, input: &mut Input<'_>, peer: &Peer) {
        let Some(sender) = &mut self.sender else {
            self.sender = self.pipe.sender().ok();
            return;
        };
        let length = input.up_to(4200);
        match code {
            0 => drop(sender.try_send(&vec![7; length])),
            1 => drop(sender.send_timeout(&vec![7; length], Duration::from_micros(input.below(64) as u64))),
            2 => {
                if let Ok(mut grant) = sender.try_reserve(length) {
                    assert_eq!(grant.len(), length);
                    grant.fill(1);
                    peer.write(input);
                    grant.fill(2);
                    let _ = grant.commit_len(input.up_to(4200));
                }
            }
            3 => {
                if let Ok(grant) = sender.try_reserve(length) {
                    peer.write(input);
                    drop(grant);
                }
            }
            4 => _ = sender.is_connected(),
            5 => self.sender = None,
            6 => drop(self.sender.take().map(Sender::detach)),
            _ => drop(self.pipe.sender()),
        }
    }

    fn receive(&mut self, code: u8, input: &mut Input<'_>, peer: &Peer) {
        let Some(receiver) = &mut self.receiver else {
            self.receiver = self.pipe.receiver().ok();
            return;
        };
        let most = receiver.capacity();
        match code {
            0 | 1 => {
                if let Ok(grant) = receiver.try_recv() {
                    assert!(grant.len() <= most);
                    std::hint::black_box(grant.to_vec());
                }
            }
            2 => {
                if let Ok(grant) = receiver.try_recv() {
                    peer.write(input);
                    std::hint::black_box(grant.to_vec());
                }
            }
            3 => drop(
                receiver.recv_timeout(Duration::from_micros(input.below(64) as u64)).map(|grant| grant.len()),
            ),
            4 => _ = receiver.is_connected(),
            5 => self.receiver = None,
            6 => drop(self.receiver.take().map(Receiver::detach)),
            _ => drop(self.pipe.receiver()),
        }
    }
}

impl Victim for Roles {
    fn file(&self) -> OwnedFd {
        descriptor(&self.pipe)
    }

    fn operate(&mut self, code: u8, input: &mut Input<'_>, peer: &Peer) {
        match code % 18 {
            16 => {
                if let Ok(pipe) = Pipe::from_fd(descriptor(&self.pipe)) {
                    self.pipe = pipe;
                }
            }
            17 => self.pipe = self.pipe.clone(),
            code if code < 8 => self.send(code, input, peer),
            code => self.receive(code - 8, input, peer),
        }
    }
}

//! Parts under attack: what is the same for all of them. What each of them does is in `locks.rs`.

use super::{Input, Layout, Peer, Victim, descriptor};
use skep_ipc::{Part, PartOptions};
use std::os::fd::{AsFd, OwnedFd};

/// As many handles as there may be participants.
pub const PEERS: usize = 4;

/// Operations that happen while another one holds something, one within the other.
const DEPTH: usize = 3;

/// A part, and what is done with it.
pub trait Attacked: Part + AsFd {
    /// What a new one starts with.
    fn setup() -> Self::Setup;

    /// One operation, which must return. While it holds something it lets others act by `meanwhile`.
    fn operate(&self, code: u8, input: &mut Input<'_>, meanwhile: &dyn Fn(&mut Input<'_>));
}

/// Some participants of one part in this process.
pub struct Participants<P> {
    handles: Vec<P>,
}

impl<P: Attacked> Participants<P> {
    pub fn new() -> Self {
        let part =
            PartOptions::new().peers(PEERS).anonymous::<P>(P::setup()).expect("memory for a few pages");
        Participants { handles: vec![part] }
    }

    fn use_one(&self, code: u8, input: &mut Input<'_>, peer: &Peer, depth: usize) {
        let meanwhile = |input: &mut Input<'_>| {
            peer.write(input);
            if let Some(code) = input.step().filter(|_| depth < DEPTH) {
                self.use_one(code, input, peer, depth + 1);
            }
        };
        self.handles[input.below(self.handles.len())].operate(code, input, &meanwhile);
    }
}

impl<P: Attacked> Victim for Participants<P> {
    fn file(&self) -> OwnedFd {
        descriptor(&self.handles[0])
    }

    fn layout(&self) -> Layout {
        Layout::Parts
    }

    fn operate(&mut self, code: u8, input: &mut Input<'_>, peer: &Peer) {
        // The highest codes are of the handles, the others of the part.
        match code.checked_sub(120) {
            None => self.use_one(code, input, peer, 0),
            Some(which) => {
                let handle = &self.handles[input.below(self.handles.len())];
                let another = match which {
                    0 | 1 => handle.try_clone().ok(),
                    2 | 3 => P::from_fd(descriptor(handle)).ok(),
                    4 | 5 => {
                        let _ = handle.recover();
                        None
                    }
                    _ if self.handles.len() > 1 => {
                        self.handles.swap_remove(input.below(self.handles.len()));
                        None
                    }
                    _ => None,
                };
                self.handles.extend(another);
            }
        }
    }
}

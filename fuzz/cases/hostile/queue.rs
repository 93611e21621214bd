//! A queue under attack.

use super::{Input, Peer, Victim, descriptor};
use skep_ipc::{Lease, Pod, QueueOptions, SimpleQueue};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// As many handles as there may be participants.
const PEERS: usize = 4;

/// Some participants of one queue in this process.
pub struct Queue<T: Pod> {
    handles: Vec<SimpleQueue<T>>,
}

impl<T: Pod> Queue<T> {
    pub fn new() -> Self {
        let queue = QueueOptions::new(4).peers(PEERS).anonymous().expect("memory for a few pages");
        Queue { handles: vec![queue] }
    }
}

impl<T: Pod> Queue<T> {
    /// Leases, and what happens while they last.
    fn hold(&mut self, which: usize, input: &mut Input<'_>, peer: &Peer) {
        let queue = self.handles.swap_remove(which);
        let mut held = vec![];
        for _ in 0..1 + input.below(16) {
            match input.below(10) {
                0..=2 => held.extend(queue.try_lease()),
                3 => held.extend(queue.lease_timeout(Duration::from_micros(input.below(64) as u64))),
                4 => peer.write(input),
                5 => drop(held.pop().map(Lease::ack)),
                6 => drop(held.pop().map(Lease::nack)),
                7 => drop(held.pop().map(std::mem::forget)), // its word stays in use as long as the handle
                8 => drop(self.handles.last_mut().map(|another| another.try_get())),
                _ => drop(
                    self.handles.last_mut().map(|another| (another.try_put(T::zeroed()), another.recover())),
                ),
            }
            for lease in &held {
                assert!(lease.deliveries() <= 255);
                std::hint::black_box(**lease);
            }
        }
        held.truncate(input.below(2));
        held.into_iter().for_each(Lease::ack);
        self.handles.push(queue);
    }
}

impl<T: Pod> Victim for Queue<T> {
    fn file(&self) -> OwnedFd {
        descriptor(&self.handles[0])
    }

    fn operate(&mut self, code: u8, input: &mut Input<'_>, peer: &Peer) {
        let which = input.below(self.handles.len());
        if code % 20 >= 16 {
            self.hold(which, input, peer);
            return;
        }
        if matches!(code % 20, 12 | 13) && self.handles.len() > 1 {
            self.handles.swap_remove(which);
            return;
        }
        let queue = &mut self.handles[which];
        let mut several = [T::zeroed(); 6];
        match code % 20 {
            0 | 1 => drop(queue.try_put(T::zeroed())),
            2 | 3 => drop(queue.try_get()),
            4 => {
                let wanted = input.below(several.len() + 1);
                if let Ok(put) = queue.try_put_batch(&several[..wanted]) {
                    assert!(put <= wanted);
                }
            }
            5 => {
                let wanted = input.below(several.len() + 1);
                if let Ok(got) = queue.try_get_batch(&mut several[..wanted]) {
                    assert!(got <= wanted);
                }
            }
            6 => drop(queue.try_get_with(|_| peer.write(input))),
            7 => drop(queue.recover()),
            8 => drop(queue.put_timeout(T::zeroed(), Duration::ZERO)),
            9 => drop(queue.get_timeout(Duration::from_micros(input.below(64) as u64))),
            10 => {
                if let Ok(another) = queue.try_clone() {
                    self.handles.push(another);
                }
            }
            11 => {
                if let Ok(another) = SimpleQueue::from_fd(descriptor(queue)) {
                    self.handles.push(another);
                }
            }
            14 if input.below(4) == 0 => queue.close(),
            // Whoever only tries must at some time look for the dead.
            15 if input.below(8) == 0 => {
                for _ in 0..1100 {
                    let _ = queue.try_get();
                }
            }
            _ => {
                assert!(queue.len() <= queue.capacity());
                let _ = (queue.is_closed(), queue.is_empty());
            }
        }
    }
}

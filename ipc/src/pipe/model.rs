//! A pipe in simulated shared memory, for models. Messages are one word long.

use super::handover;
use super::layout::{Control, record_bytes};
use super::ring::{ReceiveEnd, Refusal, Ring, SendEnd};
use crate::model::World;
use crate::peer::LEFT;
use crate::sync::{Acquire, AtomicU32, Cell, Release};
use crate::wait::{Until, wait};
use loom::sync::Arc;
use std::ptr::NonNull;

/// The bytes of a message.
const MESSAGE: u64 = 8;
/// The sender's place in the world, and the receiver's.
const SENDER: usize = 0;
const RECEIVER: usize = 1;

/// A pipe on loom's heap; [`sender`](Self::sender) and [`receiver`](Self::receiver) are its ends.
#[derive(Clone)]
pub struct Pipe(Arc<Memory>);

struct Memory {
    control: Control,
    data: Box<[Cell<u64>]>,
    /// Place 0 is the sender's, place 1 the receiver's.
    world: World,
}

// SAFETY: the control words are loom's atomics; the data consists of loom's cells, which check that the protocol keeps accesses apart.
unsafe impl Sync for Memory {}
// SAFETY: as above.
unsafe impl Send for Memory {}

impl Pipe {
    /// A pipe with room for `messages` messages, a power of two.
    pub fn new(messages: usize) -> Self {
        assert!(messages.is_power_of_two());
        Pipe(Arc::new(Memory {
            control: Control::new(),
            data: (0..2 * messages).map(|_| Cell::new(0)).collect(),
            world: World::new(2),
        }))
    }

    fn ring(&self) -> Ring<'static> {
        // SAFETY: the box and the control words live as long as the memory, which both ends keep, and do not move; a power of two of words.
        unsafe {
            let control: &'static Control = NonNull::from(&self.0.control).as_ref();
            Ring::new(control, NonNull::from(&self.0.data[0]), 8 * self.0.data.len() as u64)
        }
    }

    /// Becomes the sender; a killed one's successor goes on behind its last message. Panics while another one lives.
    pub fn sender(&self) -> Sender {
        self.claim(SENDER);
        Sender { end: SendEnd::new(self.ring()).expect("not corrupt"), pipe: self.clone() }
    }

    /// Becomes the receiver; a killed one's successor goes on with the first message that was not released. Panics while another one lives.
    pub fn receiver(&self) -> Receiver {
        self.claim(RECEIVER);
        Receiver { end: ReceiveEnd::new(self.ring()).expect("not corrupt"), pipe: self.clone() }
    }

    fn claim(&self, place: usize) {
        assert!(self.0.world.enter(place), "the role is taken");
    }

    /// Tells the kernel that the sender has died; sleepers look again, as they do after a slice of time.
    pub fn sender_died(&self) {
        self.0.world.died(SENDER);
    }

    /// The same of the receiver.
    pub fn receiver_died(&self) {
        self.0.world.died(RECEIVER);
    }

    /// Whether the sender was dropped, or has died, and nobody has taken its role since.
    pub fn sender_is_gone(&self) -> bool {
        let entry = self.0.world.peers().entry(SENDER);
        handover::is_gone(entry, self.handovers(SENDER), || self.0.world.is_dead(SENDER))
    }

    fn handovers(&self, place: usize) -> &AtomicU32 {
        &self.0.control.signals.0.handovers[place]
    }
}

/// What [`Sender`](../struct.Sender.html) is on a machine.
pub struct Sender {
    // Before `pipe`, which keeps what it points to.
    end: SendEnd<'static>,
    pipe: Pipe,
}

impl Sender {
    /// Sends a message; sleeps while there is no room.
    pub fn send(&mut self, message: u64) {
        self.send_batch(&[message]);
    }

    /// Sends messages together, at least one; sleeps while there is no room for all.
    pub fn send_batch(&mut self, messages: &[u64]) {
        let mut at = self.end.position();
        let (space, end) = (self.end.ring().space(), &mut self.end);
        let last = at + (messages.len() as u64 - 1) * record_bytes(MESSAGE);
        let look = || match end.reserve_at(last, MESSAGE) {
            Err(Refusal::NotReady) => None,
            outcome => Some(outcome),
        };
        wait(space, Until::Forever, look, || true).expect("waits for ever").expect("not corrupt");
        for &message in messages {
            self.end.ring().word(at + 8).write(message); // S2
            at = self.end.frame(at, MESSAGE);
        }
        self.end.publish(at);
        self.end.ring().items().wake(1);
    }

    /// Leaves, as a sender does that is dropped.
    pub fn leave(self) {
        let world = &self.pipe.0.world;
        world.peers().entry(SENDER).state.store(LEFT, Release);
        self.end.ring().items().wake(u32::MAX);
        world.let_go(SENDER);
    }

    /// Gives the role up for another one to claim; the receiver does not notice.
    pub fn hand_on(self) {
        let world = &self.pipe.0.world;
        handover::hand_on(world.peers().entry(SENDER), self.pipe.handovers(SENDER));
        world.let_go(SENDER);
    }
}

/// What [`Receiver`](../struct.Receiver.html) is on a machine.
pub struct Receiver {
    // Before `pipe`, which keeps what it points to.
    end: ReceiveEnd<'static>,
    pipe: Pipe,
}

impl Receiver {
    /// Receives the next message, calls `read` with it, and releases it; sleeps while there is none. `None`: end of file.
    pub fn recv_with<R>(&mut self, read: impl FnOnce(u64) -> R) -> Option<R> {
        let length = self.next()?;
        let at = self.end.position();
        let result = read(self.end.ring().word(at + 8).read()); // R3
        self.release(at + record_bytes(length));
        Some(result)
    }

    /// Receives the messages that are there, calls `read` with each, and releases them together; sleeps while there is none. False: end of file.
    pub fn recv_batch_with(&mut self, mut read: impl FnMut(u64)) -> bool {
        if self.next().is_none() {
            return false;
        }
        let mut at = self.end.position();
        while let Ok(length) = self.end.seen(at) {
            read(self.end.ring().word(at + 8).read()); // R3
            at += record_bytes(length);
        }
        self.release(at);
        true
    }

    /// The length of the next message.
    fn next(&mut self) -> Option<u64> {
        let (items, end, pipe) = (self.end.ring().items(), &mut self.end, &self.pipe);
        let gone = std::cell::Cell::new(false);
        let left = || pipe.0.world.peers().entry(SENDER).state.load(Acquire) == LEFT;
        let look = || match end.next() {
            Err(Refusal::NotReady) if gone.get() || left() => Some(end.next()),
            Err(Refusal::NotReady) => None,
            outcome => Some(outcome),
        };
        let check = || {
            gone.set(pipe.sender_is_gone());
            true
        };
        match wait(items, Until::Forever, look, check).expect("waits for ever") {
            Ok(length) => {
                assert_eq!(length, MESSAGE);
                Some(length)
            }
            Err(Refusal::NotReady) => None,
            Err(Refusal::Corrupt) => panic!("corrupt"),
        }
    }

    fn release(&mut self, to: u64) {
        self.end.release(to);
        self.end.ring().space().wake(1);
    }
}

//! A pipe in simulated shared memory, for models. Messages are one word long.

use super::layout::Control;
use super::ring::{ReceiveEnd, Refusal, Ring, SendEnd};
use crate::sync::{Acquire, AtomicU32, Cell, Release};
use crate::wait::{Until, wait};
use loom::sync::Arc;
use std::ptr::NonNull;

/// The bytes of a message.
const MESSAGE: u64 = 8;

/// A pipe on loom's heap; [`sender`](Self::sender) and [`receiver`](Self::receiver) are its ends.
#[derive(Clone)]
pub struct Pipe(Arc<Memory>);

struct Memory {
    control: Control,
    data: Box<[Cell<u64>]>,
    /// What the receiver learns from the sender's entry. 1: it left.
    sender_has_left: AtomicU32,
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
            sender_has_left: AtomicU32::new(0),
        }))
    }

    fn ring(&self) -> Ring<'static> {
        // SAFETY: the box and the control words live as long as the memory, which both ends keep, and do not move; a power of two of words.
        unsafe {
            let control: &'static Control = NonNull::from(&self.0.control).as_ref();
            Ring::new(control, NonNull::from(&self.0.data[0]), 8 * self.0.data.len() as u64)
        }
    }

    /// Becomes the sender; a killed one's successor goes on behind its last message. One at a time.
    pub fn sender(&self) -> Sender {
        Sender { end: SendEnd::new(self.ring()).expect("not corrupt"), pipe: self.clone() }
    }

    /// Becomes the receiver; a killed one's successor goes on with the first message that was not released. One at a time.
    pub fn receiver(&self) -> Receiver {
        Receiver { end: ReceiveEnd::new(self.ring()).expect("not corrupt"), pipe: self.clone() }
    }

    /// A slice of time passes, after which every sleeper looks again: what makes up for a wake-up that the dead have not given.
    pub fn slice_passes(&self) {
        self.ring().items().wake(u32::MAX);
        self.ring().space().wake(u32::MAX);
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
        let (space, end) = (self.end.ring().space(), &mut self.end);
        let look = || match end.reserve(MESSAGE) {
            Err(Refusal::NotReady) => None,
            outcome => Some(outcome),
        };
        wait(space, Until::Forever, look, || true).expect("waits for ever").expect("not corrupt");
        self.end.ring().word(self.end.position() + 8).write(message); // S2
        self.end.publish(MESSAGE);
        self.end.ring().items().wake(1);
    }

    /// Leaves, as a sender does that is dropped.
    pub fn leave(self) {
        self.pipe.0.sender_has_left.store(1, Release);
        self.end.ring().items().wake(u32::MAX);
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
        let (items, end, left) = (self.end.ring().items(), &mut self.end, &self.pipe.0.sender_has_left);
        let look = || match end.next() {
            Err(Refusal::NotReady) if left.load(Acquire) == 1 => Some(end.next()),
            Err(Refusal::NotReady) => None,
            outcome => Some(outcome),
        };
        let length = match wait(items, Until::Forever, look, || true).expect("waits for ever") {
            Ok(length) => length,
            Err(Refusal::NotReady) => return None,
            Err(Refusal::Corrupt) => panic!("corrupt"),
        };
        assert_eq!(length, MESSAGE);
        let result = read(self.end.ring().word(self.end.position() + 8).read()); // R3
        self.end.release(length);
        self.end.ring().space().wake(1);
        Some(result)
    }
}

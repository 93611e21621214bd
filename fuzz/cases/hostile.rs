//! A peer that keeps to no protocol: between our operations, and in the middle of those that hand out what they hold, it writes any
//! eight bytes anywhere. What comes of it is an error or a wrong item, never a crash, a hang, or an access out of bounds.
//!
//! An input is `{ object: 1 }`, then steps: `{ code: 1, decisions }`. An odd code is a write of the hostile peer's, an even one an operation of ours.
//! Each object is a [`Victim`]; another one needs a line in [`run`], and a file of its own, or if it is a part, some lines in `locks.rs`.

#[path = "hostile/arena.rs"]
mod arena;
#[path = "hostile/locks.rs"]
mod locks;
#[path = "hostile/parts.rs"]
mod parts;
#[path = "hostile/pipe.rs"]
mod pipe;
#[path = "hostile/queue.rs"]
mod queue;

use super::input::Input;
use parts::Participants;
use skep_ipc::{Barrier, Condvar, Event, Once, RwLock, Semaphore};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// More steps find nothing that fewer do not.
const STEPS: usize = 200;

/// An object in shared memory, and our handles of it.
pub trait Victim {
    /// The file that the hostile peer has, too.
    fn file(&self) -> OwnedFd;

    /// Where its words are.
    fn layout(&self) -> Layout {
        Layout::Rings
    }

    /// One of our operations, which must return. None may wait for ever: nobody honest is there to end it.
    fn operate(&mut self, code: u8, input: &mut Input<'_>, peer: &Peer);
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.below(12) {
        0 => attack(queue::Queue::<u64>::new(), &mut input),
        1 => attack(queue::Queue::<[u8; 3]>::new(), &mut input),
        2 => attack(pipe::Roles::new(), &mut input),
        3 => attack(Participants::<RwLock<u64>>::new(), &mut input),
        4 => attack(Participants::<RwLock<[u8; 3]>>::new(), &mut input),
        5 => attack(Participants::<Semaphore>::new(), &mut input),
        6 => attack(Participants::<Condvar>::new(), &mut input),
        7 => attack(Participants::<Event>::new(), &mut input),
        8 => attack(Participants::<Once>::new(), &mut input),
        9 => attack(Participants::<Barrier>::new(), &mut input),
        10 => attack(Participants::<locks::Several>::new(), &mut input),
        _ => attack(arena::Memory::new(), &mut input),
    }
}

fn attack(mut victim: impl Victim, input: &mut Input<'_>) {
    let peer = Peer::new(victim.file(), victim.layout());
    for _ in 0..STEPS {
        let Some(code) = input.step() else { return };
        if code % 2 == 1 { peer.write(input) } else { victim.operate(code / 2, input, &peer) }
    }
}

/// The hostile peer. It writes to the same pages as a mapping of its own would.
pub struct Peer {
    file: File,
    bytes: u64,
    layout: Layout,
}

/// Where a segment's words are, and what words are likely.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Two positions, then slots or bytes.
    Rings,
    /// Control words, hints, a word a granule, granules.
    Arena,
    /// Parts: words of four and eight bytes at the beginnings of lines, one line a participant.
    Parts,
}

impl Peer {
    fn new(file: OwnedFd, layout: Layout) -> Peer {
        let file = File::from(file);
        let bytes = file.metadata().expect("an open file").len();
        Peer { file, bytes, layout }
    }

    /// Writes eight bytes where the input says.
    pub fn write(&self, input: &mut Input<'_>) {
        let at = self.place(input);
        let word = match input.below(8) {
            0 => input.word(),
            1 => self.read(at).wrapping_add(input.below(256) as u64),
            2 => self.read(at).wrapping_sub(input.below(256) as u64),
            3 => self.read(at) ^ 1 << input.below(64),
            4 => self.read(self.place(input)),
            // Of a part: a number, then an owner with a state; a count of changes with its author; one word of four bytes.
            5 if self.layout == Layout::Parts => match input.below(3) {
                0 => (input.below(16) as u64) << 32 | input.below(64) as u64,
                1 => (input.below(64) as u64) << 12 | input.below(8) as u64,
                _ => self.read(at) >> 32 << 32 | input.below(64) as u64,
            },
            // A block's word, or what a reference, the directory, a descriptor or a table in a message has of a block.
            5 if self.layout == Layout::Arena => match input.below(3) {
                0 => {
                    let [generation, order, phase] = [256, 32, 16].map(|n| input.below(n) as u64);
                    let [peer, count] = [8, 4].map(|n| input.below(n) as u64);
                    generation << 44 | order << 39 | phase << 35 | peer << 23 | count
                }
                1 => self.read(at) & !(0x1ff << 35) | (input.below(256) as u64) << 35, // of another order or phase
                _ => (input.below(8) as u64) << 32 | input.below(256) as u64,
            },
            5 => self.read(self.place(input)) << 2 | input.below(4) as u64, // a turn of a queue's position
            6 => [0, 1, u64::MAX, 1 << 63, (1 << 62) - 1, 1 << 32, !7, 2][input.below(8)],
            // A claim that a queue's peer would announce: side, count, position.
            _ => (input.below(4) as u64) << 62 | (input.up_to(4095) as u64) << 50 | input.below(16) as u64,
        };
        self.file.write_all_at(&word.to_ne_bytes(), at).expect("a reserved page");
    }

    fn read(&self, at: u64) -> u64 {
        let mut word = [0; 8];
        self.file.read_exact_at(&mut word, at).expect("a reserved page");
        u64::from_ne_bytes(word)
    }

    /// Anywhere; mostly in one of the words that matter: header, entries, control words, the first slots or the first bytes of data.
    fn place(&self, input: &mut Input<'_>) -> u64 {
        const TABLE: u64 = 4096;
        const BODY: u64 = 8192;
        const PAGE_BEHIND: u64 = 12288;
        let (area, n) = (input.below(8), input.below(256) as u64);
        let at = match area {
            0 => 8 * (n % 16),
            1 => TABLE + 128 * (n % 8) + 8 * (n / 8 % 10), // state, intent, leases
            2..=5 if self.layout == Layout::Parts => {
                let lines = (self.bytes - BODY) / 128;
                // A short body is hit often; of a long one the first lines.
                BODY + 128 * (n % 32 % if n < 128 { 6 } else { lines }) + 4 * (n / 32 % 8)
            }
            2 if self.layout == Layout::Arena => BODY + 8 * (n % 64), // extent, sleepers, what is fixed, directory
            3 if self.layout == Layout::Arena => BODY + 4096 + 8 * (n % 64), // hints
            4 | 5 if self.layout == Layout::Arena => BODY + 8192 + 8 * n, // the words of granules
            6 if self.layout == Layout::Arena => BODY + 12288 + 64 * n + 8 * (input.below(8) as u64),
            2 | 3 => BODY + 128 * (n % 2), // the two positions
            4 => BODY + 256 + 8 * (n % 8),
            5 => BODY + 384 + 8 * (n % 32),
            6 => PAGE_BEHIND + 8 * n,
            _ => n << 8 | input.below(256) as u64,
        };
        at % (self.bytes - 7)
    }
}

/// A descriptor of an object's file of its own.
fn descriptor(object: &impl AsFd) -> OwnedFd {
    object.as_fd().try_clone_to_owned().expect("a free descriptor")
}

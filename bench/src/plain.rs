//! The rings that skep's are compared with: the same algorithms, in the same memory order, with nothing for the dead.
//!
//! [`Vyukov`] is the bounded MPMC queue with a turn per slot, [`Bytes`] the single-producer, single-consumer ring of length-prefixed messages with cached
//! positions. Neither announces a claim, checks what it reads, nor tells anybody who sleeps.

use std::cell::UnsafeCell;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, Ordering};

/// Two cache lines, as in skep's rings.
#[repr(align(128))]
struct Line<T>(T);

#[repr(C)]
struct Slot {
    turn: AtomicU64,
    value: UnsafeCell<u64>,
}

/// Vyukov's bounded MPMC queue (2010) of `u64`.
pub struct Vyukov {
    tail: Line<AtomicU64>,
    head: Line<AtomicU64>,
    slots: Box<[Slot]>,
}

// SAFETY: a slot's value is touched only by whoever's turn it is.
unsafe impl Sync for Vyukov {}

impl Vyukov {
    /// A queue of `capacity` slots, a power of two.
    pub fn new(capacity: u64) -> Self {
        assert!(capacity.is_power_of_two());
        let slot = |p| Slot { turn: AtomicU64::new(p), value: UnsafeCell::new(0) };
        Vyukov {
            tail: Line(AtomicU64::new(0)),
            head: Line(AtomicU64::new(0)),
            slots: (0..capacity).map(slot).collect(),
        }
    }

    fn slot(&self, p: u64) -> &Slot {
        // SAFETY: the mask keeps the index below the number of slots, a power of two.
        unsafe { self.slots.get_unchecked((p & (self.slots.len() as u64 - 1)) as usize) }
    }

    /// Puts a value if there is room.
    #[inline]
    pub fn try_put(&self, value: u64) -> bool {
        loop {
            let p = self.tail.0.load(Relaxed);
            let slot = self.slot(p);
            let turn = slot.turn.load(Acquire);
            if turn == p {
                if self.tail.0.compare_exchange_weak(p, p + 1, Ordering::AcqRel, Relaxed).is_ok() {
                    // SAFETY: it is this producer's turn.
                    unsafe { slot.value.get().write_volatile(value) };
                    slot.turn.store(p + 1, Release);
                    return true;
                }
            } else if turn < p && self.tail.0.load(Relaxed) == p {
                return false;
            }
            std::hint::spin_loop();
        }
    }

    /// Takes a value if there is one.
    #[inline]
    pub fn try_get(&self) -> Option<u64> {
        loop {
            let p = self.head.0.load(Relaxed);
            let slot = self.slot(p);
            let turn = slot.turn.load(Acquire);
            if turn == p + 1 {
                if self.head.0.compare_exchange_weak(p, p + 1, Ordering::AcqRel, Relaxed).is_ok() {
                    // SAFETY: it is this consumer's turn.
                    let value = unsafe { slot.value.get().read_volatile() };
                    slot.turn.store(p + self.slots.len() as u64, Release);
                    return Some(value);
                }
            } else if turn <= p && self.head.0.load(Relaxed) == p {
                return None;
            }
            std::hint::spin_loop();
        }
    }
}

/// A ring of messages of bytes, each with its length before it, for one sender and one receiver.
pub struct Bytes {
    tail: Line<AtomicU64>,
    head: Line<AtomicU64>,
    bytes: u64,
    data: Box<[UnsafeCell<u64>]>,
}

// SAFETY: the bytes before `tail` are the receiver's, the others the sender's.
unsafe impl Sync for Bytes {}

/// Where one side is, and where it last saw the other.
#[derive(Default)]
pub struct End {
    mine: u64,
    other: u64,
}

impl Bytes {
    /// A ring of `bytes` bytes, a power of two, with room for a record of `longest` bytes to run over the end.
    pub fn new(bytes: u64, longest: u64) -> Self {
        assert!(bytes.is_power_of_two());
        let word = |_| UnsafeCell::new(0);
        Bytes {
            tail: Line(AtomicU64::new(0)),
            head: Line(AtomicU64::new(0)),
            bytes,
            data: (0..(bytes + longest).div_ceil(8)).map(word).collect(),
        }
    }

    fn at(&self, p: u64) -> *mut u64 {
        // SAFETY: the mask keeps the index below the number of words, a power of two.
        unsafe { self.data.get_unchecked((p & (self.bytes - 1)) as usize / 8) }.get()
    }

    /// Sends a message of a multiple of 8 bytes, if there is room.
    #[inline]
    pub fn try_send(&self, end: &mut End, message: &[u8]) -> bool {
        let record = 8 + message.len() as u64;
        if end.mine + record - end.other > self.bytes {
            end.other = self.head.0.load(Acquire);
            if end.mine + record - end.other > self.bytes {
                return false;
            }
        }
        // SAFETY: these bytes are the sender's, or lie behind the end, where only this record does.
        unsafe {
            self.at(end.mine).add(1).cast::<u8>().copy_from_nonoverlapping(message.as_ptr(), message.len());
            self.at(end.mine).write_volatile(message.len() as u64);
        }
        end.mine += record;
        self.tail.0.store(end.mine, Release);
        true
    }

    /// Calls `read` with the next message if there is one.
    #[inline]
    pub fn try_recv<R>(&self, end: &mut End, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        if end.mine == end.other {
            end.other = self.tail.0.load(Acquire);
            if end.mine == end.other {
                return None;
            }
        }
        // SAFETY: these bytes are the receiver's, whole, until `head` says otherwise.
        let message = unsafe {
            let length = self.at(end.mine).read_volatile();
            std::slice::from_raw_parts(self.at(end.mine).add(1).cast::<u8>(), length as usize)
        };
        let result = read(message);
        end.mine += 8 + message.len() as u64;
        self.head.0.store(end.mine, Release);
        Some(result)
    }
}

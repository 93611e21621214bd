//! The SPSC ring: write, publish; read, release.
//!
//! # Send a message, at position t, the sender's own
//! | step | | pairs with |
//! | --- | --- | --- |
//! | S1 | the record does not fit behind the `head` last seen: read `head` (Acquire); it still does not: full | R4 |
//! | S2 | write the payload | |
//! | S3 | write the length | |
//! | S4 | `tail` := t + record (Release): **the message is sent** | R1 |
//!
//! # Receive a message, at position h, the receiver's own
//! | step | | pairs with |
//! | --- | --- | --- |
//! | R1 | h is the `tail` last seen: read `tail` (Acquire); it still is: empty | S4 |
//! | R2 | read the length | |
//! | R3 | read the payload | |
//! | R4 | `head` := h + record (Release): **the message is gone** | S1 |
//!
//! # Why no stronger ordering
//! Each position has one writer, and each side needs to know of the other only that what it did before its store is done: S2 and S3 before R2 and R3 (S4
//! with R1), R3 before the next lap's S2 (R4 with S1). A sleeper and its waker need more, and get it from the fences of `wait.rs`.
//!
//! # The last position seen is stale, and may be
//! Each side keeps the other's position as it last read it, and reads it again only if that leaves no room, or no message: most operations touch no
//! line that the other side writes to. Positions only grow, so an old one errs on the safe side: less room, fewer messages than there are.
//!
//! # Invariants
//! 1. `head` ≤ `tail` ≤ `head` + bytes, all multiples of 8. The bytes from `tail` to `head` + bytes are the sender's, those from `head` to `tail` the receiver's.
//! 2. Only the holder of the sender's role stores to `tail` and to the sender's bytes, only the holder of the receiver's role to `head`.
//! 3. Each side's own position is in its handle and not read again. The other's, and a length, are read once and checked against invariant 1
//!    before use: corrupt, if it does not hold.
//! 4. An offset is a masked position, and no length is above bytes - 8; so whatever shared memory says, each access lies within the two mappings.
//!
//! # When one side dies
//! There is nothing to repair, and no claim to announce: S4 and R4 are the only steps that change what the other side may see or touch.
//! A sender killed before S4 has left `tail` where it was, and bytes behind it that nobody reads; its successor starts at `tail` and writes over them. Killed
//! after S4 it has sent the message; at most the wake-up is missing, which a sleeping receiver makes up for at the end of its slice. A receiver killed before R4 has
//! not taken the message: its successor starts at `head` and finds it whole, since the sender may not touch it before R4. A successor starts only once the kernel has let
//! go of the dead one's lock, after its last access.
//!
//! This is Lamport's ring (1983) with cached positions (Lee, Bu and Chandranmenon's MCRingBuffer, 2010), of bytes instead of slots.

use super::layout::{Control, HEADER_BYTES, longest, record_bytes};
use crate::fault;
use crate::sync::{Acquire, Cell, Release};
use crate::wait::WaitWord;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// Why there is no room, or no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Full for the sender, empty for the receiver.
    NotReady,
    /// Invariant 1 does not hold.
    Corrupt,
}

/// A view of a ring in memory that whoever made this keeps mapped.
#[derive(Clone, Copy)]
pub(crate) struct Ring<'a> {
    control: &'a Control,
    data: NonNull<Cell<u64>>,
    bytes: u64,
    _data: PhantomData<&'a Cell<u64>>,
}

// SAFETY: the control words are atomics, and the bytes of the data pass between the sides by the protocol alone.
unsafe impl Send for Ring<'_> {}

impl<'a> Ring<'a> {
    /// # Safety
    /// `data` points to `bytes` bytes, a power of two of at least 8, aligned to 8, which stay valid for `'a`.
    pub(crate) unsafe fn new(control: &'a Control, data: NonNull<Cell<u64>>, bytes: u64) -> Self {
        Ring { control, data, bytes, _data: PhantomData }
    }

    /// The eight bytes at a position: a record's length.
    #[inline]
    pub(crate) fn word(&self, position: u64) -> &Cell<u64> {
        let offset = (position & (self.bytes - 1)) / HEADER_BYTES;
        // SAFETY: invariant 4: the mask keeps the offset below the `bytes` that `new` was promised.
        unsafe { self.data.add(offset as usize).as_ref() }
    }

    /// Where the payload of the record at a position starts.
    #[inline]
    fn payload(&self, position: u64) -> NonNull<u8> {
        let offset = (position.wrapping_add(HEADER_BYTES)) & (self.bytes - 1);
        // SAFETY: invariant 4, as in `word`.
        unsafe { self.data.cast::<u8>().add(offset as usize) }
    }

    /// The distance between two positions, if invariant 1 holds for them.
    #[inline]
    fn distance(&self, head: u64, tail: u64) -> Result<u64, Refusal> {
        let distance = tail.wrapping_sub(head);
        let is_aligned = (head | tail).is_multiple_of(HEADER_BYTES);
        if is_aligned && distance <= self.bytes { Ok(distance) } else { Err(Refusal::Corrupt) }
    }

    /// The longest message.
    #[inline]
    pub(crate) fn longest(&self) -> u64 {
        longest(self.bytes)
    }

    /// Where the receiver sleeps.
    #[inline]
    pub(crate) fn items(&self) -> &'a WaitWord {
        &self.control.signals.0.items
    }

    /// Where the sender sleeps.
    #[inline]
    pub(crate) fn space(&self) -> &'a WaitWord {
        &self.control.signals.0.space
    }
}

/// The sender's side of a ring.
pub(crate) struct SendEnd<'a> {
    ring: Ring<'a>,
    /// `tail`, which nobody else writes: a multiple of 8.
    tail: u64,
    /// `head` as last seen: the real one or an earlier one.
    head: u64,
}

impl<'a> SendEnd<'a> {
    /// Goes on where the last sender stopped. The caller holds the sender's role.
    pub(crate) fn new(ring: Ring<'a>) -> Result<Self, Refusal> {
        let tail = ring.control.tail.0.load(Acquire);
        let head = ring.control.head.0.load(Acquire); // S1 pairs with R4
        ring.distance(head, tail)?;
        Ok(SendEnd { ring, tail, head })
    }

    pub(crate) fn ring(&self) -> &Ring<'a> {
        &self.ring
    }

    /// S1: makes sure that there is room for a message of `length` bytes, at most the longest.
    #[inline]
    pub(crate) fn reserve(&mut self, length: u64) -> Result<(), Refusal> {
        let Some(record) = record_bytes(length) else { return Err(Refusal::NotReady) };
        if self.fits(record) {
            return Ok(());
        }
        let head = self.ring.control.head.0.load(Acquire); // S1 pairs with R4
        let unread = self.ring.distance(head, self.tail)?;
        if unread > self.tail.wrapping_sub(self.head) {
            return Err(Refusal::Corrupt); // it went backwards
        }
        self.head = head;
        if self.fits(record) { Ok(()) } else { Err(Refusal::NotReady) }
    }

    #[inline]
    fn fits(&self, record: u64) -> bool {
        record <= self.ring.bytes - self.tail.wrapping_sub(self.head)
    }

    #[cfg(loom)]
    pub(crate) fn position(&self) -> u64 {
        self.tail
    }

    /// Where the payload of the next message goes (S2): as many bytes as were reserved are the sender's.
    #[inline]
    pub(crate) fn payload(&self) -> NonNull<u8> {
        self.ring.payload(self.tail)
    }

    /// S3 and S4: sends what was written. `length` is at most what was reserved.
    #[inline]
    pub(crate) fn publish(&mut self, length: u64) {
        let record = record_bytes(length).unwrap_or(0);
        debug_assert!(record > 0 && self.fits(record), "it was reserved");
        self.ring.word(self.tail).write(length); // S3
        fault::point("send: written");
        self.tail = self.tail.wrapping_add(record);
        self.ring.control.tail.0.store(self.tail, Release); // S4 pairs with R1
        fault::point("send: sent");
    }
}

/// The receiver's side of a ring.
pub(crate) struct ReceiveEnd<'a> {
    ring: Ring<'a>,
    /// `head`, which nobody else writes: a multiple of 8.
    head: u64,
    /// `tail` as last seen: the real one or an earlier one.
    tail: u64,
}

impl<'a> ReceiveEnd<'a> {
    /// Goes on where the last receiver stopped. The caller holds the receiver's role.
    pub(crate) fn new(ring: Ring<'a>) -> Result<Self, Refusal> {
        let head = ring.control.head.0.load(Acquire);
        let tail = ring.control.tail.0.load(Acquire); // R1 pairs with S4
        ring.distance(head, tail)?;
        Ok(ReceiveEnd { ring, head, tail })
    }

    pub(crate) fn ring(&self) -> &Ring<'a> {
        &self.ring
    }

    /// R1 and R2: the length of the next message, at most the longest.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<u64, Refusal> {
        if self.tail == self.head {
            let tail = self.ring.control.tail.0.load(Acquire); // R1 pairs with S4
            self.ring.distance(self.head, tail)?;
            self.tail = tail;
            if tail == self.head {
                return Err(Refusal::NotReady);
            }
        }
        let length = self.ring.word(self.head).read(); // R2
        let published = self.tail.wrapping_sub(self.head);
        if record_bytes(length).is_some_and(|record| record <= published) {
            Ok(length)
        } else {
            Err(Refusal::Corrupt)
        }
    }

    #[cfg(loom)]
    pub(crate) fn position(&self) -> u64 {
        self.head
    }

    /// Where the payload of the next message is (R3).
    #[inline]
    pub(crate) fn payload(&self) -> NonNull<u8> {
        self.ring.payload(self.head)
    }

    /// R4: gives the bytes of the next message back to the sender; `length` is what [`next`](Self::next) said.
    #[inline]
    pub(crate) fn release(&mut self, length: u64) {
        let record = record_bytes(length).unwrap_or(0);
        self.head = self.head.wrapping_add(record);
        fault::point("receive: read");
        self.ring.control.head.0.store(self.head, Release); // R4 pairs with S1
        fault::point("receive: released");
    }
}

//! The SPSC ring: write, publish; read, release.
//!
//! # Send a message, at position t, the sender's own
//! | step | | pairs with |
//! | --- | --- | --- |
//! | S1 | the record does not fit behind the `head` last seen: read `head` (Acquire); it still does not: full | R4 |
//! | S2 | write the payload | |
//! | S3 | write the length | |
//! | | in a batch: S1 to S3 again, for the next message at t + record | |
//! | S4 | `tail` := behind the last record (Release): **the message is sent**, or all of the batch | R1 |
//!
//! # Receive a message, at position h, the receiver's own
//! | step | | pairs with |
//! | --- | --- | --- |
//! | R1 | h is the `tail` last seen: read `tail` (Acquire); it still is: empty | S4 |
//! | R2 | read the length | |
//! | R3 | read the payload | |
//! | | in a batch: R2 and R3 again, at h + record, unless that is the `tail` last seen | |
//! | R4 | `head` := behind the last record (Release): **the message is gone**, or all of the batch | S1 |
//!
//! # Why no stronger ordering
//! Each position has one writer, and each side needs to know of the other only that what it did before its store is done: S2 and S3 before R2 and R3 (S4
//! with R1), R3 before the next lap's S2 (R4 with S1). A sleeper and its waker need more, and get it from the fences of `wait.rs`.
//!
//! # The last position seen is stale, and may be
//! Each side keeps the other's position as it last read it (the sender a lap further: how far it may write), and reads it again only if that leaves no room, or
//! no message: most operations touch no line that the other side writes to. Positions only grow, so an old one errs on the safe side: less room, fewer messages than there are.
//!
//! # Invariants
//! 1. `head` ≤ `tail` ≤ `head` + bytes, all multiples of 8. The bytes from `tail` to `head` + bytes are the sender's, those from `head` to `tail` the receiver's.
//! 2. Only the holder of the sender's role stores to `tail` and to the sender's bytes, only the holder of the receiver's role to `head`.
//! 3. Each side's own position is in its handle and not read again. The other's, and a length, are read once and checked against invariant 1
//!    before use: corrupt, if it does not hold.
//! 4. An offset is a masked position, a multiple of 8, and no length is above bytes - 8; so whatever shared memory says, each access lies within the two mappings.
//!
//! # When one side dies
//! There is nothing to repair, and no claim to announce: S4 and R4 are the only steps that change what the other side may see or touch.
//! A sender killed before S4 has left `tail` where it was, and bytes behind it that nobody reads; its successor starts at `tail` and writes over them. Killed
//! after S4 it has sent the message; at most the wake-up is missing, which a sleeping receiver makes up for at the end of its slice. A receiver killed before R4 has
//! not taken the message (of a batch: any of them): its successor starts at `head` and finds it whole, since the sender may not touch it before R4. A successor starts only once the kernel has let
//! go of the dead one's lock, after its last access.
//!
//! This is Lamport's ring (1983) with cached positions (Lee, Bu and Chandranmenon's MCRingBuffer, 2010), of bytes instead of slots.

use super::layout::{Control, HEADER_BYTES, longest, record_bytes};
use crate::fault;
use crate::sync::{Acquire, Cell, Release, prefetch_for_read, prefetch_for_write};
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
    /// The offset of the last word: the bytes less one word. It also is what a position is masked with, and the longest message.
    last: u64,
    _data: PhantomData<&'a Cell<u64>>,
}

// SAFETY: the control words are atomics, and the bytes of the data pass between the sides by the protocol alone.
unsafe impl Send for Ring<'_> {}

impl<'a> Ring<'a> {
    /// # Safety
    /// `data` points to `bytes` bytes, a power of two of at least 8, aligned to 8, which stay valid for `'a`; mapped twice, if [`payload`](Self::payload) is
    /// to be used.
    pub(crate) unsafe fn new(control: &'a Control, data: NonNull<Cell<u64>>, bytes: u64) -> Self {
        Ring { control, data, last: longest(bytes), _data: PhantomData }
    }

    /// The eight bytes at a position: a record's length.
    #[inline]
    pub(crate) fn word(&self, position: u64) -> &Cell<u64> {
        let offset = (position & self.last) / HEADER_BYTES;
        // SAFETY: invariant 4: the mask keeps the offset below the bytes that `new` was promised.
        unsafe { self.data.add(offset as usize).as_ref() }
    }

    /// Where the payload of the record at a position starts.
    #[inline]
    pub(crate) fn payload(&self, position: u64) -> NonNull<u8> {
        // SAFETY: as in `word`; the word behind is in the second mapping if not in the first.
        unsafe { self.data.byte_add((position & self.last) as usize).add(1).cast() }
    }

    /// The distance between two positions, if invariant 1 holds for them.
    #[inline]
    fn distance(&self, head: u64, tail: u64) -> Result<u64, Refusal> {
        let distance = tail.wrapping_sub(head);
        let is_aligned = (head | tail).is_multiple_of(HEADER_BYTES);
        if is_aligned && distance <= self.bytes() { Ok(distance) } else { Err(Refusal::Corrupt) }
    }

    #[inline]
    fn bytes(&self) -> u64 {
        self.last + HEADER_BYTES
    }

    /// The longest message.
    #[inline]
    pub(crate) fn longest(&self) -> u64 {
        self.last
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

/// How far ahead of the record at hand a side asks for lines: as much as arrives while it is at what lies before.
const AHEAD: u64 = 512;
/// The most lines that it asks for with one record.
const LINES: u64 = 4;

/// Where the lines begin that a record will reach when it lies `AHEAD` behind the one at a position: in bytes from there.
///
/// Where the next record is, only the length of this one tells; so the processor cannot ask for it early by itself, and each record would wait for its lines to cross from core to core.
#[inline]
fn lines_ahead(at: u64, record: u64) -> impl Iterator<Item = u64> {
    const LINE: u64 = 64;
    let first = LINE - at % LINE;
    (0..LINES).map(move |n| first + n * LINE).take_while(move |&next| next <= record).map(|next| AHEAD + next)
}

/// The sender's side of a ring.
pub(crate) struct SendEnd<'a> {
    ring: Ring<'a>,
    /// `tail`, which nobody else writes: a multiple of 8.
    tail: u64,
    /// A lap behind `head` as last seen, the real one or an earlier one: the sender's bytes end here, or later.
    limit: u64,
}

impl<'a> SendEnd<'a> {
    /// Goes on where the last sender stopped. The caller holds the sender's role.
    pub(crate) fn new(ring: Ring<'a>) -> Result<Self, Refusal> {
        let tail = ring.control.tail.0.load(Acquire);
        let head = ring.control.head.0.load(Acquire); // S1 pairs with R4
        ring.distance(head, tail)?;
        Ok(SendEnd { ring, tail, limit: head.wrapping_add(ring.bytes()) })
    }

    #[inline]
    pub(crate) fn ring(&self) -> &Ring<'a> {
        &self.ring
    }

    /// Where the next message goes, or the first of a batch.
    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.tail
    }

    /// S1: makes sure that there is room for a message of `length` bytes, at most the longest.
    #[inline]
    pub(crate) fn reserve(&mut self, length: u64) -> Result<(), Refusal> {
        self.reserve_at(self.tail, length)
    }

    /// The same behind what was framed of a batch.
    #[inline]
    pub(crate) fn reserve_at(&mut self, at: u64, length: u64) -> Result<(), Refusal> {
        if self.fits(at, record_bytes(length)) { Ok(()) } else { self.reserve_again(at, length) }
    }

    #[cold]
    fn reserve_again(&mut self, at: u64, length: u64) -> Result<(), Refusal> {
        let head = self.ring.control.head.0.load(Acquire); // S1 pairs with R4
        self.ring.distance(head, self.tail)?;
        let limit = head.wrapping_add(self.ring.bytes());
        if limit.wrapping_sub(self.tail) < self.limit.wrapping_sub(self.tail) {
            return Err(Refusal::Corrupt); // it went backwards
        }
        self.limit = limit;
        if self.fits(at, record_bytes(length)) { Ok(()) } else { Err(Refusal::NotReady) }
    }

    #[inline]
    fn fits(&self, at: u64, record: u64) -> bool {
        record <= self.limit.wrapping_sub(at)
    }

    /// S3 for the message whose payload stands behind a position (S2). `length` is at most what was reserved there. Says where the next one goes.
    #[inline]
    pub(crate) fn frame(&mut self, at: u64, length: u64) -> u64 {
        debug_assert!(self.fits(at, record_bytes(length)), "it was reserved");
        self.ring.word(at).write(length); // S3
        fault::point("send: written");
        for ahead in lines_ahead(at, record_bytes(length)) {
            if self.fits(at, ahead + HEADER_BYTES) {
                prefetch_for_write(self.ring.word(at.wrapping_add(ahead)));
            }
        }
        at.wrapping_add(record_bytes(length))
    }

    /// S4: sends what was framed up to a position.
    #[inline]
    pub(crate) fn publish(&mut self, tail: u64) {
        self.tail = tail;
        self.ring.control.tail.0.store(tail, Release); // S4 pairs with R1
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

    #[inline]
    pub(crate) fn ring(&self) -> &Ring<'a> {
        &self.ring
    }

    /// Where the next message is, or the first of a batch.
    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.head
    }

    /// R1 and R2: the length of the next message, at most the longest.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<u64, Refusal> {
        if self.tail == self.head {
            let tail = self.ring.control.tail.0.load(Acquire); // R1 pairs with S4
            self.ring.distance(self.head, tail)?;
            self.tail = tail;
        }
        self.seen(self.head)
    }

    /// R2 without R1: the length of the message at a position, `head` or behind one that was read there; not ready if `tail` was last seen here.
    #[inline]
    pub(crate) fn seen(&self, at: u64) -> Result<u64, Refusal> {
        let published = self.tail.wrapping_sub(at);
        if published == 0 {
            return Err(Refusal::NotReady);
        }
        let length = self.ring.word(at).read(); // R2
        // As `published` is a multiple of 8, the whole record lies within it if header and payload do.
        if length > published - HEADER_BYTES {
            return Err(Refusal::Corrupt);
        }
        for ahead in lines_ahead(at, record_bytes(length)) {
            if ahead < published {
                prefetch_for_read(self.ring.word(at.wrapping_add(ahead)));
            }
        }
        Ok(length)
    }

    /// R4: gives the bytes before a position, where a record that was read ends, back to the sender.
    #[inline]
    pub(crate) fn release(&mut self, head: u64) {
        self.head = head;
        fault::point("receive: read");
        self.ring.control.head.0.store(head, Release); // R4 pairs with S1
        fault::point("receive: released");
    }
}

//! The physical limit: what shared memory gives to whoever needs nothing else.

use crate::measure::crowd::{self, Crowd};
use crate::measure::item::{Bulk, Item};
use crate::measure::{pingpong, wake};
use crate::part::Part;
use crate::row::Outcome;
use crate::stage::Line;
use std::cell::Cell;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

/// A flag and a message, each on lines of its own; the flag counts the messages.
struct FlagAndLine<'a, T> {
    flag: &'a AtomicU64,
    message: *mut T,
    count: Cell<u64>,
}

impl<'a, T: Item> FlagAndLine<'a, T> {
    fn at(part: &'a Part, offset: usize) -> Self {
        let base = part.stage.scratch(offset, 8192);
        // SAFETY: page-aligned memory that lasts as long as the stage, and zeroes at first.
        let flag = unsafe { &*base.cast() };
        // SAFETY: within the two pages.
        FlagAndLine { flag, message: unsafe { base.add(4096) }.cast(), count: Cell::new(0) }
    }

    fn send(&self, n: u64) -> bool {
        self.count.set(self.count.get() + 1);
        // SAFETY: the other side reads it only after the flag, and has answered the last one.
        unsafe { self.message.write_volatile(T::of(n)) };
        self.flag.store(self.count.get(), Release); // pairs with `receive`
        true
    }

    fn receive(&self) -> Option<u64> {
        if self.flag.load(Acquire) == self.count.get() {
            return None;
        }
        self.count.set(self.count.get() + 1);
        // SAFETY: the flag says that it is whole, and it is not written before it was answered.
        Some(unsafe { self.message.read_volatile() }.number())
    }
}

/// Ping-pong by flag and line.
pub fn latency<T: Item>(part: &Part) -> Outcome {
    let (there, back) = (FlagAndLine::<T>::at(part, 0), FlagAndLine::<T>::at(part, 8192));
    if part.number == 0 {
        pingpong::ask(part, 100, |n| there.send(n), || back.receive())
    } else {
        pingpong::answer(part, |n| back.send(n), || there.receive())
    }
}

/// Lines that a flag can name.
const NAMED: u64 = 64;
/// Their bytes: each on a page of its own, and at another place in it.
const NAMED_BYTES: usize = 4096 * (3 + NAMED as usize);

/// Ping-pong by a flag that says on which of some lines the message is: nobody can ask for that line before the flag has come. The least for a message that lies where its sender
/// chose.
pub fn named_latency<T: Item>(part: &Part) -> Outcome {
    let one_way = |offset: usize| {
        let base = part.stage.scratch(offset, NAMED_BYTES);
        // SAFETY: page-aligned memory that lasts as long as the stage, and zeroes at first.
        let flag: &AtomicU64 = unsafe { &*base.cast() };
        // SAFETY: within what was taken from the scratch.
        let line =
            move |name: u64| unsafe { base.add((4096 + 64) * (1 + (name % NAMED) as usize)) }.cast::<T>();
        (flag, line, Cell::new(0_u64))
    };
    let [(flag, line, sent), (other_flag, other_line, received)] = {
        let (a, b) = (one_way(0), one_way(NAMED_BYTES));
        if part.number == 0 { [a, b] } else { [b, a] }
    };
    let send = |n| {
        sent.set(sent.get() + 1);
        let name = sent.get().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58;
        // SAFETY: the other side reads it only after the flag, and has answered the last one.
        unsafe { line(name).write_volatile(T::of(n)) };
        flag.store(sent.get() * NAMED | name, Release); // pairs with the load below
        true
    };
    let receive = || {
        let seen = other_flag.load(Acquire);
        if seen / NAMED == received.get() {
            return None;
        }
        received.set(received.get() + 1);
        // SAFETY: the flag says that it is whole, and it is not written before it was answered.
        Some(unsafe { other_line(seen).read_volatile() }.number())
    };
    if part.number == 0 {
        pingpong::ask(part, 100, send, receive)
    } else {
        pingpong::answer(part, send, receive)
    }
}

/// How many buffers a bulk message has to itself, one after the other: as many as there would be room for in a ring.
const BUFFERS: u64 = 4;

/// Two copies and a flag: into shared memory and out of it.
pub fn bulk_latency<const BYTES: usize>(part: &Part) -> Outcome {
    let one_way = |offset: usize| {
        let base = part.stage.scratch(offset, 4096 + BUFFERS as usize * BYTES);
        let count = Cell::new(0_u64);
        // SAFETY: page-aligned memory that lasts as long as the stage, and zeroes at first.
        let flag: &AtomicU64 = unsafe { &*base.cast() };
        // SAFETY: within what was taken from the scratch.
        let buffer = move |n: u64| unsafe { base.add(4096 + (n % BUFFERS) as usize * BYTES) };
        (flag, buffer, count)
    };
    let (mut out, mut into) = (Bulk::new(BYTES), Bulk::new(BYTES));
    let [(flag, buffer, sent), (other_flag, other_buffer, received)] = {
        let (a, b) = (one_way(0), one_way((4096 + BUFFERS as usize * BYTES).next_multiple_of(4096)));
        if part.number == 0 { [a, b] } else { [b, a] }
    };
    let send = |n| {
        let message = out.say(n);
        sent.set(sent.get() + 1);
        // SAFETY: the receiver reads this buffer only after the flag, and is not so many messages behind.
        unsafe { buffer(sent.get()).copy_from_nonoverlapping(message.as_ptr(), BYTES) };
        flag.store(sent.get(), Release); // pairs with the load below
        true
    };
    let receive = || {
        if other_flag.load(Acquire) == received.get() {
            return None;
        }
        received.set(received.get() + 1);
        // SAFETY: the flag says that it is whole.
        unsafe { into.room().as_mut_ptr().copy_from_nonoverlapping(other_buffer(received.get()), BYTES) };
        Some(into.number())
    };
    if part.number == 0 {
        pingpong::ask(part, 4, send, receive)
    } else {
        pingpong::answer(part, send, receive)
    }
}

/// The ring with two positions, each cached by the other side, of items and nothing else.
struct Ring<'a, T> {
    tail: &'a AtomicU64,
    head: &'a AtomicU64,
    items: *mut T,
    mine: u64,
    other: u64,
}

/// Items that a ring has room for.
pub const SLOTS: u64 = 1024;

impl<'a, T: Item> Ring<'a, T> {
    fn of(part: &'a Part) -> Self {
        let base: *mut Line<AtomicU64> = part.stage.scratch(0, 4096 + SLOTS as usize * size_of::<T>()).cast();
        // SAFETY: page-aligned memory that lasts as long as the stage, and zeroes at first.
        unsafe {
            Ring {
                tail: &(*base).0,
                head: &(*base.add(1)).0,
                items: base.byte_add(4096).cast(),
                mine: 0,
                other: 0,
            }
        }
    }

    #[inline]
    fn slot(&self, n: u64) -> *mut T {
        // SAFETY: below the number of slots.
        unsafe { self.items.add((n % SLOTS) as usize) }
    }

    #[inline]
    fn put(&mut self, items: &[T]) -> usize {
        if self.mine + items.len() as u64 - self.other > SLOTS {
            self.other = self.head.load(Acquire); // pairs with `get`
        }
        let room = (SLOTS - (self.mine - self.other)).min(items.len() as u64);
        for (n, item) in items[..room as usize].iter().enumerate() {
            // SAFETY: between `tail` and a lap after `head`: the sender's.
            unsafe { self.slot(self.mine + n as u64).write(*item) };
        }
        if room > 0 {
            self.mine += room;
            self.tail.store(self.mine, Release); // pairs with `get`
        }
        room as usize
    }

    #[inline]
    fn get(&mut self, into: &mut [T]) -> usize {
        if self.mine == self.other {
            self.other = self.tail.load(Acquire); // pairs with `put`
        }
        let count = (self.other - self.mine).min(into.len() as u64);
        for (n, place) in into[..count as usize].iter_mut().enumerate() {
            // SAFETY: between `head` and `tail`: the receiver's.
            *place = unsafe { self.slot(self.mine + n as u64).read() };
        }
        if count > 0 {
            self.mine += count;
            self.head.store(self.mine, Release); // pairs with `put`
        }
        count as usize
    }
}

/// One to one through the bare ring.
pub fn stream<T: Item, const BATCH: usize>(part: &Part) -> Outcome {
    let (mut sender, mut receiver) = (Ring::<T>::of(part), Ring::<T>::of(part));
    crowd::processes(
        part,
        |crowd: Crowd<'_>| {
            crowd.produce::<T, BATCH>(0, |items| sender.put(items));
            Ok(())
        },
        |crowd| crowd.consume::<T, BATCH>(|into| receiver.get(into)),
    )
}

/// A word to sleep on, with a message beside it.
struct Futex<'a> {
    word: &'a AtomicU32,
    message: &'a AtomicU64,
}

impl<'a> Futex<'a> {
    fn at(part: &'a Part, offset: usize) -> Self {
        let base = part.stage.scratch(offset, 4096);
        // SAFETY: page-aligned memory that lasts as long as the stage, and zeroes at first.
        unsafe { Futex { word: &*base.cast(), message: &*base.add(8).cast() } }
    }

    fn send(&self, n: u64) {
        self.message.store(n, Relaxed);
        self.word.store(1, Release); // pairs with `receive`
        self.call(libc::FUTEX_WAKE, 1);
    }

    fn receive(&self) -> u64 {
        while self.word.load(Acquire) == 0 {
            self.call(libc::FUTEX_WAIT, 0);
        }
        self.word.store(0, Relaxed);
        self.message.load(Relaxed)
    }

    fn call(&self, operation: i32, value: u32) {
        // SAFETY: a word that lasts; no timeout.
        unsafe { libc::syscall(libc::SYS_futex, self.word, operation, value, std::ptr::null::<()>()) };
    }
}

/// A receiver asleep on a futex.
pub fn wake(part: &Part) -> Outcome {
    let futex = Futex::at(part, 0);
    if part.number == 0 {
        wake::send(part, |n| futex.send(n))
    } else {
        wake::receive(part, || futex.receive())
    }
}

/// There and back, both asleep, in microseconds.
pub fn two_hops(part: &Part) -> Outcome {
    let (there, back) = (Futex::at(part, 0), Futex::at(part, 4096));
    part.meet(2);
    if part.number == 1 {
        loop {
            let n = there.receive();
            back.send(n);
            if n == crate::measure::item::END {
                return Ok(());
            }
        }
    }
    let call = |n| {
        there.send(n);
        back.receive()
    };
    let figure = crate::measure::repeat::percentile(part.time, wake::PAUSE, 50, || {
        call(7);
    });
    call(crate::measure::item::END);
    part.stage.set_figure(figure);
    Ok(())
}

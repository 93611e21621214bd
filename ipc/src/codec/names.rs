//! The names that a value has written so far, so that each stands in it once.

use super::tags::SHORT_NAME;
use std::cell::Cell;

/// More are not remembered, and stand again wherever they occur: looking for one stays short.
const MOST: usize = 64;

/// A name of a field or variant, and where it stands.
struct Known {
    name: &'static str,
    at: u32,
    /// The one that came after it last: probably the next.
    next: u32,
}

#[derive(Default)]
pub(super) struct Names {
    known: Vec<Known>,
    last: usize,
    shape: u64,
    /// A bit for each kind of value that occurs, and for the lengths of tuples.
    kinds: u64,
    is_open: bool,
}

thread_local! {
    /// The memory of the last value's names.
    static SPARE: Cell<Vec<Known>> = const { Cell::new(Vec::new()) };
}

fn is_same(a: &'static str, b: &'static str) -> bool {
    std::ptr::eq(a, b) // by address and length: one that has two addresses stands twice
}

impl Names {
    /// Where the name stands, if it does.
    #[inline]
    pub(super) fn find(&mut self, name: &'static str) -> Option<u32> {
        let guess = self.known.get(self.last).map_or(0, |last| last.next as usize);
        if let Some(known) = self.known.get(guess)
            && is_same(known.name, name)
        {
            self.last = guess;
            return Some(known.at);
        }
        let found = self.known.iter().position(|known| is_same(known.name, name))?;
        self.follow(found);
        Some(self.known[found].at)
    }

    /// Notes that the name stands at `at`.
    #[inline]
    pub(super) fn note(&mut self, name: &'static str, at: usize) {
        self.mark(name, 0);
        let Ok(at) = u32::try_from(at) else { return };
        if name.len() > SHORT_NAME {
            return; // no name leads to a long one: a few bytes must not stand for many
        }
        if self.known.capacity() == 0 {
            self.known = SPARE.try_with(Cell::take).unwrap_or_default();
            self.known.reserve(8);
        }
        if self.known.len() < MOST {
            self.known.push(Known { name, at, next: 0 });
            self.follow(self.known.len() - 1);
        }
    }

    fn follow(&mut self, found: usize) {
        if let Some(last) = self.known.get_mut(self.last) {
            last.next = found as u32;
        }
        self.last = found;
    }

    /// Counts something into the shape that the type determines.
    #[inline]
    pub(super) fn mark(&mut self, name: &str, kind: u64) {
        let what = name.as_ptr() as u64 ^ (name.len() as u64) << 48 ^ kind << 60;
        self.shape = (self.shape ^ what).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    /// Notes that a value with that tag occurs.
    #[inline]
    pub(super) fn note_kind(&mut self, tag: u8) {
        self.kinds |= 1 << (tag & 31);
    }

    /// Notes that a tuple of that name has so many items: some may have been left out.
    #[inline]
    pub(super) fn note_items(&mut self, name: &'static str, len: usize) {
        self.kinds |=
            1 << (32 | (name.as_ptr() as usize ^ name.as_ptr() as usize >> 5).wrapping_add(len) & 31);
    }

    /// Notes that whether the value is decoded is a matter of what it holds.
    #[inline]
    pub(super) fn open(&mut self) {
        self.is_open = true;
    }

    /// A number for the names that occur, those that were left out, and the kinds of values: values of one type and
    /// shape differ in what their fields hold alone. `None`: there is no telling.
    #[inline]
    pub(super) fn shape(&self) -> Option<u64> {
        let shape = self.shape ^ self.kinds.wrapping_mul(0xff51_afd7_ed55_8ccd);
        (!self.is_open).then_some(shape)
    }
}

impl Drop for Names {
    #[inline]
    fn drop(&mut self) {
        if self.known.capacity() > 0 {
            self.known.clear();
            let known = std::mem::take(&mut self.known);
            let _ = SPARE.try_with(|spare| spare.set(known));
        }
    }
}

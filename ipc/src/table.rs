//! A table in shared memory, with one entry a participant.

use std::marker::PhantomData;
use std::ptr::NonNull;

/// Entries that consist of atomics, in memory that whoever made this keeps mapped.
pub(crate) struct Table<'a, E> {
    entries: NonNull<E>,
    count: usize,
    _memory: PhantomData<&'a E>,
}

impl<E> Clone for Table<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Table<'_, E> {}

impl<'a, E> Table<'a, E> {
    /// # Safety
    /// `entries` points to `count` initialised entries, of atomics alone, that stay valid for `'a`.
    pub(crate) unsafe fn new(entries: NonNull<E>, count: usize) -> Self {
        Table { entries, count, _memory: PhantomData }
    }

    pub(crate) fn count(self) -> usize {
        self.count
    }

    /// One entry, whose number comes from this process or was checked against the table's length.
    #[inline]
    pub(crate) fn entry(self, number: usize) -> &'a E {
        assert!(number < self.count, "an entry's number is below the table's length");
        // SAFETY: in bounds, as just checked; valid for 'a, as `new` demands; all words are atomics.
        unsafe { self.entries.add(number).as_ref() }
    }

    /// All entries, in order.
    pub(crate) fn iter(self) -> impl Iterator<Item = &'a E> {
        (0..self.count).map(move |number| self.entry(number))
    }
}

// SAFETY: entries consist of atomics, as `new` demands.
unsafe impl<E> Send for Table<'_, E> {}

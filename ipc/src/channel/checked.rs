//! Which shapes of values are known to be decoded.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

/// More shapes are not remembered: a type with ever new ones is checked now and then.
const MOST: usize = 4096;

/// The shapes of values that were decoded once, after they were encoded.
///
/// Whether a type's `Deserialize` takes what its `Serialize` writes is a matter of which fields, variants and kinds of values
/// occur, and hardly ever of what they hold. So a value is tried at the first of each shape, and the cost is not one of each value.
#[derive(Default)]
pub(super) struct Checked {
    last: Cell<Option<u64>>,
    all: RefCell<HashSet<u64>>,
}

impl Checked {
    /// Whether a value of that shape was decoded.
    #[inline]
    pub(super) fn has(&self, shape: u64) -> bool {
        self.last.get() == Some(shape) || self.find(shape)
    }

    fn find(&self, shape: u64) -> bool {
        let is_there = self.all.borrow().contains(&shape);
        if is_there {
            self.last.set(Some(shape));
        }
        is_there
    }

    /// Notes that a value of that shape was decoded.
    pub(super) fn add(&self, shape: u64) {
        let mut all = self.all.borrow_mut();
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(shape);
        self.last.set(Some(shape));
    }
}

//! An end of the ring together with the process that it belongs to, side by side: each message looks at both.

use crate::fork::Epoch;
use std::ops::{Deref, DerefMut};

/// An end that the process with that epoch holds.
pub(crate) struct Held<E> {
    end: E,
    epoch: Epoch,
}

impl<E> Held<E> {
    pub(crate) fn new(end: E, epoch: Epoch) -> Self {
        Held { end, epoch }
    }

    /// Whether this still is the process that took the end, and not a forked child of it.
    #[inline]
    pub(crate) fn is_own(&self) -> bool {
        self.epoch.is_current()
    }
}

impl<E> Deref for Held<E> {
    type Target = E;

    #[inline]
    fn deref(&self) -> &E {
        &self.end
    }
}

impl<E> DerefMut for Held<E> {
    #[inline]
    fn deref_mut(&mut self) -> &mut E {
        &mut self.end
    }
}

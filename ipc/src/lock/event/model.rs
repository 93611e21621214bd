//! An event in simulated shared memory, for models.

pub use super::protocol::Beginning;

use super::protocol::Control;
use crate::wait::{Until, wait};
use loom::sync::Arc;

/// What [`Event`](../struct.Event.html) is on a machine.
#[derive(Clone)]
pub struct Event(Arc<Control>);

impl Event {
    /// An event that is not set.
    #[expect(clippy::new_without_default, reason = "a model's objects are made, not defaulted")]
    pub fn new() -> Self {
        Event(Arc::new(Control::new()))
    }

    /// Sets it, and wakes who waits.
    pub fn set(&self) {
        self.0.set();
    }

    /// Clears it.
    pub fn clear(&self) {
        self.0.clear();
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.0.is_set()
    }

    /// Begins to wait, for [`wait_since`](Self::wait_since): a waiter that is paused before it sleeps.
    pub fn begin(&self) -> Beginning {
        self.0.begin()
    }

    /// Sleeps until it is set.
    pub fn wait(&self) {
        self.wait_since(self.begin());
    }

    /// Sleeps until it has been set since a beginning.
    pub fn wait_since(&self, since: Beginning) {
        let look = || self.0.has_happened(since).then_some(());
        wait(&self.0.waiters, Until::Forever, look, || true);
    }
}

//! What holds blocks on their way from one process to another, as repair needs to know it.

use std::sync::Arc;

/// Told the index and the generation of each block that a carrier holds.
pub type Held<'a> = &'a mut dyn FnMut(u32, u32);

/// Tells what the carriers that a process knows of hold.
pub type Carriers = Arc<dyn Fn(Held<'_>) + Send + Sync>;

/// Who knows all carriers of an arena, besides the queues within it, and so may repair.
#[derive(Clone)]
pub(crate) enum Custody {
    /// There are no others: every participant repairs.
    Everybody,
    /// This process knows them all, and calls back with what they hold.
    Mine(Carriers),
    /// Another process does.
    Another,
}

impl Custody {
    pub(super) fn is_mine(&self) -> bool {
        !matches!(self, Custody::Another)
    }

    pub(super) fn each_held(&self, held: Held<'_>) {
        if let Custody::Mine(carriers) = self {
            carriers(held);
        }
    }
}

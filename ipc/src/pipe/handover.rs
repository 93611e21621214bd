//! Whether a role's holder is gone, or has handed the role on.
//!
//! | entry | its lock | meaning |
//! | --- | --- | --- |
//! | `VACANT` | free | nobody's yet, or handed on: whoever waits for it waits |
//! | `JOINED` | held | alive |
//! | `JOINED` | free | its holder died: gone |
//! | `LEFT` | | its holder dropped it: gone |
//!
//! A role that is free or gone can be claimed; it is `JOINED` again then, and nobody sees that there was another holder before.
//!
//! An entry and its lock are two things, read one after the other. Between "it is `JOINED`" and "its lock is free" a living holder may have handed the role on, so
//! that makes no death. Therefore who hands on stores `VACANT`, then counts the handover, then lets go of the lock (H1 to H3); and who looks reads the count before and
//! after: if both are the same, the holder it has seen `JOINED` did not hand on, but died or left. Each of them is gone.
//!
//! A holder killed between H1 and H3 has left a role that is nobody's, which was what it wanted.

use crate::fault;
use crate::peer::{self, Entry, JOINED, LEFT};
use crate::sync::{Acquire, AtomicU32, Release};

/// Whether the holder of the role with that entry was dropped or died; `is_dead` asks the kernel.
pub(crate) fn is_gone(entry: &Entry, handovers: &AtomicU32, is_dead: impl FnOnce() -> bool) -> bool {
    let before = handovers.load(Acquire); // pairs with H2
    match entry.state.load(Acquire) {
        LEFT => true,
        JOINED => is_dead() && handovers.load(Acquire) == before,
        _ => false,
    }
}

/// H1 and H2, by the role's holder, who then lets go of the lock (H3).
pub(crate) fn hand_on(entry: &Entry, handovers: &AtomicU32) {
    peer::vacate(entry); // H1
    fault::point("hand on: vacant");
    handovers.store(handovers.load(Acquire).wrapping_add(1), Release); // H2 pairs with `is_gone`
    fault::point("hand on: counted");
}

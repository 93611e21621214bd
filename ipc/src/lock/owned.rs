//! A control word that names its owner: `{ owner: 29, state: 3 }`.
//!
//! Whoever takes it puts its own number in with the same CAS, so that at every instruction it can be told whose it is. The owner is a
//! participant's number + 1, or 0: nobody.

const STATE_BITS: u32 = 3;
const STATE: u32 = (1 << STATE_BITS) - 1;

/// One value of such a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owned(pub(super) u32);

impl Owned {
    /// Participant `me`'s, in a state below 8.
    pub(super) const fn by(me: usize, state: u32) -> Self {
        // A segment has far fewer participants than fit.
        Owned((me as u32 + 1) << STATE_BITS | state & STATE)
    }

    /// Nobody's, in a state below 8.
    pub(super) const fn nobodys(state: u32) -> Self {
        Owned(state & STATE)
    }

    pub(super) const fn state(self) -> u32 {
        self.0 & STATE
    }

    /// Whose it is. The number is not checked against the table.
    pub(super) fn owner(self) -> Option<usize> {
        (self.0 >> STATE_BITS).checked_sub(1).map(|number| number as usize)
    }
}

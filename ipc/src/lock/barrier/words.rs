//! What the words of a barrier say: their bits, and nothing of the algorithm.

/// What the control word says.
#[derive(Clone, Copy)]
pub(super) struct Phase(pub(super) u64);

impl Phase {
    const BROKEN: u64 = 1;
    const CHANGE: u64 = 2;

    pub(super) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(super) fn is_broken(self) -> bool {
        self.0 & Self::BROKEN != 0
    }

    /// `{ changes + 1 }`; the generation stays when the changes start again from 0.
    pub(super) fn changed(self, broken: bool) -> u64 {
        let low = (self.0 as u32).wrapping_add(Self::CHANGE as u32) & !(Self::BROKEN as u32);
        u64::from(self.generation()) << 32 | u64::from(low) | u64::from(broken)
    }

    /// `{ generation + 1 }`.
    pub(super) fn next(self) -> u64 {
        self.0.wrapping_add(1 << 32)
    }
}

/// What a place's word says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Never,
    Taken { arrived_for: u32, holder: usize },
    Lost,
}

impl Place {
    const TAKEN: u64 = 1;
    const LOST: u64 = 2;
    const STATE: u64 = 3;

    pub(super) fn word(self) -> u64 {
        match self {
            Place::Never => 0,
            Place::Lost => Self::LOST,
            Place::Taken { arrived_for, holder } => {
                u64::from(arrived_for) << 32 | (holder as u64 + 1) << 2 | Self::TAKEN
            }
        }
    }

    /// A word that says nothing is a place that was never taken.
    pub(super) fn of(word: u64) -> Self {
        match (word & Self::STATE, (word as u32 >> 2) as usize) {
            (Self::LOST, _) => Place::Lost,
            (Self::TAKEN, 1..) => {
                Place::Taken { arrived_for: (word >> 32) as u32, holder: (word as u32 >> 2) as usize - 1 }
            }
            _ => Place::Never,
        }
    }

    pub(super) fn is_held_by(self, who: usize) -> bool {
        matches!(self, Place::Taken { holder, .. } if holder == who)
    }

    pub(super) fn has_arrived_for(self, generation: u32) -> bool {
        matches!(self, Place::Taken { arrived_for, .. } if arrived_for == generation)
    }
}

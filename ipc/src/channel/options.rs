//! The arena of a queue that was not given one.

use crate::arena::ArenaOptions;
use crate::error::Error;

/// What its values may take at least.
const VALUES: u64 = 64 << 20;
/// By how much it grows.
const STRETCH: u64 = 4 << 20;

/// An arena with room for a queue of so many slots, and for its values.
pub(super) fn blueprint_of(capacity: usize) -> Result<ArenaOptions, Error> {
    let ring = (capacity as u64).checked_next_power_of_two().and_then(|slots| slots.checked_mul(64));
    let ring = ring.and_then(|ring| ring.checked_add(64 << 10)).and_then(u64::checked_next_power_of_two);
    let ring = ring.filter(|&ring| ring <= 1 << 36).ok_or(Error::Capacity { capacity, max: 1 << 30 })?;
    Ok(ArenaOptions::new(ring + STRETCH).limit(ring + VALUES))
}

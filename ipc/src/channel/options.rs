//! How a queue of any values is made: the arena of one that was not given one, and names for the values' type.

use super::queue::{Queue, named};
use crate::arena::{Arena, ArenaOptions};
use crate::error::Error;
use crate::message::Message;
use crate::queue::QueueOptions;

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

/// Queues of any values. The arena says how many participants they may have.
impl QueueOptions {
    /// As [`Queue::create_in`].
    ///
    /// # Errors
    /// As there.
    pub fn create_values_in<T: Message>(self, arena: &Arena, name: &str) -> Result<Queue<T>, Error> {
        Queue::create_as(arena, name, self.capacity, named::<T>(self.type_name))
    }

    /// As [`Queue::open_in`]. Of the options the type's name counts alone.
    ///
    /// # Errors
    /// As there.
    pub fn open_values_in<T: Message>(self, arena: &Arena, name: &str) -> Result<Queue<T>, Error> {
        Queue::open_as(arena, name, named::<T>(self.type_name))
    }

    /// As [`Queue::open_or_create_in`].
    ///
    /// # Errors
    /// As there.
    pub fn open_or_create_values_in<T: Message>(self, arena: &Arena, name: &str) -> Result<Queue<T>, Error> {
        Queue::open_or_create_as(arena, name, self.capacity, named::<T>(self.type_name))
    }
}

//! The words and bytes of an SPSC ring in shared memory.
//!
//! ```text
//! body + 0     tail   { position: 64 }                      written by the sender
//!        128   head   { position: 64 }                      written by the receiver
//!        256   items, space (wait words), handovers         written when somebody sleeps or hands a role on
//!        then  zero, up to a page boundary of the file
//!        then  the data: a power of two of bytes, whole pages
//! ```
//!
//! Positions count bytes from the beginning of time; `position & (bytes - 1)` is the offset in the data. A message is a record:
//!
//! ```text
//! position p (a multiple of 8)  p + 8                          p + 8 + length     next record, at a multiple of 8
//!     +---------------------+------------------------------+------------------+
//!     | length: 64          | payload                      | up to 7 bytes    |
//!     +---------------------+------------------------------+------------------+
//! ```
//!
//! A record may run over the end of the data. Each side maps the data's pages twice in a row (`map.rs`), so that there it still is contiguous.

use crate::sync::{AtomicU32, AtomicU64, Line};
use crate::wait::WaitWord;

/// The bytes before a payload, and the unit of positions.
pub(crate) const HEADER_BYTES: u64 = 8;

/// The bytes of the record of a message that fits in some ring.
#[inline]
pub(crate) const fn record_bytes(length: u64) -> u64 {
    (length + (2 * HEADER_BYTES - 1)) & !(HEADER_BYTES - 1)
}

/// The longest message in a ring of so many bytes.
#[inline]
pub(crate) const fn longest(ring_bytes: u64) -> u64 {
    ring_bytes - HEADER_BYTES
}

/// What is seldom written.
#[cfg_attr(not(loom), repr(C))]
pub(crate) struct Signals {
    /// The receiver sleeps here.
    pub(crate) items: WaitWord,
    /// The sender sleeps here.
    pub(crate) space: WaitWord,
    /// How often the sender's and the receiver's role was handed on; each written by the role's holder alone.
    pub(crate) handovers: [AtomicU32; 2],
}

/// The words before the data. All zeroes is an empty ring.
#[cfg_attr(not(loom), repr(C))]
pub(crate) struct Control {
    pub(crate) tail: Line<AtomicU64>,
    pub(crate) head: Line<AtomicU64>,
    pub(crate) signals: Line<Signals>,
}

#[cfg(not(loom))]
mod bytes {
    use super::{Control, HEADER_BYTES};

    const _: () = assert!(size_of::<Control>() == 384);

    /// More than any machine has; an error below it comes from the memory that is not there.
    const MOST: u64 = 1 << 45;

    /// The longest message that may be asked for.
    pub(crate) const LONGEST: u64 = super::longest(MOST);

    /// The bytes of the ring for messages of `capacity` bytes; `None` if that is impossible.
    pub(crate) fn ring_bytes(capacity: u64, page: u64) -> Option<u64> {
        let least = capacity.checked_add(HEADER_BYTES)?.checked_next_multiple_of(HEADER_BYTES)?;
        let bytes = least.max(page).checked_next_power_of_two()?;
        (capacity > 0 && bytes <= MOST).then_some(bytes)
    }

    /// Where in the file the data starts, for a body that starts at `body`: on a page of its own, which pages of any size allow to map.
    pub(crate) fn data_offset(body: u64, page: u64) -> u64 {
        (body + size_of::<Control>() as u64).next_multiple_of(page)
    }

    /// The bytes of a body with a ring of `bytes`, wherever it starts; `None` unless `bytes` is a power of two of whole pages.
    pub(crate) fn body_len(bytes: u64, page: u64) -> Option<u64> {
        let is_possible = bytes.is_power_of_two() && bytes >= page && bytes <= MOST;
        is_possible.then(|| size_of::<Control>() as u64 + (page - 1) + bytes)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_longest_message_fits_and_the_ring_is_whole_pages() {
            for page in [4096, 65536] {
                for (capacity, bytes) in [(1, page), (page - 8, page), (page - 7, 2 * page), (page, 2 * page)]
                {
                    assert_eq!(ring_bytes(capacity, page), Some(bytes), "{capacity} bytes, pages of {page}");
                    assert!(super::super::longest(bytes) >= capacity);
                    for body in [8192, 12288] {
                        let data = data_offset(body, page);
                        assert_eq!(data % page, 0);
                        assert!(data >= body + 384);
                        assert!(data + bytes <= body + body_len(bytes, page).expect("possible"));
                    }
                }
            }
        }

        #[test]
        fn impossible_sizes_are_refused() {
            assert_eq!(ring_bytes(0, 4096), None);
            assert_eq!(ring_bytes(LONGEST, 4096), Some(MOST));
            assert_eq!(ring_bytes(LONGEST + 1, 4096), None);
            assert_eq!(ring_bytes(u64::MAX, 4096), None);
            for bytes in [0, 2048, 4097, 3 * 4096, 1 << 46, 1 << 63] {
                assert_eq!(body_len(bytes, 4096), None, "{bytes}");
            }
        }
    }
}
#[cfg(not(loom))]
pub(crate) use bytes::{LONGEST, body_len, data_offset, ring_bytes};

#[cfg(loom)]
mod heap {
    use super::{Control, Line, Signals};
    use crate::sync::{AtomicU32, AtomicU64};
    use crate::wait::WaitWord;

    impl Control {
        pub(crate) fn new() -> Self {
            let handovers = [AtomicU32::new(0), AtomicU32::new(0)];
            let signals = Signals { items: WaitWord::new(), space: WaitWord::new(), handovers };
            Control { tail: Line(AtomicU64::new(0)), head: Line(AtomicU64::new(0)), signals: Line(signals) }
        }
    }
}

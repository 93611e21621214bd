//! A segment's first page, and what attach checks of it.
//!
//! ```text
//!  byte 0         8        12      16        24        32        40        48          56         64      68        72
//!       +---------+--------+-------+---------+---------+---------+---------+-----------+----------+-------+---------+
//!       | magic   | version| zero  | arch    | kind    | capacity| item    | item      | item     | peers | zero to |
//!       | "skep…" | 2      |       | ascii   | ascii   |         | size    | alignment | name hash|       | 4096    |
//!       +---------+--------+-------+---------+---------+---------+---------+-----------+----------+-------+---------+
//!  128  : the items' type by name, and the compiler that named it (`label.rs`), 256 bytes
//!  4096 : the peer table, one 128-byte entry a peer (`peer.rs`), rounded up to whole pages
//!  then : the object's own words and slots, the body
//! ```
//!
//! The header is written once, before the segment is published, and never again. A reader copies it out, checks the
//! copy, and uses the copy alone, so that a peer that writes to it later changes nothing.

use crate::error::Mismatch;
use crate::label::{LABEL_BYTES, Label};
use crate::peer::ENTRY_BYTES;
use crate::sync::LINE;
use std::mem::{align_of, size_of};

/// The bytes of the first page.
pub(crate) const HEADER_BYTES: usize = 4096;
/// The unit in which peer table and body are laid out.
pub(crate) const PAGE_BYTES: u64 = 4096;
/// More participants than any segment may have.
pub(crate) const MAX_PEERS: usize = 4096;

const MAGIC: u64 = u64::from_le_bytes(*b"skep-ipc");
const VERSION: u32 = 2;
/// Where the label is.
const LABEL: usize = 128;

/// What kind of object a segment holds: up to eight ASCII characters, padded with NUL.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Kind([u8; 8]);

impl Kind {
    /// A kind of that name.
    pub const fn new(name: [u8; 8]) -> Self {
        Kind(name)
    }
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&printable(u64::from_le_bytes(self.0)))
    }
}

/// The type of the items that a segment holds, as far as two programs can compare it: size, alignment and name.
#[derive(Debug, Clone, Copy)]
pub struct Item {
    size: u64,
    align: u64,
    name_hash: u64,
    label: Label,
}

impl Item {
    /// The items are values of `T`. Programs agree if they name the type by the same path, in the same crate, and are built by the same compiler: the path is that of
    /// [`std::any::type_name`].
    pub fn of<T: bytemuck::Pod>() -> Self {
        Item::named::<T>(std::any::type_name::<T>())
    }

    /// The items are values of `T`, which programs call by a name of their own: who changes what a value means, and not its size, is to change the name.
    pub fn named<T: bytemuck::Pod>(name: &str) -> Self {
        let (size, align) = (size_of::<T>() as u64, align_of::<T>() as u64);
        Item { size, align, name_hash: fnv1a(name), label: Label::of(name) }
    }

    /// One number for all of it.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.name_hash ^ self.size.rotate_left(20) ^ self.align.rotate_left(40)
    }

    /// The items are structs of that name with such fields, in that order. The name is for people alone.
    #[doc(hidden)]
    pub fn of_struct(name: &str, fields: &[(Kind, Item)]) -> Self {
        let describe = |(kind, item): &(Kind, Item)| {
            format!("{kind:?} {} {} {:x};", item.size, item.align, item.name_hash)
        };
        let text: String = fields.iter().map(describe).collect();
        Item {
            size: fields.iter().map(|(_, item)| item.size).sum(),
            align: LINE as u64,
            name_hash: fnv1a(&text),
            label: Label::of(name),
        }
    }

    /// The items are bytes that mean something to the caller, `size` of them at a time.
    pub const fn opaque(size: u64) -> Self {
        Item { size, align: 1, name_hash: 0, label: Label::of("bytes") }
    }

    /// For people.
    fn describe(&self) -> String {
        format!("{}, {} bytes each", self.label, self.size)
    }
}

/// The label is for people: it may be cut short, and says which compiler it was.
impl PartialEq for Item {
    fn eq(&self, other: &Item) -> bool {
        (self.size, self.align, self.name_hash) == (other.size, other.align, other.name_hash)
    }
}

impl Eq for Item {}

/// What a program expects of a segment: the kind, the item type, and the size of the body as the capacity gives it.
#[derive(Debug, Clone, Copy)]
pub struct Blueprint {
    /// What kind of object it is.
    pub kind: Kind,
    /// What items it holds.
    pub item: Item,
    /// The bytes of the body at a given capacity; `None` if that capacity is impossible.
    pub body_len: fn(u64) -> Option<u64>,
}

/// The checked facts of a header, and the layout that follows from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) capacity: u64,
    pub(crate) peers: usize,
    /// Where the body starts.
    pub(crate) body: u64,
    /// The bytes of the body.
    pub(crate) body_len: u64,
    /// The bytes of the whole segment.
    pub(crate) total: u64,
}

impl Blueprint {
    /// The layout for a capacity and a number of peers; `None` if they are impossible.
    pub(crate) fn geometry(&self, capacity: u64, peers: usize) -> Option<Geometry> {
        if peers == 0 || peers > MAX_PEERS {
            return None;
        }
        let table = (peers * ENTRY_BYTES) as u64;
        let body = HEADER_BYTES as u64 + table.next_multiple_of(PAGE_BYTES);
        let body_len = (self.body_len)(capacity)?;
        let total = body.checked_add(body_len)?.checked_next_multiple_of(PAGE_BYTES)?;
        // Offsets must be expressible as `isize`, as the language demands of any object.
        isize::try_from(total).ok()?;
        Some(Geometry { capacity, peers, body, body_len, total })
    }

    /// The header page of a new segment.
    pub(crate) fn header(&self, geometry: &Geometry) -> [u8; HEADER_BYTES] {
        let mut page = [0; HEADER_BYTES];
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC.to_ne_bytes());
        put(8, &VERSION.to_ne_bytes());
        put(16, &arch().to_ne_bytes());
        put(24, &self.kind.0);
        put(32, &geometry.capacity.to_ne_bytes());
        put(40, &self.item.size.to_ne_bytes());
        put(48, &self.item.align.to_ne_bytes());
        put(56, &self.item.name_hash.to_ne_bytes());
        put(64, &(geometry.peers as u32).to_ne_bytes());
        put(LABEL, bytemuck::bytes_of(&self.item.label));
        page
    }

    /// Checks a copy of a header page against this blueprint and the size of the file it came from.
    ///
    /// # Errors
    /// The first thing that is not as expected.
    pub(crate) fn check(&self, page: &[u8; HEADER_BYTES], file_bytes: u64) -> Result<Geometry, Mismatch> {
        if u64_at(page, 0) != MAGIC {
            return Err(Mismatch::Magic);
        }
        if u32_at(page, 8) != VERSION {
            return Err(Mismatch::Version { found: u32_at(page, 8), expected: VERSION });
        }
        if u64_at(page, 16) != arch() {
            return Err(Mismatch::Arch { found: printable(u64_at(page, 16)), expected: printable(arch()) });
        }
        let kind = u64_at(page, 24).to_ne_bytes();
        if kind != self.kind.0 {
            return Err(Mismatch::Kind {
                found: printable(u64::from_le_bytes(kind)),
                expected: printable(u64::from_le_bytes(self.kind.0)),
            });
        }
        let item = Item {
            size: u64_at(page, 40),
            align: u64_at(page, 48),
            name_hash: u64_at(page, 56),
            label: bytemuck::pod_read_unaligned(&page[LABEL..LABEL + LABEL_BYTES]),
        };
        if item != self.item {
            return Err(Mismatch::Item { found: item.describe(), expected: self.item.describe() });
        }
        let (capacity, peers) = (u64_at(page, 32), u32_at(page, 64));
        let geometry = self
            .geometry(capacity, usize::try_from(peers).unwrap_or(usize::MAX))
            .ok_or(Mismatch::Geometry { capacity, peers })?;
        if file_bytes < geometry.total {
            return Err(Mismatch::Size { found: file_bytes, expected: geometry.total });
        }
        Ok(geometry)
    }
}

/// Takes the magic number out of a new header page, for whoever writes it last.
pub(crate) fn take_magic(page: &mut [u8; HEADER_BYTES]) -> u64 {
    let magic = u64_at(page, 0);
    page[..8].fill(0);
    magic
}

/// Whether a page is a segment's header, of whatever version and kind.
#[cfg(feature = "shared_memory")]
pub(crate) fn has_magic(page: &[u8; HEADER_BYTES]) -> bool {
    u64_at(page, 0) == MAGIC
}

fn u64_at(page: &[u8; HEADER_BYTES], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&page[at..at + 8]);
    u64::from_ne_bytes(bytes)
}

fn u32_at(page: &[u8; HEADER_BYTES], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&page[at..at + 4]);
    u32::from_ne_bytes(bytes)
}

/// Architecture and C library: what the layout of atomics and of a `pthread_mutex_t` depends on.
const fn arch() -> u64 {
    let cpu = if cfg!(target_arch = "x86_64") {
        *b"x86_64"
    } else if cfg!(target_arch = "aarch64") {
        *b"arm64\0"
    } else if cfg!(target_endian = "big") {
        *b"other+"
    } else {
        *b"other-"
    };
    let libc = if cfg!(target_env = "musl") { b'm' } else { b'g' };
    let width = (size_of::<usize>() as u8) + b'0';
    u64::from_le_bytes([cpu[0], cpu[1], cpu[2], cpu[3], cpu[4], cpu[5], libc, width])
}

/// An ASCII word for a message; other bytes show as dots.
fn printable(word: u64) -> String {
    let bytes = word.to_le_bytes();
    let shown = bytes.iter().take_while(|&&b| b != 0);
    shown.map(|&b| if b.is_ascii_graphic() { b as char } else { '.' }).collect()
}

/// The hash of a type's name (Fowler, Noll and Vo, variant 1a, 64 bits).
pub(crate) const fn fnv1a(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0100_0000_01b3);
        i += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blueprint() -> Blueprint {
        Blueprint { kind: Kind::new(*b"testkind"), item: Item::of::<u64>(), body_len: |c| c.checked_mul(8) }
    }

    fn valid() -> ([u8; HEADER_BYTES], u64) {
        let geometry = blueprint().geometry(16, 3).expect("possible");
        (blueprint().header(&geometry), geometry.total)
    }

    #[test]
    fn a_header_round_trips() {
        let (page, total) = valid();
        let geometry = blueprint().check(&page, total).expect("valid");
        assert_eq!((geometry.capacity, geometry.peers, geometry.body), (16, 3, 8192));
        assert_eq!(geometry.total % PAGE_BYTES, 0);
    }

    /// Each field, spoilt alone, is named by its own error.
    #[test]
    fn each_spoilt_field_is_named() {
        type Expect = fn(&Mismatch) -> bool;
        let cases: [(usize, Expect); 8] = [
            (0, |m| matches!(m, Mismatch::Magic)),
            (8, |m| matches!(m, Mismatch::Version { .. })),
            (16, |m| matches!(m, Mismatch::Arch { .. })),
            (24, |m| matches!(m, Mismatch::Kind { .. })),
            (40, |m| matches!(m, Mismatch::Item { .. })),
            (48, |m| matches!(m, Mismatch::Item { .. })),
            (56, |m| matches!(m, Mismatch::Item { .. })),
            (66, |m| matches!(m, Mismatch::Geometry { .. })),
        ];
        for (at, expected) in cases {
            let (mut page, total) = valid();
            page[at] ^= 0x10;
            let mismatch = blueprint().check(&page, total).expect_err("spoilt");
            assert!(expected(&mismatch), "byte {at}: {mismatch}");
        }
        let (page, total) = valid();
        assert!(matches!(blueprint().check(&page, total - 1), Err(Mismatch::Size { .. })));
        let (mut page, _) = valid();
        page[32..40].copy_from_slice(&u64::MAX.to_ne_bytes());
        assert!(matches!(blueprint().check(&page, u64::MAX), Err(Mismatch::Geometry { .. })));
    }
}

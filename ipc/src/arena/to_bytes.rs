//! Feature `bytes`: memory of an arena as `bytes::Bytes`.
//!
//! Clones and slices of a `Bytes` share the one handle that it was made of, which is dropped with the last of them.
//!
//! ```
//! use bytes::Bytes;
//! let arena = skep_ipc::Arena::new(1 << 20)?;
//! let text: Bytes = arena.string("hello, world")?.into();
//! assert_eq!(text.slice(7..), "world");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::boxed::ShmBox;
use super::counted::ShmArc;
use super::string::ShmString;
use super::vec::ShmVec;
use bytes::Bytes;

impl From<ShmBox<[u8]>> for Bytes {
    fn from(bytes: ShmBox<[u8]>) -> Bytes {
        Bytes::from_owner(bytes)
    }
}

impl From<ShmVec<u8>> for Bytes {
    fn from(bytes: ShmVec<u8>) -> Bytes {
        Bytes::from_owner(bytes)
    }
}

impl From<ShmString> for Bytes {
    fn from(text: ShmString) -> Bytes {
        Bytes::from_owner(text.into_bytes())
    }
}

impl From<ShmArc<[u8]>> for Bytes {
    fn from(bytes: ShmArc<[u8]>) -> Bytes {
        Bytes::from_owner(bytes)
    }
}

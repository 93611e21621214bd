//! `ShmString`: text that grows.

use super::boxed::ShmBox;
use super::counted::ShmArc;
use super::error::AllocError;
use super::shareable::copy_text;
use super::vec::ShmVec;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::ops::Deref;
use std::string::FromUtf8Error;

/// A text in shared memory that one process owns: what `String` is on the heap. It moves as [`ShmBox`](crate::ShmBox) does.
///
/// ```
/// let arena = skep_ipc::Arena::new(1 << 20)?;
/// let mut line = arena.string("GET ")?;
/// line.push_str("/index.html")?;
/// assert_eq!(&*line, "GET /index.html");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ShmString(ShmVec<u8>);

impl ShmString {
    /// For a vector that is empty.
    pub(super) fn new(empty: ShmVec<u8>) -> Self {
        ShmString(empty)
    }

    /// Adds text at the end.
    ///
    /// # Errors
    /// [`AllocError`], if it has to move and cannot; nothing is added then.
    pub fn push_str(&mut self, text: &str) -> Result<(), AllocError> {
        self.0.extend_from_slice(text.as_bytes())
    }

    /// Copies the text out, and checks the copy: for memory that is shared with programs which are not trusted to keep
    /// to the protocol. Dereferencing trusts that nobody has written to the block since it was checked; see `SECURITY.md`.
    ///
    /// # Errors
    /// Some process has written there what is no text.
    ///
    /// # Panics
    /// If the handle was sent.
    pub fn to_checked_string(&self) -> Result<String, FromUtf8Error> {
        copy_text(self.0.as_ptr(), self.0.len())
    }

    /// Removes all text.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Its bytes, to be changed as bytes.
    pub fn into_bytes(self) -> ShmVec<u8> {
        self.0
    }

    /// The text as it is, without a way to grow. The room behind it stays with the block.
    pub fn into_boxed_str(self) -> ShmBox<str> {
        let (owned, len) = self.0.into_slice().into_parts();
        ShmBox::new(owned, len)
    }

    /// Makes it immutable and counted; see [`ShmBox::share`].
    ///
    /// # Errors
    /// As there.
    pub fn share(self) -> Result<ShmArc<str>, AllocError> {
        self.into_boxed_str().share()
    }
}

impl Deref for ShmString {
    type Target = str;

    fn deref(&self) -> &str {
        // SAFETY: it begins empty, `push_str` adds text, and what comes out of a queue is checked when it is this process's
        // alone; by the protocol nobody else writes to the block (SECURITY.md).
        unsafe { std::str::from_utf8_unchecked(&self.0) }
    }
}

impl fmt::Debug for ShmString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl fmt::Display for ShmString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Within a queue or a task of its arena it moves; elsewhere this is an error.
impl Serialize for ShmString {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        self.0.serialize(serializer)
    }
}

/// Only within a queue or a task of its arena.
impl<'de> Deserialize<'de> for ShmString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = ShmVec::<u8>::deserialize(deserializer)?;
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(ShmString(bytes)),
            Err(error) => Err(de::Error::custom(error)),
        }
    }
}

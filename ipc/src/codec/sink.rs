//! Where a value is written.

use super::error::Error;

/// Bytes, one after the other.
pub trait Sink {
    /// How many bytes there are, of this value and before it.
    fn position(&self) -> usize;

    /// Appends bytes.
    ///
    /// # Errors
    /// There is no room for them.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error>;

    /// Makes room for that many bytes more, if there is any; they need not come.
    fn reserve(&mut self, bytes: usize);

    /// Replaces a byte that was written.
    fn replace(&mut self, at: usize, byte: u8);
}

impl Sink for Vec<u8> {
    #[inline]
    fn position(&self) -> usize {
        self.len()
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn reserve(&mut self, bytes: usize) {
        self.reserve(bytes);
    }

    #[inline]
    fn replace(&mut self, at: usize, byte: u8) {
        self[at] = byte;
    }
}

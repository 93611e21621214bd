//! An input as a list of small decisions. At its end every further decision is zero, and `step` says that it is over.

/// What is left of an input.
pub struct Input<'a>(pub &'a [u8]);

#[allow(dead_code, reason = "each target uses what it needs")]
impl Input<'_> {
    /// What to do next; `None` at the end.
    pub fn step(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// A number below `n`, which is at most 256.
    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.step().unwrap_or(0)) % n
    }

    /// A number up to `most`, which is at most 65535.
    pub fn up_to(&mut self, most: usize) -> usize {
        usize::from(u16::from_le_bytes([self.step().unwrap_or(0), self.step().unwrap_or(0)])) % (most + 1)
    }

    /// Any eight bytes.
    pub fn word(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.step().unwrap_or(0)))
    }
}

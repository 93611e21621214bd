//! What is sent: numbers, in messages that are written and read whole.

use skep::Pod;

/// The number that ends a run.
pub const END: u64 = u64::MAX;

/// A message that says a number with all of its bytes.
pub trait Item: Pod {
    fn of(number: u64) -> Self;

    /// The number; panics if the message is torn.
    fn number(&self) -> u64;
}

impl Item for u64 {
    #[inline]
    fn of(number: u64) -> u64 {
        number
    }

    #[inline]
    fn number(&self) -> u64 {
        *self
    }
}

/// A cache line.
impl Item for [u64; 8] {
    #[inline]
    fn of(number: u64) -> Self {
        [number; 8]
    }

    #[inline]
    fn number(&self) -> u64 {
        let differs = self.iter().fold(0, |differs, word| differs | (word ^ self[0]));
        assert_eq!(differs, 0, "a message is torn");
        self[0]
    }
}

/// A message of many bytes, copied from a buffer of the sender's into one of the receiver's.
pub struct Bulk {
    words: Vec<u64>,
}

impl Bulk {
    pub fn new(bytes: usize) -> Bulk {
        Bulk { words: (0..bytes as u64 / 8).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect() }
    }

    /// The bytes of a message that says a number: in its first word, its last one, and one in the middle.
    pub fn say(&mut self, number: u64) -> &[u8] {
        for place in self.places() {
            self.words[place] = number;
        }
        bytemuck::cast_slice(&self.words)
    }

    /// Where a message is copied to.
    pub fn room(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.words)
    }

    /// What the message that was copied here says; panics if it is torn.
    pub fn number(&self) -> u64 {
        let [first, middle, last] = self.places().map(|place| std::hint::black_box(&self.words)[place]);
        assert!(first == middle && middle == last, "a message is torn");
        first
    }

    fn places(&self) -> [usize; 3] {
        [0, self.words.len() / 2, self.words.len() - 1]
    }
}

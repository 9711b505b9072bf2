//! The only source of randomness: one string of bytes, so that failing cases shrink.

/// Random numbers from a string of bytes; zeros after its end.
pub(crate) struct Dice<'a> {
    bytes: std::slice::Iter<'a, u8>,
}

impl<'a> Dice<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: bytes.iter() }
    }

    /// A number below `sides`.
    pub(crate) fn throw(&mut self, sides: usize) -> usize {
        let mut byte = || usize::from(*self.bytes.next().unwrap_or(&0));
        (byte() * 256 + byte()) % sides
    }

    /// A 64-bit number below `sides`.
    pub(crate) fn number(&mut self, sides: i64) -> i64 {
        self.throw(1 << 16) as i64 * self.throw(1 << 16) as i64 % sides
    }

    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.throw(choices.len())]
    }
}

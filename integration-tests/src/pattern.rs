//! Bytes that can be verified without being kept: each is a function of a seed and its offset, so
//! that a byte lost, repeated or moved shows at once.

use crate::random::mix;

/// An endless, seeded run of bytes.
#[derive(Debug, Clone, Copy)]
pub struct Pattern(pub u64);

impl Pattern {
    /// Fills `buffer` with the bytes from `offset` on.
    pub fn fill(self, offset: u64, buffer: &mut [u8]) {
        let mut at = 0;
        while at < buffer.len() {
            let offset = offset + at as u64;
            let word = mix(self.0 ^ (offset / 8)).to_le_bytes();
            let skip = usize::try_from(offset % 8).expect("below 8");
            let len = (8 - skip).min(buffer.len() - at);
            buffer[at..at + len].copy_from_slice(&word[skip..skip + len]);
            at += len;
        }
    }

    /// The bytes of `len` from `offset` on.
    #[must_use]
    pub fn bytes(self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(offset, &mut bytes);
        bytes
    }
}

/// Compares what arrives with a pattern.
#[derive(Debug)]
pub struct Verifier {
    pattern: Pattern,
    /// How many bytes were verified.
    pub verified: u64,
    expected: Vec<u8>,
}

impl Verifier {
    /// Expects the pattern from its beginning.
    #[must_use]
    pub const fn new(pattern: Pattern) -> Self {
        Self {
            pattern,
            verified: 0,
            expected: Vec::new(),
        }
    }

    /// The next bytes.
    ///
    /// # Panics
    ///
    /// When one of them is not the one that was due.
    pub fn take(&mut self, bytes: &[u8]) {
        if let Err(wrong) = self.check(bytes) {
            panic!("{wrong}");
        }
    }

    /// The next bytes, if they are the ones that were due.
    ///
    /// # Errors
    ///
    /// The offset of the first that is not, in words.
    pub fn check(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.expected.resize(bytes.len(), 0);
        self.pattern.fill(self.verified, &mut self.expected);
        if self.expected != bytes {
            let right = self
                .expected
                .iter()
                .zip(bytes)
                .take_while(|(want, got)| want == got);
            let offset = self.verified + right.count() as u64;
            return Err(format!("seed {}: byte {offset} is wrong", self.pattern.0));
        }
        self.verified += bytes.len() as u64;
        Ok(())
    }
}

//! What the bytes of a connection are: they follow from its number and their offset, so that each one
//! can be verified where it arrives.
//!
//! Letters and digits only, so that transports for text carry them as they are.

use std::sync::OnceLock;

use crate::Result;

/// A prime, so that no power of two repeats it.
const PERIOD: usize = 65_521;
/// Most bytes of a slice.
pub(crate) const MAX_SLICE: usize = 64 * 1024;
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn table() -> &'static [u8] {
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes: Vec<u8> = (0..PERIOD)
            .map(|_| {
                // xorshift64
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                LETTERS[(state >> 58) as usize]
            })
            .collect();
        bytes.extend_from_within(..MAX_SLICE.min(PERIOD));
        bytes.extend_from_within(..MAX_SLICE - MAX_SLICE.min(PERIOD));
        bytes
    })
}

/// `len` bytes from `offset` on; at most [`MAX_SLICE`].
pub(crate) fn slice(seed: u64, offset: u64, len: usize) -> &'static [u8] {
    let start = (offset.wrapping_add(seed.wrapping_mul(7919)) % PERIOD as u64) as usize;
    &table()[start..start + len]
}

/// Says where `bytes`, which begin at `offset`, are wrong.
pub(crate) fn verify(seed: u64, offset: u64, bytes: &[u8]) -> Result<()> {
    let mut offset = offset;
    for chunk in bytes.chunks(MAX_SLICE) {
        let expected = slice(seed, offset, chunk.len());
        if chunk != expected {
            let wrong = chunk.iter().zip(expected).position(|(a, b)| a != b);
            let at = offset + wrong.unwrap_or(0) as u64;
            return Err(format!("connection {seed}: the byte at {at} is wrong").into());
        }
        offset += chunk.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_told_from_its_neighbours() {
        let bytes = slice(3, 70_000, 4_096);
        verify(3, 70_000, bytes).expect("it is what it is");
        for (seed, offset) in [(4, 70_000), (3, 70_001), (3, 69_999)] {
            verify(seed, offset, bytes).expect_err("another place has other bytes");
        }
        let mut changed = bytes.to_vec();
        changed[4_095] ^= 1;
        let error = verify(3, 70_000, &changed).expect_err("one byte differs");
        assert_eq!(
            error.to_string(),
            "connection 3: the byte at 74095 is wrong"
        );
    }

    #[test]
    fn slices_join_across_the_end_of_the_period() {
        let whole = slice(1, 60_000, MAX_SLICE).to_vec();
        let parts: Vec<u8> = (0..64)
            .flat_map(|i| slice(1, 60_000 + i * 1024, 1024))
            .copied()
            .collect();
        assert_eq!(whole, parts);
    }
}

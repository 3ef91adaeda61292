//! Input made out of seeds: some of each, changed where decoders break.

/// A small generator (SplitMix64), so that the same seed gives the same input.
struct Random(u64);

impl Random {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let n = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        n ^ (n >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() % bound as u64).expect("below a length")
    }

    fn choose<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A part of something this long, often a small one.
    fn part(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.below(len + 1);
        let most = (len - start).min(*self.choose(&[4, 16, usize::MAX]));
        start..start + self.below(most + 1)
    }
}

/// Inputs are cut to this.
const MAX_LEN: usize = 4096;
const MOST_CHANGES: usize = 4;
/// What numbers are compared with.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0xffff,
    0x1_0000,
    0xffff_ffff,
    0x1_0000_0000,
    (1 << 53) - 1,
    1 << 53,
    1 << 63,
    u64::MAX,
];

/// One of the seeds, changed in a few places.
pub(crate) fn mutate(seed: u64, seeds: &[Vec<u8>], tokens: &[Vec<u8>]) -> Vec<u8> {
    let mut random = Random(seed);
    let mut input = random.choose(seeds).clone();
    for _ in 0..=random.below(MOST_CHANGES) {
        let part = random.part(input.len());
        match random.below(9) {
            0 => flip(&mut random, &mut input),
            1 => {
                let byte = random.number().to_le_bytes()[0];
                input.splice(part.start..part.start, [byte]);
            }
            2 => input.truncate(part.start),
            3 => drop(input.drain(part)),
            4 => {
                let again = input[part.clone()].to_vec();
                input.splice(part.end..part.end, again);
            }
            5 => {
                let other = random.choose(seeds);
                let from = random.below(other.len() + 1);
                input.truncate(part.start);
                input.extend_from_slice(&other[from..]);
            }
            6 => {
                let token = random.choose(tokens).iter().copied();
                input.splice(part.start..part.start, token);
            }
            7 => digits(&mut random, &mut input),
            _ => binary(&mut random, &mut input),
        }
        input.truncate(MAX_LEN);
    }
    input
}

fn flip(random: &mut Random, input: &mut [u8]) {
    if !input.is_empty() {
        let at = random.below(input.len());
        input[at] ^= 1 << random.below(8);
    }
}

/// Puts an edge in the place of a number in digits.
fn digits(random: &mut Random, input: &mut Vec<u8>) {
    let is_digit = |at: &usize| input[*at].is_ascii_digit();
    let all: Vec<usize> = (0..input.len()).filter(is_digit).collect();
    if all.is_empty() {
        return;
    }
    let at = *random.choose(&all);
    let before = input[..at].iter().rev().take_while(|b| b.is_ascii_digit());
    let after = input[at..].iter().take_while(|b| b.is_ascii_digit());
    let number = at - before.count()..at + after.count();
    let edge = random.choose(&EDGES).to_string();
    input.splice(number, edge.into_bytes());
}

/// Writes an edge over bytes, as big-endian numbers are written.
fn binary(random: &mut Random, input: &mut [u8]) {
    let width = *random.choose(&[1, 2, 4, 8]);
    if let Some(last) = input.len().checked_sub(width) {
        let at = random.below(last + 1);
        let edge = random.choose(&EDGES).to_be_bytes();
        input[at..at + width].copy_from_slice(&edge[8 - width..]);
    }
}

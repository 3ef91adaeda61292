//! Seeded chance, so that a failure can be had again.

/// A small generator (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same run of numbers.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number in `from..to`.
    pub fn range(&mut self, from: u64, to: u64) -> u64 {
        from + self.number() % (to - from)
    }

    /// True so often in a hundred times.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.number() % 100 < chance
    }

    /// One of several.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        let index = usize::try_from(self.number() % from.len() as u64).expect("below a length");
        from[index]
    }
}

/// The seed of one of many cases, so that each has the same one whichever others there are.
#[must_use]
pub fn seed_of(base: u64, case: &str) -> u64 {
    case.bytes()
        .fold(mix(base), |seed, byte| mix(seed ^ u64::from(byte)))
}

/// `PERIGEE_SEED`, to have a failure again, or the seed given.
///
/// # Panics
///
/// When it is not a number.
#[must_use]
pub fn seed_from_environment(default: u64) -> u64 {
    match std::env::var("PERIGEE_SEED") {
        Ok(seed) => seed
            .parse()
            .unwrap_or_else(|_| panic!("PERIGEE_SEED={seed:?} is not a number")),
        Err(_) => default,
    }
}

/// Scrambles a number.
pub(crate) const fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

//! Broken versions of single rules, so that the property tests prove that they can fail.
//!
//! Outside tests, and without the feature `mutants`, a [`Mutation`] has no size and every question to it is answered no.

/// A rule broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(any(test, feature = "mutants")),
    expect(unreachable_pub, reason = "exported for tests only")
)]
pub enum Mutant {
    /// Bytes below `rn` are appended again.
    NoDedupe,
    /// The sender forgets bytes when they are transmitted.
    TrimOnSend,
    /// Limits are differences rather than offsets.
    RelativeCredit,
    /// Bytes beyond `rn` are appended as if nothing were missing.
    AcceptGaps,
    /// A full sender forgets its oldest bytes.
    DropOldest,
    /// Bytes are acked when received.
    AckOnReceive,
}

/// Which rule is broken, if any.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mutation(#[cfg(any(test, feature = "mutants"))] pub(crate) Option<Mutant>);

impl Mutation {
    /// Whether this rule is the broken one.
    #[cfg(any(test, feature = "mutants"))]
    pub(crate) fn is(self, mutant: Mutant) -> bool {
        self.0 == Some(mutant)
    }

    /// Whether this rule is the broken one: never.
    #[cfg(not(any(test, feature = "mutants")))]
    #[expect(clippy::unused_self, reason = "same shape as under test")]
    pub(crate) const fn is(self, _: Mutant) -> bool {
        false
    }
}

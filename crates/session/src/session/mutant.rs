//! Broken versions of single rules, so that the property tests prove that they can fail.
//!
//! Outside tests a [`Mutation`] has no size and every question to it is answered no.

/// A rule broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
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
pub(crate) struct Mutation(#[cfg(test)] pub(crate) Option<Mutant>);

impl Mutation {
    /// Whether this rule is the broken one.
    #[cfg(test)]
    pub(crate) fn is(self, mutant: Mutant) -> bool {
        self.0 == Some(mutant)
    }

    /// Whether this rule is the broken one: never.
    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "same shape as under test")]
    pub(crate) const fn is(self, _: Mutant) -> bool {
        false
    }
}

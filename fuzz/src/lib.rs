//! Hostile input: what must hold whatever bytes come from a stranger.
//!
//! Each target is a function that panics when something does not hold. `make fuzz` lets libFuzzer
//! look for such bytes (`libfuzzer/`); the tests of this crate, which CI runs, do the same for a
//! bounded time with mutations of the seeds that are kept, and no coverage to guide them.

mod targets;

pub use targets::{config, frame, http, irc, policy, proxies, session, stomp, xmpp};

#[cfg(test)]
mod mutation;
#[cfg(test)]
mod tests;

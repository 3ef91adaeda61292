//! The network, the clock and chance as the gateway uses them: the one place where a simulation can
//! be put under it.
//!
//! `system` is what every gateway runs on. The feature `simulation` puts `simulated` in its place,
//! so that tests run the whole gateway on a network, a clock and random numbers that follow from a
//! seed; no binary can be built with it.
//!
//! Invariants:
//! - nothing else in the gateway accepts, connects, resolves, draws random numbers or reads a clock
//!   (the servers of the demo are not part of the gateway);
//! - what a task does follows from these and from nothing else: no order of a hash map, and no
//!   `select!` that is not biased.

#[cfg(feature = "simulation")]
pub(crate) mod simulated;
#[cfg(not(feature = "simulation"))]
mod system;

#[cfg(feature = "simulation")]
pub(crate) use self::simulated::*;
#[cfg(not(feature = "simulation"))]
pub(crate) use self::system::*;

/// Tokio's clock, so that a test that pauses time reaches everything.
pub(crate) fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

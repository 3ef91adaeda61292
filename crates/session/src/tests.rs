//! The session under test: stories, a hostile link, and the vectors shared with the JS client.

#![expect(clippy::cast_possible_truncation, reason = "test data is small")]

mod hostile;
mod passing;
mod positions;
mod stories;
mod vectors;

use std::time::Instant;

/// Where test time starts: a session cannot tell, it only sees differences.
#[expect(clippy::disallowed_methods, reason = "the one clock read of the tests")]
fn epoch() -> Instant {
    Instant::now()
}

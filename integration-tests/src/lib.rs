//! What the stories in `tests/` are told with: a gateway in this process or in its own, a client
//! over every transport, backends that behave and that do not, and a network that fails on demand.
//!
//! Invariants:
//! - every socket is bound to port 0 of a loopback address;
//! - nothing waits for time to pass: every wait is for a condition and has a deadline;
//! - everything random has a seed, and the seed is in the failure.

pub mod backend;
pub mod client;
pub mod document;
pub mod exchange;
pub mod gateway;
pub mod http;
pub mod load;
pub mod ngircd;
pub mod pattern;
pub mod process;
pub mod proxy;
pub mod random;
pub mod raw;
pub mod raw_http2;
pub mod tls;
pub mod wait;
pub mod webtransport;

/// The page that every test configuration allows.
pub const ORIGIN: &str = "https://page.example";

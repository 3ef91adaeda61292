//! Bounds and durations, all of them the caller's to choose.

use std::time::Duration;

/// Bounds and durations of a session, which many can share; what differs from one to the other can be set
/// by [`Session::set_heartbeat`](crate::Session::set_heartbeat) and
/// [`Session::set_resume_timeout`](crate::Session::set_resume_timeout).
#[derive(Debug, Clone)]
pub struct Config {
    /// Bytes the peer may send beyond what was delivered, per stream.
    pub window: u64,
    /// Bytes held unacked per stream; [`Session::write`](crate::Session::write) takes no more.
    pub replay: u64,
    /// Streams at a time.
    pub max_streams: usize,
    /// Longest silence on an open transport before a PING.
    pub heartbeat: Duration,
    /// Silence after which the peer of an open transport is taken for dead.
    pub peer_dead: Duration,
    /// How long an ACK may wait for company.
    pub ack_delay: Duration,
    /// How long a detached session is kept.
    pub resume: Duration,
    /// How long a session is kept that no client confirmed.
    pub confirm: Duration,
    /// How long the end of a stream is remembered, in attached time.
    pub tombstone: Duration,
}

impl Default for Config {
    /// The defaults of a gateway (protocol section 8).
    fn default() -> Self {
        Self {
            window: 64 * 1024,
            replay: 256 * 1024,
            max_streams: 256,
            heartbeat: Duration::from_secs(25),
            peer_dead: Duration::from_secs(55),
            ack_delay: Duration::from_millis(100),
            resume: Duration::from_secs(120),
            confirm: Duration::from_secs(5),
            tombstone: Duration::from_secs(60),
        }
    }
}

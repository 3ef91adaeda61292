//! How often a client may say nothing: a bound on control frames and empty messages.

use std::time::{Duration, Instant};

use crate::net::now;

/// Control frames and empty messages at once: more than any client says for good reasons.
const MAX_IDLE_TALK: u32 = 256;
/// After this the bucket has room for one more: heartbeats come every few seconds at most.
const IDLE_TALK_REFILL: Duration = Duration::from_millis(100);

/// The control frames and empty messages that a client may still send: a bucket that refills.
#[derive(Debug)]
pub(super) struct IdleTalk {
    left: u32,
    at: Instant,
}

impl IdleTalk {
    pub(super) fn new() -> Self {
        Self {
            left: MAX_IDLE_TALK,
            at: now(),
        }
    }

    /// Whether one more is allowed.
    pub(super) fn take(&mut self) -> bool {
        let now = now();
        let refills =
            now.saturating_duration_since(self.at).as_millis() / IDLE_TALK_REFILL.as_millis();
        if refills > 0 {
            let refills = u32::try_from(refills).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(refills).min(MAX_IDLE_TALK);
            self.at = now;
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

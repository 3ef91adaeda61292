//! How many lines a client may send: a bucket that refills. Who has no token waits; nothing is lost.

use std::time::{Duration, Instant};

/// Tokens for lines.
#[derive(Debug)]
pub(super) struct Throttle {
    burst: u32,
    /// Zero for no bound.
    interval: Duration,
    tokens: u32,
    /// When the last token was added, or the bucket was full.
    at: Instant,
}

impl Throttle {
    pub(super) fn new(burst: u32, interval: Duration, now: Instant) -> Self {
        Self {
            burst,
            interval,
            tokens: burst,
            at: now,
        }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.interval.is_zero() {
            return true;
        }
        let passed = now.saturating_duration_since(self.at);
        let new = passed.as_nanos() / self.interval.as_nanos();
        let missing = self.burst - self.tokens;
        match u32::try_from(new) {
            Ok(new) if new < missing => {
                self.tokens += new;
                self.at += self.interval * new;
            }
            _ => {
                self.tokens = self.burst;
                self.at = now;
            }
        }
        let has_one = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        has_one
    }

    /// When there will be one, if there is none.
    pub(super) fn next(&self) -> Instant {
        self.at + self.interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_at_a_time() {
        let start = tokio::time::Instant::now().into_std();
        let at = |ms| start + Duration::from_millis(ms);
        let mut throttle = Throttle::new(3, Duration::from_millis(500), start);
        let taken: Vec<bool> = [0, 0, 100, 100, 499, 500, 501, 999, 1000]
            .into_iter()
            .map(|ms| throttle.take(at(ms)))
            .collect();
        assert_eq!(
            taken,
            [true, true, true, false, false, true, false, false, true]
        );
        assert_eq!(throttle.next(), at(1500));
        // A long rest fills the bucket, and no more than that.
        let taken: Vec<bool> = (0..4).map(|_| throttle.take(at(1_000_000))).collect();
        assert_eq!(taken, [true, true, true, false]);
        assert_eq!(throttle.next(), at(1_000_500));
    }

    #[test]
    fn no_interval_is_no_bound() {
        let now = tokio::time::Instant::now().into_std();
        let mut throttle = Throttle::new(1, Duration::ZERO, now);
        assert!((0..1000).all(|_| throttle.take(now)));
    }
}

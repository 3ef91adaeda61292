//! How fast one client may send: the flood limit.
//!
//! A flood is slowed down, not punished: the driver stops to read from the client,
//! and TCP holds the sender back. No line is lost.

use std::time::{Duration, Instant};

/// A bucket of lines that fills at a steady rate, kept as one point in time.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// How far `paid_until` may be ahead of now.
    burst: Duration,
    /// The time at which all the lines so far would have come at the steady rate.
    paid_until: Instant,
}

impl Pace {
    /// One line per `interval`, and `burst` lines at once.
    pub(super) fn new(now: Instant, burst: u32, interval: Duration) -> Self {
        Self {
            interval,
            burst: interval * burst,
            paid_until: now,
        }
    }

    /// Counts a line and says from when on it may be handled.
    pub(super) fn line(&mut self, now: Instant) -> Instant {
        self.paid_until = self.paid_until.max(now) + self.interval;
        self.paid_until
            .checked_sub(self.burst)
            .map_or(now, |from| from.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_is_slowed_to_the_rate() {
        let start = crate::net::now() + Duration::from_secs(60);
        let ms = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace::new(start, 3, Duration::from_millis(10));

        let waits: Vec<_> = (0..6).map(|_| pace.line(start)).collect();
        assert_eq!(waits, [start, start, start, ms(10), ms(20), ms(30)]);

        // Half of the burst is back: the lines above are paid at 60 ms, and 15 ms on is 1 line later.
        assert_eq!(pace.line(ms(45)), ms(45));
        assert_eq!(pace.line(ms(45)), ms(50));

        // Silence fills the bucket, but never beyond the burst.
        let waits: Vec<_> = (0..4).map(|_| pace.line(ms(9000))).collect();
        assert_eq!(waits, [ms(9000), ms(9000), ms(9000), ms(9010)]);
    }
}

//! Counters of what is alive, and the process-wide budget of buffered bytes.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// How many of each thing exist now.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Accepted connections, upgraded ones included.
    pub connections: u64,
    /// Sessions, attached or not.
    pub sessions: u64,
    /// Streams of sessions, and plain WebSocket tunnels.
    pub streams: u64,
    /// Connections to backends, those being made included.
    pub backends: u64,
    /// Bytes held unacked or undelivered by all sessions.
    pub buffered_bytes: u64,
    /// Tasks of the gateway: connections, sessions, tunnels.
    pub tasks: u64,
}

/// The live counters behind [`Counts`].
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) connections: Gauge,
    pub(crate) sessions: Gauge,
    pub(crate) streams: Gauge,
    pub(crate) backends: Gauge,
    pub(crate) buffered_bytes: Gauge,
}

/// A number that goes up and down.
#[derive(Debug, Default, Clone)]
pub(crate) struct Gauge(Arc<AtomicU64>);

/// One, counted while it lives.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Gauge {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one until the guard is dropped.
    pub(crate) fn count(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }

    /// Counts one unless there are `max` already.
    pub(crate) fn count_below(&self, max: u64) -> Option<Counted> {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                (now < max).then_some(now + 1)
            })
            .ok()
            .map(|_| Counted(self.clone()))
    }

    /// Replaces one share of the sum by another.
    pub(crate) fn exchange(&self, old: u64, new: u64) {
        if new >= old {
            self.0.fetch_add(new - old, Ordering::Relaxed);
        } else {
            self.0.fetch_sub(old - new, Ordering::Relaxed);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_counts_what_lives_up_to_its_bound() {
        let gauge = Gauge::default();
        let first = gauge.count_below(2);
        let second = gauge.count();
        assert!(gauge.count_below(2).is_none());
        drop(first);
        assert_eq!(gauge.get(), 1);
        assert!(gauge.count_below(2).is_some());
        drop(second);
        gauge.exchange(0, 10);
        gauge.exchange(10, 3);
        assert_eq!(gauge.get(), 3);
    }
}

//! Every deadline of a session, by name, in one table (protocol section 8).

use std::time::Instant;

/// A deadline of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// Nothing was sent on an open transport for a while: send a PING.
    Heartbeat,
    /// Nothing was received on an open transport for too long: the attachment ends.
    PeerDead,
    /// Something delivered is not acked yet.
    AckDelay,
    /// No attachment: the session ends.
    Resume,
    /// The oldest tombstone is due.
    Tombstone,
}

impl Timer {
    /// Every timer, in the order in which expired ones are handled.
    pub const ALL: [Self; 5] = [
        Self::Heartbeat,
        Self::PeerDead,
        Self::AckDelay,
        Self::Resume,
        Self::Tombstone,
    ];
}

/// The armed deadlines.
#[derive(Debug, Default)]
pub(crate) struct TimerTable([Option<Instant>; Timer::ALL.len()]);

impl TimerTable {
    pub(crate) fn set(&mut self, timer: Timer, deadline: Instant) {
        self.0[timer as usize] = Some(deadline);
    }

    /// Arms the timer unless it is armed already.
    pub(crate) fn set_once(&mut self, timer: Timer, deadline: Instant) {
        self.0[timer as usize].get_or_insert(deadline);
    }

    pub(crate) fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    pub(crate) fn stop_all(&mut self) {
        *self = Self::default();
    }

    /// Disarms the timer and says whether it was due.
    pub(crate) fn take_expired(&mut self, timer: Timer, now: Instant) -> bool {
        let due = self.0[timer as usize].is_some_and(|deadline| deadline <= now);
        if due {
            self.stop(timer);
        }
        due
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.iter().flatten().min().copied()
    }
}

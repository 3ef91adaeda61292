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
pub(crate) struct TimerTable {
    deadlines: [Option<Instant>; Timer::ALL.len()],
    /// None is due before this, so that most looks at the table are one.
    quiet_until: Option<Instant>,
}

impl TimerTable {
    pub(crate) fn set(&mut self, timer: Timer, deadline: Instant) {
        self.deadlines[timer as usize] = Some(deadline);
        self.moved(deadline);
    }

    /// Arms the timer unless it is armed already.
    pub(crate) fn set_once(&mut self, timer: Timer, deadline: Instant) {
        self.deadlines[timer as usize].get_or_insert(deadline);
        self.moved(deadline);
    }

    fn moved(&mut self, deadline: Instant) {
        if self.quiet_until.is_none_or(|until| deadline < until) {
            self.quiet_until = Some(deadline);
        }
    }

    /// Whether any may be due; if it is said so, take the expired ones.
    pub(crate) fn may_be_due(&mut self, now: Instant) -> bool {
        if self.quiet_until.is_none_or(|until| now < until) {
            return false;
        }
        self.quiet_until = self.next();
        self.quiet_until.is_some_and(|until| until <= now)
    }

    pub(crate) fn stop(&mut self, timer: Timer) {
        self.deadlines[timer as usize] = None;
    }

    pub(crate) fn stop_all(&mut self) {
        *self = Self::default();
    }

    /// Disarms the timer and says whether it was due.
    pub(crate) fn take_expired(&mut self, timer: Timer, now: Instant) -> bool {
        let due = self.deadlines[timer as usize].is_some_and(|deadline| deadline <= now);
        if due {
            self.stop(timer);
        }
        due
    }

    /// No deadline is due before this. Deadlines move away with every message, so looking for the next
    /// one waits until this has passed.
    pub(crate) fn quiet_until(&self) -> Option<Instant> {
        self.quiet_until
    }

    fn next(&self) -> Option<Instant> {
        self.deadlines.iter().flatten().min().copied()
    }
}

//! Heart-beats: what was agreed on, and when one is due (STOMP 1.2, Heart-beating).

use std::time::{Duration, Instant};

use crate::Error;

/// The `heart-beat` header: what its sender can do, and what it would like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartBeat {
    /// The shortest interval in milliseconds at which it can send; 0 if it cannot.
    pub can_send_ms: u64,
    /// The interval in milliseconds at which it would like to hear; 0 if it would not.
    pub wants_ms: u64,
}

impl HeartBeat {
    /// What a missing header means.
    pub const NONE: Self = Self {
        can_send_ms: 0,
        wants_ms: 0,
    };

    /// Reads the header's value.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidValue`] unless it is two numbers with a comma between them.
    pub fn parse(value: &str) -> Result<Self, Error> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        let parsed = value.split_once(',').and_then(|(can_send, wants)| {
            Some(Self {
                can_send_ms: number(can_send.trim())?,
                wants_ms: number(wants.trim())?,
            })
        });
        parsed.ok_or(Error::InvalidValue("heart-beat"))
    }

    /// The header's value.
    pub fn to_value(self) -> String {
        format!("{},{}", self.can_send_ms, self.wants_ms)
    }

    /// The interval in milliseconds at which `self` has to send to `peer`: the longer of the two
    /// wishes, none if one of them is 0.
    pub fn interval_ms(self, peer: Self) -> Option<u64> {
        let both = self.can_send_ms > 0 && peer.wants_ms > 0;
        both.then(|| self.can_send_ms.max(peer.wants_ms))
    }
}

/// When to send and when to have heard, on one connection.
#[derive(Debug)]
pub struct HeartBeats {
    send_every: Option<Duration>,
    hear_every: Option<Duration>,
    sent_at: Instant,
    heard_at: Instant,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Nothing was sent for a while: a heart-beat has to go out now.
    Send,
    /// Nothing was heard for twice the interval: the peer is gone.
    Dead,
}

impl HeartBeats {
    /// How much longer than agreed silence may last: timers are late and networks slow.
    const TOLERANCE: u32 = 2;

    /// What `ours` and the peer's `theirs` come to, from `now` on.
    pub fn new(ours: HeartBeat, theirs: HeartBeat, now: Instant) -> Self {
        let every = |ms: Option<u64>| ms.map(Duration::from_millis);
        Self {
            send_every: every(ours.interval_ms(theirs)),
            hear_every: every(theirs.interval_ms(ours)),
            sent_at: now,
            heard_at: now,
        }
    }

    /// Something was sent, be it a frame or a heart-beat.
    pub fn sent(&mut self, now: Instant) {
        self.sent_at = now;
    }

    /// Something was heard, be it a byte of a frame.
    pub fn heard(&mut self, now: Instant) {
        self.heard_at = now;
    }

    /// When [`HeartBeats::handle_timeout`] has something to say.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due =
            |at: Instant, every: Option<Duration>| every.and_then(|every| at.checked_add(every));
        let send = due(self.sent_at, self.send_every);
        let dead = due(self.heard_at, self.patience());
        send.into_iter().chain(dead).min()
    }

    /// What is due at `now`. After [`Beat::Send`] the caller sends and says so by [`HeartBeats::sent`].
    pub fn handle_timeout(&self, now: Instant) -> Option<Beat> {
        let over = |at: Instant, every: Option<Duration>| {
            every.is_some_and(|every| now.saturating_duration_since(at) >= every)
        };
        if over(self.heard_at, self.patience()) {
            Some(Beat::Dead)
        } else {
            over(self.sent_at, self.send_every).then_some(Beat::Send)
        }
    }

    fn patience(&self) -> Option<Duration> {
        self.hear_every
            .map(|every| every.saturating_mul(Self::TOLERANCE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test needs a first moment")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn the_longer_wish_counts() {
        let beat = |can_send_ms, wants_ms| HeartBeat {
            can_send_ms,
            wants_ms,
        };
        let cases = [
            (beat(0, 0), beat(5, 5), None),
            (beat(10, 0), beat(0, 0), None),
            (beat(10, 0), beat(0, 5), Some(10)),
            (beat(10, 0), beat(0, 50), Some(50)),
        ];
        for (ours, theirs, want) in cases {
            assert_eq!(ours.interval_ms(theirs), want, "{ours:?} {theirs:?}");
        }
    }

    #[test]
    fn the_header_is_two_numbers() {
        assert_eq!(
            HeartBeat::parse("10000, 0").map(HeartBeat::to_value),
            Ok("10000,0".into())
        );
        for wrong in ["", "1", "1,", ",1", "-1,1", "+1,1", "1,2,3", "a,b"] {
            assert_eq!(
                HeartBeat::parse(wrong),
                Err(Error::InvalidValue("heart-beat")),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn silence_is_broken_and_noticed() {
        let start = start();
        let at = |ms| start + Duration::from_millis(ms);
        let ours = HeartBeat {
            can_send_ms: 100,
            wants_ms: 150,
        };
        let mut beats = HeartBeats::new(ours, ours, start);
        // Both ways every 150 ms, the longer wish.
        assert_eq!(beats.poll_timeout(), Some(at(150)));
        assert_eq!(beats.handle_timeout(at(149)), None);
        assert_eq!(beats.handle_timeout(at(150)), Some(Beat::Send));
        beats.sent(at(150));
        assert_eq!(beats.poll_timeout(), Some(at(300)), "twice without a word");
        beats.heard(at(200));
        assert_eq!(beats.handle_timeout(at(300)), Some(Beat::Send));
        beats.sent(at(480));
        assert_eq!(beats.handle_timeout(at(500)), Some(Beat::Dead));
    }

    #[test]
    fn without_heart_beats_nothing_is_ever_due() {
        let beats = HeartBeats::new(HeartBeat::NONE, HeartBeat::NONE, start());
        assert_eq!(beats.poll_timeout(), None);
        assert_eq!(
            beats.handle_timeout(start() + Duration::from_secs(86_400)),
            None
        );
    }
}

//! What the server knows about one client.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;

use super::network::Key;
use super::settings::Settings;

/// A connected client.
#[derive(Debug)]
pub(super) struct Client {
    /// The address as it stands in `nick!user@host`.
    pub(super) host: String,
    pub(super) stage: Stage,
    /// When its last line came.
    pub(super) heard: Instant,
    /// When it was pinged, if it has been silent since.
    pub(super) pinged: Option<Instant>,
}

/// Before and after registration.
#[derive(Debug)]
pub(super) enum Stage {
    Registering(Registering),
    Registered(User),
}

/// What came so far of a registration.
#[derive(Debug)]
pub(super) struct Registering {
    pub(super) since: Instant,
    pub(super) nick: Option<Bytes>,
    /// The user name and the real name.
    pub(super) user: Option<(Bytes, Bytes)>,
    /// Between `CAP LS` or `CAP REQ` and `CAP END`, while registration waits.
    pub(super) negotiating: bool,
}

/// A registered client.
#[derive(Debug)]
pub(super) struct User {
    pub(super) nick: Bytes,
    pub(super) user: Bytes,
    pub(super) real_name: Bytes,
    /// The away message, while away.
    pub(super) away: Option<Bytes>,
    pub(super) signed_on: Instant,
    /// When it last sent a `PRIVMSG`.
    pub(super) spoke: Instant,
    /// The channels it is in. Invariant: each has it as a member.
    pub(super) channels: BTreeSet<Key>,
}

impl Client {
    pub(super) fn new(now: Instant, host: String) -> Self {
        Self {
            host,
            stage: Stage::Registering(Registering {
                since: now,
                nick: None,
                user: None,
                negotiating: false,
            }),
            heard: now,
            pinged: None,
        }
    }

    /// The nickname, as soon as there is one.
    pub(super) fn nick(&self) -> Option<&Bytes> {
        match &self.stage {
            Stage::Registering(registering) => registering.nick.as_ref(),
            Stage::Registered(user) => Some(&user.nick),
        }
    }

    /// When something has to be done about the client unless it sends a line before.
    pub(super) fn deadline(&self, settings: &Settings) -> Instant {
        match (&self.stage, self.pinged) {
            (Stage::Registering(registering), _) => {
                registering.since + settings.registration_timeout
            }
            (Stage::Registered(_), None) => self.heard + settings.ping_after,
            (Stage::Registered(_), Some(pinged)) => pinged + settings.pong_timeout,
        }
    }
}

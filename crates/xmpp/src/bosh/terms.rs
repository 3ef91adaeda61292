//! What a client and a gateway agree on when a session begins.

use std::time::Duration;

use super::{Body, Condition, response::Response};
use crate::ns;

/// The version of BOSH spoken here.
const VERSION: (u64, u64) = (1, 11);
/// Responses kept for a client that acknowledges them; without acknowledgements it is `requests`.
const MAX_UNACKED_RESPONSES: usize = 16;
/// What a gateway allows its BOSH clients. Whole seconds count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The longest time that a request is left without an answer.
    pub max_wait: Duration,
    /// Requests that may wait at a time, at least 1.
    pub max_hold: usize,
    /// How long a session lives without a request.
    pub inactivity: Duration,
    /// The longest pause a client may ask for; zero for none.
    pub max_pause: Duration,
    /// The shortest time between two empty requests of a client that lets none wait.
    pub polling: Duration,
    /// Streams of one session, at least 1.
    pub max_streams: usize,
}

impl Default for Config {
    /// As Prosody has it: 60 s of waiting (its own 120 s outlives many proxies), one request on hold,
    /// 60 s of inactivity, 300 s of pause, 5 s between polls; and 4 streams.
    fn default() -> Self {
        Self {
            max_wait: Duration::from_secs(60),
            max_hold: 1,
            inactivity: Duration::from_secs(60),
            max_pause: Duration::from_secs(300),
            polling: Duration::from_secs(5),
            max_streams: 4,
        }
    }
}

/// What was agreed on when the session began.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) sid: String,
    pub(super) wait: Duration,
    pub(super) hold: usize,
    pub(super) requests: usize,
    pub(super) acks: bool,
    pub(super) content_type: &'static str,
    /// The client knows no conditions, only HTTP statuses.
    pub(super) is_legacy: bool,
    pub(super) version: (u64, u64),
}

/// What only the first response says.
#[derive(Debug, Default)]
pub(super) struct Creation {
    pub(super) stream_id: Option<String>,
    pub(super) from: Option<String>,
}

impl Terms {
    /// Gives the client what it asks for, as far as it may have it.
    ///
    /// # Errors
    ///
    /// The condition to refuse the session with.
    pub(super) fn agree(config: &Config, sid: String, body: &Body) -> Result<Self, Condition> {
        let number = |name| body.number(name).map_err(|_| Condition::BadRequest);
        let wait = number("wait")?.unwrap_or(0).min(config.max_wait.as_secs());
        let hold = number("hold")?.unwrap_or(0).min(config.max_hold as u64);
        let hold = usize::try_from(hold).unwrap_or(config.max_hold);
        let version = match body.get("ver") {
            None => None,
            Some(version) => Some(parse_version(version).ok_or(Condition::BadRequest)?),
        };
        Ok(Self {
            sid,
            wait: Duration::from_secs(wait),
            hold,
            requests: hold + 1,
            acks: body.get("ack") == Some("1"),
            content_type: content_type(body.get("content")),
            is_legacy: version.is_none(),
            version: version.map_or(VERSION, |version| version.min(VERSION)),
        })
    }

    /// How many responses may be asked for again.
    pub(super) const fn kept_responses(&self) -> usize {
        match self.acks {
            true => MAX_UNACKED_RESPONSES,
            false => self.requests,
        }
    }

    /// What the first response says (XEP-0124 §7.2, XEP-0206 §3).
    pub(super) fn describe(
        &self,
        config: &Config,
        creation: &Creation,
        newest_stream: u32,
        response: &mut Response,
    ) {
        let Self {
            sid,
            wait,
            hold,
            requests,
            version: (major, minor),
            ..
        } = self;
        response.set("sid", sid);
        response.set("wait", wait.as_secs());
        response.set("ver", format!("{major}.{minor}"));
        response.set("hold", hold);
        response.set("requests", requests);
        response.set("inactivity", config.inactivity.as_secs());
        response.set("polling", config.polling.as_secs());
        if !config.max_pause.is_zero() {
            response.set("maxpause", config.max_pause.as_secs());
        }
        if let Some(from) = &creation.from {
            response.set("from", from);
        }
        if let Some(id) = &creation.stream_id {
            response.set("authid", id);
        }
        if config.max_streams > 1 {
            response.set("stream", newest_stream);
        }
        response.set("xmlns:xmpp", ns::XBOSH);
        response.set("xmpp:version", "1.0");
        response.set("xmpp:restartlogic", "true");
    }
}

fn parse_version(version: &str) -> Option<(u64, u64)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// What a client may have its responses called (`content`): nothing that a browser would run.
fn content_type(asked: Option<&str>) -> &'static str {
    const DEFAULT: &str = "text/xml; charset=utf-8";
    let asked = asked.unwrap_or(DEFAULT).to_ascii_lowercase();
    match asked.split(';').next().map(str::trim) {
        Some("application/xml") => "application/xml; charset=utf-8",
        Some("text/plain") => "text/plain; charset=utf-8",
        _ => DEFAULT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_chooses_no_dangerous_type() {
        for (asked, want) in [
            (None, "text/xml; charset=utf-8"),
            (Some("text/html"), "text/xml; charset=utf-8"),
            (
                Some("text/plain; charset=utf-8"),
                "text/plain; charset=utf-8",
            ),
            (Some("Application/XML"), "application/xml; charset=utf-8"),
        ] {
            assert_eq!(content_type(asked), want, "{asked:?}");
        }
    }
}

//! Tickets: what an EventSource, an iframe or a script tag, which can send neither headers nor a
//! body, shows in the URL to read the downlink of one attachment.
//!
//! The page asks for one with HELLO by POST, where the token is. A ticket reads and does nothing
//! else, so that who finds it in a log or a history can do little with it, and that not for long.
//!
//! Invariants:
//! - a ticket is 128 random bits, kept only as their SHA-256 and compared in constant time;
//! - it is good for one session, one attachment and one kind of reply;
//! - it is dead [`Timeouts::ticket`](crate::config::Timeouts::ticket) after its attachment lost its
//!   reply or its place.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use perigee_session::{Code, Link, Position};
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::oneshot;

use super::{Downlink, attach};
use crate::{
    http::{Asker, Refusal, origin},
    net,
    registry::Door,
    session_task::{Command, Continuation},
    shared::Shared,
};

/// Tickets of one session that are remembered: the one in use and those that it replaced lately.
const MAX_TICKETS: usize = 4;
pub(crate) const TICKET_BYTES: usize = 16;

/// What reads with a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sse,
    Htmlfile,
    Jsonp,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sse => "sse",
            Self::Htmlfile => "htmlfile",
            Self::Jsonp => "jsonp",
        }
    }

    pub(crate) const fn link(self) -> Link {
        match self {
            Self::Sse | Self::Htmlfile => Link::Open,
            Self::Jsonp => Link::Poll,
        }
    }
}

/// A ticket as the gateway keeps it.
#[derive(Clone, Copy)]
pub(crate) struct TicketHash([u8; 32]);

impl TicketHash {
    pub(crate) fn of(ticket: &[u8]) -> Self {
        Self(Sha256::digest(ticket).into())
    }
}

impl fmt::Debug for TicketHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketHash")
    }
}

/// The tickets of one session, shared by its task and the registry.
#[derive(Debug, Default)]
pub(crate) struct Tickets(
    /// Held for a look-up or a change; never across an await.
    Mutex<Vec<Ticket>>,
);

#[derive(Debug)]
struct Ticket {
    hash: TicketHash,
    n: u32,
    kind: Kind,
    /// `None` while a reply carries its attachment.
    dead_at: Option<Instant>,
}

impl Tickets {
    /// Adds the ticket of a new attachment, which takes the place of all before it.
    pub(crate) fn issue(&self, hash: TicketHash, n: u32, kind: Kind, dead_at: Instant) {
        self.with(|tickets| {
            retire(tickets, dead_at);
            if tickets.len() == MAX_TICKETS {
                tickets.remove(0);
            }
            tickets.push(Ticket {
                hash,
                n,
                kind,
                dead_at: Some(dead_at),
            });
        });
    }

    /// A reply carries attachment `n` now.
    pub(crate) fn in_use(&self, n: u32) {
        self.with(|tickets| {
            for ticket in tickets.iter_mut().filter(|ticket| ticket.n == n) {
                ticket.dead_at = None;
            }
        });
    }

    /// No attachment with a ticket is carried by a reply any more.
    pub(crate) fn retire(&self, dead_at: Instant) {
        self.with(|tickets| retire(tickets, dead_at));
    }

    /// The attachment that a ticket is for.
    pub(crate) fn find(&self, ticket: &str, kind: Kind, now: Instant) -> Option<u32> {
        let ticket: [u8; TICKET_BYTES] = URL_SAFE_NO_PAD.decode(ticket).ok()?.try_into().ok()?;
        let hash = TicketHash::of(&ticket);
        self.with(|tickets| {
            tickets.retain(|ticket| ticket.dead_at.is_none_or(|dead_at| dead_at > now));
            tickets
                .iter()
                .filter(|ticket| ticket.kind == kind)
                .find(|ticket| bool::from(ticket.hash.0.ct_eq(&hash.0)))
                .map(|ticket| ticket.n)
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Vec<Ticket>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn retire(tickets: &mut [Ticket], dead_at: Instant) {
    for ticket in tickets {
        ticket.dead_at.get_or_insert(dead_at);
    }
}

/// Answers a HELLO by POST: the JSON that tells the session's id and the ticket. What is secret of
/// the session itself comes in WELCOME, on the reply that the ticket is shown for.
pub(super) async fn issue(
    shared: &Shared,
    sid: &str,
    asker: &Asker,
    message: Bytes,
    kind: Kind,
) -> Result<String, Refusal> {
    let attach = attach::find(shared, sid, asker, message)?;
    let mut ticket = [0; TICKET_BYTES];
    net::random(&mut ticket)
        .map_err(|_| Refusal::new(Code::Internal, "the system has no random numbers"))?;
    let sid = attach
        .promise(TicketHash::of(&ticket), kind)
        .await
        .map_err(refusal)?;
    Ok(json!({"sid": sid, "ticket": URL_SAFE_NO_PAD.encode(ticket)}).to_string())
}

/// An attachment whose ticket was shown.
pub(crate) struct Shown {
    pub(crate) door: Arc<Door>,
    pub(crate) n: u32,
    /// The page that it is for; `None` for a program.
    pub(crate) origin: Option<String>,
}

/// Finds the attachment that a request shows a ticket for.
pub(super) fn show(
    shared: &Shared,
    sid: &str,
    headers: &HeaderMap,
    ticket: &str,
    kind: Kind,
) -> Result<Shown, Refusal> {
    let origin = origin(headers).map_err(|_| refusal(Code::Lost))?;
    shared
        .registry
        .find_by_ticket(sid, ticket, kind, origin.as_ref(), net::now())
        .ok_or(refusal(Code::Lost))
}

impl Shown {
    /// Makes `downlink` carry the attachment from `position` on, or from its beginning.
    pub(super) async fn carry_on(
        self,
        position: Option<Position>,
        downlink: Downlink,
    ) -> Result<(), Code> {
        let (verdict, told) = oneshot::channel();
        let continuation = Continuation {
            n: self.n,
            position,
            downlink,
            verdict,
        };
        self.door
            .inbox
            .send(Command::Continue(Box::new(continuation)))
            .await
            .map_err(|_| Code::Lost)?;
        told.await.unwrap_or(Err(Code::Lost))
    }
}

/// Fixed words for a ticket that is not taken.
pub(super) fn refusal(code: Code) -> Refusal {
    let text = match code {
        Code::Lost => "no such session",
        Code::Rotate => "a newer attachment took the place of this one",
        Code::Protocol => "the position is not one of this attachment",
        _ => "the session cannot take this attachment",
    };
    Refusal::new(code, text)
}

/// A position as a client repeats it; none at all before it has any.
pub(crate) fn position(text: Option<&str>) -> Result<Option<Position>, Refusal> {
    match text {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| refusal(Code::Protocol)),
    }
}

/// The values of `keys` in a query, in their order. Nothing is decoded: what is due there needs no
/// escapes, and what needs them is not due there.
pub(crate) fn query<'a, const N: usize>(
    query: Option<&'a str>,
    keys: [&str; N],
) -> Result<[Option<&'a str>; N], Refusal> {
    let wrong = Refusal::new(Code::Protocol, "the query is not what is due here");
    let mut values = [None; N];
    for pair in query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
    {
        let (key, value) = pair.split_once('=').ok_or(wrong)?;
        let index = keys.iter().position(|due| *due == key).ok_or(wrong)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !value.bytes().all(plain) || values[index].replace(value).is_some() {
            return Err(wrong);
        }
    }
    Ok(values)
}

/// The JSON of a ticket, for a page that can read it.
pub(super) fn response(ticket: String) -> Response {
    (
        StatusCode::OK,
        [(header::CONTENT_TYPE, "application/json")],
        Body::from(ticket),
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn text(ticket: [u8; TICKET_BYTES]) -> String {
        URL_SAFE_NO_PAD.encode(ticket)
    }

    #[test]
    fn a_ticket_is_for_one_kind_and_dies_after_its_reply_or_its_attachment() {
        let now = net::now();
        let s = Duration::from_secs;
        let tickets = Tickets::default();
        let (first, second) = ([1; TICKET_BYTES], [2; TICKET_BYTES]);
        tickets.issue(TicketHash::of(&first), 1, Kind::Sse, now + s(60));
        assert_eq!(tickets.find(&text(first), Kind::Sse, now), Some(1));
        assert_eq!(tickets.find(&text(first), Kind::Jsonp, now), None);
        for wrong in [
            text(second),
            String::new(),
            "?".to_owned(),
            text(first)[1..].to_owned(),
        ] {
            assert_eq!(tickets.find(&wrong, Kind::Sse, now), None, "{wrong:?}");
        }

        // While there is a reply it does not age.
        tickets.in_use(1);
        assert_eq!(
            tickets.find(&text(first), Kind::Sse, now + s(1000)),
            Some(1)
        );
        tickets.retire(now + s(1060));
        tickets.retire(now + s(2000));
        assert_eq!(
            tickets.find(&text(first), Kind::Sse, now + s(1059)),
            Some(1)
        );

        tickets.issue(TicketHash::of(&second), 2, Kind::Sse, now + s(1090));
        assert_eq!(
            tickets.find(&text(first), Kind::Sse, now + s(1059)),
            Some(1)
        );
        assert_eq!(tickets.find(&text(first), Kind::Sse, now + s(1060)), None);
        assert_eq!(
            tickets.find(&text(second), Kind::Sse, now + s(1060)),
            Some(2)
        );
        assert_eq!(tickets.find(&text(second), Kind::Sse, now + s(1090)), None);
    }

    #[test]
    fn few_tickets_are_remembered() {
        let now = net::now();
        let tickets = Tickets::default();
        for n in 0..100_u8 {
            let hash = TicketHash::of(&[n; TICKET_BYTES]);
            tickets.issue(hash, n.into(), Kind::Jsonp, now + Duration::from_secs(60));
        }
        assert_eq!(tickets.with(|tickets| tickets.len()), MAX_TICKETS);
        assert_eq!(
            tickets.find(&text([99; TICKET_BYTES]), Kind::Jsonp, now),
            Some(99)
        );
        assert_eq!(
            tickets.find(&text([95; TICKET_BYTES]), Kind::Jsonp, now),
            None
        );
    }

    #[test]
    fn a_query_has_what_is_due_once_and_nothing_else() {
        let keys = ["ticket", "at"];
        assert_eq!(query(None, keys).ok(), Some([None, None]));
        assert_eq!(
            query(Some("at=1_2.3&ticket=a-B"), keys).ok(),
            Some([Some("a-B"), Some("1_2.3")])
        );
        for wrong in [
            "ticket",
            "ticket=a&ticket=a",
            "callback=x",
            "ticket=%41",
            "ticket=a;b",
            "ticket=a=b",
            "at=<",
        ] {
            assert!(query(Some(wrong), keys).is_err(), "{wrong}");
        }
    }
}

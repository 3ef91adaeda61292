//! One stream to the server, as BOSH has it: messages of RFC 7395 with conditions for their end.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use perigee_session::{Code, StreamStats};
use perigee_xmpp::{
    Limits, Message as Xml, StreamHeader,
    bosh::{Condition, Session, StreamName},
    framing, ns,
};

use crate::{
    backend::Unreached,
    front_door::{Leg, ServiceMessage as Message},
    ops::{access_log::StreamRecord, stats::Counted},
};

type Dialing = Pin<Box<dyn Future<Output = Result<Leg, Unreached>> + Send>>;

/// One stream to the server.
pub(super) struct Stream {
    pub(super) state: State,
    /// For the server, in order, as messages of RFC 7395.
    pub(super) up: VecDeque<Bytes>,
    pub(super) up_bytes: usize,
    /// The error with which the server ends the stream.
    pub(super) error: Bytes,
    pub(super) stats: StreamStats,
    pub(super) record: StreamRecord,
    pub(super) counted: (Counted, Counted),
}

pub(super) enum State {
    Dialing(Dialing),
    Open(Box<Leg>),
}

/// How a stream came to its end.
pub(super) struct End {
    pub(super) code: Code,
    pub(super) text: &'static str,
    /// For the operator.
    pub(super) detail: Option<String>,
}

impl Stream {
    pub(super) fn push(&mut self, message: Bytes) {
        self.up_bytes += message.len();
        self.up.push_back(message);
    }

    pub(super) fn buffered(&self) -> u64 {
        let of_leg = match &self.state {
            State::Dialing(_) => 0,
            State::Open(leg) => leg.buffered(),
        };
        self.up_bytes as u64 + of_leg
    }

    /// Moves what can be moved, and says whether that was anything.
    pub(super) fn poll(
        &mut self,
        name: StreamName,
        session: &mut Session,
        may_read: bool,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Result<bool, End> {
        if let State::Dialing(dialing) = &mut self.state {
            match dialing.as_mut().poll(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(leg)) => self.state = State::Open(Box::new(leg)),
                Poll::Ready(Err(Unreached { code, detail })) => {
                    return Err(End {
                        code,
                        text: "",
                        detail: Some(detail),
                    });
                }
            }
        }
        let State::Open(leg) = &mut self.state else {
            return Ok(false);
        };
        let mut progress = false;
        while let Some(message) = self.up.front() {
            if leg.offer(message, now) == 0 {
                break;
            }
            self.up_bytes -= message.len();
            self.stats.delivered += message.len() as u64;
            self.up.pop_front();
            progress = true;
        }
        leg.backend_woke();
        let pumped = leg
            .pump(may_read, now, cx)
            .map_err(|error: io::Error| End {
                code: Code::Reset,
                text: "",
                detail: Some(format!("backend: {error}")),
            })?;
        progress |= pumped.again || (pumped.any && !self.up.is_empty());
        while let Some(message) = leg.next_for_client() {
            progress = true;
            let bytes: Bytes = match message {
                Message::Text(text) => text.into(),
                Message::Binary(bytes) => bytes,
            };
            self.stats.written += bytes.len() as u64;
            self.stats.acked = self.stats.written;
            match kind_of(&bytes) {
                Kind::Open(header) => session.handle_open(name, &header),
                Kind::Close => {}
                Kind::Error => self.error = bytes,
                Kind::Element => session.handle_element(name, bytes, now),
            }
        }
        match leg.ended() {
            Some((code, text)) => Err(End {
                code,
                text,
                detail: None,
            }),
            None => Ok(progress),
        }
    }
}

/// What a message of the service is to a BOSH client.
enum Kind {
    Open(StreamHeader),
    Close,
    Error,
    Element,
}

fn kind_of(message: &[u8]) -> Kind {
    let name = message.get(1..).unwrap_or_default();
    let end = name
        .iter()
        .position(|byte| matches!(byte, b' ' | b'>' | b'/' | b'\t' | b'\r' | b'\n'));
    let name = &name[..end.unwrap_or(name.len())];
    let local = name.rsplit(|&byte| byte == b':').next();
    // All but a few elements are stanzas, which need no second look.
    if !matches!(local, Some(b"open" | b"close" | b"error")) {
        return Kind::Element;
    }
    let limits = Limits {
        stanza_bytes: message.len(),
        ..Limits::default()
    };
    match framing::decode(message, &limits) {
        Ok(Xml::Open(header)) => Kind::Open(header),
        Ok(Xml::Close) => Kind::Close,
        Ok(Xml::Stanza(stanza)) if stanza.name.is(ns::STREAM, "error") => Kind::Error,
        Ok(Xml::Stanza(_)) | Err(_) => Kind::Element,
    }
}

/// How BOSH calls the end of a stream, and what of it goes into the answer.
pub(super) fn condition_of(code: Code, error: &Bytes) -> (Option<Condition>, Bytes) {
    let condition = match code {
        Code::Closed if error.is_empty() => return (None, Bytes::new()),
        Code::Closed => return (Some(Condition::RemoteStreamError), error.clone()),
        Code::Denied => Condition::HostUnknown,
        Code::Protocol => Condition::BadRequest,
        Code::Limit => Condition::PolicyViolation,
        Code::GoingAway => Condition::SystemShutdown,
        Code::Refused | Code::Timeout | Code::Dns | Code::Tls | Code::Unreachable | Code::Reset => {
            Condition::RemoteConnectionFailed
        }
        Code::Overloaded | Code::Internal => Condition::InternalServerError,
        _ => Condition::UndefinedCondition,
    };
    (Some(condition), Bytes::new())
}

pub(super) fn open_message(header: &StreamHeader) -> Bytes {
    // A header of a session has a version that was checked or is ours.
    framing::encode(&Xml::Open(header.clone()), header).unwrap_or_default()
}

pub(super) fn close_message() -> Bytes {
    Bytes::from_static(b"<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>")
}

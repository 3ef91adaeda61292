//! XMPP: stanzas between a client and a server, with limits on both.
//!
//! A client speaks either as over WebSocket (RFC 7395: one element in each message) or, in a stream
//! of a session, as over TCP (RFC 6120) to a server that asks for no TLS: the connection to the
//! server has it already.
//!
//! While the client is away, pings of the server (XEP-0199) are answered for it, and spaces keep the
//! connection alive. When it is lost for good, its stream is ended. None of the three is done where
//! it would break a session that is counted and can be resumed (XEP-0198).
//!
//! Invariants:
//! - both sides are parsed whole before anything of a stanza is passed on, so that what comes of a
//!   stanza that is refused is a stream error and nothing else;
//! - a space is only ever sent between two elements, and never before the client has logged in.

mod link;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use perigee_session::Code;
use perigee_xmpp::{
    Decoder, Error, Limits, Message as Xml, Stanza, StreamHeader, encode, framing, ns,
};

use self::link::{Link, Pong, Refused};
use super::{Caller, Framing, Message, Output, Service};
use crate::policy::XmppSettings;

/// Silence towards the server before a space is sent: below the 350 s of the strictest cloud firewalls.
const KEEP_ALIVE: Duration = Duration::from_secs(120);
/// What a server sends is checked less strictly: the roster of 10,000 contacts has 1.5 MiB.
const SERVER_LIMITS: Limits = Limits {
    stanza_bytes: 3 << 19,
    depth: 128,
    attributes: 128,
    namespaces: 128,
};

/// One client and its server.
pub(crate) struct Xmpp {
    client: ClientSide,
    link: Link,
    limits: Limits,
    /// What the gateway calls a stream that the server did not get to name.
    stream_id: String,
    /// The client got a stream header, which comes before everything else that it gets.
    greeted: bool,
    is_detached: bool,
    /// The answer to the last ping that was passed on, unless the client gave one.
    owed_pong: Option<Pong>,
    is_over: bool,
    /// When something was last sent to the server.
    sent_at: Instant,
}

/// How the client's bytes are cut.
enum ClientSide {
    /// One element in each message, and the header that the client's stream began with is empty.
    Messages,
    /// A stream of XML.
    Stream {
        decoder: Box<Decoder>,
        header: Option<StreamHeader>,
    },
}

/// What a client's stanzas may be.
pub(crate) fn client_limits(settings: &XmppSettings) -> Limits {
    Limits {
        stanza_bytes: settings.max_stanza_bytes,
        ..Limits::default()
    }
}

impl Xmpp {
    pub(crate) fn new(settings: &XmppSettings, caller: &Caller, now: Instant) -> Self {
        let limits = client_limits(settings);
        let client = match caller.framing {
            Framing::Text | Framing::Binary | Framing::Either => ClientSide::Messages,
            Framing::Stream => ClientSide::Stream {
                decoder: Box::new(Decoder::new(limits)),
                header: None,
            },
        };
        Self {
            client,
            link: Link::new(Arc::clone(&settings.domain), SERVER_LIMITS),
            limits,
            stream_id: "gateway".to_owned(),
            greeted: false,
            is_detached: false,
            owed_pong: None,
            is_over: false,
            sent_at: now,
        }
    }

    fn send_server(&mut self, bytes: Bytes, now: Instant, out: &mut Output) {
        self.sent_at = now;
        out.send_backend(bytes);
    }

    /// There is no server to speak to.
    pub(super) fn unreached(&mut self, code: Code, now: Instant, out: &mut Output) {
        self.fail("remote-connection-failed", (code, ""), now, out);
    }

    /// Takes one element, header or end of the client.
    fn client_sends(&mut self, message: Xml, now: Instant, out: &mut Output) {
        match message {
            Xml::Open(header) => {
                match self.link.open(&header) {
                    Ok(bytes) => self.send_server(bytes, now, out),
                    Err(refused) => return self.refuse(refused, now, out),
                }
                if let ClientSide::Stream { header: kept, .. } = &mut self.client {
                    *kept = Some(header);
                }
            }
            Xml::Stanza(stanza) => {
                if let Err(refused) = self.link.may_send(&stanza.name) {
                    return self.refuse(refused, now, out);
                }
                self.owed_pong.take_if(|pong| pong.is_answered_by(&stanza));
                let bytes = match &self.client {
                    ClientSide::Messages => stanza.bytes,
                    ClientSide::Stream { header, .. } => match header {
                        Some(header) => stanza.standalone(header),
                        None => stanza.bytes,
                    },
                };
                self.send_server(bytes, now, out);
            }
            Xml::Close => {
                // The server answers with its own end; without a stream there is nothing to wait for.
                match self.link.close() {
                    Some(end) => self.send_server(end, now, out),
                    None => self.end_client(Code::Closed, "", out),
                }
            }
        }
    }

    /// Passes on what the server sent.
    fn server_sends(&mut self, message: Xml, now: Instant, out: &mut Output) {
        if let Xml::Stanza(stanza) = &message
            && let Some(pong) = self.link.pong(stanza)
        {
            if self.is_detached {
                return self.send_server(pong.bytes, now, out);
            }
            self.owed_pong = Some(pong);
        }
        match message {
            Xml::Open(header) => self.greet(&header, out),
            Xml::Stanza(stanza) => {
                self.deliver(&stanza, out);
                if stanza.name.is(ns::SASL, "success")
                    && let ClientSide::Stream { decoder, .. } = &mut self.client
                {
                    // The client's next stream begins as a document of its own.
                    decoder.restart();
                }
            }
            Xml::Close => {
                if let Some(end) = self.link.close() {
                    self.send_server(end, now, out);
                }
                self.end_client(Code::Closed, "", out);
            }
        }
    }

    fn greet(&mut self, header: &StreamHeader, out: &mut Output) {
        self.greeted = true;
        let message = Xml::Open(header.clone());
        let bytes = match &self.client {
            ClientSide::Messages => framing::encode(&message, header),
            ClientSide::Stream { .. } => encode(&message),
        };
        if let Ok(bytes) = bytes {
            self.send_client(bytes, out);
        }
    }

    /// An element for the client, which stands for itself: what it needs of the stream around it, it declares.
    fn deliver(&self, stanza: &Stanza, out: &mut Output) {
        let bytes = match self.link.header() {
            Some(header) => stanza.standalone(header),
            None => stanza.bytes.clone(),
        };
        self.send_client(bytes, out);
    }

    fn send_client(&self, bytes: Bytes, out: &mut Output) {
        out.send_client(match &self.client {
            // The parser has seen that it is UTF-8.
            ClientSide::Messages => match String::from_utf8(bytes.into()) {
                Ok(text) => Message::Text(text),
                Err(error) => Message::Binary(error.into_bytes().into()),
            },
            ClientSide::Stream { .. } => Message::Binary(bytes),
        });
    }

    /// Ends the client's side of the stream.
    fn end_client(&mut self, code: Code, text: &'static str, out: &mut Output) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        if self.greeted || matches!(self.client, ClientSide::Messages) {
            let close: &'static [u8] = match &self.client {
                ClientSide::Messages => b"<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>",
                ClientSide::Stream { .. } => b"</stream:stream>",
            };
            self.send_client(Bytes::from_static(close), out);
        }
        out.end(code, text);
    }

    /// Tells the client of an error, and ends both sides.
    fn fail(
        &mut self,
        condition: &'static str,
        (code, text): (Code, &'static str),
        now: Instant,
        out: &mut Output,
    ) {
        if self.is_over {
            return;
        }
        if let Some(end) = self.link.close() {
            self.send_server(end, now, out);
        }
        if !self.greeted {
            let header = StreamHeader::from(self.link.domain(), &self.stream_id);
            self.greet(&header, out);
        }
        self.send_client(framing::stream_error(condition), out);
        self.end_client(code, text, out);
    }

    fn refuse(&mut self, refused: Refused, now: Instant, out: &mut Output) {
        let end = match refused {
            Refused::HostUnknown => (Code::Denied, "another domain than this backend's"),
            Refused::ImproperAddressing | Refused::BadFormat | Refused::UnsupportedFeature => {
                (Code::Protocol, "the client broke XMPP")
            }
        };
        self.fail(refused.condition(), end, now, out);
    }

    /// What the client sent is no XMPP, or too much of it.
    fn client_broke_it(&mut self, error: Error, now: Instant, out: &mut Output) {
        let end = match error.condition() {
            "policy-violation" => (Code::Limit, "a stanza beyond the limits"),
            _ => (Code::Protocol, "the client broke XMPP"),
        };
        self.fail(error.condition(), end, now, out);
    }
}

impl Service for Xmpp {
    fn client_says(&mut self, bytes: &[u8], now: Instant, out: &mut Output) -> usize {
        if self.is_over || self.link.is_ended() {
            // Behind an end there is nothing; it is taken and forgotten.
            return bytes.len();
        }
        let mut input = bytes;
        match &mut self.client {
            ClientSide::Messages => {
                if bytes.trim_ascii().is_empty() {
                    // Some clients keep connections alive as over TCP. It says nothing, but that they live.
                    return bytes.len();
                }
                match framing::decode(bytes, &self.limits) {
                    Ok(message) => self.client_sends(message, now, out),
                    Err(error) => self.client_broke_it(error, now, out),
                }
                bytes.len()
            }
            ClientSide::Stream { .. } => {
                while !self.is_over
                    && let ClientSide::Stream { decoder, .. } = &mut self.client
                {
                    match decoder.decode(&mut input) {
                        Ok(Some(message)) => self.client_sends(message, now, out),
                        Ok(None) => break,
                        Err(error) => self.client_broke_it(error, now, out),
                    }
                }
                bytes.len()
            }
        }
    }

    fn backend_says(&mut self, bytes: &[u8], now: Instant, out: &mut Output) {
        let mut input = bytes;
        while !self.is_over {
            match self.link.read(&mut input) {
                Ok(Some(message)) => self.server_sends(message, now, out),
                Ok(None) => return,
                Err(_) => self.fail(
                    "remote-connection-failed",
                    (Code::Reset, "the backend broke XMPP"),
                    now,
                    out,
                ),
            }
        }
    }

    fn backend_ended(&mut self, now: Instant, out: &mut Output) {
        if self.link.is_ended() {
            // It owes us nothing but its own end.
            return self.end_client(Code::Closed, "", out);
        }
        self.fail(
            "remote-connection-failed",
            (Code::Reset, "the backend ended the connection"),
            now,
            out,
        );
    }

    fn client_left(&mut self, now: Instant, out: &mut Output) {
        if let Some(end) = self.link.abandon() {
            self.send_server(end, now, out);
        }
    }

    fn client_detached(&mut self, now: Instant, out: &mut Output) {
        self.is_detached = true;
        // It may have been lost before this was noticed. What it answers later is nobody's any more,
        // and is passed over by the server (RFC 6120 section 8.2.3).
        let owed = self.owed_pong.take().filter(|_| self.link.answers_pings());
        if let Some(pong) = owed.filter(|_| !self.is_over) {
            self.send_server(pong.bytes, now, out);
        }
    }

    fn client_attached(&mut self, _now: Instant, _out: &mut Output) {
        self.is_detached = false;
    }

    fn gateway_stops(&mut self, now: Instant, out: &mut Output) {
        self.fail("system-shutdown", (Code::GoingAway, ""), now, out);
    }

    fn deadline(&self) -> Option<Instant> {
        (self.link.is_established() && !self.is_over).then_some(self.sent_at + KEEP_ALIVE)
    }

    fn expired(&mut self, now: Instant, out: &mut Output) {
        if self.deadline().is_some_and(|at| at <= now) {
            self.send_server(Bytes::from_static(b" "), now, out);
        }
    }

    fn held_bytes(&self) -> usize {
        let of_client = match &self.client {
            ClientSide::Messages => 0,
            ClientSide::Stream { decoder, .. } => decoder.held_bytes(),
        };
        of_client + self.link.held_bytes()
    }
}

/// Where what is sent goes: to the server, or to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// One element, header, space or end.
    Server(Bytes),
    /// One message, or a piece of the stream.
    Client(Vec<u8>),
}

/// What comes of what a client and a server say in turns, for fuzz targets.
pub(crate) fn exchange<'a>(
    settings: &XmppSettings,
    caller: &Caller,
    turns: impl Iterator<Item = (bool, &'a [u8])>,
    now: Instant,
) -> Vec<Sent> {
    let mut service = Xmpp::new(settings, caller, now);
    let mut out = Output::default();
    let mut sent = Vec::new();
    for (from_client, bytes) in turns {
        if out.end.is_some() || bytes.is_empty() {
            continue;
        }
        if from_client {
            service.client_says(bytes, now, &mut out);
        } else {
            service.backend_says(bytes, now, &mut out);
        }
        sent.extend(out.backend.drain(..).map(Sent::Server));
        out.backend_bytes = 0;
        while let Some(message) = out.next_for_client() {
            sent.push(Sent::Client(message.as_bytes().to_vec()));
        }
    }
    sent
}

#[cfg(test)]
mod tests;

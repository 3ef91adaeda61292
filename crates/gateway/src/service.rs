//! What a stream's bytes mean to its backend. Services know sessions and backends, not transports.
//!
//! The tunnel passes bytes on as they are. The others are state machines without IO, one file each,
//! behind the trait [`Service`]: bytes and the time go in; bytes for either side, an end and the
//! next deadline come out of the [`Output`] and of [`Service::deadline`].
//! A [`Leg`] joins such a state machine to its backend, and has two users: `stream` joins it to a
//! stream of a session, whose bytes are the protocol's own; `crate::front_door` to a WebSocket of
//! a client that is not ours, whose messages are lines, stanzas or frames.
//!
//! Invariants:
//! - nothing is dropped: who has no room is not handed more ([`QUEUE_BYTES`]);
//! - a service is told when its client left for good, before its backend is left.

mod irc;
mod leg;
mod stomp;
mod stream;
mod tunnel;
mod xmpp;

use std::{collections::VecDeque, time::Instant};

use bytes::Bytes;
use perigee_session::Code;

pub use self::xmpp::Sent as XmppSent;
pub(crate) use self::{
    irc::Irc, leg::Leg, stomp::Stomp, stream::ServiceStream, tunnel::Look, tunnel::Tunnel,
    xmpp::client_limits as xmpp_client_limits, xmpp::exchange as xmpp_exchange,
};
use crate::{
    backend::{self, Unreached},
    net::now,
    ops::access_log::Client,
    policy::{Permit, ServiceSettings},
    shared::Shared,
};

/// One connection of a protocol that the gateway understands. It begins when the backend is
/// connected.
///
/// Calls in which a service is handed bytes are made only while there is room in the [`Output`]
/// for what may follow from them.
pub(crate) trait Service: Send {
    /// Takes bytes of the client, and says how many. It is asked again with the rest, when the
    /// deadline has passed or something else has happened. Of a message it takes all or nothing
    /// if it told [`Caller::framing`] apart, and is never offered none.
    fn client_says(&mut self, bytes: &[u8], now: Instant, out: &mut Output) -> usize;

    /// Takes bytes of the backend, all of them.
    fn backend_says(&mut self, bytes: &[u8], now: Instant, out: &mut Output);

    /// The backend will say no more.
    fn backend_ended(&mut self, _now: Instant, _out: &mut Output) {}

    /// The client will say no more: it closed its side, or it is lost for good. What is sent to
    /// the backend now is the last.
    fn client_left(&mut self, now: Instant, out: &mut Output);

    /// The client is away: it has no transport, and for longer than between two replies. What is
    /// sent to it waits.
    fn client_detached(&mut self, _now: Instant, _out: &mut Output) {}

    /// The client is back.
    fn client_attached(&mut self, _now: Instant, _out: &mut Output) {}

    /// The gateway stops, and the client with it: there is time for a few words.
    fn gateway_stops(&mut self, _now: Instant, _out: &mut Output) {}

    /// When [`Service::expired`] is to be called.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The deadline has passed.
    fn expired(&mut self, _now: Instant, _out: &mut Output) {}

    /// Bytes that it holds, beside those in the [`Output`].
    fn held_bytes(&self) -> usize {
        0
    }
}

/// Who speaks to a service, and in what pieces.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) client: Client,
    pub(crate) framing: Framing,
}

/// In what pieces a client's bytes come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// A stream of a session: bytes, cut anywhere, in the protocol's own form.
    Stream,
    /// A WebSocket of text messages.
    Text,
    /// A WebSocket of binary messages.
    Binary,
    /// A WebSocket of messages that are text where their bytes are.
    Either,
}

/// A piece for the client: a WebSocket's message, or just bytes in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    Text(String),
    Binary(Bytes),
}

impl Message {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

/// What is held of each direction's own bytes before no more are taken. What follows from bytes of
/// the other direction, such as the answer to a PING, may fill the queue to twice this.
pub(crate) const QUEUE_BYTES: usize = 64 * 1024;

/// What a service has to say.
#[derive(Debug, Default)]
pub(crate) struct Output {
    backend: VecDeque<Bytes>,
    backend_bytes: usize,
    client: VecDeque<Message>,
    client_bytes: usize,
    end: Option<(Code, &'static str)>,
}

impl Output {
    /// Sends bytes to the backend.
    pub(crate) fn send_backend(&mut self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        if !bytes.is_empty() {
            self.backend_bytes += bytes.len();
            self.backend.push_back(bytes);
        }
    }

    /// Sends a message to the client.
    pub(crate) fn send_client(&mut self, message: Message) {
        self.client_bytes += message.as_bytes().len();
        self.client.push_back(message);
    }

    /// Ends the connection when the client has all that was sent to it. Only the first end counts;
    /// `text` goes to the client, so it names no address and nothing that was said.
    pub(crate) fn end(&mut self, code: Code, text: &'static str) {
        self.end.get_or_insert((code, text));
    }

    /// The next message for the client.
    pub(crate) fn next_for_client(&mut self) -> Option<Message> {
        let message = self.client.pop_front()?;
        self.client_bytes -= message.as_bytes().len();
        Some(message)
    }

    /// All that is to be sent to the backend.
    pub(crate) fn take_backend(&mut self) -> Vec<Bytes> {
        self.backend_bytes = 0;
        self.backend.drain(..).collect()
    }

    fn has_for_client(&self) -> bool {
        !self.client.is_empty()
    }
}

/// What the client is told of a backend that was not reached, in words of the protocol where it has any.
pub(crate) fn words_for_unreached(permit: &Permit, caller: &Caller, code: Code) -> Vec<Message> {
    let mut out = Output::default();
    if let Some(ServiceSettings::Xmpp(settings)) = &permit.backend.service {
        let now = now();
        xmpp::Xmpp::new(settings, caller, now).unreached(code, now, &mut out);
    }
    out.client.into()
}

/// Connects to a backend and begins its service.
pub(crate) async fn begin(
    permit: Permit,
    caller: Caller,
    shared: Shared,
) -> Result<Leg, Unreached> {
    let host = async {
        if permit.backend.service.as_ref()?.wants_host() {
            shared.names.confirmed(caller.client.address).await
        } else {
            None
        }
    };
    let (connection, host) = tokio::join!(backend::reach(&permit, &shared.tls), host);
    let connection = connection?;
    let mut out = Output::default();
    let service: Box<dyn Service> = match &permit.backend.service {
        Some(ServiceSettings::Irc(settings)) => Box::new(Irc::new(
            settings,
            &caller,
            host.as_deref(),
            now(),
            &mut out,
        )),
        Some(ServiceSettings::Xmpp(settings)) => {
            Box::new(xmpp::Xmpp::new(settings, &caller, now()))
        }
        Some(ServiceSettings::Stomp(settings)) => {
            Box::new(Stomp::new(settings, &permit, &caller, now()))
        }
        // Policy lets nobody ask for a service that a backend has not.
        None => {
            return Err(Unreached {
                code: Code::Internal,
                detail: "the backend has no service".to_owned(),
            });
        }
    };
    Ok(Leg::new(service, out, connection))
}

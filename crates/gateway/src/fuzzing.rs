//! Parsers of what strangers send, for fuzz targets. Refusals are shown as the client sees them, by
//! their status.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use axum::{
    extract::Request,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use perigee_session::{Hello, Position, TOKEN_LEN};

use crate::{
    config::Config,
    demo::broker::{Settings, hub},
    dialect::{bosh, plain, xmpp},
    http::{self, Refusal},
    http1::head,
    net::now,
    ops::access_log::Client,
    policy::{Origin, Request as Asked, ServiceName, ServiceSettings, XmppSettings},
    service::{Caller, Framing, Irc, Message, Output, Service, Stomp, xmpp_exchange},
    transport::{
        attach, form, jsonp, sse,
        ticket::{self, Kind, TICKET_BYTES, TicketHash, Tickets},
        uplink,
        websocket::subprotocol,
        webtransport::{self, WholeFrames},
    },
    websocket::Handshake,
};
pub use crate::{listener::proxy_header, service::XmppSent};

type Read<T> = Result<T, StatusCode>;

fn status<T>(outcome: Result<T, Refusal>) -> Read<T> {
    outcome.map_err(|refusal| refusal.status())
}

/// The Origin of a request; `Err` if it is not one.
pub fn origin(headers: &HeaderMap) -> Read<Option<Origin>> {
    http::origin(headers).map_err(|_| StatusCode::FORBIDDEN)
}

/// The origin as our scripts have it.
pub fn quoted(origin: &Origin) -> String {
    form::quoted(&origin.to_string())
}

/// What a connection's bytes begin with, as far as we read HTTP/1.1 ourselves.
#[derive(Debug)]
pub enum Http1 {
    /// A request, and how many bytes it takes.
    Request(Box<Request>, usize),
    /// One that is not whole yet.
    More,
    /// What hyper has to read.
    Other,
}

/// The request that bytes begin with.
pub fn http1(bytes: &[u8]) -> Http1 {
    match head::read(bytes) {
        head::Beginning::Request(plain, len) => Http1::Request(Box::new(plain.request), len),
        head::Beginning::Head | head::Beginning::Body(_) => Http1::More,
        head::Beginning::Other => Http1::Other,
    }
}

/// The token of `Authorization`.
pub fn bearer(headers: &HeaderMap) -> Option<[u8; TOKEN_LEN]> {
    uplink::bearer(headers)
}

/// HELLO, and what follows it in a body.
pub fn hello(mut body: Bytes) -> Read<(Hello, Bytes)> {
    let hello = status(attach::take_hello(&mut body))?;
    Ok((hello, body))
}

/// The token and the frames of a form.
pub fn form(body: &[u8]) -> Read<([u8; TOKEN_LEN], Bytes)> {
    status(form::fields(body)).map(|form| (form.token, form.frames))
}

/// Whether a request comes from a form.
pub fn is_form(headers: &HeaderMap) -> bool {
    form::is_form(headers)
}

/// The values of a query.
pub fn query<'a, const N: usize>(
    query: Option<&'a str>,
    keys: [&str; N],
) -> Read<[Option<&'a str>; N]> {
    status(ticket::query(query, keys))
}

/// What a script calls.
pub fn jsonp_function(index: Option<&str>) -> Read<String> {
    status(jsonp::function(index))
}

/// A position of a query.
pub fn position(text: Option<&str>) -> Read<Option<Position>> {
    status(ticket::position(text))
}

/// A position as an EventSource repeats it.
pub fn last_position(headers: &HeaderMap) -> Read<Option<Position>> {
    status(sse::last_position(headers))
}

/// Whether a text that is shown for it opens what a ticket is for.
pub fn opens(ticket: [u8; TICKET_BYTES], shown: &str) -> bool {
    let tickets = Tickets::default();
    let now = now();
    let dead_at = now + Duration::from_secs(60);
    tickets.issue(TicketHash::of(&ticket), 1, Kind::Sse, dead_at);
    tickets.find(shown, Kind::Sse, now).is_some()
}

/// The answer to a request for a WebSocket of our protocol.
pub fn websocket(request: &mut Request) -> Response {
    Handshake::read(request, subprotocol).map_or_else(IntoResponse::into_response, reply)
}

/// The same for a plain one.
pub fn plain_websocket(request: &mut Request) -> Response {
    Handshake::read(request, plain::subprotocol).map_or_else(IntoResponse::into_response, reply)
}

/// The same for one of XMPP.
pub fn xmpp_websocket(request: &mut Request) -> Response {
    Handshake::read(request, xmpp::subprotocol).map_or_else(IntoResponse::into_response, reply)
}

/// How XMPP is spoken with `a.example`.
fn xmpp_settings() -> XmppSettings {
    XmppSettings {
        domain: "a.example".into(),
        starttls: None,
        max_stanza_bytes: 10_000,
    }
}

/// The number of a BOSH request, or the condition it is refused with.
pub fn bosh(content: &[u8]) -> Result<u64, &'static str> {
    let body =
        bosh::read(content, &xmpp_settings()).map_err(perigee_xmpp::bosh::Condition::name)?;
    Ok(body.rid())
}

/// What comes of what a client (`true`) and its server say in turns, in messages or in a stream.
pub fn xmpp<'a>(is_stream: bool, turns: impl Iterator<Item = (bool, &'a [u8])>) -> Vec<XmppSent> {
    let caller = Caller {
        client: Client {
            origin: None,
            address: Ipv4Addr::LOCALHOST.into(),
            secure: false,
            user: None,
        },
        framing: if is_stream {
            Framing::Stream
        } else {
            Framing::Text
        },
    };
    xmpp_exchange(&xmpp_settings(), &caller, turns, now())
}

fn reply(handshake: Handshake) -> Response {
    handshake.accept().0
}

/// The session that the path of a WebTransport session names.
pub fn webtransport_sid(path: &str) -> Option<&str> {
    webtransport::sid(path)
}

/// The frames of a WebTransport stream that are whole after each piece.
pub fn whole_frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Bytes> {
    let mut frames = WholeFrames::default();
    pieces
        .map(|piece| frames.push(Bytes::copy_from_slice(piece)))
        .collect()
}

/// What came out of a STOMP service.
#[derive(Debug, PartialEq, Eq)]
pub struct StompEnds {
    /// What the broker reads.
    pub broker: Vec<u8>,
    /// What the client reads.
    pub client: Vec<u8>,
    /// The version that is spoken in the end.
    pub version: Option<&'static str>,
}

/// A STOMP service whose client may send to one destination and subscribe to none, between these two. The client
/// talks until it waits for the broker, then the broker says all, and then the client the rest.
///
/// # Panics
///
/// If the destination is none that a rule can name.
pub fn stomp_service(allowed: &str, client: &[u8], broker: &[u8], cut: usize) -> StompEnds {
    let text = format!(
        "[backend.mq]\naddress = \"mq.example:1\"\nservice = \"stomp\"\n\
         [[allow]]\norigins = [\"none\"]\nto = [\"mq\"]\nstomp_subscribe = []\nstomp_send = [{allowed:?}]\n"
    );
    let address = Ipv4Addr::LOCALHOST.into();
    let policy = Config::parse("fuzz", &text)
        .expect("a configuration")
        .policy;
    let permit = policy.decide(&Asked {
        origin: None,
        client: address,
        user: None,
        service: ServiceName::Stomp,
        target: "mq",
    });
    let permit = permit.expect("allowed");
    let Some(ServiceSettings::Stomp(settings)) = &permit.backend.service else {
        unreachable!("it speaks STOMP");
    };
    let caller = Caller {
        client: Client {
            origin: None,
            address,
            secure: false,
            user: None,
        },
        framing: Framing::Stream,
    };
    let now = now();
    let mut out = Output::default();
    let mut service = Stomp::new(settings, &permit, &caller, now);
    let says = |service: &mut Stomp, out: &mut Output, bytes: &[u8]| {
        let mut taken = 0;
        for piece in bytes.chunks(cut.min(bytes.len()).max(1)) {
            let mut rest = piece;
            while !rest.is_empty() {
                match service.client_says(rest, now, out) {
                    0 => return taken,
                    len => {
                        taken += len;
                        rest = &rest[len..];
                    }
                }
            }
        }
        taken
    };
    let taken = says(&mut service, &mut out, client);
    for piece in broker.chunks(cut.min(broker.len()).max(1)) {
        service.backend_says(piece, now, &mut out);
    }
    says(&mut service, &mut out, &client[taken..]);
    service.client_left(now, &mut out);
    StompEnds {
        broker: out.take_backend().concat(),
        client: std::iter::from_fn(|| out.next_for_client())
            .flat_map(|message| message.as_bytes().to_vec())
            .collect(),
        version: service.version(),
    }
}

/// What a client reads from the demo's broker, to which it said this in pieces.
///
/// # Panics
///
/// If the broker has no room for one client.
pub fn stomp_broker(client: &[u8], cut: usize) -> Vec<u8> {
    let now = now();
    let mut hub = hub::Hub::new(Settings::default(), now);
    let id = hub.connect(now).expect("room");
    for piece in client.chunks(cut.min(client.len()).max(1)) {
        hub.handle_bytes(now, id, piece);
    }
    hub.handle_disconnect(now, id);
    let mut read = Vec::new();
    while let Some(output) = hub.poll_output() {
        if let hub::Output::Send { bytes, .. } = output {
            read.extend_from_slice(&bytes);
        }
    }
    read
}

/// An IRC service with a client and a server that are played by the target.
pub struct IrcConversation {
    service: Irc,
    out: Output,
    now: Instant,
}

impl std::fmt::Debug for IrcConversation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IrcConversation").finish_non_exhaustive()
    }
}

impl IrcConversation {
    /// With the one backend of a configuration, and a client that has a stream (0), or a WebSocket
    /// of text (1) or bytes; `None` if that has no IRC.
    pub fn new(config: &str, framing: u8) -> Option<Self> {
        let config = Config::parse("fuzz", config).ok()?;
        let backend = config.policy.backends.into_values().next()?;
        let caller = Caller {
            client: Client {
                origin: None,
                address: IpAddr::from([192, 0, 2, 1]),
                secure: true,
                user: None,
            },
            framing: match framing {
                0 => Framing::Stream,
                1 => Framing::Text,
                _ => Framing::Binary,
            },
        };
        let now = now();
        let mut out = Output::default();
        let Some(ServiceSettings::Irc(settings)) = &backend.service else {
            return None;
        };
        let service = Irc::new(settings, &caller, None, now, &mut out);
        Some(Self { service, out, now })
    }

    /// The client says this; returns how much was taken.
    pub fn client(&mut self, bytes: &[u8]) -> usize {
        self.service.client_says(bytes, self.now, &mut self.out)
    }

    /// The backend says this.
    pub fn backend(&mut self, bytes: &[u8]) {
        self.service.backend_says(bytes, self.now, &mut self.out);
    }

    /// The client has a transport, or none.
    pub fn attach(&mut self, attached: bool) {
        if attached {
            self.service.client_attached(self.now, &mut self.out);
        } else {
            self.service.client_detached(self.now, &mut self.out);
        }
    }

    /// The client is gone.
    pub fn leave(&mut self) {
        self.service.client_left(self.now, &mut self.out);
    }

    /// Time passes.
    pub fn wait(&mut self, time: Duration) {
        self.now += time;
        if self.service.deadline().is_some_and(|at| at <= self.now) {
            self.service.expired(self.now, &mut self.out);
        }
    }

    /// What goes to the backend.
    pub fn take_backend(&mut self) -> Vec<u8> {
        self.out.take_backend().concat()
    }

    /// What goes to the client, and whether it is text.
    pub fn take_client(&mut self) -> Vec<(bool, Vec<u8>)> {
        std::iter::from_fn(|| self.out.next_for_client())
            .map(|message| {
                let is_text = matches!(message, Message::Text(_));
                (is_text, message.as_bytes().to_vec())
            })
            .collect()
    }

    /// Bytes that the service holds.
    pub fn held_bytes(&self) -> usize {
        self.service.held_bytes()
    }
}

//! Parsers of what strangers send, for fuzz targets. Refusals are shown as the client sees them, by
//! their status.

use std::{net::Ipv4Addr, time::Duration};

use axum::{
    extract::Request,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use perigee_session::{Hello, Position, TOKEN_LEN};

use crate::{
    dialect::{bosh, plain, xmpp},
    http::{self, Refusal},
    net::now,
    ops::access_log::Client,
    policy::{Origin, XmppSettings},
    service::{Caller, Framing, xmpp_exchange},
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

//! The server side of a WebSocket on a connection that HTTP/1.1 has handed over (RFC 6455), or on a
//! stream of HTTP/2 (RFC 8441).
//!
//! Our own client's transport, the plain dialect and the front doors share it. This file does the
//! handshake; `socket` is what follows it, `frames` knows the bytes.

mod carrier;
mod frames;
mod idle_talk;
mod silence;
mod socket;
mod unsent;

use std::future::ready;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header},
    response::{IntoResponse, Response},
};
use futures_util::future::Either;
use hyper::{
    ext::Protocol,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::{rt::TokioIo, server::conn::auto::upgrade::downcast};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::task::TaskTracker;
use tracing::debug;

use self::carrier::Carrier;
pub(crate) use self::{
    frames::HEAD_ROOM,
    silence::Silence,
    socket::{Heard, Pieces, WebSocket},
};
use crate::{
    http::Peer,
    http1::{Handover, Rest, Successor},
    listener::{Held, Io},
};

/// Largest message in bytes, both ways (protocol section 7).
pub(crate) const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// A request that asks for a WebSocket.
pub(crate) struct Handshake {
    way: Way,
    upgrade: Upgrade,
    protocol: Option<HeaderValue>,
}

/// Where the connection comes from when the reply is written.
enum Upgrade {
    Hyper(OnUpgrade),
    Http1(Handover),
}

/// How it asks.
enum Way {
    /// Upgrade in HTTP/1.1, with the value of `Sec-WebSocket-Accept`.
    Upgrade(HeaderValue),
    /// Extended CONNECT in HTTP/2.
    Connect(Held),
}

/// A request that does not, though it should.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(crate) enum NotWebSocket {
    #[error(
        "this address speaks WebSocket: GET with Upgrade: websocket over HTTP/1.1, or CONNECT with :protocol websocket over HTTP/2"
    )]
    NoUpgrade,
    #[error("a request for a WebSocket has no body")]
    Body,
    #[error("only WebSocket version 13 is spoken (RFC 6455)")]
    Version,
    #[error("Sec-WebSocket-Key is missing or not 16 bytes of base64")]
    Key,
    #[error("none of the offered subprotocols is spoken here")]
    Protocol,
}

impl IntoResponse for NotWebSocket {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NoUpgrade | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Body | Self::Key | Self::Protocol => StatusCode::BAD_REQUEST,
        };
        let mut response = (status, self.to_string()).into_response();
        if status == StatusCode::UPGRADE_REQUIRED {
            let headers = response.headers_mut();
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(
                header::SEC_WEBSOCKET_VERSION,
                HeaderValue::from_static("13"),
            );
        }
        response
    }
}

impl Handshake {
    /// Checks a request (RFC 6455 §4.2.1, RFC 8441 §5). `choose` picks a subprotocol from those
    /// offered, or `None` to accept without one; `Err` refuses.
    pub(crate) fn read(
        request: &mut Request,
        choose: impl FnOnce(&[&str]) -> Result<Option<&'static str>, NotWebSocket>,
    ) -> Result<Self, NotWebSocket> {
        let peer = request.extensions_mut().get_mut::<Peer>();
        let upgrade = match peer.and_then(|peer| peer.handover.take()) {
            Some(handover) => Upgrade::Http1(handover),
            None => Upgrade::Hyper(hyper::upgrade::on(&mut *request)),
        };
        let headers = request.headers();
        let connects = request.version() == Version::HTTP_2
            && request.method() == Method::CONNECT
            && request
                .extensions()
                .get::<Protocol>()
                .is_some_and(|protocol| protocol.as_str() == "websocket");
        // Nothing else is handed over.
        let upgrades = matches!(upgrade, Upgrade::Http1(_))
            || request.version() == Version::HTTP_11
                && request.method() == Method::GET
                && has_token(headers, &header::CONNECTION, "upgrade")
                && has_token(headers, &header::UPGRADE, "websocket");
        if !connects && !upgrades {
            return Err(NotWebSocket::NoUpgrade);
        }
        // What follows such a head could be read as frames by one and as a body by another.
        let announces_body = headers.contains_key(header::TRANSFER_ENCODING)
            || headers
                .get(header::CONTENT_LENGTH)
                .is_some_and(|len| len != "0");
        if announces_body {
            return Err(NotWebSocket::Body);
        }
        if headers
            .get(header::SEC_WEBSOCKET_VERSION)
            .is_none_or(|version| version != "13")
        {
            return Err(NotWebSocket::Version);
        }
        let way = match request.extensions().get::<Held>() {
            Some(held) if connects => Way::Connect(held.clone()),
            _ => Way::Upgrade(accept_key(headers)?),
        };
        let offered: Vec<&str> = tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL).collect();
        let protocol = choose(&offered)?.map(HeaderValue::from_static);
        debug!(version = ?request.version(), "websocket");
        Ok(Self {
            way,
            upgrade,
            protocol,
        })
    }

    /// The reply, and the WebSocket that follows it once the reply was written.
    pub(crate) fn accept(
        self,
    ) -> (
        Response,
        impl Future<Output = Option<WebSocket>> + Send + 'static,
    ) {
        self.accept_messages(MAX_MESSAGE_BYTES)
    }

    /// The same for messages of the client of at most this many bytes.
    pub(crate) fn accept_messages(
        self,
        max_message_bytes: usize,
    ) -> (
        Response,
        impl Future<Output = Option<WebSocket>> + Send + 'static,
    ) {
        let (response, upgrade, held) = self.grant();
        let websocket = match upgrade {
            Upgrade::Hyper(upgrade) => {
                Either::Left(async move { upgraded(upgrade.await.ok()?, held, max_message_bytes) })
            }
            Upgrade::Http1(handover) => {
                let (to, from) = oneshot::channel();
                handover.to(|rest| {
                    // Who waits for it may have gone.
                    _ = to.send(rest);
                    Box::pin(ready(()))
                });
                Either::Right(async move { Some(handed_over(from.await.ok()?, max_message_bytes)) })
            }
        };
        (response, websocket)
    }

    /// The reply, after which `carry` has the WebSocket: in the task of its connection, if it has one of its own.
    pub(crate) fn accept_for<C: Future<Output = ()> + Send + 'static>(
        self,
        tracker: &TaskTracker,
        carry: impl FnOnce(WebSocket) -> C + Send + 'static,
    ) -> Response {
        let (response, upgrade, held) = self.grant();
        let token = tracker.token();
        match upgrade {
            Upgrade::Hyper(upgrade) => {
                tracker.spawn(async move {
                    if let Ok(stream) = upgrade.await
                        && let Some(websocket) = upgraded(stream, held, MAX_MESSAGE_BYTES)
                    {
                        carry(websocket).await;
                    }
                });
            }
            Upgrade::Http1(handover) => handover.to(move |rest| -> Successor {
                let carried = carry(handed_over(rest, MAX_MESSAGE_BYTES));
                Box::pin(token.task_tracker().track_future(carried))
            }),
        }
        response
    }

    fn grant(self) -> (Response, Upgrade, Option<Held>) {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        if let Some(protocol) = self.protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        let held = match self.way {
            Way::Upgrade(accept) => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                None
            }
            Way::Connect(held) => Some(held),
        };
        (response, self.upgrade, held)
    }
}

fn handed_over(rest: Rest, max_message_bytes: usize) -> WebSocket {
    let Rest { socket, ahead } = rest;
    let carrier = Carrier::socket(socket, max_message_bytes);
    WebSocket::new(carrier, &ahead, max_message_bytes)
}

fn upgraded(stream: Upgraded, held: Option<Held>, max_message_bytes: usize) -> Option<WebSocket> {
    if let Some(held) = held {
        let carrier = Carrier::stream(stream, held, max_message_bytes);
        return Some(WebSocket::new(carrier, &[], max_message_bytes));
    }
    let parts = downcast::<TokioIo<Io>>(stream).ok()?;
    let (socket, unread) = parts.io.into_inner().into_socket();
    let carrier = Carrier::socket(socket, max_message_bytes);
    let read = [&parts.read_buf[..], &unread].concat();
    Some(WebSocket::new(carrier, &read, max_message_bytes))
}

fn accept_key(headers: &HeaderMap) -> Result<HeaderValue, NotWebSocket> {
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or(NotWebSocket::Key)?;
    if key.len() != 24 || !key.as_bytes().ends_with(b"==") {
        return Err(NotWebSocket::Key);
    }
    HeaderValue::try_from(derive_accept_key(key.as_bytes())).map_err(|_| NotWebSocket::Key)
}

fn has_token(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|value| value.eq_ignore_ascii_case(token))
}

/// The comma-separated tokens of all headers of one name (RFC 9110 §5.6.1).
fn tokens<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

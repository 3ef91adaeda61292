//! The server side of a WebSocket on a connection that HTTP/1.1 has handed over (RFC 6455), or on a
//! stream of HTTP/2 (RFC 8441).
//!
//! Our own client's transport and the plain dialect share it. Frames are tungstenite's work; this
//! module does the handshake and sets the bounds on purpose (the library's defaults cost 133 KiB
//! per idle connection).

mod carrier;
mod silence;

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header},
    response::{IntoResponse, Response},
};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use hyper::{
    ext::Protocol,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::{rt::TokioIo, server::conn::auto::upgrade::downcast};
use perigee_session::Code;
use tokio::{sync::oneshot, time::timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tracing::debug;

use self::carrier::Carrier;
pub(crate) use self::silence::Silence;
use crate::{
    http1::{Handover, Rest},
    listener::{Held, Io},
    net::now,
};

/// A WebSocket whose handshake is done.
///
/// A client that sends too many frames without bytes of a message ends it with [`Error::AttackAttempt`].
#[derive(Debug)]
pub(crate) struct WebSocket {
    frames: WebSocketStream<Carrier>,
    idle_talk: IdleTalk,
}

/// The control frames and empty messages that a client may still send: a bucket that refills.
#[derive(Debug)]
struct IdleTalk {
    left: u32,
    at: Instant,
}

/// Largest message in bytes, both ways (protocol section 7).
pub(crate) const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// Bytes read at a time; the library keeps a buffer of this size per connection.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Time for the close handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Control frames and empty messages at once: more than any client says for good reasons.
const MAX_IDLE_TALK: u32 = 256;
/// After this the bucket has room for one more: heartbeats come every few seconds at most.
const IDLE_TALK_REFILL: Duration = Duration::from_millis(100);
/// The longest control frame of a client: 125 bytes, head and mask (RFC 6455 §5.5).
const MAX_CONTROL_BYTES: usize = 125 + 6;

/// A request that asks for a WebSocket.
pub(crate) struct Handshake {
    way: Way,
    upgrade: Upgrade,
    protocol: Option<HeaderValue>,
}

/// Where the connection comes from when the reply is written.
enum Upgrade {
    Hyper(OnUpgrade),
    Http1(oneshot::Receiver<Rest>),
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
        let upgrade = match request.extensions().get().and_then(Handover::take) {
            Some(rest) => Upgrade::Http1(rest),
            None => Upgrade::Hyper(hyper::upgrade::on(&mut *request)),
        };
        let headers = request.headers();
        let connects = request.version() == Version::HTTP_2
            && request.method() == Method::CONNECT
            && request
                .extensions()
                .get::<Protocol>()
                .is_some_and(|protocol| protocol.as_str() == "websocket");
        let upgrades = request.version() == Version::HTTP_11
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
        let protocol = choose(&tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL))?
            .map(HeaderValue::from_static);
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
        let upgrade = self.upgrade;
        let websocket = async move {
            let (carrier, read) = match upgrade {
                Upgrade::Hyper(upgrade) => carrier(upgrade.await.ok()?, held, max_message_bytes)?,
                Upgrade::Http1(rest) => {
                    let Rest { socket, ahead } = rest.await.ok()?;
                    (Carrier::socket(socket, max_message_bytes), ahead)
                }
            };
            let frames = WebSocketStream::from_partially_read(
                carrier,
                read,
                Role::Server,
                Some(config(max_message_bytes)),
            )
            .await;
            Some(WebSocket {
                frames,
                idle_talk: IdleTalk {
                    left: MAX_IDLE_TALK,
                    at: now(),
                },
            })
        };
        (response, websocket)
    }
}

/// What carries the frames, and those bytes of them that came with the request.
fn carrier(
    upgraded: Upgraded,
    held: Option<Held>,
    max_message_bytes: usize,
) -> Option<(Carrier, Vec<u8>)> {
    if let Some(held) = held {
        return Some((
            Carrier::stream(upgraded, held, max_message_bytes),
            Vec::new(),
        ));
    }
    let parts = downcast::<TokioIo<Io>>(upgraded).ok()?;
    let (socket, unread) = parts.io.into_inner().into_socket();
    Some((
        Carrier::socket(socket, max_message_bytes),
        [&parts.read_buf[..], &unread].concat(),
    ))
}

fn accept_key(headers: &HeaderMap) -> Result<HeaderValue, NotWebSocket> {
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or(NotWebSocket::Key)?;
    if key.len() != 24 || !key.as_bytes().ends_with(b"==") {
        return Err(NotWebSocket::Key);
    }
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| NotWebSocket::Key)
}

impl WebSocket {
    /// Says goodbye to a client that is not ours, and waits for its answer, but not for long.
    pub(crate) async fn end(&mut self, code: Code, reason: &'static str) {
        // A clean end is 1000 for any client; others are told more (protocol section 6).
        let number = if code == Code::Closed {
            CloseCode::Normal
        } else {
            CloseCode::from(code.close_code())
        };
        let reason = if reason.is_empty() {
            code.name()
        } else {
            reason
        };
        self.end_as(number, reason).await;
    }

    /// The same for what RFC 6455 has a close code of its own.
    pub(crate) async fn end_as(&mut self, number: CloseCode, reason: &'static str) {
        let goodbye = async {
            let frame = CloseFrame {
                code: number,
                reason: reason.into(),
            };
            self.close(Some(frame)).await?;
            while let Some(Ok(_)) = self.next().await {}
            Ok::<_, Error>(())
        };
        _ = timeout(CLOSE_TIMEOUT, goodbye).await;
    }

    /// Begins the close handshake.
    pub(crate) async fn close(&mut self, frame: Option<CloseFrame>) -> Result<(), Error> {
        self.send(Message::Close(frame)).await
    }
}

impl Stream for WebSocket {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(message) = ready!(Pin::new(&mut self.frames).poll_next(cx)) else {
            return Poll::Ready(None);
        };
        let is_flood = match &message {
            Ok(message) if says_something(message) => {
                self.frames.get_mut().finished();
                false
            }
            Ok(_) => {
                self.frames.get_mut().control(MAX_CONTROL_BYTES);
                !self.idle_talk.take()
            }
            Err(Error::Io(error)) => Carrier::is_flooded(error),
            Err(_) => false,
        };
        if is_flood {
            debug!("websocket ended: too many frames that say nothing");
            return Poll::Ready(Some(Err(Error::AttackAttempt)));
        }
        Poll::Ready(Some(message))
    }
}

fn says_something(message: &Message) -> bool {
    match message {
        Message::Binary(bytes) => !bytes.is_empty(),
        Message::Text(text) => !text.is_empty(),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => false,
    }
}

impl Sink<Message> for WebSocket {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.frames).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        Pin::new(&mut self.frames).start_send(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.frames).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.frames).poll_close(cx)
    }
}

impl IdleTalk {
    /// Whether one more is allowed.
    fn take(&mut self) -> bool {
        let now = now();
        let refills =
            now.saturating_duration_since(self.at).as_millis() / IDLE_TALK_REFILL.as_millis();
        if refills > 0 {
            let refills = u32::try_from(refills).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(refills).min(MAX_IDLE_TALK);
            self.at = now;
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

/// Bounds for every WebSocket of the gateway.
fn config(max_message_bytes: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * max_message_bytes)
        .max_message_size(Some(max_message_bytes))
        .max_frame_size(Some(max_message_bytes))
}

fn has_token(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    tokens(headers, name)
        .iter()
        .any(|value| value.eq_ignore_ascii_case(token))
}

/// The comma-separated tokens of all headers of one name (RFC 9110 §5.6.1).
fn tokens<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Vec<&'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
        .collect()
}

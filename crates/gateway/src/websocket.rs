//! The server side of a WebSocket (RFC 6455) on a connection that HTTP has handed over.
//!
//! Our own client's transport and the plain dialect share it. Frames are tungstenite's work; this
//! module does the handshake and sets the bounds on purpose (the library's defaults cost 133 KiB
//! per idle connection).

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, Version, header},
    response::{IntoResponse, Response},
};
use hyper::upgrade::OnUpgrade;
use hyper_util::{rt::TokioIo, server::conn::auto::upgrade::downcast};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};

use crate::listener::{ClientSocket, Io};

/// A WebSocket whose handshake is done.
pub(crate) type WebSocket = WebSocketStream<ClientSocket>;

/// Largest message in bytes, both ways (protocol section 7).
pub(crate) const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// Bytes read at a time; the library keeps a buffer of this size per connection.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// A request that asks for a WebSocket.
pub(crate) struct Handshake {
    accept: HeaderValue,
    upgrade: OnUpgrade,
    protocol: Option<HeaderValue>,
}

/// A request that does not, though it should.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(crate) enum NotWebSocket {
    #[error("this address speaks WebSocket: GET with Upgrade: websocket over HTTP/1.1")]
    NoUpgrade,
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
            Self::Key | Self::Protocol => StatusCode::BAD_REQUEST,
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
    /// Checks a request (RFC 6455 §4.2.1). `choose` picks a subprotocol from those offered, or
    /// `None` to accept without one; `Err` refuses.
    pub(crate) fn read(
        request: &mut Request,
        choose: impl FnOnce(&[&str]) -> Result<Option<&'static str>, NotWebSocket>,
    ) -> Result<Self, NotWebSocket> {
        let upgrade = hyper::upgrade::on(&mut *request);
        let headers = request.headers();
        let asks = request.method() == axum::http::Method::GET
            && request.version() == Version::HTTP_11
            && has_token(headers, &header::CONNECTION, "upgrade")
            && has_token(headers, &header::UPGRADE, "websocket");
        if !asks {
            return Err(NotWebSocket::NoUpgrade);
        }
        if headers
            .get(header::SEC_WEBSOCKET_VERSION)
            .is_none_or(|version| version != "13")
        {
            return Err(NotWebSocket::Version);
        }
        let key = headers
            .get(header::SEC_WEBSOCKET_KEY)
            .ok_or(NotWebSocket::Key)?;
        if key.len() != 24 || !key.as_bytes().ends_with(b"==") {
            return Err(NotWebSocket::Key);
        }
        let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
            .map_err(|_| NotWebSocket::Key)?;
        let protocol = choose(&tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL))?
            .map(HeaderValue::from_static);
        Ok(Self {
            accept,
            upgrade,
            protocol,
        })
    }

    /// The 101 reply, and the WebSocket that follows it once the reply was written.
    pub(crate) fn accept(
        self,
    ) -> (
        Response,
        impl Future<Output = Option<WebSocket>> + Send + 'static,
    ) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        if let Some(protocol) = self.protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        let upgrade = self.upgrade;
        let websocket = async move {
            let parts = downcast::<TokioIo<Io>>(upgrade.await.ok()?).ok()?;
            let stream = parts.io.into_inner().into_socket();
            let read = parts.read_buf.to_vec();
            Some(
                WebSocketStream::from_partially_read(stream, read, Role::Server, Some(config()))
                    .await,
            )
        };
        (response, websocket)
    }
}

/// Bounds for every WebSocket of the gateway.
fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * MAX_MESSAGE_BYTES)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES))
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

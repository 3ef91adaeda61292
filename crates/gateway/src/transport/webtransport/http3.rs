//! As much of HTTP/3 (RFC 9114) as WebTransport over it needs: settings, one CONNECT request for one
//! session on the connection, the session's first stream, and its end.
//!
//! Knows nothing of what the stream carries. The encodings are web-transport-proto's.
//!
//! Invariants:
//! - the streams that HTTP/3 must not lose live as long as the session, and the connection no longer;
//! - nothing is answered before the caller has seen who asks for what.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use futures_util::future::{BoxFuture, FutureExt};
use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, VarInt};
use tokio::time::timeout;
use web_transport_proto::{
    Capsule, ConnectError, ConnectRequest, ConnectResponse, Frame, Http3CapsuleReader, Settings,
    SettingsError, VarInt as HttpVarInt, VarIntUnexpectedEnd,
};

/// H3_NO_ERROR (RFC 9114 §8.1).
const NO_ERROR: VarInt = VarInt::from_u32(0x100);
/// For an answer or a close code to arrive before the connection ends with it.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_millis(500);

/// A request for a session, not answered yet.
pub(crate) struct Request {
    connection: Owned,
    settings: (SendStream, RecvStream),
    connect: ConnectRequest,
    send: SendStream,
    recv: RecvStream,
}

/// A session that was granted.
pub(crate) struct Session {
    connection: Owned,
    _settings: (SendStream, RecvStream),
    send: SendStream,
    /// Ready when the other side has ended the session.
    pub(crate) ended: BoxFuture<'static, ()>,
}

/// What a peer did wrong, or that it is gone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("the settings cannot be read: {0}")]
    Settings(#[from] SettingsError),
    #[error("the client's settings do not offer WebTransport")]
    Unsupported,
    #[error("the request cannot be read: {0}")]
    Connect(#[from] ConnectError),
    #[error("the beginning of a stream cannot be read")]
    Stream(#[from] VarIntUnexpectedEnd),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A connection that is closed when it is dropped, whoever else has a handle to it.
struct Owned(Connection);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.close(NO_ERROR, b"");
    }
}

impl Request {
    /// Exchanges settings and reads the first request of a connection.
    pub(crate) async fn read(connection: Connection) -> Result<Self, Error> {
        let connection = Owned(connection);
        let ours = async {
            let mut stream = connection.0.open_uni().await?;
            let mut settings = Settings::default();
            settings.enable_webtransport(1);
            settings.write(&mut stream).await?;
            Ok::<_, Error>(stream)
        };
        let theirs = async {
            let mut stream = connection.0.accept_uni().await?;
            let settings = Settings::read(&mut stream).await?;
            match settings.supports_webtransport() {
                0 => Err(Error::Unsupported),
                _ => Ok(stream),
            }
        };
        let settings = tokio::try_join!(ours, theirs)?;
        let (send, mut recv) = connection.0.accept_bi().await?;
        let connect = ConnectRequest::read(&mut recv).await?;
        Ok(Self {
            connection,
            settings,
            connect,
            send,
            recv,
        })
    }

    /// The address of the other end, as it is now.
    pub(crate) fn peer(&self) -> std::net::SocketAddr {
        self.connection.0.remote_address()
    }

    /// The host that was asked for.
    pub(crate) fn host(&self) -> &str {
        self.connect.url.host_str().unwrap_or_default()
    }

    pub(crate) fn path(&self) -> &str {
        self.connect.url.path()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.connect.headers
    }

    /// Grants the session.
    pub(crate) async fn accept(mut self) -> Result<Session, Error> {
        ConnectResponse::OK.write(&mut self.send).await?;
        let mut capsules = Http3CapsuleReader::new(self.recv);
        let ended = async move {
            while let Ok(Some(capsule)) = capsules.read().await {
                if matches!(capsule, Capsule::CloseWebTransportSession { .. }) {
                    break;
                }
            }
        };
        Ok(Session {
            connection: self.connection,
            _settings: self.settings,
            send: self.send,
            ended: ended.boxed(),
        })
    }

    /// Refuses it.
    pub(crate) async fn refuse(mut self, status: StatusCode) {
        let answer = async {
            ConnectResponse::new(status).write(&mut self.send).await?;
            // It is finished already only if it is gone.
            _ = self.send.finish();
            self.connection.0.closed().await;
            Ok::<_, Error>(())
        };
        // Who does not take the answer gets the end of the connection.
        _ = timeout(LAST_WORDS_TIMEOUT, answer).await;
    }
}

impl Session {
    /// The first stream that the client opens for the session. What else it opens before is dropped.
    pub(crate) async fn stream(&mut self) -> Result<(SendStream, RecvStream), Error> {
        loop {
            let (send, mut recv) = self.connection.0.accept_bi().await?;
            let is_ours = Frame(HttpVarInt::read(&mut recv).await?) == Frame::WEBTRANSPORT
                && HttpVarInt::read(&mut recv).await?.into_inner()
                    == VarInt::from(self.send.id()).into_inner();
            if is_ours {
                return Ok((send, recv));
            }
        }
    }

    /// Ends the session and says why.
    pub(crate) async fn close(mut self, code: u32, reason: &str) {
        let mut capsule = Vec::new();
        let reason = reason.to_owned();
        Capsule::CloseWebTransportSession { code, reason }.encode(&mut capsule);
        // A capsule on a CONNECT stream is the body of an HTTP/3 message (RFC 9297 §3.2).
        let mut frame = Vec::new();
        Frame::DATA.encode(&mut frame);
        // Few bytes: the reason is one of our names.
        let len = u32::try_from(capsule.len()).unwrap_or(u32::MAX);
        HttpVarInt::from_u32(len).encode(&mut frame);
        frame.append(&mut capsule);
        let goodbye = async {
            self.send.write_all(&frame).await?;
            _ = self.send.finish();
            self.connection.0.closed().await;
            Ok::<_, quinn::WriteError>(())
        };
        _ = timeout(LAST_WORDS_TIMEOUT, goodbye).await;
    }
}

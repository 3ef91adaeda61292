//! Ways to carry a session over the simulated network (protocol section 7).

use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::{Sink, Stream, future::LocalBoxFuture};
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use perigee_integration_tests::ORIGIN;
use perigee_session::TOKEN_LEN;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message, client::IntoClientRequest, http::HeaderValue},
};
use turmoil::net::TcpStream;

/// Most bytes of a WebSocket message.
const MESSAGE: usize = 48 * 1024;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    WebSocket,
    Stream,
    Poll,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::WebSocket, Self::Stream, Self::Poll];
}

/// Why there is no transport, or none any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The network does not work.
    Network,
    /// The gateway does not know the session.
    Lost,
    /// The gateway says no, for now.
    Refused,
}

/// A transport in use.
pub(crate) enum Carrier {
    WebSocket(Box<WebSocketStream<TcpStream>>),
    Stream(Box<Endless>),
    /// The reply to a poll.
    Reply(Bytes),
}

/// What came down.
pub(crate) enum Incoming1 {
    /// A whole number of frames.
    Message(Bytes),
    /// Bytes that may end in the middle of a frame.
    Bytes(Bytes),
}

type Connection = http1::Connection<TokioIo<TcpStream>, Full<Bytes>>;

/// The reply of an HTTP stream, and the connection that brings it.
pub(crate) struct Endless {
    connection: Option<Pin<Box<Connection>>>,
    body: Incoming,
}

impl Carrier {
    /// Whether frames go up this way, and not by requests.
    pub(crate) fn takes_frames(&self) -> bool {
        matches!(self, Self::WebSocket(_))
    }

    /// Ready when a message can be sent.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self {
            Self::WebSocket(websocket) => Pin::new(&mut **websocket)
                .poll_ready(cx)
                .map_err(|_| Broken::Network),
            Self::Stream(_) | Self::Reply(_) => Poll::Pending,
        }
    }

    pub(crate) fn send(&mut self, frames: Vec<u8>) {
        if let Self::WebSocket(websocket) = self {
            // An error shows at the next poll.
            _ = Pin::new(&mut **websocket).start_send(Message::Binary(Bytes::from(frames)));
        }
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        if let Self::WebSocket(websocket) = self
            && let Poll::Ready(Err(_)) = Pin::new(&mut **websocket).poll_flush(cx)
        {
            return Err(Broken::Network);
        }
        Ok(())
    }

    /// What comes down next.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming1, Broken>> {
        match self {
            Self::WebSocket(websocket) => loop {
                return match ready!(Pin::new(&mut **websocket).poll_next(cx)) {
                    Some(Ok(Message::Binary(message))) => {
                        Poll::Ready(Ok(Incoming1::Message(message)))
                    }
                    Some(Ok(Message::Close(frame))) => {
                        let code = frame.map_or(0, |frame| frame.code.into());
                        Poll::Ready(Err(refusal_of_close(code)))
                    }
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => Poll::Ready(Err(Broken::Network)),
                };
            },
            Self::Stream(stream) => stream.poll(cx).map_ok(Incoming1::Bytes),
            Self::Reply(frames) => match std::mem::take(frames) {
                none if none.is_empty() => Poll::Ready(Err(Broken::Network)),
                frames => Poll::Ready(Ok(Incoming1::Message(frames))),
            },
        }
    }
}

impl Endless {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Broken>> {
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(cx).is_ready()
        {
            self.connection = None;
        }
        loop {
            return match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Poll::Ready(Ok(data)),
                    Err(_) => continue,
                },
                Some(Err(_)) | None => Poll::Ready(Err(Broken::Network)),
            };
        }
    }
}

/// Where a gateway is and which session is meant.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) gateway: SocketAddr,
    pub(crate) sid: String,
}

pub(crate) type Opening = LocalBoxFuture<'static, Result<Carrier, Broken>>;

/// Starts a transport; `hello` is the body of those that are requests.
pub(crate) fn open(kind: Kind, place: Place, hello: Vec<u8>) -> Opening {
    match kind {
        Kind::WebSocket => Box::pin(websocket(place)),
        Kind::Stream => Box::pin(stream(place, hello)),
        Kind::Poll => Box::pin(async move {
            let path = format!("/perigee/v1/{}/poll", place.sid);
            Ok(Carrier::Reply(
                fetch(place.gateway, path, None, hello).await?,
            ))
        }),
    }
}

/// Sends frames up by a request of their own.
pub(crate) fn up(
    place: Place,
    token: &[u8; TOKEN_LEN],
    frames: Vec<u8>,
) -> LocalBoxFuture<'static, Result<Bytes, Broken>> {
    let bearer = format!("Bearer {}", URL_SAFE_NO_PAD.encode(token));
    Box::pin(async move {
        let path = format!("/perigee/v1/{}/up", place.sid);
        fetch(place.gateway, path, Some(bearer), frames).await
    })
}

async fn websocket(place: Place) -> Result<Carrier, Broken> {
    let network = |_| Broken::Network;
    let mut request = format!("ws://gateway/perigee/v1/{}/ws", place.sid)
        .into_client_request()
        .map_err(network)?;
    let headers = request.headers_mut();
    headers.insert("origin", HeaderValue::from_static(ORIGIN));
    headers.insert(
        "sec-websocket-protocol",
        HeaderValue::from_static("perigee.v1"),
    );
    let tcp = TcpStream::connect(place.gateway)
        .await
        .map_err(|_| Broken::Network)?;
    match tokio_tungstenite::client_async(request, tcp).await {
        Ok((websocket, _)) => Ok(Carrier::WebSocket(Box::new(websocket))),
        Err(tungstenite::Error::Http(response)) => Err(refusal_of_status(response.status())),
        Err(_) => Err(Broken::Network),
    }
}

async fn stream(place: Place, hello: Vec<u8>) -> Result<Carrier, Broken> {
    let path = format!("/perigee/v1/{}/stream", place.sid);
    let (response, connection) = request(place.gateway, path, None, hello).await?;
    match response.status() {
        StatusCode::OK => Ok(Carrier::Stream(Box::new(Endless {
            connection,
            body: response.into_body(),
        }))),
        status => Err(refusal_of_status(status)),
    }
}

async fn fetch(
    gateway: SocketAddr,
    path: String,
    bearer: Option<String>,
    body: Vec<u8>,
) -> Result<Bytes, Broken> {
    let (response, mut connection) = request(gateway, path, bearer, body).await?;
    if response.status() != StatusCode::OK {
        return Err(refusal_of_status(response.status()));
    }
    let mut reply = Box::pin(response.into_body().collect());
    poll_fn(|cx| {
        drive(&mut connection, cx);
        reply.as_mut().poll(cx)
    })
    .await
    .map(http_body_util::Collected::to_bytes)
    .map_err(|_| Broken::Network)
}

/// Sends a request and waits for the head of the reply. The connection has to be driven on.
async fn request(
    gateway: SocketAddr,
    path: String,
    bearer: Option<String>,
    body: Vec<u8>,
) -> Result<(Response<Incoming>, Option<Pin<Box<Connection>>>), Broken> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::HOST, "gateway")
        .header(header::ORIGIN, ORIGIN);
    if let Some(bearer) = bearer {
        request = request.header(header::AUTHORIZATION, bearer);
    }
    let request = request
        .body(Full::new(Bytes::from(body)))
        .expect("a request");
    let tcp = TcpStream::connect(gateway)
        .await
        .map_err(|_| Broken::Network)?;
    let (mut requests, connection) = http1::handshake(TokioIo::new(tcp))
        .await
        .map_err(|_| Broken::Network)?;
    let mut connection = Some(Box::pin(connection));
    let mut response = Box::pin(requests.send_request(request));
    let response = poll_fn(|cx| {
        drive(&mut connection, cx);
        response.as_mut().poll(cx)
    })
    .await
    .map_err(|_| Broken::Network)?;
    Ok((response, connection))
}

/// Moves what a connection has to move; whoever waits for a reply sees how it ended.
fn drive(connection: &mut Option<Pin<Box<Connection>>>, cx: &mut Context<'_>) {
    if let Some(running) = connection
        && running.as_mut().poll(cx).is_ready()
    {
        *connection = None;
    }
}

fn refusal_of_status(status: StatusCode) -> Broken {
    match status {
        StatusCode::NOT_FOUND => Broken::Lost,
        _ => Broken::Refused,
    }
}

fn refusal_of_close(code: u16) -> Broken {
    match code {
        4011 => Broken::Lost,
        4016 => Broken::Network,
        _ => Broken::Refused,
    }
}

/// Frames for one WebSocket message, or for one request.
pub(crate) const BATCH: usize = MESSAGE;

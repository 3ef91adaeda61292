//! A client for one transport, for worlds in which it matters when something happens and not what is
//! carried: it attaches, opens a stream, and does what keeps its session alive.
//!
//! It knows every transport over TCP, and nothing of losses: whatever it did not expect ends it.

use std::{net::SocketAddr, time::Instant};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    client::conn::{http1, http2},
    ext::Protocol,
    header,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use perigee_integration_tests::ORIGIN;
use perigee_session::{Code, Config, Event, Link, Session, Uplink};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue, protocol::Role},
};
use turmoil::net::TcpStream;

/// Most bytes of a message or a request.
const BATCH: usize = 48 * 1024;

/// How it attaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    WebSocket,
    Http2WebSocket,
    Stream,
    Sse,
    Poll,
    Htmlfile,
    Jsonp,
}

impl Way {
    pub(crate) const ALL: [Self; 7] = [
        Self::WebSocket,
        Self::Http2WebSocket,
        Self::Stream,
        Self::Sse,
        Self::Poll,
        Self::Htmlfile,
        Self::Jsonp,
    ];

    /// It asks for one reply after the other.
    pub(crate) const fn is_held(self) -> bool {
        matches!(self, Self::Poll | Self::Jsonp)
    }

    const fn link(self) -> Link {
        if self.is_held() {
            Link::Poll
        } else {
            Link::Open
        }
    }

    const fn is_form(self) -> bool {
        matches!(self, Self::Htmlfile | Self::Jsonp)
    }

    /// Where HELLO goes, and what is asked for with a ticket.
    const fn name(self) -> &'static str {
        match self {
            Self::WebSocket | Self::Http2WebSocket => "ws",
            Self::Stream => "stream",
            Self::Sse => "sse",
            Self::Poll => "poll",
            Self::Htmlfile => "htmlfile",
            Self::Jsonp => "jsonp",
        }
    }
}

/// What became of a client that is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// Its stream reached the backend.
    Opened,
    /// The gateway will end the session.
    GoAway,
    /// The session is over.
    Ended(Code),
    /// It got no session: the gateway is not there, or says no.
    Refused,
}

/// A client and its connections.
pub(crate) struct Peer<F> {
    way: Way,
    gateway: SocketAddr,
    session: Session,
    /// Hears what becomes of it.
    tell: F,
    over: bool,
    connections: JoinSet<()>,
}

/// Something was not as it should be: most likely the gateway is gone.
type Failure = Box<dyn std::error::Error + Send + Sync>;
type Outcome<T = ()> = Result<T, Failure>;

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Attaches, opens a stream to `target` that begins with these bytes, and keeps the session alive until it ends or
/// the transport does.
pub(crate) async fn live(
    way: Way,
    gateway: SocketAddr,
    target: &str,
    first: &[u8],
    tell: impl FnMut(News),
) {
    let mut session = Session::client(Config::default());
    let stream = session.open(0, target);
    session.write(stream, first);
    let mut peer = Peer {
        way,
        gateway,
        session,
        tell,
        over: false,
        connections: JoinSet::new(),
    };
    let outcome = match way {
        Way::WebSocket => peer.websocket().await,
        Way::Http2WebSocket => peer.http2_websocket().await,
        Way::Stream => peer.stream().await,
        Way::Poll => peer.polls().await,
        Way::Sse | Way::Htmlfile | Way::Jsonp => peer.with_ticket().await,
    };
    if outcome.is_err() && !peer.over {
        (peer.tell)(News::Refused);
    }
}

impl<F: FnMut(News)> Peer<F> {
    fn sid(&self) -> String {
        let sid = self.session.identity().map_or("new", |(sid, _)| sid);
        sid.to_owned()
    }

    fn path(&self, name: &str) -> String {
        format!("/perigee/v1/{}/{name}", self.sid())
    }

    fn hear(&mut self) {
        while let Some(event) = self.session.poll_event() {
            let news = match event {
                Event::Opened { .. } => News::Opened,
                Event::GoAway { .. } => News::GoAway,
                Event::Ended { code } => {
                    self.over = true;
                    News::Ended(code)
                }
                _ => continue,
            };
            (self.tell)(news);
        }
    }

    /// Frames came down.
    fn take(&mut self, frames: &[u8]) {
        self.session.handle_message(frames, now());
        self.hear();
    }

    fn attach(&mut self, uplink: Uplink) {
        self.session.attach(self.way.link(), uplink, now());
    }

    /// HELLO, as the body of a request.
    fn hello(&mut self) -> Vec<u8> {
        self.attach(Uplink::Separate);
        let mut hello = Vec::new();
        self.session.transmit_hello(&mut hello, false, now());
        hello
    }

    // --- both directions on one connection ---

    async fn websocket(&mut self) -> Outcome {
        let path = self.path("ws");
        let mut request = format!("ws://gateway{path}").into_client_request()?;
        let headers = request.headers_mut();
        headers.insert("origin", HeaderValue::from_static(ORIGIN));
        headers.insert(
            "sec-websocket-protocol",
            HeaderValue::from_static("perigee.v1"),
        );
        let tcp = TcpStream::connect(self.gateway).await?;
        let (websocket, _) = tokio_tungstenite::client_async(request, tcp).await?;
        self.messages(websocket).await
    }

    async fn http2_websocket(&mut self) -> Outcome {
        let path = self.path("ws");
        let tcp = TcpStream::connect(self.gateway).await?;
        let (mut requests, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await?;
        self.connections
            .spawn_local(async move { _ = connection.await });
        let request = |method: Method, path: &str| {
            Request::builder()
                .method(method)
                .uri(format!("http://gateway{path}"))
                .header(header::ORIGIN, ORIGIN)
        };
        // The gateway's settings come before its first reply, and allow what follows.
        let asked = request(Method::POST, "/perigee/v1/origin").body(Full::default())?;
        requests
            .send_request(asked)
            .await?
            .into_body()
            .collect()
            .await?;
        let asked = request(Method::CONNECT, &path)
            .header("sec-websocket-version", "13")
            .header("sec-websocket-protocol", "perigee.v1")
            .extension(Protocol::from_static("websocket"))
            .body(Full::<Bytes>::default())?;
        let response = requests.send_request(asked).await?;
        if response.status() != StatusCode::OK {
            return Err(response.status().to_string().into());
        }
        let stream = TokioIo::new(hyper::upgrade::on(response).await?);
        let websocket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        self.messages(websocket).await
    }

    async fn messages<S>(&mut self, mut websocket: WebSocketStream<S>) -> Outcome
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.attach(Uplink::Fresh);
        while !self.over {
            let mut frames = Vec::new();
            if self.session.poll_transmit(&mut frames, BATCH, now()) {
                websocket.send(Message::binary(frames)).await?;
                continue;
            }
            match websocket.next().await.ok_or("the end")?? {
                Message::Binary(frames) => self.take(&frames),
                Message::Close(_) => return Err("closed".into()),
                _ => {}
            }
        }
        Ok(())
    }

    // --- frames up by requests ---

    async fn stream(&mut self) -> Outcome {
        let (path, hello) = (self.path("stream"), self.hello());
        let mut reply = self.request(Method::POST, &path, &[], hello).await?;
        let mut cut = Vec::new();
        while let Some(piece) = reply.frame().await {
            cut.extend_from_slice(&piece?.into_data().unwrap_or_default());
            let mut rest = &cut[..];
            self.session.handle_bytes(&mut rest, now());
            cut = rest.to_vec();
            self.hear();
            self.say().await?;
        }
        Err("the end".into())
    }

    async fn polls(&mut self) -> Outcome {
        while !self.over {
            let (path, hello) = (self.path("poll"), self.hello());
            let reply = self.request(Method::POST, &path, &[], hello).await?;
            let frames = reply.collect().await?.to_bytes();
            self.take(&frames);
            self.say().await?;
        }
        Ok(())
    }

    /// Says what there is to say, by requests.
    async fn say(&mut self) -> Outcome {
        while !self.over && self.session.can_transmit() {
            let Some((_, token)) = self.session.identity() else {
                return Ok(());
            };
            let token = URL_SAFE_NO_PAD.encode(token);
            let mut frames = Vec::new();
            if !self.session.poll_transmit(&mut frames, BATCH, now()) {
                return Ok(());
            }
            let path = self.path("up");
            let answer = if self.way.is_form() {
                self.submit(&path, &frames, Some(&token)).await?
            } else {
                let bearer = format!("Bearer {token}");
                let headers = [("authorization", bearer.as_str())];
                let reply = self.request(Method::POST, &path, &headers, frames).await?;
                reply.collect().await?.to_bytes().to_vec()
            };
            self.session.handle_reply(&answer, now());
            self.hear();
        }
        Ok(())
    }

    // --- downlinks with a ticket ---

    async fn with_ticket(&mut self) -> Outcome {
        let name = self.way.name();
        let (path, hello) = (self.path(name), self.hello());
        let json = if self.way.is_form() {
            self.submit(&path, &hello, None).await?
        } else {
            let reply = self.request(Method::POST, &path, &[], hello).await?;
            reply.collect().await?.to_bytes().to_vec()
        };
        let json: serde_json::Value = serde_json::from_slice(&json)?;
        let (Some(sid), Some(ticket)) = (json["sid"].as_str(), json["ticket"].as_str()) else {
            return Err("no ticket".into());
        };
        // Where frames in base64 begin and end.
        let (before, after, more) = match self.way {
            Way::Sse => ("data: ", "\n", ""),
            Way::Htmlfile => ("p(\"", "\"", ""),
            _ => ("perigee1(\"", "\"", "&i=1"),
        };
        let mut at = String::new();
        while !self.over {
            let path = format!("/perigee/v1/{sid}/{name}?ticket={ticket}{more}{at}");
            let mut reply = self.request(Method::GET, &path, &[], Vec::new()).await?;
            let mut text = String::new();
            while let Some(piece) = reply.frame().await {
                text.push_str(std::str::from_utf8(
                    &piece?.into_data().unwrap_or_default(),
                )?);
                while let Some((frames, rest)) = text
                    .split_once(before)
                    .and_then(|(_, found)| found.split_once(after))
                {
                    let frames = STANDARD.decode(frames)?;
                    if let Some((position, _)) = rest
                        .strip_prefix(",\"")
                        .and_then(|rest| rest.split_once('"'))
                        .filter(|(position, _)| !position.is_empty())
                    {
                        at = format!("&at={position}");
                    }
                    text = rest.to_owned();
                    self.take(&frames);
                    self.say().await?;
                }
            }
            if !self.way.is_held() {
                return Err("the end".into());
            }
        }
        Ok(())
    }

    /// Sends frames by form, and returns what the page that answers tells its parent.
    async fn submit(&mut self, path: &str, frames: &[u8], token: Option<&str>) -> Outcome<Vec<u8>> {
        let token = token.map(|token| format!("token={token}&"));
        let frames = URL_SAFE_NO_PAD.encode(frames);
        let form = format!("{}frames={frames}", token.unwrap_or_default());
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let page = self
            .request(Method::POST, path, &headers, form.into())
            .await?;
        let page = page.collect().await?.to_bytes();
        let answer = std::str::from_utf8(&page)?
            .split_once("postMessage([200,\"")
            .and_then(|(_, found)| found.split_once('"'))
            .ok_or("another page")?;
        Ok(STANDARD.decode(answer.0)?)
    }

    /// Sends a request on a connection of its own, and waits for the head of a reply that is a good one.
    async fn request(
        &mut self,
        method: Method,
        path: &str,
        more: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Outcome<Incoming> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "gateway")
            .header(header::ORIGIN, ORIGIN);
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        let tcp = TcpStream::connect(self.gateway).await?;
        let (mut requests, connection) = http1::handshake(TokioIo::new(tcp)).await?;
        while self.connections.try_join_next().is_some() {}
        self.connections
            .spawn_local(async move { _ = connection.await });
        let response: Response<Incoming> = requests.send_request(request).await?;
        match response.status() {
            StatusCode::OK => Ok(response.into_body()),
            status => Err(status.to_string().into()),
        }
    }
}

//! A relay that understands HTTP/1.1 and HTTP/2, as reverse proxies do, and does what bad ones do.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Version,
    body::{Frame, Incoming},
    client::conn::{http1, http2},
    ext::Protocol,
    header,
    http::request::Parts,
    service::service_fn,
    upgrade::OnUpgrade,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpStream, time::Instant};

use super::{
    Course, Pace,
    fault::{GATHER_TIME, MOST_GATHERED, nudge},
    network::{Direction, Line, Network},
    pump::{both, pump, until},
};
use crate::random::Random;

/// What the relay does to requests and replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rewrite {
    /// See [`Fault::BufferBytes`](super::Fault::BufferBytes), and so on.
    BufferBytes,
    BufferTime,
    Duplicate,
    DropReply,
    RefuseUpgrade,
    StripHeaders,
}

/// Headers that proxies are known to remove, of requests and of replies.
const STRIPPED: [&str; 6] = [
    "upgrade",
    "connection",
    "last-event-id",
    "x-accel-buffering",
    "cache-control",
    "x-content-type-options",
];

type Body = UnsyncBoxBody<Bytes, Broken>;

/// A request or a reply that does not arrive.
#[derive(Debug)]
struct Broken(String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

impl Broken {
    fn on_purpose() -> Self {
        Self("lost on purpose".to_owned())
    }
}

impl From<hyper::Error> for Broken {
    fn from(error: hyper::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// A connection of a client, and what its requests share.
struct Way {
    target: SocketAddr,
    rewrite: Rewrite,
    network: Arc<Network>,
    random: Mutex<Random>,
    /// HTTP/2 requests of one client share a connection to the gateway, too.
    http2: tokio::sync::Mutex<Option<http2::SendRequest<Full<Bytes>>>>,
}

/// Serves one connection of a client.
pub(super) async fn relay(
    client: TcpStream,
    target: SocketAddr,
    rewrite: Rewrite,
    network: Arc<Network>,
    seed: u64,
) {
    _ = client.set_nodelay(true);
    let way = Arc::new(Way {
        target,
        rewrite,
        network,
        random: Mutex::new(Random::new(seed)),
        http2: tokio::sync::Mutex::new(None),
    });
    let service = service_fn(move |request| {
        let way = Arc::clone(&way);
        async move { way.serve(request).await }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http2().enable_connect_protocol();
    // How a connection ends is the business of its ends.
    _ = server
        .serve_connection_with_upgrades(TokioIo::new(client), service)
        .await;
}

impl Way {
    /// Answers a request, or not: an error ends the connection or, with HTTP/2, the stream.
    async fn serve(
        self: Arc<Self>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Broken> {
        let upgrade = hyper::upgrade::on(&mut request);
        let (mut head, body) = request.into_parts();
        if head.headers.contains_key(header::UPGRADE) || head.extensions.get::<Protocol>().is_some()
        {
            return self.upgrade(head, upgrade).await;
        }
        let body = body.collect().await?.to_bytes();
        self.network.carry(Direction::Up, body.len());
        let strips = self.rewrite == Rewrite::StripHeaders && self.network.strikes();
        if strips {
            strip(&mut head.headers);
        }
        let is_post = head.method == Method::POST;
        let reply = if self.rewrite == Rewrite::Duplicate && is_post && self.network.strikes() {
            let (first, second) = tokio::join!(
                self.send(rebuild(&head, body.clone())),
                self.send(rebuild(&head, body))
            );
            let chosen = self.random().percent(50);
            if chosen { first? } else { second? }
        } else {
            self.send(rebuild(&head, body)).await?
        };
        if self.rewrite == Rewrite::DropReply && self.network.strikes() {
            return Err(Broken::on_purpose());
        }
        let (mut head, body) = reply.into_parts();
        if strips {
            strip(&mut head.headers);
        }
        let body = match self.rewrite {
            Rewrite::BufferBytes => self.held_back(body, None).await?,
            Rewrite::BufferTime => self.held_back(body, Some(GATHER_TIME)).await?,
            Rewrite::Duplicate
            | Rewrite::DropReply
            | Rewrite::RefuseUpgrade
            | Rewrite::StripHeaders => self.counted(body),
        };
        Ok(Response::from_parts(head, body))
    }

    /// Passes an upgrade on, and then the bytes of both directions.
    async fn upgrade(
        self: Arc<Self>,
        mut head: Parts,
        client: OnUpgrade,
    ) -> Result<Response<Body>, Broken> {
        let strikes = match self.rewrite {
            Rewrite::RefuseUpgrade | Rewrite::StripHeaders | Rewrite::DropReply => {
                self.network.strikes()
            }
            Rewrite::BufferBytes | Rewrite::BufferTime | Rewrite::Duplicate => false,
        };
        if strikes && self.rewrite == Rewrite::RefuseUpgrade {
            let status = match self.random().percent(50) {
                true => StatusCode::BAD_GATEWAY,
                false => StatusCode::BAD_REQUEST,
            };
            let body = Full::from("the proxy does not know this protocol\n");
            let body = body.map_err(|never| match never {}).boxed_unsync();
            let mut refusal = Response::new(body);
            *refusal.status_mut() = status;
            return Ok(refusal);
        }
        if strikes && self.rewrite == Rewrite::StripHeaders {
            strip(&mut head.headers);
            head.extensions.remove::<Protocol>();
        }
        let mut reply = self.send(rebuild(&head, Bytes::new())).await?;
        if strikes && self.rewrite == Rewrite::DropReply {
            return Err(Broken::on_purpose());
        }
        let accepted = match head.version {
            Version::HTTP_2 => reply.status().is_success(),
            _ => reply.status() == StatusCode::SWITCHING_PROTOCOLS,
        };
        if !accepted {
            let (head, body) = reply.into_parts();
            return Ok(Response::from_parts(head, self.counted(body)));
        }
        let gateway = hyper::upgrade::on(&mut reply);
        let way = Arc::clone(&self);
        self.network.spawn(async move {
            if let (Ok(client), Ok(gateway)) = tokio::join!(client, gateway) {
                let (client, gateway) = (TokioIo::new(client), TokioIo::new(gateway));
                way.upgraded(client, gateway).await;
            }
        });
        let (head, _) = reply.into_parts();
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        Ok(Response::from_parts(head, body))
    }

    async fn upgraded(
        &self,
        client: TokioIo<hyper::upgrade::Upgraded>,
        gateway: TokioIo<hyper::upgrade::Upgraded>,
    ) {
        let (from_client, to_client) = tokio::io::split(client);
        let (from_gateway, to_gateway) = tokio::io::split(gateway);
        let mut down = Course::default();
        {
            let mut random = self.random();
            let gather = |time, random: &mut Random| {
                Pace::Gather(MOST_GATHERED, time, Random::new(random.number()))
            };
            match self.rewrite {
                Rewrite::BufferBytes => down.pace = gather(None, &mut random),
                Rewrite::BufferTime => down.pace = gather(Some(GATHER_TIME), &mut random),
                // These strike at requests, so there have to be more of them.
                Rewrite::DropReply | Rewrite::RefuseUpgrade | Rewrite::StripHeaders => {
                    down.cut = Some(nudge(&mut random));
                }
                Rewrite::Duplicate => {}
            }
        }
        let line = Line::new(&self.network);
        let up = pump(
            from_client,
            to_gateway,
            Course::default(),
            &line,
            Direction::Up,
        );
        let down = pump(from_gateway, to_client, down, &line, Direction::Down);
        // Both connections end when this does.
        both(up, down).await;
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Broken> {
        if request.version() == Version::HTTP_2 {
            let mut shared = self.http2.lock().await;
            let mut requests = match shared.take().filter(|requests| !requests.is_closed()) {
                Some(requests) => requests,
                None => {
                    let stream = TcpStream::connect(self.target).await?;
                    let (requests, connection) =
                        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
                    self.network.spawn(async { _ = connection.await });
                    requests
                }
            };
            *shared = Some(requests.clone());
            drop(shared);
            requests.ready().await?;
            return Ok(requests.send_request(request).await?);
        }
        let stream = TcpStream::connect(self.target).await?;
        let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
        self.network
            .spawn(async { _ = connection.with_upgrades().await });
        Ok(requests.send_request(request).await?)
    }

    /// A reply's body as it comes.
    fn counted(&self, body: Incoming) -> Body {
        let network = Arc::clone(&self.network);
        body.map_frame(move |frame| {
            let len = frame.data_ref().map_or(0, Bytes::len);
            network.carry(Direction::Down, len);
            frame
        })
        .map_err(Broken::from)
        .boxed_unsync()
    }

    /// A reply's body in batches, and not even its head before the first one.
    async fn held_back(
        self: &Arc<Self>,
        mut body: Incoming,
        time: Option<Duration>,
    ) -> Result<Body, Broken> {
        let first = Some(self.gather(&mut body, time).await?);
        let state = (Arc::clone(self), body, first);
        let batches = stream::unfold(state, move |(way, mut body, first)| async move {
            let batch = match first {
                Some(first) => Ok(first),
                None => way.gather(&mut body, time).await,
            };
            let frame = batch.transpose()?.map(Frame::data);
            Some((frame, (way, body, None)))
        });
        Ok(BodyExt::boxed_unsync(StreamBody::new(batches)))
    }

    /// The next bytes that may travel; `None` at the end.
    async fn gather(
        &self,
        body: &mut Incoming,
        time: Option<Duration>,
    ) -> Result<Option<Bytes>, Broken> {
        let Some(frame) = body.frame().await else {
            return Ok(None);
        };
        let mut held = BytesMut::from(frame?.into_data().unwrap_or_default());
        if self.network.strikes() {
            let wanted = self.random().range(1, MOST_GATHERED);
            let deadline = time.map(|time| Instant::now() + time);
            while (held.len() as u64) < wanted {
                tokio::select! {
                    frame = body.frame() => match frame {
                        Some(frame) => held.extend(frame?.into_data().unwrap_or_default()),
                        None => break,
                    },
                    () = until(deadline) => break,
                }
            }
        }
        self.network.carry(Direction::Down, held.len());
        Ok(Some(held.freeze()))
    }

    fn random(&self) -> MutexGuard<'_, Random> {
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same request once more, for another connection.
fn rebuild(head: &Parts, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri.clone();
    *request.version_mut() = head.version;
    *request.headers_mut() = head.headers.clone();
    if let Some(protocol) = head.extensions.get::<Protocol>() {
        request.extensions_mut().insert(protocol.clone());
    }
    request
}

fn strip(headers: &mut HeaderMap) {
    for name in STRIPPED {
        headers.remove(name);
    }
}

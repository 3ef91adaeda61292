//! Requests over HTTP/1.1 and HTTP/2 (prior knowledge).

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    client::conn::{http1, http2},
    ext::Protocol,
    header,
    upgrade::Upgraded,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::TcpStream,
    sync::Mutex,
    task::{AbortHandle, JoinSet},
};
use tokio_tungstenite::{WebSocketStream, tungstenite::protocol::Role};

use crate::ORIGIN;

/// Which HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A connection for each request.
    Http1,
    /// One connection for all, with prior knowledge (RFC 9113 §3.3).
    Http2,
}

/// Any failure of a request.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A client for one server.
#[derive(Debug, Clone)]
pub struct Http {
    address: SocketAddr,
    version: Version,
    shared: Arc<Mutex<Option<Shared>>>,
    /// What the page says it is; `None` sends no Origin.
    pub origin: Option<String>,
}

#[derive(Debug)]
struct Shared {
    requests: http2::SendRequest<Full<Bytes>>,
    _connection: Connection,
}

/// A connection, driven until this is dropped.
#[derive(Debug)]
pub struct Connection(
    AbortHandle,
    #[expect(dead_code, reason = "owns the task")] JoinSet<()>,
);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn drive(connection: impl Future<Output = ()> + Send + 'static) -> Connection {
    let mut tasks = JoinSet::new();
    let handle = tasks.spawn(connection);
    Connection(handle, tasks)
}

/// A reply whose body may still come.
#[derive(Debug)]
pub struct Reply {
    /// Status, headers and body.
    pub response: Response<Incoming>,
    /// Only for HTTP/1.1; HTTP/2 ends the stream when the body is dropped.
    _connection: Option<Connection>,
}

/// A reply with all of its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: hyper::HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Whole {
    /// The code of a refusal in JSON.
    #[must_use]
    pub fn code(&self) -> Option<String> {
        let json: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        json["code"].as_str().map(str::to_owned)
    }

    /// A header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Http {
    /// Requests from the allowed page.
    #[must_use]
    pub fn new(address: SocketAddr, version: Version) -> Self {
        Self {
            address,
            version,
            shared: Arc::default(),
            origin: Some(ORIGIN.to_owned()),
        }
    }

    /// Requests from another page, or from a program that sends no origin.
    #[must_use]
    pub fn from_origin(mut self, origin: Option<&str>) -> Self {
        self.origin = origin.map(str::to_owned);
        self
    }

    /// Sends a request and waits for the head of the reply.
    ///
    /// # Errors
    ///
    /// Whatever kept the reply from coming.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        more: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Reply, Error> {
        let authority = match self.version {
            Version::Http1 => String::new(),
            Version::Http2 => format!("http://{}", self.address),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{authority}{path}"));
        if self.version == Version::Http1 {
            request = request.header(header::HOST, self.address.to_string());
        }
        if let Some(origin) = &self.origin {
            request = request.header(header::ORIGIN, origin);
        }
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        match self.version {
            Version::Http1 => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
                let connection = drive(async { _ = connection.await });
                let response = requests.send_request(request).await?;
                Ok(Reply {
                    response,
                    _connection: Some(connection),
                })
            }
            Version::Http2 => {
                let response = self.http2().await?.send_request(request).await?;
                Ok(Reply {
                    response,
                    _connection: None,
                })
            }
        }
    }

    /// The connection that HTTP/2 requests share.
    async fn http2(&self) -> Result<http2::SendRequest<Full<Bytes>>, Error> {
        let mut shared = self.shared.lock().await;
        if let Some(shared) = &*shared
            && !shared.requests.is_closed()
        {
            return Ok(shared.requests.clone());
        }
        let stream = TcpStream::connect(self.address).await?;
        // As browsers do.
        stream.set_nodelay(true)?;
        let (requests, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let connection = drive(async { _ = connection.await });
        *shared = Some(Shared {
            requests: requests.clone(),
            _connection: connection,
        });
        Ok(requests)
    }

    /// Asks for something other than HTTP on a stream of HTTP/2 (RFC 8441).
    ///
    /// # Errors
    ///
    /// Whatever kept the reply from coming.
    pub async fn connect(
        &self,
        path: &str,
        protocol: &'static str,
        more: &[(&str, &str)],
    ) -> Result<Response<Incoming>, Error> {
        // The gateway's settings come before its first reply, and allow it.
        self.fetch(Method::POST, "/perigee/v1/origin", &[], Vec::new())
            .await?;
        let mut request = Request::builder()
            .method(Method::CONNECT)
            .uri(format!("http://{}{path}", self.address))
            .extension(Protocol::from_static(protocol));
        if let Some(origin) = &self.origin {
            request = request.header(header::ORIGIN, origin);
        }
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::default())?;
        Ok(self.http2().await?.send_request(request).await?)
    }

    /// A WebSocket on a stream of the connection that HTTP/2 requests share.
    ///
    /// # Errors
    ///
    /// Whatever kept it from opening.
    pub async fn websocket(
        &self,
        path: &str,
        subprotocol: Option<&str>,
    ) -> Result<WebSocketStream<TokioIo<Upgraded>>, Error> {
        let mut headers = vec![("sec-websocket-version", "13")];
        headers.extend(subprotocol.map(|name| ("sec-websocket-protocol", name)));
        let response = self.connect(path, "websocket", &headers).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("refused: {}", response.status()).into());
        }
        let stream = TokioIo::new(hyper::upgrade::on(response).await?);
        Ok(WebSocketStream::from_raw_socket(stream, Role::Client, None).await)
    }

    /// Sends a request and waits for the whole reply.
    ///
    /// # Errors
    ///
    /// Whatever kept the reply from coming.
    pub async fn fetch(
        &self,
        method: Method,
        path: &str,
        more: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Whole, Error> {
        let Reply {
            response,
            _connection,
        } = self.send(method, path, more, body).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Whole {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    /// Ends the connection that HTTP/2 requests share, as a lost network would.
    pub async fn cut(&self) {
        self.shared.lock().await.take();
    }
}

//! Accepting connections, with a deadline for every wait on a peer that has not yet said what it
//! wants. axum::serve has none of these.
//!
//! Each worker thread has its own socket on the same address (SO_REUSEPORT), so that a connection,
//! its session and its backends live on the thread that accepted it.

pub(crate) mod development;
mod entry;
mod io;
pub mod proxy_header;
pub(crate) mod quic;
pub(crate) mod tls;

use std::{
    convert::Infallible,
    io::{Error, ErrorKind, Result},
    net::SocketAddr,
    pin::pin,
    time::Duration,
};

use axum::{body::Body, extract::Request, http::Method};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::sleep;
use tracing::{debug, warn};

use self::io::Requests;
pub(crate) use self::{
    entry::{Accepted, Entry},
    io::{ClientSocket, Held, Io},
};
use crate::{
    http::{Dress, Routes},
    http1::{Connection, Served, Successor},
    net::{TcpListener, TcpStream},
    shared::Shared,
    transport::awaited::Awaited,
};

/// Connections the kernel may hold before they are accepted.
const BACKLOG: i32 = 1024;
/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// HTTP/2 requests at a time on one connection: a page has a downlink and an uplink per session.
const MAX_HTTP2_STREAMS: u32 = 64;
/// HTTP/2 streams a client may open and reset before it is shown the door (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;
/// Bytes that one HTTP/2 stream may send ahead: a whole body of a request.
const HTTP2_STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// Bytes that all streams of an HTTP/2 connection may send ahead: a few that are not read, because
/// their backend does not read, leave the others theirs.
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 8 * HTTP2_STREAM_WINDOW_BYTES;
/// Largest request head in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Bytes hyper may hold per connection and direction.
const MAX_HTTP_BUFFER_BYTES: usize = 64 * 1024;

/// Binds `count` sockets that share an address, one for each worker.
///
/// Sockets that share an address would also share it with another gateway, which knows none of our
/// sessions; so the address must be free first, unless it is to be shared.
pub(crate) fn bind(
    address: SocketAddr,
    count: usize,
    is_shared: bool,
) -> Result<Vec<std::net::TcpListener>> {
    let claim = socket(address)?;
    claim.set_reuse_port(is_shared)?;
    claim.bind(&address.into())?;
    // Port 0 became a port; the others take the same.
    let address = claim.local_addr()?;
    drop(claim);
    (0..count)
        .map(|_| {
            let socket = socket(address.as_socket().ok_or(ErrorKind::AddrNotAvailable)?)?;
            socket.set_reuse_port(true)?;
            socket.bind(&address)?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            Ok(socket.into())
        })
        .collect()
}

fn socket(address: SocketAddr) -> Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    // Frames are written whole; waiting for more would only delay them. Connections have it from here on Linux.
    socket.set_tcp_nodelay(true)?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` are two listeners, as they are written.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Accepts until the gateway ends: while it drains, clients of live sessions may still come back.
pub(crate) async fn accept(shared: Shared, listener: TcpListener, entry: Entry, routes: Routes) {
    let mut ending = pin!(shared.ending.cancelled());
    loop {
        let accepted = tokio::select! {
            biased;
            () = ending.as_mut() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => start(&shared, stream, peer, &entry, &routes),
            // The peer gave up before we came to it.
            Err(error) if is_of_one_connection(&error) => debug!(%error, "accept failed"),
            Err(error) => {
                warn!(%error, "cannot accept connections; raise the limit of open files or lower max_connections");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_one_connection(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
    )
}

/// Starts a connection unless there are too many; then it is closed unread.
fn start(shared: &Shared, stream: TcpStream, peer: SocketAddr, entry: &Entry, routes: &Routes) {
    let Some(accepted) = entry.admit(shared, peer) else {
        return;
    };
    if entry.is_bare() {
        // Nothing comes before HTTP, which waits for the first byte then.
        let socket = Entry::bare(stream, accepted);
        let first = shared.config.timeouts.first_byte;
        let connection = Connection::new(socket, entry.from(peer), routes.clone(), first);
        shared.tasks.spawn(carry(connection));
    } else {
        let entering = enter(
            shared.clone(),
            stream,
            peer,
            accepted,
            entry.clone(),
            routes.clone(),
        );
        // In a box, like what follows it.
        let entering = Box::pin(entering);
        shared.tasks.spawn(async move {
            if let Some(carrying) = entering.await {
                carrying.await;
            }
        });
    }
}

/// Waits until HTTP begins, and then is what carries the connection.
async fn enter(
    shared: Shared,
    stream: TcpStream,
    peer: SocketAddr,
    accepted: Accepted,
    entry: Entry,
    routes: Routes,
) -> Option<impl Future<Output = ()>> {
    let passed = tokio::select! {
        biased;
        // Who has said nothing by now has nothing to lose.
        () = shared.ending.cancelled() => return None,
        passed = entry.pass(&shared, stream, peer, accepted) => passed,
    };
    match passed {
        Ok((socket, client)) => {
            let first = shared.config.timeouts.head;
            let connection = Connection::new(socket, entry.from(client), routes, first);
            Some(carry(connection))
        }
        Err(error) => {
            debug!(client.addr = %peer.ip(), %error, "connection did not begin");
            None
        }
    }
}

/// HTTP, and what follows it on the connection.
fn carry(connection: Connection) -> impl Future<Output = ()> {
    // In a box, which is cheaper to move than what HTTP takes, and gone when something else follows.
    let http = Box::pin(serve(connection));
    async move {
        if let Some(successor) = http.await {
            successor.await;
        }
    }
}

/// Serves HTTP until the connection ends or somebody else carries it on.
#[expect(
    clippy::manual_async_fn,
    reason = "the future of an `async fn` has a copy of what is moved into it"
)]
fn serve(mut connection: Connection) -> impl Future<Output = Option<Successor>> {
    async move {
        let shared = connection.shared().clone();
        let served = if connection.is_http2() {
            Served::Other
        } else {
            let mut serving = pin!(connection.serve());
            tokio::select! {
                biased;
                served = serving.as_mut() => served,
                () = shared.ending.cancelled() => tokio::select! {
                    biased;
                    served = serving.as_mut() => served,
                    () = shared.stopping.cancelled() => Served::Over,
                },
            }
        };
        match served {
            Served::Over => None,
            Served::HandedOver(taker) => Some(taker(connection.into_rest())),
            Served::Other => {
                // Few connections need this, and it is large.
                Box::pin(serve_with_hyper(connection)).await;
                None
            }
        }
    }
}

/// HTTP/2, and what `http1` leaves of HTTP/1.1.
async fn serve_with_hyper(connection: Connection) {
    let (rest, from, routes) = connection.into_parts();
    let shared = routes.shared().clone();
    let timeouts = &shared.config.timeouts;
    let requests = Requests::default();
    let io = Io::new(rest.socket, rest.ahead, requests.clone(), timeouts);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        from.put_on(request.extensions_mut(), None);
        if request.method() == Method::CONNECT {
            request.extensions_mut().insert(requests.hold());
        }
        let answer = routes.clone().answer(request);
        let in_service = requests.start();
        async move {
            let mut response = Awaited::in_response(answer.await).await;
            if let Some(dress) = Dress::of(&mut response) {
                dress.put_on(&mut response);
            }
            Ok::<_, Infallible>(in_service.until_sent(response))
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.head)
        .max_buf_size(MAX_HTTP_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        // WebSocket over HTTP/2 (RFC 8441).
        .enable_connect_protocol()
        .max_concurrent_streams(MAX_HTTP2_STREAMS)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
        .max_send_buf_size(MAX_HTTP_BUFFER_BYTES)
        .keep_alive_interval(timeouts.heartbeat)
        .keep_alive_timeout(timeouts.peer_dead);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(io), service);
    tokio::pin!(connection);
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        () = shared.ending.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        biased;
        _ = connection.as_mut() => {}
        () = shared.stopping.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<T, F>(_: impl Fn(T) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_that_waits_takes_half_a_kibibyte() {
        let size = size_of_future(serve);
        assert!(size <= 512, "{size}");
    }
}

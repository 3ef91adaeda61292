//! A connection that fails its reads when the peer takes too long to say what it wants, and its
//! writes when the peer takes nothing for too long.
//!
//! hyper bounds the time for a request head once it knows which HTTP is spoken; before that, and
//! between requests, nothing is bounded. This covers the whole time in which no request is being
//! served.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use tokio_rustls::server::TlsStream;

use super::Accepted;
use crate::{config::Timeouts, net::TcpStream};

/// The requests of one connection: how many were ever seen and how many are being served.
#[derive(Debug, Clone, Default)]
pub(super) struct Requests(Arc<Counter>);

#[derive(Debug, Default)]
struct Counter {
    seen: AtomicU64,
    done: AtomicU64,
}

/// A request that is being served.
#[derive(Debug)]
pub(super) struct InService(Requests);

/// A request that is being served for as long as what it asked for is in use: an extended CONNECT.
#[derive(Debug, Clone)]
pub(crate) struct Held(#[expect(dead_code, reason = "its drop counts")] Arc<InService>);

impl Requests {
    /// A request's head has come; it is served until the result is dropped.
    pub(super) fn start(&self) -> InService {
        self.0.seen.fetch_add(1, Ordering::Relaxed);
        InService(self.clone())
    }

    /// The same, held by what the request asks for.
    pub(super) fn hold(&self) -> Held {
        Held(Arc::new(self.start()))
    }

    fn seen(&self) -> u64 {
        self.0.seen.load(Ordering::Relaxed)
    }

    fn is_idle(&self) -> bool {
        self.seen() == self.0.done.load(Ordering::Relaxed)
    }
}

impl InService {
    /// The request is served until the response's body is sent or dropped.
    pub(super) fn until_sent(self, response: Response) -> Response {
        response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                // Held by the closure, which lives as long as the body.
                let _ = &self;
                frame
            }))
        })
    }
}

impl Drop for InService {
    fn drop(&mut self) {
        self.0.0.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// The bytes of a connection, before or after TLS.
#[derive(Debug)]
pub(super) enum Wire {
    Plain(TcpStream),
    /// The state of TLS is large, and most connections of a gateway behind a proxy have none.
    Tls(Box<TlsStream<TcpStream>>),
}

/// An accepted connection, counted until it is closed, whatever protocol it carries by then.
#[derive(Debug)]
pub(crate) struct ClientSocket {
    wire: Wire,
    _accepted: Accepted,
}

/// A connection that carries HTTP, with deadlines for its silent times.
#[derive(Debug)]
pub(crate) struct Io {
    socket: ClientSocket,
    /// What was read of it and comes first.
    ahead: Bytes,
    requests: Requests,
    head: Duration,
    idle: Duration,
    stall: Duration,
    /// Running while no request is being served, for the number of requests seen then.
    read_deadline: Option<(u64, Pin<Box<Sleep>>)>,
    /// Running while the peer takes nothing.
    write_deadline: Option<Pin<Box<Sleep>>>,
}

impl ClientSocket {
    pub(super) fn new(wire: Wire, accepted: Accepted) -> Self {
        Self {
            wire,
            _accepted: accepted,
        }
    }

    /// Whether the two ends agreed on HTTP/2 by TLS.
    pub(crate) fn is_http2(&self) -> bool {
        match &self.wire {
            Wire::Plain(_) => false,
            Wire::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }
}

impl Io {
    /// A connection of which `ahead` was read already.
    pub(super) fn new(
        socket: ClientSocket,
        ahead: Vec<u8>,
        requests: Requests,
        timeouts: &Timeouts,
    ) -> Self {
        Self {
            socket,
            ahead: ahead.into(),
            requests,
            head: timeouts.head,
            idle: timeouts.http_idle,
            stall: timeouts.peer_dead,
            read_deadline: None,
            write_deadline: None,
        }
    }

    /// The bare connection, when HTTP is done with it, and what HTTP did not look at.
    pub(crate) fn into_socket(self) -> (ClientSocket, Bytes) {
        (self.socket, self.ahead)
    }

    fn poll_read_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.requests.is_idle() {
            self.read_deadline = None;
            return Poll::Pending;
        }
        let seen = self.requests.seen();
        let allowed = if seen == 0 { self.head } else { self.idle };
        let (at, sleep) = self
            .read_deadline
            .get_or_insert_with(|| (seen, Box::pin(sleep(allowed))));
        if *at != seen {
            *at = seen;
            sleep.as_mut().reset(Instant::now() + allowed);
        }
        sleep.as_mut().poll(cx)
    }

    /// A write that waits ends when the peer took nothing for too long.
    fn bound_write<T>(
        &mut self,
        polled: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.write_deadline = None;
            return polled;
        }
        let stall = self.stall;
        let deadline = self
            .write_deadline
            .get_or_insert_with(|| Box::pin(sleep(stall)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let len = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead.split_to(len));
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(result) = Pin::new(&mut self.socket).poll_read(cx, buffer) {
            return Poll::Ready(result);
        }
        ready!(self.poll_read_deadline(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.bound_write(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        runs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, runs);
        self.bound_write(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Wire::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Wire::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        runs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, runs),
            Wire::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, runs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.wire {
            Wire::Plain(stream) => stream.is_write_vectored(),
            Wire::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

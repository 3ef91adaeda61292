//! Plain WebSocket: `/ws/<backend>`, where a message's bytes are the stream's bytes (the way of
//! websockify and noVNC). Backpressured, not resumable: the connection ends with its WebSocket.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use bytes::{Buf, BytesMut};
use futures_util::Sink;
use perigee_session::{Code, StreamStats};

use crate::{
    aside::Aside,
    backend::{self, Connection, Unreached},
    http::{Asker, Refusal},
    net::now,
    ops::access_log::{self, StreamRecord},
    policy::{self, Permit, ServiceName},
    shared::Shared,
    websocket::{Handshake, Heard, NotWebSocket, Pieces, Silence, WebSocket},
};

/// What the log calls this way in.
const TRANSPORT: &str = "plain-websocket";

/// `GET /ws/<backend>`.
pub(crate) async fn handle(
    State(shared): State<Shared>,
    Path(target): Path<String>,
    asker: Asker,
    mut request: Request,
) -> Response {
    let handshake = match Handshake::read(&mut request, subprotocol) {
        Ok(handshake) => handshake,
        Err(refusal) => return refusal.into_response(),
    };
    let asked = policy::Request {
        origin: asker.origin(),
        client: asker.client.address,
        user: asker.client.user.as_deref(),
        service: ServiceName::Tunnel,
        target: &target,
    };
    let permit = match shared.config.policy.decide(&asked) {
        Ok(permit) => permit,
        Err(denial) => {
            access_log::refused(&asker.client, TRANSPORT, Code::Denied, &denial);
            return Refusal::new(Code::Denied, "not allowed").into_response();
        }
    };
    if shared.draining.is_cancelled() {
        return Refusal::new(Code::GoingAway, "the gateway is stopping").into_response();
    }
    let work = shared.work.clone();
    handshake.accept_for(&work, |websocket| async move {
        let mut record = StreamRecord::new(&target, now());
        record.rule = Some(Arc::clone(&permit.rule));
        record.transports.add(TRANSPORT);
        let _stream = shared.stats.streams.count();
        let _backend = shared.stats.backends.count();
        let mut tunnel = Tunnel {
            websocket,
            up: BytesMut::new(),
            up_closed: false,
            stats: StreamStats::default(),
        };
        let code = tunnel.run(&shared, &permit, &mut record).await;
        record.log(&asker.client, "", code, "", &tunnel.stats, now());
        tunnel.websocket.end(code, "").await;
    })
}

/// None, or `binary`: what websockify and noVNC speak today.
pub(crate) fn subprotocol(offered: &[&str]) -> Result<Option<&'static str>, NotWebSocket> {
    if offered.is_empty() {
        Ok(None)
    } else if offered.contains(&"binary") {
        Ok(Some("binary"))
    } else {
        Err(NotWebSocket::Protocol)
    }
}

struct Tunnel {
    websocket: WebSocket,
    /// Bytes of messages that the backend has not taken yet.
    up: BytesMut,
    /// The client closed its WebSocket.
    up_closed: bool,
    stats: StreamStats,
}

impl Tunnel {
    /// Carries bytes until one side ends, and says how it ended.
    async fn run(&mut self, shared: &Shared, permit: &Permit, record: &mut StreamRecord) -> Code {
        let mut connection = match backend::reach(permit, &shared.tls).await {
            Ok(connection) => connection,
            Err(Unreached { code, detail }) => {
                record.detail = Some(detail);
                return code;
            }
        };
        let timeouts = &shared.config.timeouts;
        let mut silence = Silence::new(timeouts);
        let (client, backend, ending) = (Aside::new(), Aside::new(), Aside::new());
        let mut ended = pin!(shared.ending.cancelled());
        let mut carry = |cx: &mut Context<'_>| {
            let (client_woke, backend_woke) = (client.take(cx), backend.take(cx));
            // Before anything is sent: the backend waits where this was so.
            let was_blocked = self.websocket.is_blocked();
            let (client, backend) = (&mut client.context(), &mut backend.context());
            match silence.poll(&mut self.websocket, cx, client) {
                Poll::Ready(Code::Closed) => self.up_closed = true,
                Poll::Ready(code) => return Poll::Ready(Ok(code)),
                Poll::Pending => {}
            }
            let mut over = Poll::Pending;
            if client_woke || self.up_closed || !self.up.is_empty() {
                over = self.poll_up(&mut connection, &mut silence, client, backend)?;
            }
            if !self.up_closed && (backend_woke || was_blocked) {
                let down = self.poll_down(&mut connection, client, backend)?;
                if self.up_closed {
                    over = self.poll_up(&mut connection, &mut silence, client, backend)?;
                } else if down.is_ready() {
                    over = down;
                }
            }
            if over.is_ready() {
                return Poll::Ready(Ok(Code::Closed));
            }
            match ending.turn(cx) {
                Some(mut own) => ended.as_mut().poll(&mut own).map(|()| Ok(Code::GoingAway)),
                None => Poll::Pending,
            }
        };
        let code = poll_fn(&mut carry)
            .await
            .unwrap_or_else(|error: io::Error| {
                record.detail = Some(format!("backend: {error}"));
                Code::Reset
            });
        if code != Code::Closed {
            connection.reset();
        }
        code
    }

    /// From the client to the backend; ready when the client's last byte and FIN are with it.
    fn poll_up(
        &mut self,
        connection: &mut Connection,
        silence: &mut Silence,
        client: &mut Context<'_>,
        backend: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            while !self.up.is_empty() {
                let Poll::Ready(taken) =
                    connection.poll_write(backend, &[IoSlice::new(&self.up)])?
                else {
                    // Who is not listened to cannot be heard.
                    silence.broken();
                    return Poll::Pending;
                };
                if taken == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.up.advance(taken);
                self.stats.delivered += taken as u64;
            }
            if self.up.capacity() > 0 {
                // An idle tunnel owns no buffer.
                self.up = BytesMut::new();
            }
            if self.up_closed {
                return connection.poll_shutdown(backend);
            }
            _ = connection.poll_flush(backend)?;
            let (up, up_closed, stats) = (&mut self.up, &mut self.up_closed, &mut self.stats);
            let heard = self.websocket.poll_hear(Pieces::Joined, client, |heard, _| {
                let bytes = match heard {
                    Heard::Bytes(bytes) => bytes,
                    // A text message's bytes are bytes too; they are never sent back as text.
                    Heard::Text(text) => text.as_bytes(),
                    Heard::Closed => {
                        *up_closed = true;
                        return true;
                    }
                };
                let mut taken = 0;
                if up.is_empty()
                    && !bytes.is_empty()
                    // An error shows again when the rest is written.
                    && let Poll::Ready(Ok(len)) = connection.poll_write(backend, &[IoSlice::new(bytes)])
                {
                    taken = len;
                    stats.delivered += len as u64;
                }
                up.extend_from_slice(&bytes[taken..]);
                true
            });
            match ready!(heard) {
                Ok(()) => silence.broken(),
                Err(_) => self.up_closed = true,
            }
        }
    }

    /// From the backend to the client; ready at the backend's end of file, and pending where the
    /// client is found to be gone.
    fn poll_down(
        &mut self,
        connection: &mut Connection,
        client: &mut Context<'_>,
        backend: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match Pin::new(&mut self.websocket).poll_ready(client) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => {
                    self.up_closed = true;
                    return Poll::Pending;
                }
                Poll::Ready(Ok(())) => {}
            }
            let read = self
                .websocket
                .poll_send_read(client, |buffer| connection.poll_read(backend, buffer));
            let Poll::Ready(len) = read? else {
                // An error shows again at the next poll.
                _ = Pin::new(&mut self.websocket).poll_flush(client);
                return Poll::Pending;
            };
            if len == 0 {
                return Poll::Ready(Ok(()));
            }
            self.stats.written += len as u64;
            self.stats.acked = self.stats.written;
        }
    }
}

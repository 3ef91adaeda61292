//! The way in for clients of a service that are not ours: a WebSocket whose messages are lines,
//! stanzas or frames. It ends where a stream of a session ends: policy, service, backend, log.
//!
//! What the messages of one protocol look like is said by its dialect, in a [`Door`]; what they
//! mean, by its service. Neither knows the other.
//!
//! Not resumable: who loses its WebSocket has left, and the backend is told so.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use perigee_session::{Code, StreamStats};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};

pub(crate) use crate::service::{
    Caller, Framing, Leg, Message as ServiceMessage, begin, xmpp_client_limits,
};
use crate::{
    backend::Unreached,
    http::{Asker, Refusal},
    net::now,
    ops::access_log::{self, StreamRecord},
    policy::{self, Permit, ServiceName},
    service,
    shared::Shared,
    websocket::{Handshake, NotWebSocket, Silence, WebSocket},
};

/// For a client to take what it is told when the gateway stops.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// What a dialect says of its WebSockets.
pub(crate) struct Door {
    pub(crate) service: ServiceName,
    /// What the log calls this way in.
    pub(crate) transport: &'static str,
    /// Picks one of the subprotocols that a client offers, or none of them.
    pub(crate) choose: fn(&[&str]) -> Result<Option<&'static str>, NotWebSocket>,
    /// What messages the gateway sends, by the subprotocol.
    pub(crate) framing: fn(Option<&'static str>) -> Framing,
    /// Longest message of a client.
    pub(crate) max_message_bytes: usize,
}

/// Answers a request for a backend behind this door.
pub(crate) async fn enter(
    door: &'static Door,
    shared: Shared,
    asker: Asker,
    target: String,
    mut request: Request,
) -> Response {
    let mut protocol = None;
    let handshake = match Handshake::read(&mut request, |offered| {
        protocol = (door.choose)(offered)?;
        Ok(protocol)
    }) {
        Ok(handshake) => handshake,
        Err(refusal) => return refusal.into_response(),
    };
    let asked = policy::Request {
        origin: asker.origin(),
        client: asker.client.address,
        user: asker.client.user.as_deref(),
        service: door.service,
        target: &target,
    };
    let permit = match shared.config.policy.decide(&asked) {
        Ok(permit) => permit,
        Err(denial) => {
            access_log::refused(&asker.client, door.transport, Code::Denied, &denial);
            return Refusal::new(Code::Denied, "not allowed").into_response();
        }
    };
    if shared.draining.is_cancelled() {
        return Refusal::new(Code::GoingAway, "the gateway is stopping").into_response();
    }
    let framing = (door.framing)(protocol);
    let (response, websocket) = handshake.accept_messages(door.max_message_bytes);
    shared.work.clone().spawn(async move {
        if let Some(websocket) = websocket.await {
            let mut record = StreamRecord::new(&target, now());
            record.rule = Some(Arc::clone(&permit.rule));
            record.transports.add(door.transport);
            let _stream = shared.stats.streams.count();
            let _backend = shared.stats.backends.count();
            let caller = Caller {
                client: asker.client.clone(),
                framing,
            };
            let mut visit = Visit {
                websocket,
                up: Bytes::new(),
                has_left: false,
                broken: None,
                stats: StreamStats::default(),
                shared: &shared,
                buffered: 0,
            };
            let (code, text) = visit.run(permit, caller, &mut record).await;
            record.log(&asker.client, "", code, text, &visit.stats, now());
            visit.settle(0);
            visit.websocket.end(code, text).await;
        }
    });
    response
}

/// One client behind a door.
struct Visit<'a> {
    websocket: WebSocket,
    /// What of the last message the service has not taken yet.
    up: Bytes,
    /// The client closed its WebSocket, or lost it.
    has_left: bool,
    /// Why the gateway ends a WebSocket that it cannot read on.
    broken: Option<(Code, &'static str)>,
    stats: StreamStats,
    shared: &'a Shared,
    /// What this visit holds of the process-wide budget.
    buffered: u64,
}

impl Visit<'_> {
    /// Carries messages until one side ends, leaves the backend, and says how it ended.
    async fn run(
        &mut self,
        permit: Permit,
        caller: Caller,
        record: &mut StreamRecord,
    ) -> (Code, &'static str) {
        let shared = self.shared;
        let mut silence = Silence::new(&shared.config.timeouts);
        let begun = tokio::select! {
            biased;
            begun = begin(permit, caller, shared.clone()) => begun,
            () = shared.ending.cancelled() => return (Code::GoingAway, ""),
        };
        let mut leg = match begun {
            Ok(leg) => leg,
            Err(Unreached { code, detail }) => {
                record.detail = Some(detail);
                return (code, "");
            }
        };
        let carried = poll_fn(|cx| {
            if let Poll::Ready(code) = silence.poll(&mut self.websocket, cx) {
                return Poll::Ready(Ok((code, "")));
            }
            self.carry(&mut leg, &mut silence, cx)
        });
        let end = tokio::select! {
            biased;
            carried = carried => carried.unwrap_or_else(|error: io::Error| {
                record.detail = Some(format!("backend: {error}"));
                (Code::Reset, "")
            }),
            () = shared.ending.cancelled() => (Code::GoingAway, ""),
        };
        if end.0 == Code::GoingAway {
            leg.gateway_stops(now());
            _ = timeout(
                LAST_WORDS_TIMEOUT,
                poll_fn(|cx| self.poll_last_words(&mut leg, cx)),
            )
            .await;
        }
        leg.goodbye().await;
        end
    }

    /// Ready when the connection is over, and the client has all that was said before.
    fn carry(
        &mut self,
        leg: &mut Leg,
        silence: &mut Silence,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Code, &'static str)>> {
        loop {
            let now = now();
            let took = self.take_up(leg, silence, cx);
            if self.has_left {
                return Poll::Ready(Ok(self.broken.unwrap_or((Code::Closed, ""))));
            }
            let may_read = !self.shared.memory_is_full();
            let again = leg.pump(may_read, now, cx)?;
            let sent = self.send_down(leg, cx);
            self.settle(leg.buffered() + self.up.len() as u64);
            if self.has_left {
                return Poll::Ready(Ok((Code::Closed, "")));
            }
            if let Some(end) = leg.ended() {
                let flushed = ready!(Pin::new(&mut self.websocket).poll_flush(cx));
                return Poll::Ready(Ok(flushed.map_or((Code::Closed, ""), |()| end)));
            }
            if again {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !took && !sent {
                return Poll::Pending;
            }
        }
    }

    /// Ready when the client has taken what there is for it.
    fn poll_last_words(&mut self, leg: &mut Leg, cx: &mut Context<'_>) -> Poll<()> {
        self.send_down(leg, cx);
        if self.has_left {
            return Poll::Ready(());
        }
        if leg.has_for_client() {
            return Poll::Pending;
        }
        Pin::new(&mut self.websocket).poll_flush(cx).map(drop)
    }

    /// Offers the service one message after the other, and says whether it took any.
    fn take_up(&mut self, leg: &mut Leg, silence: &mut Silence, cx: &mut Context<'_>) -> bool {
        let mut took = false;
        loop {
            while !self.up.is_empty() {
                let taken = leg.offer(&self.up, now());
                if taken == 0 {
                    // Who is not listened to cannot be heard.
                    silence.broken();
                    return took;
                }
                self.up.advance(taken);
                self.stats.delivered += taken as u64;
                took = true;
            }
            let Poll::Ready(message) = Pin::new(&mut self.websocket).poll_next(cx) else {
                return took;
            };
            silence.broken();
            match message {
                Some(Ok(Message::Binary(bytes))) => self.up = bytes,
                Some(Ok(Message::Text(text))) => self.up = text.into(),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(Error::Capacity(_))) => {
                    self.broken = Some((Code::Limit, "a message beyond the limit"));
                    self.has_left = true;
                    return took;
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => {
                    self.has_left = true;
                    return took;
                }
            }
        }
    }

    /// Sends the client what the service has for it, as far as it takes it, and says whether that
    /// was anything.
    fn send_down(&mut self, leg: &mut Leg, cx: &mut Context<'_>) -> bool {
        let mut sent = false;
        loop {
            match Pin::new(&mut self.websocket).poll_ready(cx) {
                Poll::Pending => return sent,
                Poll::Ready(Err(_)) => {
                    self.has_left = true;
                    return sent;
                }
                Poll::Ready(Ok(())) => {}
            }
            let Some(message) = leg.next_for_client() else {
                _ = Pin::new(&mut self.websocket).poll_flush(cx);
                return sent;
            };
            self.stats.written += message.as_bytes().len() as u64;
            self.stats.acked = self.stats.written;
            let message = match message {
                service::Message::Text(text) => Message::text(text),
                service::Message::Binary(bytes) => Message::Binary(bytes),
            };
            // An error shows again at the next poll.
            _ = Pin::new(&mut self.websocket).start_send(message);
            sent = true;
        }
    }

    /// Settles what this visit holds of the memory budget.
    fn settle(&mut self, buffered: u64) {
        let buffered_bytes = &self.shared.stats.buffered_bytes;
        buffered_bytes.exchange(self.buffered, buffered);
        self.buffered = buffered;
    }
}

/// Also on a panic: what the visit had, others may have.
impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.settle(0);
    }
}

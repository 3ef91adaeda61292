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
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use bytes::{Buf, Bytes};
use futures_util::{Sink, SinkExt, StreamExt};
use perigee_session::{Code, StreamStats};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message, protocol::frame::coding::CloseCode};

pub(crate) use crate::service::{
    Caller, Framing, Leg, Message as ServiceMessage, begin, words_for_unreached, xmpp_client_limits,
};
use crate::{
    aside::Aside,
    backend::Unreached,
    http::{Asker, Refusal},
    net::now,
    ops::access_log::{self, StreamRecord},
    policy::{self, Permit, ServiceName},
    shared::Shared,
    websocket::{Handshake, Heard, NotWebSocket, Pieces, Silence, WebSocket},
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
    /// Whether a client may send messages that are not text.
    pub(crate) takes_binary: bool,
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
                takes_binary: door.takes_binary,
                up: Bytes::new(),
                client_is_quiet: false,
                has_left: false,
                broken: None,
                stats: StreamStats::default(),
                shared: &shared,
                buffered: 0,
            };
            let (leg, (code, text)) = visit.run(permit, caller, &mut record).await;
            // Neither side waits for the other to let go.
            let leave = async {
                if let Some(leg) = leg {
                    leg.goodbye().await;
                }
            };
            let close = async {
                match visit.broken.and_then(|broken| broken.close) {
                    Some(number) => visit.websocket.end_as(number, text).await,
                    None => visit.websocket.end(code, text).await,
                }
            };
            tokio::join!(leave, close);
            record.log(&asker.client, "", code, text, &visit.stats, now());
            visit.settle(0);
        }
    });
    response
}

/// A WebSocket that is none of its protocol's.
#[derive(Clone, Copy)]
struct Broken {
    end: (Code, &'static str),
    /// The close code that RFC 6455 has for it, instead of ours.
    close: Option<CloseCode>,
}

/// One client behind a door.
struct Visit<'a> {
    websocket: WebSocket,
    takes_binary: bool,
    /// What of the last message the service has not taken yet.
    up: Bytes,
    /// It said nothing when it was listened to last, and wakes when it does.
    client_is_quiet: bool,
    /// The client closed its WebSocket, or lost it.
    has_left: bool,
    /// Why the gateway ends a WebSocket that it cannot read on.
    broken: Option<Broken>,
    stats: StreamStats,
    shared: &'a Shared,
    /// What this visit holds of the process-wide budget.
    buffered: u64,
}

impl Visit<'_> {
    /// Carries messages until one side ends, and says how it ended, with what is to be left in good order.
    async fn run(
        &mut self,
        permit: Permit,
        caller: Caller,
        record: &mut StreamRecord,
    ) -> (Option<Leg>, (Code, &'static str)) {
        let shared = self.shared;
        let mut silence = Silence::new(&shared.config.timeouts);
        let begun = tokio::select! {
            biased;
            begun = begin(permit.clone(), caller.clone(), shared.clone()) => begun,
            () = shared.ending.cancelled() => return (None, (Code::GoingAway, "")),
        };
        let mut leg = match begun {
            Ok(leg) => leg,
            Err(Unreached { code, detail }) => {
                record.detail = Some(detail);
                let words = words_for_unreached(&permit, &caller, code);
                _ = timeout(LAST_WORDS_TIMEOUT, self.answer(words)).await;
                return (None, (code, ""));
            }
        };
        let (client, backend, ending) = (Aside::new(), Aside::new(), Aside::new());
        let mut ended = pin!(shared.ending.cancelled());
        let mut carry = |cx: &mut Context<'_>| {
            if client.take(cx) {
                self.client_is_quiet = false;
            }
            if backend.take(cx) {
                leg.backend_woke();
            }
            let (client, backend) = (&mut client.context(), &mut backend.context());
            if let Poll::Ready(code) = silence.poll(&mut self.websocket, cx, client) {
                return Poll::Ready(Ok((code, "")));
            }
            if let Poll::Ready(end) = self.carry(&mut leg, &mut silence, client, backend) {
                return Poll::Ready(end);
            }
            match ending.turn(cx) {
                Some(mut own) => ended
                    .as_mut()
                    .poll(&mut own)
                    .map(|()| Ok((Code::GoingAway, ""))),
                None => Poll::Pending,
            }
        };
        let end = poll_fn(&mut carry)
            .await
            .unwrap_or_else(|error: io::Error| {
                record.detail = Some(format!("backend: {error}"));
                (Code::Reset, "")
            });
        if end.0 == Code::GoingAway {
            leg.gateway_stops(now());
            _ = timeout(
                LAST_WORDS_TIMEOUT,
                poll_fn(|cx| self.poll_last_words(&mut leg, cx)),
            )
            .await;
        }
        (Some(leg), end)
    }

    /// Says these words to the first message of the client.
    async fn answer(&mut self, words: Vec<ServiceMessage>) {
        if words.is_empty() {
            return;
        }
        while let Some(Ok(message)) = self.websocket.next().await {
            if message.is_text() || message.is_binary() {
                break;
            }
        }
        for word in words {
            if self.websocket.send(frame(word)).await.is_err() {
                return;
            }
        }
    }

    /// Ready when the connection is over, and the client has all that was said before.
    fn carry(
        &mut self,
        leg: &mut Leg,
        silence: &mut Silence,
        client: &mut Context<'_>,
        backend: &mut Context<'_>,
    ) -> Poll<io::Result<(Code, &'static str)>> {
        loop {
            let now = now();
            let took = self.take_up(leg, silence, now, client);
            if self.has_left {
                let end = self.broken.map_or((Code::Closed, ""), |broken| broken.end);
                return Poll::Ready(Ok(end));
            }
            let may_read = !self.shared.memory_is_full();
            let pumped = leg.pump(may_read, now, backend)?;
            let sent = self.send_down(leg, client);
            self.settle(leg.buffered() + self.up.len() as u64);
            if self.has_left {
                return Poll::Ready(Ok((Code::Closed, "")));
            }
            if let Some(end) = leg.ended() {
                let flushed = ready!(Pin::new(&mut self.websocket).poll_flush(client));
                return Poll::Ready(Ok(flushed.map_or((Code::Closed, ""), |()| end)));
            }
            if pumped.again {
                backend.waker().wake_by_ref();
                return Poll::Pending;
            }
            // What was moved may have made room for what waits.
            let waits = !self.up.is_empty() || leg.waits_for_room();
            if !waits || !(took || pumped.any || sent) {
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
    fn take_up(
        &mut self,
        leg: &mut Leg,
        silence: &mut Silence,
        now: Instant,
        client: &mut Context<'_>,
    ) -> bool {
        let mut took = false;
        loop {
            while !self.up.is_empty() {
                let taken = leg.offer(&self.up, now);
                if taken == 0 {
                    // Who is not listened to cannot be heard.
                    silence.broken();
                    return took;
                }
                self.up.advance(taken);
                self.stats.delivered += taken as u64;
                took = true;
            }
            if self.client_is_quiet || self.has_left {
                return took;
            }
            let heard = self.poll_hear(leg, now, client);
            let Poll::Ready((any, result)) = heard else {
                self.client_is_quiet = true;
                return took;
            };
            took |= any;
            silence.broken();
            match result {
                Ok(()) => {}
                Err(Error::Capacity(_)) => {
                    self.breaks(Code::Limit, "a message beyond the limit", None);
                }
                Err(Error::Utf8(_)) => self.breaks(
                    Code::Protocol,
                    "text that is not UTF-8",
                    Some(CloseCode::Invalid),
                ),
                Err(_) => self.has_left = true,
            }
        }
    }

    /// Reads once, and offers the service what came, message by message, until it takes no more. Says
    /// whether it took any, too.
    fn poll_hear(
        &mut self,
        leg: &mut Leg,
        now: Instant,
        client: &mut Context<'_>,
    ) -> Poll<(bool, Result<(), Error>)> {
        let mut took = false;
        let (up, stats, takes_binary) = (&mut self.up, &mut self.stats, self.takes_binary);
        let (mut has_closed, mut is_broken) = (false, false);
        let heard = self
            .websocket
            .poll_hear(Pieces::Messages, client, |heard, _| {
                let bytes = match heard {
                    Heard::Bytes(_) if !takes_binary => {
                        is_broken = true;
                        return false;
                    }
                    Heard::Bytes(bytes) => bytes,
                    Heard::Text(text) => text.as_bytes(),
                    Heard::Closed => {
                        has_closed = true;
                        return false;
                    }
                };
                let taken = leg.offer(bytes, now);
                stats.delivered += taken as u64;
                took |= taken > 0;
                if taken < bytes.len() {
                    *up = Bytes::copy_from_slice(&bytes[taken..]);
                }
                up.is_empty()
            });
        let result = ready!(heard);
        self.has_left |= has_closed;
        if is_broken {
            let close = Some(CloseCode::Unsupported);
            self.breaks(Code::Protocol, "a message that is not text", close);
        }
        Poll::Ready((took, result))
    }

    fn breaks(&mut self, code: Code, text: &'static str, close: Option<CloseCode>) {
        let end = (code, text);
        self.broken = Some(Broken { end, close });
        self.has_left = true;
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
            // An error shows again at the next poll.
            _ = Pin::new(&mut self.websocket).start_send(frame(message));
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

fn frame(message: ServiceMessage) -> Message {
    match message {
        ServiceMessage::Text(text) => Message::text(text),
        ServiceMessage::Binary(bytes) => Message::Binary(bytes),
    }
}

/// Also on a panic: what the visit had, others may have.
impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.settle(0);
    }
}

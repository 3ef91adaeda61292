//! Whether a client that says nothing is still there: a PING now and then, and a bound on the
//! silence after it.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use futures_util::Sink;
use perigee_session::Code;
use tokio::time::{Duration, Interval, MissedTickBehavior, interval_at};
use tokio_tungstenite::tungstenite::Message;

use super::WebSocket;
use crate::{aside::Aside, config::Timeouts, net::now};

/// How long a client of a WebSocket has been silent.
#[derive(Debug)]
pub(crate) struct Silence {
    heartbeat: Interval,
    beats: Aside,
    heard: Instant,
    peer_dead: Duration,
}

impl Silence {
    pub(crate) fn new(timeouts: &Timeouts) -> Self {
        let first = tokio::time::Instant::now() + timeouts.heartbeat;
        let mut heartbeat = interval_at(first, timeouts.heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            heartbeat,
            beats: Aside::new(),
            heard: now(),
            peer_dead: timeouts.peer_dead,
        }
    }

    /// The client said something, or something else shows that it lives.
    pub(crate) fn broken(&mut self) {
        self.heard = now();
    }

    /// Ready with `idle` when the client said nothing for too long, though it was asked, and with
    /// `closed` when it cannot be asked any more. `client` is what to wake when the client takes more.
    pub(crate) fn poll(
        &mut self,
        websocket: &mut WebSocket,
        cx: &Context<'_>,
        client: &mut Context<'_>,
    ) -> Poll<Code> {
        if let Some(mut own) = self.beats.turn(cx) {
            // Until it is pending, or nothing would wake it for the next beat.
            while self.heartbeat.poll_tick(&mut own).is_ready() {
                if Pin::new(&mut *websocket).poll_ready(client).is_pending() {
                    // A client that does not read cannot answer; TCP finds out whether it is dead.
                    self.heard = now();
                } else if self.heard.elapsed() > self.peer_dead {
                    return Poll::Ready(Code::Idle);
                } else {
                    _ = Pin::new(&mut *websocket).start_send(Message::Ping(Bytes::new()));
                }
            }
        }
        match Pin::new(websocket).poll_flush(client) {
            Poll::Ready(Err(_)) => Poll::Ready(Code::Closed),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }
}

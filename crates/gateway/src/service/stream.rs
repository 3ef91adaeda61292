//! A service on a stream of a session: the stream's bytes are the protocol's own bytes.
//!
//! Invariant: what is consumed from the session was taken by the backend's socket before, but for
//! one message that is not whole yet, which the service holds.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use perigee_session::{Code, Session, StreamId};
use tokio_util::task::TaskTracker;

use super::{Caller, Leg, Message, tunnel::Failure, tunnel::reason};
use crate::{backend::Unreached, ops::stats::Counted, policy::Permit, shared::Shared};

/// How long a client that is told why its stream ends has to take what was said before.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(5);

/// One stream, its service and its backend.
pub(crate) struct ServiceStream {
    stream: StreamId,
    state: State,
    /// The canonical target, for OPENED.
    reached: Arc<str>,
    /// How long the stream outlives its transport.
    pub(crate) resume_timeout: Duration,
    attached: bool,
    /// Bytes that the service took and the session still counts as not delivered.
    ahead: usize,
    /// A message of which the session has room for a part only.
    down: Bytes,
    /// When a stream that ended with a code is reset, whatever the client has taken by then.
    reset_at: Option<Instant>,
}

type Dialing = Pin<Box<dyn Future<Output = Result<Leg, Unreached>> + Send>>;

enum State {
    /// Waiting for the backend.
    Dialing(Dialing),
    Open(Box<Leg>),
    Over,
}

impl ServiceStream {
    /// Starts to connect; poll the stream to make progress.
    pub(crate) fn new(
        stream: StreamId,
        permit: Permit,
        caller: Caller,
        attached: bool,
        shared: Shared,
    ) -> Self {
        Self {
            stream,
            reached: Arc::clone(&permit.backend.name),
            resume_timeout: permit.backend.resume_timeout,
            state: State::Dialing(Box::pin(super::begin(permit, caller, shared))),
            attached,
            ahead: 0,
            down: Bytes::new(),
            reset_at: None,
        }
    }

    /// The client has a transport, or none for the moment. Poll the stream after that.
    pub(crate) fn set_attached(&mut self, attached: bool, now: Instant) {
        if attached == self.attached {
            return;
        }
        self.attached = attached;
        if let State::Open(leg) = &mut self.state {
            leg.client_is_attached(attached, now);
        }
    }

    /// Bytes held beside those of the session.
    pub(crate) fn buffered(&self) -> u64 {
        match &self.state {
            State::Open(leg) => leg.buffered() + self.down.len() as u64,
            State::Dialing(_) | State::Over => 0,
        }
    }

    /// Moves what can be moved. `may_read` is false while memory is short.
    ///
    /// Returns whether the stream should be polled again though nothing will wake it.
    pub(crate) fn poll(
        &mut self,
        session: &mut Session,
        may_read: bool,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Result<bool, Failure> {
        if let State::Dialing(dialing) = &mut self.state {
            match dialing.as_mut().poll(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(mut leg)) => {
                    if !self.attached {
                        leg.client_is_attached(false, now);
                    }
                    self.state = State::Open(Box::new(leg));
                    session.accept(self.stream, &self.reached);
                }
                Poll::Ready(Err(Unreached { code, detail })) => {
                    self.state = State::Over;
                    session.reset(self.stream, code, reason(code), now);
                    return Err(Failure(detail));
                }
            }
        }
        self.carry(session, may_read, now, cx)
            .map_err(|error: io::Error| {
                session.reset(self.stream, Code::Reset, reason(Code::Reset), now);
                Failure(format!("backend: {error}"))
            })
    }

    fn carry(
        &mut self,
        session: &mut Session,
        may_read: bool,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> io::Result<bool> {
        let State::Open(leg) = &mut self.state else {
            return Ok(false);
        };
        leg.backend_woke();
        loop {
            let taken = take_up(session, self.stream, self.ahead, leg, now);
            self.ahead += taken;
            let has_room = self.down.is_empty() && session.room(self.stream) > 0;
            let pumped = leg.pump(may_read && has_room, now, cx)?;
            if leg.is_delivered() && self.ahead > 0 {
                session.consume(self.stream, self.ahead, now);
                self.ahead = 0;
            }
            if session.fin_is_next(self.stream) {
                leg.client_left(now);
                session.consume_fin(self.stream, now);
                continue;
            }
            let sent = send_down(session, self.stream, &mut self.down, leg);
            if self.down.is_empty()
                && let Some((code, text)) = leg.ended()
            {
                return Ok(self.end(session, (code, text), now, cx));
            }
            if !self.down.is_empty() || session.room(self.stream) == 0 {
                session.await_room(self.stream);
            }
            if pumped.again || (taken == 0 && !pumped.any && !sent) {
                return Ok(pumped.again);
            }
        }
    }

    /// Ends the stream: in good order, or with a code once the client has all that was said.
    fn end(
        &mut self,
        session: &mut Session,
        (code, text): (Code, &'static str),
        now: Instant,
        cx: &mut Context<'_>,
    ) -> bool {
        let State::Open(leg) = &mut self.state else {
            return false;
        };
        if code == Code::Closed {
            session.finish(self.stream);
            return false;
        }
        let reset_at = *self.reset_at.get_or_insert(now + LAST_WORDS_TIMEOUT);
        let is_acked = session
            .stats(self.stream)
            .is_none_or(|stats| stats.acked >= stats.written);
        if is_acked || reset_at <= now {
            session.reset(self.stream, code, text, now);
            return false;
        }
        session.await_room(self.stream);
        leg.wake_at(reset_at, now, cx)
    }

    /// The stream is over: the backend is left with last words. `counted` is the backend's place
    /// among those that are connected.
    pub(crate) fn close(self, counted: Counted, tasks: &TaskTracker) {
        if let State::Open(leg) = self.state {
            tasks.spawn(async move {
                leg.goodbye().await;
                drop(counted);
            });
        }
    }
}

/// Offers the service what the client sent, beyond what it has taken already.
fn take_up(
    session: &Session,
    stream: StreamId,
    ahead: usize,
    leg: &mut Leg,
    now: Instant,
) -> usize {
    let mut skip = ahead;
    let mut taken = 0;
    for run in session.peek(stream) {
        let of_run = skip.min(run.len());
        skip -= of_run;
        let mut rest = &run[of_run..];
        while !rest.is_empty() {
            match leg.offer(rest, now) {
                0 => return taken,
                len => {
                    taken += len;
                    rest = &rest[len..];
                }
            }
        }
    }
    taken
}

/// Hands the session what the service has for the client, as far as there is room, and says
/// whether that was anything.
fn send_down(session: &mut Session, stream: StreamId, down: &mut Bytes, leg: &mut Leg) -> bool {
    let mut sent = false;
    loop {
        if down.is_empty() {
            *down = match leg.next_for_client() {
                Some(Message::Text(text)) => text.into(),
                Some(Message::Binary(bytes)) => bytes,
                None => return sent,
            };
        }
        let taken = session.write(stream, down);
        down.advance(taken);
        sent |= taken > 0;
        if !down.is_empty() {
            return sent;
        }
    }
}

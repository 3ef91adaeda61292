//! The task that owns one session, with its streams to the server.
//!
//! Invariants:
//! - requests are taken only while the server takes what came with those before;
//! - a server is read only while the client fetches what it said.

use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use perigee_session::{Code, StreamStats};
use perigee_xmpp::{
    StreamHeader,
    bosh::{Action, Condition, Session, StreamName},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Sleep, timeout},
};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    Answer, Ask, TRANSPORT, serves,
    stream::{State, Stream, close_message, condition_of, open_message},
};
use crate::{
    front_door::{self, Caller, Framing},
    net::now,
    ops::access_log::{Client, StreamRecord},
    policy::{Permit, ServiceSettings},
    shared::Shared,
};

/// Bytes for a server that it has not taken, before no more requests are taken.
const UP_BYTES: usize = 64 * 1024;
/// Bytes for a client that no request came for, before the servers are not read.
const DOWN_BYTES: usize = 64 * 1024;
/// Rounds of work before other tasks of the thread have their turn.
const ROUNDS_PER_POLL: usize = 8;
/// Requests taken in one round.
const REQUESTS_PER_ROUND: usize = 8;
/// For a server to take what a client said last.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a session whose gateway stops waits for a request that it can tell.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// The owner of one session.
pub(super) struct Task {
    shared: Shared,
    client: Client,
    permit: Permit,
    target: String,
    sid: String,
    session: Session,
    inbox: mpsc::Receiver<Ask>,
    /// HTTP requests without an answer, by the names that the session knows them by.
    waiting: BTreeMap<u64, oneshot::Sender<Answer>>,
    next_request: u64,
    streams: BTreeMap<StreamName, Stream>,
    is_over: bool,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    ending: Pin<Box<WaitForCancellationFutureOwned>>,
    /// When a session whose gateway stops waits no longer.
    leaves_at: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    /// What this session holds of the process-wide budget.
    buffered: u64,
}

impl Task {
    pub(super) fn new(
        shared: Shared,
        client: Client,
        permit: Permit,
        (sid, target): (String, &str),
        session: Session,
        inbox: mpsc::Receiver<Ask>,
        first: oneshot::Sender<Answer>,
    ) -> Self {
        let now = now();
        Self {
            draining: Box::pin(shared.draining.clone().cancelled_owned()),
            ending: Box::pin(shared.ending.clone().cancelled_owned()),
            shared,
            client,
            permit,
            target: target.to_owned(),
            sid,
            session,
            inbox,
            waiting: BTreeMap::from([(0, first)]),
            next_request: 1,
            streams: BTreeMap::new(),
            is_over: false,
            leaves_at: None,
            timer: Box::pin(tokio::time::sleep_until(now.into())),
            buffered: 0,
        }
    }

    /// Runs until the session is over.
    pub(super) async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
        for (_, stream) in std::mem::take(&mut self.streams) {
            self.leave(stream, Code::GoingAway, "", None);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..ROUNDS_PER_POLL {
            let now = now();
            self.forget_gone_requests(cx);
            self.stop_with_gateway(cx, now);
            let mut progress = self.take_requests(cx, now);
            self.session.handle_timeout(now);
            progress |= self.act(now);
            progress |= self.serve_streams(cx, now);
            progress |= self.act(now);
            self.settle();
            if self.is_over || self.leaves_at.is_some_and(|at| at <= now) {
                return Poll::Ready(());
            }
            if !progress && !self.timer_is_due(cx, now) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Arms the timer for the next deadline and says whether it has passed already.
    fn timer_is_due(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let deadlines = [self.session.poll_timeout(), self.leaves_at];
        let Some(deadline) = deadlines.into_iter().flatten().min() else {
            return false;
        };
        if deadline <= now {
            return true;
        }
        if self.timer.deadline() != deadline.into() {
            self.timer.as_mut().reset(deadline.into());
        }
        self.timer.as_mut().poll(cx).is_ready()
    }

    fn forget_gone_requests(&mut self, cx: &mut Context<'_>) {
        let session = &mut self.session;
        self.waiting.retain(|&request, reply| {
            let is_gone = reply.poll_closed(cx).is_ready();
            if is_gone {
                session.request_gone(request);
            }
            !is_gone
        });
    }

    /// The gateway stops: the client is told, if it asks in time.
    fn stop_with_gateway(&mut self, cx: &mut Context<'_>, now: Instant) {
        if self.leaves_at.is_none() && self.draining.as_mut().poll(cx).is_ready() {
            self.session.terminate(Condition::SystemShutdown, now);
            self.leaves_at = Some(now + FAREWELL_TIMEOUT);
        }
        if self.leaves_at.is_some_and(|at| at > now) && self.ending.as_mut().poll(cx).is_ready() {
            self.leaves_at = Some(now);
        }
    }

    fn take_requests(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        for taken in 0..REQUESTS_PER_ROUND {
            let is_full = |stream: &Stream| stream.up_bytes >= UP_BYTES;
            if self.streams.values().any(is_full) {
                return taken > 0;
            }
            // The registry keeps a sender as long as the session lives, so the channel stays open.
            let Poll::Ready(Some(Ask { body, reply })) = self.inbox.poll_recv(cx) else {
                return taken > 0;
            };
            let request = self.next_request;
            self.next_request += 1;
            self.waiting.insert(request, reply);
            self.session.handle_request(request, body, now);
            self.act(now);
        }
        true
    }

    /// Does what the session wants done.
    fn act(&mut self, now: Instant) -> bool {
        let mut acted = false;
        while let Some(action) = self.session.poll_action() {
            acted = true;
            match action {
                Action::Open { stream, header } => self.open(stream, &header, now),
                Action::Restart { stream, header } => self.send(stream, open_message(&header)),
                Action::Send { stream, element } => self.send(stream, element),
                Action::Close { stream } => {
                    self.send(stream, close_message());
                    if let Some(stream) = self.streams.remove(&stream) {
                        self.leave(stream, Code::Closed, "", None);
                    }
                }
                Action::Abandon { stream } => {
                    if let Some(stream) = self.streams.remove(&stream) {
                        self.leave(stream, Code::Lost, "the client did not come back", None);
                    }
                }
                Action::Respond {
                    request,
                    status,
                    content_type,
                    body,
                } => {
                    let answer = Answer {
                        status,
                        content_type,
                        body,
                    };
                    if let Some(reply) = self.waiting.remove(&request) {
                        // Who is gone by now asks again.
                        _ = reply.send(answer);
                    }
                }
                Action::End => self.is_over = true,
            }
        }
        acted
    }

    /// Connects to the server for a stream.
    fn open(&mut self, name: StreamName, header: &StreamHeader, now: Instant) {
        let Some(ServiceSettings::Xmpp(settings)) = &self.permit.backend.service else {
            return;
        };
        if let Err(condition) = serves(settings, header.attributes.get("to")) {
            return self.session.handle_close(name, Some(condition), b"", now);
        }
        let caller = Caller {
            client: self.client.clone(),
            framing: Framing::Text,
        };
        let dialing = front_door::begin(self.permit.clone(), caller, self.shared.clone());
        let mut record = StreamRecord::new(&self.target, now);
        record.rule = Some(Arc::clone(&self.permit.rule));
        record.transports.add(TRANSPORT);
        let stats = &self.shared.stats;
        let mut stream = Stream {
            state: State::Dialing(Box::pin(dialing)),
            up: VecDeque::new(),
            up_bytes: 0,
            error: Bytes::new(),
            stats: StreamStats::default(),
            record,
            counted: (stats.streams.count(), stats.backends.count()),
        };
        stream.push(open_message(header));
        self.streams.insert(name, stream);
    }

    fn send(&mut self, stream: StreamName, message: Bytes) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.push(message);
        }
    }

    /// Moves what can be moved between the client and its servers.
    fn serve_streams(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut progress = false;
        let mut ended = Vec::new();
        for (&name, stream) in &mut self.streams {
            let may_read =
                self.session.queued_bytes() < DOWN_BYTES && !self.shared.memory_is_full();
            match stream.poll(name, &mut self.session, may_read, now, cx) {
                Ok(moved) => progress |= moved,
                Err(end) => ended.push((name, end)),
            }
        }
        for (name, end) in ended {
            let Some(stream) = self.streams.remove(&name) else {
                continue;
            };
            let (condition, error) = condition_of(end.code, &stream.error);
            self.session.handle_close(name, condition, &error, now);
            self.leave(stream, end.code, end.text, end.detail);
            progress = true;
        }
        progress
    }

    /// Leaves a server: it gets what it is still to get, and the connection ends in good order.
    fn leave(&self, mut stream: Stream, code: Code, text: &'static str, detail: Option<String>) {
        stream.record.detail = detail;
        stream
            .record
            .log(&self.client, &self.sid, code, text, &stream.stats, now());
        let Stream {
            state: State::Open(leg),
            up,
            counted,
            ..
        } = stream
        else {
            return;
        };
        self.shared.tasks.spawn(async move {
            let (mut leg, mut up) = (*leg, up);
            let last_words = poll_fn(|cx| {
                while let Some(message) = up.front() {
                    if leg.offer(message, now()) == 0 {
                        if leg.pump(false, now(), cx).is_err() {
                            break;
                        }
                        return Poll::Pending;
                    }
                    up.pop_front();
                }
                Poll::Ready(())
            });
            _ = timeout(LAST_WORDS_TIMEOUT, last_words).await;
            leg.goodbye().await;
            drop(counted);
        });
    }

    /// Settles what this session holds of the memory budget.
    fn settle(&mut self) {
        let of_streams: u64 = self.streams.values().map(Stream::buffered).sum();
        let buffered = of_streams + self.session.held_bytes() as u64;
        let budget = &self.shared.stats.buffered_bytes;
        budget.exchange(self.buffered, buffered);
        self.buffered = buffered;
    }
}

/// Also on a panic: what the session had, others may have.
impl Drop for Task {
    fn drop(&mut self) {
        self.shared.bosh.remove(&self.sid);
        self.shared.stats.buffered_bytes.exchange(self.buffered, 0);
    }
}

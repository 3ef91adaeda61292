//! The task that owns one session: transport, session and backends meet here, in one poll.
//!
//! Invariants:
//! - nothing else touches the session; handlers of HTTP requests reach it over a bounded channel;
//! - frames are pulled from the session only when the transport has room, backends are read only
//!   into room that the session has: that is the whole of the backpressure;
//! - a poll never waits for one stream: each backend has its own waker.

mod attachment;
mod ready;
mod streams;

use std::{
    collections::BTreeSet,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use perigee_session::{
    Attach, Code, Config, DetachReason, Event, Hello, Link, Position, Session, StreamId,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Sleep,
};

use self::{
    attachment::{Attachment, Outcome},
    streams::Streams,
};
use crate::{
    net::now,
    ops::access_log::{self, Client},
    policy::quote,
    registry::{DetachedSince, Identity},
    shared::Shared,
    transport::{
        Downlink, Input,
        ticket::{Kind, TicketHash, Tickets},
    },
};

/// Commands that wait for the task; more wait at their senders.
pub(crate) const INBOX_COMMANDS: usize = 16;
/// Rounds of work before other tasks of the thread have their turn.
const ROUNDS_PER_POLL: usize = 8;
/// Commands and messages taken in one round.
const INPUTS_PER_ROUND: usize = 16;
/// A reply that ends leaves its session without transport until the next one comes. A resume
/// timeout shorter than this gap would end sessions that are in use.
const POLL_GAP: Duration = Duration::from_secs(10);
/// What clients are told whose gateway stops.
pub(crate) const STOPPING: &str = "the gateway is stopping";
/// How long an ended session waits for its transport to take the last frames.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// What handlers ask of the task.
#[derive(Debug)]
pub(crate) enum Command {
    /// A transport that said HELLO.
    Attach(Box<NewAttachment>),
    /// HELLO of a transport whose downlink is to come with a ticket.
    Promise(Box<Promise>),
    /// A downlink for an attachment that has a ticket.
    Continue(Box<Continuation>),
    /// Frames from an uplink request.
    Up {
        body: Bytes,
        reply: oneshot::Sender<Vec<u8>>,
    },
    /// Tell the client that the gateway stops, and end the session somewhere in the second half
    /// of this time.
    GoAway { grace: Duration },
    /// End the session.
    End { code: Code, why: &'static str },
}

/// A transport that said HELLO, with the frames that came in the same message.
pub(crate) struct NewAttachment {
    pub(crate) hello: Hello,
    pub(crate) frames: Bytes,
    pub(crate) downlink: Downlink,
}

/// HELLO and the frames after it, and the ticket that the downlink will be asked for with.
#[derive(Debug)]
pub(crate) struct Promise {
    pub(crate) hello: Hello,
    pub(crate) frames: Bytes,
    pub(crate) ticket: TicketHash,
    pub(crate) kind: Kind,
    /// The session's id.
    pub(crate) reply: oneshot::Sender<Result<String, Code>>,
}

/// A downlink for attachment `n`, whose ticket was shown.
pub(crate) struct Continuation {
    pub(crate) n: u32,
    /// How far the client got; `None` before it got anything.
    pub(crate) position: Option<Position>,
    pub(crate) downlink: Downlink,
    pub(crate) verdict: oneshot::Sender<Result<(), Code>>,
}

impl std::fmt::Debug for Continuation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {:?}", self.downlink.name(), self.n, self.position)
    }
}

impl std::fmt::Debug for NewAttachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.downlink.name(), self.hello)
    }
}

/// The owner of one session.
pub(crate) struct SessionTask {
    shared: Shared,
    client: Client,
    sid: String,
    session: Session,
    inbox: mpsc::Receiver<Command>,
    attachment: Option<Attachment>,
    streams: Streams,
    /// Uplink requests whose frames were applied and that wait for the backends to take them.
    replies: Vec<(BTreeSet<StreamId>, oneshot::Sender<Vec<u8>>)>,
    timer: Pin<Box<Sleep>>,
    detached: Arc<DetachedSince>,
    detached_at: Option<Instant>,
    tickets: Arc<Tickets>,
    /// Where the newest attachment with a ticket began.
    promised: Option<(u32, Position)>,
    /// There is no transport between two replies, which says nothing of the client.
    link_has_gaps: bool,
    /// The last transport was lost rather than ended: the next one is a resume.
    was_cut: bool,
    /// The end that a client without a transport is still to be told, and how long to wait for it.
    ends_at: Option<(Instant, Code, &'static str)>,
    /// What of the grace period this session has, when the gateway stops: 0 for half of it, 65,535
    /// for all.
    grace_share: u16,
    /// When the session ends because the gateway stops.
    leaves_at: Option<Instant>,
    /// When to stop waiting for the transport to take the last frames.
    give_up_at: Option<Instant>,
    /// What this session holds of the process-wide budget.
    buffered: u64,
}

impl SessionTask {
    pub(crate) fn new(
        shared: Shared,
        client: Client,
        identity: Identity,
        inbox: mpsc::Receiver<Command>,
        detached: Arc<DetachedSince>,
        tickets: Arc<Tickets>,
    ) -> Self {
        let now = now();
        let config = session_config(&shared, &identity);
        let sid = identity.sid.clone();
        let grace_share = u16::from_be_bytes([identity.token[1], identity.token[2]]);
        let session = Session::gateway(config, identity.sid, identity.token, now);
        #[cfg(feature = "simulation")]
        let session = crate::simulation::mutated(session);
        Self {
            shared,
            client,
            sid,
            session,
            inbox,
            attachment: None,
            streams: Streams::default(),
            replies: Vec::new(),
            timer: Box::pin(tokio::time::sleep_until(now.into())),
            detached,
            detached_at: Some(now),
            tickets,
            promised: None,
            link_has_gaps: false,
            was_cut: false,
            ends_at: None,
            grace_share,
            leaves_at: None,
            give_up_at: None,
            buffered: 0,
        }
    }

    /// Runs until the session is over and its last frames are with its transport.
    pub(crate) async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
        let code = self.session.ended().unwrap_or(Code::Closed);
        if let Some(attachment) = self.attachment.take() {
            attachment
                .downlink
                .finish(Vec::new(), code, &self.shared.tasks);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..ROUNDS_PER_POLL {
            let now = now();
            let mut progress = self.take_commands(cx, now);
            progress |= self.take_frames(cx, now);
            self.session.handle_timeout(now);
            self.expire_streams(now);
            self.end_if_due(now);
            self.streams.register(cx);
            let may_read = self.detached_at.is_none() || !self.shared.memory_is_short();
            progress |= self.streams.serve(&mut self.session, may_read, now);
            self.answer_uplinks(now);
            progress |= self.transmit(cx, now);
            progress |= self.handle_events(now);
            self.settle(self.session.buffered() + self.streams.buffered());
            if self.session.ended().is_some() && self.last_words_are_out(now) {
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
        let of_attachment = self.attachment.as_ref().and_then(Attachment::deadline);
        let Some(deadline) = [
            self.session.poll_timeout(),
            of_attachment,
            self.next_stream_expiry(),
            self.ends_at.map(|(at, ..)| at),
            self.leaves_at,
            self.give_up_at,
        ]
        .into_iter()
        .flatten()
        .min() else {
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

    fn take_commands(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        for taken in 0..INPUTS_PER_ROUND {
            // The registry keeps a sender as long as the session lives, so the channel stays open.
            let Poll::Ready(Some(command)) = self.inbox.poll_recv(cx) else {
                return taken > 0;
            };
            match command {
                Command::Attach(attachment) => self.attach(*attachment, now),
                Command::Promise(promise) => self.promise(*promise, now),
                Command::Continue(continuation) => self.go_on(*continuation, now),
                Command::Up { body, reply } => {
                    let named = self.session.handle_request(&body, now);
                    self.replies.push((named, reply));
                }
                Command::GoAway { grace } => {
                    let after = grace_of(grace, self.grace_share);
                    self.session.go_away(after, Code::GoingAway);
                    self.leaves_at = Some(now + after);
                }
                Command::End { code, why } => self.end(code, why, now),
            }
            self.handle_events(now);
        }
        true
    }

    /// Ends the session. Who is between two polls, or two replies of a stream, when the gateway
    /// stops is told when it attaches again.
    fn end(&mut self, code: Code, why: &'static str, now: Instant) {
        if code == Code::GoingAway && self.attachment.is_none() && self.ends_at.is_none() {
            self.ends_at = Some((now + LAST_WORDS_TIMEOUT, code, why));
        } else {
            self.session.end(code, why, now);
        }
    }

    fn end_if_due(&mut self, now: Instant) {
        if self.leaves_at.take_if(|at| *at <= now).is_some() {
            self.end(Code::GoingAway, STOPPING, now);
        }
        let due =
            |&mut (at, ..): &mut (Instant, Code, &str)| self.attachment.is_some() || at <= now;
        if let Some((_, code, why)) = self.ends_at.take_if(due) {
            self.session.end(code, why, now);
        }
    }

    fn attach(&mut self, new: NewAttachment, now: Instant) {
        let NewAttachment {
            hello,
            frames,
            downlink,
        } = new;
        match self.session.handle_hello(&hello, downlink.link(), now) {
            Attach::Stale => {
                self.session.handle_message(&frames, now);
                downlink.finish(superseded(hello.n), Code::Rotate, &self.shared.tasks);
            }
            Attach::Newest { .. } => {
                self.supersede(now);
                self.carry(hello.n, downlink, now);
                self.session.handle_message(&frames, now);
            }
        }
    }

    /// A newer attachment takes the place of the one in use.
    fn supersede(&mut self, now: Instant) {
        if let Some(former) = self.attachment.take() {
            let last = superseded(former.n);
            former
                .downlink
                .finish(last, Code::Rotate, &self.shared.tasks);
        }
        self.promised = None;
        self.tickets.retire(self.tickets_die_at(now));
    }

    /// This downlink carries attachment `n` from now on.
    fn carry(&mut self, n: u32, downlink: Downlink, now: Instant) {
        let resumed = std::mem::take(&mut self.was_cut);
        self.streams.attached(downlink.name(), resumed, now);
        self.link_has_gaps = downlink.link() == Link::Poll;
        self.update_resume_timeout();
        let timeouts = &self.shared.config.timeouts;
        self.attachment = Some(Attachment::new(n, downlink, timeouts, now));
        self.detached_at = None;
        self.detached.set(None);
    }

    /// Begins an attachment that has no downlink before its ticket is shown.
    fn promise(&mut self, promise: Promise, now: Instant) {
        let Promise {
            hello,
            frames,
            ticket,
            kind,
            reply,
        } = promise;
        // If the request is gone, nobody has the ticket.
        match self.session.handle_hello(&hello, kind.link(), now) {
            Attach::Stale => _ = reply.send(Err(Code::Rotate)),
            Attach::Newest { .. } => {
                self.supersede(now);
                self.promised = Some((hello.n, self.session.position()));
                self.link_has_gaps = true;
                self.update_resume_timeout();
                self.detach(hello.n, now);
                let dead_at = self.tickets_die_at(now);
                self.tickets.issue(ticket, hello.n, kind, dead_at);
                _ = reply.send(Ok(self.sid.clone()));
            }
        }
        self.session.handle_message(&frames, now);
    }

    /// Goes on with an attachment whose ticket was shown.
    fn go_on(&mut self, continuation: Continuation, now: Instant) {
        let Continuation {
            n,
            position,
            downlink,
            verdict,
        } = continuation;
        let outcome = match &self.promised {
            Some((promised, start)) if *promised == n => {
                let from = position.as_ref().unwrap_or(start);
                self.session
                    .continue_attachment(n, downlink.link(), from, now)
            }
            _ => Err(Code::Rotate),
        };
        if outcome.is_ok() {
            if let Some(former) = self.attachment.take() {
                former.downlink.rotate(&self.shared.tasks);
            }
            self.carry(n, downlink, now);
            self.tickets.in_use(n);
        }
        // If the request is gone, its downlink says so.
        _ = verdict.send(outcome);
    }

    /// When tickets are dead that are of no use from now on.
    fn tickets_die_at(&self, now: Instant) -> Instant {
        now + self.shared.config.timeouts.ticket
    }

    fn take_frames(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        for taken in 0..INPUTS_PER_ROUND {
            let Some(attachment) = &mut self.attachment else {
                return taken > 0;
            };
            let Poll::Ready(input) = attachment.downlink.poll_input(cx) else {
                return taken > 0;
            };
            match input {
                Input::Frames(message) => {
                    self.session.handle_message(&message, now);
                }
                Input::Violation => self.session.end(
                    Code::Protocol,
                    "only binary messages of at most 64 KiB are spoken",
                    now,
                ),
                Input::Gone => {
                    let n = attachment.n;
                    self.attachment = None;
                    self.was_cut = true;
                    self.detach(n, now);
                }
            }
            self.handle_events(now);
        }
        true
    }

    /// The transport of attachment `n` is gone.
    fn detach(&mut self, n: u32, now: Instant) {
        self.session.detach(n, now);
        self.tickets.retire(self.tickets_die_at(now));
        self.detached_at = Some(now);
        self.streams.detached(now);
        self.detached.set(Some(self.shared.uptime_ms(now)));
    }

    /// The session lives as long without a transport as the stream that may wait longest.
    fn update_resume_timeout(&mut self) {
        let default = self.shared.config.timeouts.resume;
        let resume = self.streams.resume_timeout().unwrap_or(default);
        self.session
            .set_resume_timeout(resume.max(self.least_gap()));
    }

    /// The shortest time without a transport that says nothing of the client.
    fn least_gap(&self) -> Duration {
        if self.link_has_gaps {
            POLL_GAP
        } else {
            Duration::ZERO
        }
    }

    fn handle_events(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(event) = self.session.poll_event() {
            any = true;
            match event {
                Event::Open {
                    stream,
                    service,
                    target,
                } => {
                    let transport = self.attachment.as_ref();
                    self.streams.open(
                        (stream, service, &target),
                        transport.map(|attachment| attachment.downlink.name()),
                        &self.client,
                        &mut self.session,
                        &self.shared,
                        now,
                    );
                    self.update_resume_timeout();
                }
                Event::Readable(stream) | Event::Writable(stream) => self.streams.mark(stream),
                Event::Closed {
                    stream,
                    code,
                    text,
                    stats,
                } => {
                    let who = (&self.client, self.sid.as_str());
                    self.streams
                        .close(stream, (code, &text), &stats, who, &self.shared, now);
                    self.update_resume_timeout();
                }
                Event::Detached { n, why: _ } | Event::PeerDead { n } => {
                    self.was_cut = true;
                    if let Some(attachment) =
                        self.attachment.take_if(|attachment| attachment.n == n)
                    {
                        attachment
                            .downlink
                            .finish(Vec::new(), Code::Idle, &self.shared.tasks);
                        self.detach(n, now);
                    }
                }
                Event::Refused { target, code } => {
                    let why = format!("target {}: max_streams reached", quote(&target));
                    access_log::refused(&self.client, "stream", code, &why);
                }
                Event::Ended { .. } | Event::Opened { .. } | Event::GoAway { .. } => {}
            }
        }
        any
    }

    /// Replies to uplink requests, after the backends had a chance to take what came.
    fn answer_uplinks(&mut self, now: Instant) {
        for (named, reply) in self.replies.drain(..) {
            let mut frames = Vec::new();
            self.session.transmit_acks(&named, &mut frames, now);
            // If the request is gone, its client repeats it.
            _ = reply.send(frames);
        }
    }

    fn transmit(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(attachment) = &mut self.attachment else {
            return false;
        };
        let outcome = attachment.transmit(&mut self.session, cx, now);
        let n = attachment.n;
        match outcome {
            Outcome::Idle => return false,
            Outcome::Sent => return true,
            Outcome::Over => {
                self.was_cut = !attachment.is_poll();
                self.attachment = None;
            }
            Outcome::Rotate(why) => {
                if let Some(attachment) = self.attachment.take() {
                    // The client has to ask for the next reply first.
                    self.link_has_gaps |= attachment.downlink.has_ticket();
                    self.update_resume_timeout();
                    attachment.end(&mut self.session, why, &self.shared.tasks, now);
                }
            }
        }
        self.detach(n, now);
        true
    }

    /// Ends streams whose backend allows less time without a transport than the session has.
    fn expire_streams(&mut self, now: Instant) {
        let Some(detached_at) = self.detached_at else {
            return;
        };
        let expired: Vec<StreamId> = self
            .streams
            .expiries(detached_at, self.least_gap())
            .filter_map(|(id, at)| (at <= now).then_some(id))
            .collect();
        for id in expired {
            self.session
                .reset(id, Code::Lost, "the client did not come back in time", now);
        }
    }

    fn next_stream_expiry(&self) -> Option<Instant> {
        let expiries = self.streams.expiries(self.detached_at?, self.least_gap());
        expiries.map(|(_, at)| at).min()
    }

    /// The end was told, or there is nobody to tell, or a client that does not read was waited for
    /// long enough.
    fn last_words_are_out(&mut self, now: Instant) -> bool {
        let give_up_at = *self.give_up_at.get_or_insert(now + LAST_WORDS_TIMEOUT);
        self.attachment.is_none() || !self.session.can_transmit() || give_up_at <= now
    }

    /// Settles what this session holds of the memory budget, and makes room if there is none.
    fn settle(&mut self, buffered: u64) {
        if buffered == self.buffered {
            return;
        }
        let grew = buffered > self.buffered;
        self.shared
            .stats
            .buffered_bytes
            .exchange(self.buffered, buffered);
        self.buffered = buffered;
        if grew && self.shared.memory_is_full() {
            self.shared.shed_one();
        }
    }
}

/// Also on a panic: what the session had, others may have.
impl Drop for SessionTask {
    fn drop(&mut self) {
        self.shared.registry.remove(&self.sid);
        self.shared.stats.buffered_bytes.exchange(self.buffered, 0);
    }
}

/// DETACH for an attachment that a newer one replaced.
fn superseded(n: u32) -> Vec<u8> {
    let mut frames = Vec::new();
    Session::transmit_detach(n, DetachReason::Superseded, &mut frames);
    frames
}

/// How long a session goes on when its gateway stops: each its own time in the second half of the
/// grace period, so that the clients do not come to the next gateway all at once.
fn grace_of(grace: Duration, share: u16) -> Duration {
    let half = grace / 2;
    half + half * u32::from(share) / u32::from(u16::MAX)
}

/// The bounds of a session, its heartbeat jittered by its own random id so that a crowd of clients
/// does not answer in step.
fn session_config(shared: &Shared, identity: &Identity) -> Config {
    let timeouts = &shared.config.timeouts;
    let limits = &shared.config.limits;
    let fifth = timeouts.heartbeat / 5;
    let heartbeat = timeouts.heartbeat - fifth * u32::from(identity.token[0]) / 255;
    Config {
        window: limits.replay_up_bytes,
        replay: limits.replay_down_bytes,
        max_streams: limits.max_streams,
        heartbeat,
        peer_dead: timeouts.peer_dead,
        ack_delay: timeouts.ack_delay,
        resume: timeouts.resume,
        confirm: timeouts.hello,
        tombstone: timeouts.tombstone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_spreads_its_sessions() {
        let grace = Duration::from_secs(8);
        let mut ended_in = [0u32; 8];
        for _ in 0..1000 {
            let Identity { token, .. } = Identity::random("n1").expect("random numbers");
            let after = grace_of(grace, u16::from_be_bytes([token[1], token[2]]));
            assert!(after >= grace / 2 && after <= grace, "{after:?}");
            let into = (after - grace / 2).as_millis() * 8 / (grace / 2).as_millis();
            ended_in[usize::try_from(into.min(7)).expect("below 8")] += 1;
        }
        // 125 on average; below 60 or above 220 is less likely than 1 in 10^8.
        assert!(
            ended_in.iter().all(|count| (60..220).contains(count)),
            "{ended_in:?}"
        );
    }
}

//! The task that owns one session: transport, session and backends meet here, in one poll.
//!
//! Invariants:
//! - nothing else touches the session; handlers of HTTP requests reach it over a bounded channel;
//! - frames are pulled from the session only when the transport has room, backends are read only
//!   into room that the session has: that is the whole of the backpressure;
//! - a poll never waits for one stream, and looks only at the sockets that woke it: each backend has a
//!   waker of its own, and so has the transport.

mod attaching;
mod attachment;
mod command;
mod inbox;
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

use perigee_session::{Code, Event, Few, Position, Session, StreamId};
use tokio::{sync::oneshot, time::Sleep};

use self::{
    attaching::Gap,
    attachment::{Attachment, Outcome},
    ready::{INBOX, Ready, TRANSPORT},
    streams::Streams,
};
pub(crate) use self::{
    command::{Command, Continuation, NewAttachment, Promise, Up},
    inbox::Inbox,
};
use crate::{
    net::now,
    ops::access_log::{self, Client},
    policy::quote,
    registry::{Door, Identity},
    shared::Shared,
    transport::Input,
};

/// Rounds of work before other tasks of the thread have their turn.
const ROUNDS_PER_POLL: usize = 8;
/// Commands and messages taken in one round.
const INPUTS_PER_ROUND: usize = 16;
/// What clients are told whose gateway stops.
pub(crate) const STOPPING: &str = "the gateway is stopping";
/// How long an ended session waits for its transport to take the last frames.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// The owner of one session.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about one session, not a state"
)]
pub(crate) struct SessionTask {
    shared: Shared,
    client: Client,
    /// What others know of the session.
    door: Arc<Door>,
    session: Session,
    /// The last look into the inbox found nothing, so that the next command wakes the task.
    inbox_is_quiet: bool,
    attachment: Option<Attachment>,
    /// What the transport wakes the task with.
    transport: Ready,
    /// Nothing came by the transport when it was looked at last, and it wakes the task when something
    /// does.
    transport_is_quiet: bool,
    streams: Streams,
    /// Uplink requests whose frames were applied and that wait for the backends to take them.
    replies: Few<(BTreeSet<StreamId>, oneshot::Sender<Vec<u8>>)>,
    timer: Pin<Box<Sleep>>,
    /// The timer will wake the task.
    timer_is_armed: bool,
    detached_at: Option<Instant>,
    /// When a client counts as away that only has to ask for the next reply.
    away_at: Option<Instant>,
    /// Where the newest attachment with a ticket began; few sessions have one.
    promised: Option<Box<(u32, Position)>>,
    /// There is no transport between two replies, which says nothing of the client.
    link_has_gaps: bool,
    /// The last transport was lost rather than ended: the next one is a resume.
    was_cut: bool,
    /// What of the grace period this session has, when the gateway stops: 0 for half of it, 65,535
    /// for all.
    grace_share: u16,
    /// What a session has that is about to end.
    ending: Option<Box<Ending>>,
    /// What this session holds of the process-wide budget.
    buffered: u64,
}

/// The deadlines of a session that is about to end.
#[derive(Debug, Default)]
struct Ending {
    /// The end that a client without a transport is still to be told, and how long to wait for it.
    ends_at: Option<(Instant, Code, &'static str)>,
    /// When the session ends because the gateway stops.
    leaves_at: Option<Instant>,
    /// When to stop waiting for the transport to take the last frames.
    give_up_at: Option<Instant>,
}

impl SessionTask {
    pub(crate) fn new(shared: Shared, client: Client, identity: Identity, door: Arc<Door>) -> Self {
        let now = now();
        let grace_share = u16::from_be_bytes([identity.token[1], identity.token[2]]);
        let heartbeat = jittered(shared.config.timeouts.heartbeat, identity.token[0]);
        let config = Arc::clone(&shared.sessions);
        let mut session = Session::gateway(config, identity.sid, identity.token, now);
        session.set_heartbeat(heartbeat);
        #[cfg(feature = "simulation")]
        let session = crate::simulation::mutated(session);
        let streams = Streams::new(Arc::clone(door.inbox.ready()));
        Self {
            shared,
            client,
            door,
            session,
            inbox_is_quiet: false,
            attachment: None,
            transport: streams.ready().add(TRANSPORT),
            transport_is_quiet: false,
            streams,
            replies: Few::new(),
            timer: Box::pin(tokio::time::sleep_until(now.into())),
            timer_is_armed: false,
            detached_at: Some(now),
            away_at: None,
            promised: None,
            link_has_gaps: false,
            was_cut: false,
            grace_share,
            ending: None,
            buffered: 0,
        }
    }

    /// Runs until the session is over and its last frames are with its transport.
    ///
    /// Takes no task by value: a future has a copy of what is moved into it.
    pub(crate) async fn run(&mut self) {
        let ready = Arc::clone(self.streams.ready());
        poll_fn(move |cx| {
            ready.name_task(cx);
            Poll::Ready(())
        })
        .await;
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
            self.take_woken();
            let mut again = self.take_commands(now);
            let flushes = !self.transport_is_quiet;
            again |= self.take_frames(now);
            self.session.handle_timeout(now);
            if self.detached_at.is_some() {
                self.note_absence(now);
                self.expire_streams(now);
            }
            self.end_if_due(now);
            let may_read = self.detached_at.is_none() || !self.shared.memory_is_short();
            self.streams.serve(&mut self.session, may_read, now);
            self.answer_uplinks(now);
            again |= self.transmit(flushes, now);
            again |= self.session.has_event() && self.handle_events(now);
            self.settle(self.session.buffered() + self.streams.buffered());
            if self.session.ended().is_some() && self.last_words_are_out(now) {
                return Poll::Ready(());
            }
            if !again && !self.timer_is_due(cx, now) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes note of what woke the task.
    fn take_woken(&mut self) {
        self.streams.take_woken(|source| match source {
            TRANSPORT => {
                self.transport.taken();
                self.transport_is_quiet = false;
            }
            INBOX => self.inbox_is_quiet = false,
            _ => {}
        });
    }

    /// Arms the timer for the next deadline and says whether it has passed already.
    fn timer_is_due(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut next = self.session.poll_timeout();
        let mut or = |other: Option<Instant>| {
            if let Some(at) = other {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        };
        or(self.attachment.as_ref().and_then(Attachment::deadline));
        or(self.next_stream_expiry());
        or(self.away_at);
        if let Some(ending) = &self.ending {
            or(ending.ends_at.map(|(at, ..)| at));
            or(ending.leaves_at);
            or(ending.give_up_at);
        }
        let Some(deadline) = next else {
            return false;
        };
        if deadline <= now {
            return true;
        }
        // Deadlines move away with every message. One that is armed too early wakes once in vain, which
        // costs less than to arm it anew each time.
        let armed = self.timer.deadline().into_std();
        if self.timer_is_armed && now < armed && armed <= deadline {
            return false;
        }
        self.timer.as_mut().reset(deadline.into());
        self.timer_is_armed = true;
        self.timer.as_mut().poll(cx).is_ready()
    }

    /// Says whether there may be more.
    fn take_commands(&mut self, now: Instant) -> bool {
        if self.inbox_is_quiet {
            return false;
        }
        for _ in 0..INPUTS_PER_ROUND {
            let Some(command) = self.door.inbox.take() else {
                self.inbox_is_quiet = true;
                return false;
            };
            match command {
                Command::Attach(attachment) => self.attach(*attachment, now),
                Command::Promise(promise) => self.promise(*promise, now),
                Command::Continue(continuation) => self.go_on(*continuation, now),
                Command::Up(up) => {
                    let Up { body, reply } = *up;
                    let named = self.session.handle_request(&body, now);
                    self.replies.push_back((named, reply));
                }
                Command::GoAway { grace } => {
                    let after = grace_of(grace, self.grace_share);
                    self.session.go_away(after, Code::GoingAway);
                    self.ending.get_or_insert_default().leaves_at = Some(now + after);
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
        let ends_at = &mut self.ending.get_or_insert_default().ends_at;
        if code == Code::GoingAway && self.attachment.is_none() && ends_at.is_none() {
            *ends_at = Some((now + LAST_WORDS_TIMEOUT, code, why));
        } else {
            self.session.end(code, why, now);
        }
    }

    fn end_if_due(&mut self, now: Instant) {
        let Some(ending) = &mut self.ending else {
            return;
        };
        if ending.leaves_at.take_if(|at| *at <= now).is_some() {
            self.end(Code::GoingAway, STOPPING, now);
        }
        let due =
            |&mut (at, ..): &mut (Instant, Code, &str)| self.attachment.is_some() || at <= now;
        let ends_at = self.ending.as_mut().map(|ending| &mut ending.ends_at);
        if let Some((_, code, why)) = ends_at.and_then(|ends_at| ends_at.take_if(due)) {
            self.session.end(code, why, now);
        }
    }

    /// Says whether there may be more.
    fn take_frames(&mut self, now: Instant) -> bool {
        if self.transport_is_quiet {
            return false;
        }
        for _ in 0..INPUTS_PER_ROUND {
            let Some(attachment) = &mut self.attachment else {
                return false;
            };
            let (session, streams) = (&mut self.session, &mut self.streams);
            let input = attachment.downlink.poll_input(
                &mut self.transport.context(),
                |message, is_last| {
                    session.handle_message_with(message, now, |id, runs| {
                        streams.offer(id, runs, is_last)
                    });
                },
            );
            let Poll::Ready(input) = input else {
                self.transport_is_quiet = true;
                return false;
            };
            match input {
                Input::Frames => {}
                Input::Violation => self.session.end(
                    Code::Protocol,
                    "only binary messages of at most 64 KiB are spoken",
                    now,
                ),
                Input::Gone => {
                    let n = attachment.n;
                    self.attachment = None;
                    self.was_cut = true;
                    self.detach(n, Gap::Lost, now);
                }
            }
            if self.session.has_event() {
                self.handle_events(now);
            }
        }
        true
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
                        (
                            transport.map(|attachment| attachment.downlink.name()),
                            transport.is_some() || self.away_at.is_some(),
                        ),
                        &self.client,
                        &mut self.session,
                        &self.shared,
                        now,
                    );
                    self.update_resume_timeout();
                }
                Event::Readable(stream) | Event::Writable(stream) => self.streams.note(stream),
                Event::Closed {
                    stream,
                    code,
                    text,
                    stats,
                } => {
                    let who = (&self.client, &*self.door.sid);
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
                        self.detach(n, Gap::Lost, now);
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
        while let Some((named, reply)) = self.replies.pop_front() {
            let mut frames = Vec::new();
            self.session.transmit_acks(&named, &mut frames, now);
            // If the request is gone, its client repeats it.
            _ = reply.send(frames);
        }
    }

    /// Says whether that ended the attachment. `flushes` if the transport may take now what it did not
    /// take before.
    fn transmit(&mut self, flushes: bool, now: Instant) -> bool {
        let Some(attachment) = &mut self.attachment else {
            return false;
        };
        let cx = &mut self.transport.context();
        let outcome = attachment.transmit(&mut self.session, flushes, cx, now);
        let n = attachment.n;
        let gap = match outcome {
            Outcome::Said => return false,
            Outcome::Over => {
                self.was_cut = !attachment.is_poll();
                self.attachment = None;
                if self.was_cut {
                    Gap::Lost
                } else {
                    Gap::BetweenReplies
                }
            }
            Outcome::Rotate(why) => {
                if let Some(attachment) = self.attachment.take() {
                    // The client has to ask for the next reply first.
                    self.link_has_gaps |= attachment.downlink.has_ticket();
                    self.update_resume_timeout();
                    attachment.end(&mut self.session, why, &self.shared.tasks, now);
                }
                Gap::BetweenReplies
            }
        };
        self.detach(n, gap, now);
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
        let ending = self.ending.get_or_insert_default();
        let give_up_at = *ending.give_up_at.get_or_insert(now + LAST_WORDS_TIMEOUT);
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
        self.shared.registry.remove(&self.door.sid);
        self.door.inbox.close();
        self.shared.stats.buffered_bytes.exchange(self.buffered, 0);
    }
}

/// How long a session goes on when its gateway stops: each its own time in the second half of the
/// grace period, so that the clients do not come to the next gateway all at once.
fn grace_of(grace: Duration, share: u16) -> Duration {
    let half = grace / 2;
    half + half * u32::from(share) / u32::from(u16::MAX)
}

/// The heartbeat of a session, less up to a fifth by its own random id, so that a crowd of clients does
/// not answer in step.
fn jittered(heartbeat: Duration, share: u8) -> Duration {
    let fifth = heartbeat / 5;
    heartbeat - fifth * u32::from(share) / 255
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

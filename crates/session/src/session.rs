//! One endpoint of a session: its streams, its attachment and its timers.
//!
//! `attachment` joins a transport to the session, `input` applies what arrives, `output` says what to transmit; this file holds the state and
//! what the service side does with it. Client and gateway are one type because their rules differ
//! in few places ([`Role`]).

mod attachment;
mod input;
pub(crate) mod mutant;
mod output;
mod stream;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    ById, Code, Config, Event, Few, StreamId, StreamStats, TOKEN_LEN,
    byte_log::Runs,
    stream_ids::StreamIds,
    timer::{Timer, TimerTable},
    tombstone::Tombstones,
};

use self::{mutant::Mutation, stream::Stream};

/// Which end of the session this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Opens streams, numbers attachments.
    Client,
    /// Accepts streams.
    Gateway,
}

/// How long a transport stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Until something breaks it: heartbeats apply.
    Open,
    /// For one reply.
    Poll,
}

/// How a new attachment of a client relates to its uplink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uplink {
    /// The transport carries both directions: what was in flight may be lost, so DATA waits for
    /// the WELCOME and goes on from there.
    Fresh,
    /// Frames go up by requests of their own, which this attachment does not touch. Where they went up
    /// another way before, DATA waits as well.
    Separate,
}

/// What became of a HELLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attach {
    /// It is the downlink now.
    Newest {
        /// The attachment that was the downlink before, if one was attached.
        former: Option<u32>,
    },
    /// A newer one is attached: answer DETACH and end this transport.
    Stale,
}

/// One endpoint of a session.
#[derive(Debug)]
pub struct Session {
    config: Arc<Config>,
    /// In place of what the configuration says.
    heartbeat: Duration,
    resume: Duration,
    role: Role,
    mutation: Mutation,
    streams: ById<Stream>,
    tombstones: Tombstones,
    /// Gateway: ids that were used.
    ids: StreamIds,
    /// Client: the next id.
    next_stream: StreamId,
    /// Credit the peer gives a new stream; 0 until it said so.
    peer_initial: u64,
    /// The newest attachment's number.
    last_n: u32,
    /// Batches transmitted so far: what is told in one is marked with its number, so that it can be
    /// told again to a client that did not get it.
    batch: u64,
    attachment: Option<Attachment>,
    /// Client: how frames went up last.
    uplink: Option<Uplink>,
    /// Client: no WELCOME has said yet where a new uplink goes on. An attachment that ends before its
    /// WELCOME leaves that to the next one.
    uplink_is_new: bool,
    /// Client: who it is, once welcomed. Gateway: what to tell in WELCOME until the client has it.
    identity: Option<Box<(String, [u8; TOKEN_LEN])>>,
    confirmed: bool,
    ended: Option<Code>,
    events: Few<Event>,
    timers: TimerTable,
    /// Streams that may have something to transmit, in turn.
    send_queue: Few<StreamId>,
    /// Client: streams that the WELCOME in hand left out. The RESETs that follow it say why.
    left_out: Vec<StreamId>,
    /// Streams with something delivered and not acked.
    ack_queue: Few<StreamId>,
    acks_are_due: bool,
    control: Control,
    buffered: u64,
}

/// Session-level frames that are due.
#[derive(Debug, Default)]
struct Control {
    hello: bool,
    welcome: Option<Welcoming>,
    /// Gateway: the batch that welcomed the newest attachment.
    welcomed_in: Option<u64>,
    pongs: Few<u32>,
    ping: bool,
    /// Streams whose OPEN or OPENED is due.
    opens: Few<StreamId>,
    /// What a session has at its end only.
    leaving: Option<Box<Leaving>>,
}

/// What is to be said, or was, of the end of the session or its gateway.
#[derive(Debug, Default)]
struct Leaving {
    end: Option<(Code, &'static str)>,
    go_away: Option<(Duration, Code)>,
    /// What GOAWAY said last, and in which batch.
    gone_away_in: Option<(Duration, Code, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Welcoming {
    /// The client waits for it.
    Prompt,
    /// A held poll: it goes with whatever comes.
    Lazy,
}

#[derive(Debug)]
struct Attachment {
    n: u32,
    link: Link,
    /// Client: DATA waits for the WELCOME.
    awaits_welcome: bool,
}

impl Control {
    fn leaving(&mut self) -> &mut Leaving {
        self.leaving.get_or_insert_default()
    }
}

impl Session {
    /// The client's end of a session that does not exist yet.
    #[must_use]
    pub fn client(config: impl Into<Arc<Config>>) -> Self {
        Self::new(config.into(), Role::Client, None)
    }

    /// The gateway's end of a new session, which ends soon if no HELLO follows.
    #[must_use]
    pub fn gateway(
        config: impl Into<Arc<Config>>,
        sid: String,
        token: [u8; TOKEN_LEN],
        now: Instant,
    ) -> Self {
        let identity = Box::new((sid, token));
        let mut session = Self::new(config.into(), Role::Gateway, Some(identity));
        session
            .timers
            .set(Timer::Resume, now + session.config.confirm);
        session
    }

    fn new(
        config: Arc<Config>,
        role: Role,
        identity: Option<Box<(String, [u8; TOKEN_LEN])>>,
    ) -> Self {
        Self {
            heartbeat: config.heartbeat,
            resume: config.resume,
            config,
            role,
            mutation: Mutation::default(),
            streams: ById::default(),
            tombstones: Tombstones::default(),
            ids: StreamIds::new(),
            next_stream: 1,
            peer_initial: 0,
            last_n: 0,
            batch: 0,
            attachment: None,
            uplink: None,
            uplink_is_new: false,
            identity,
            confirmed: false,
            ended: None,
            events: Few::new(),
            timers: TimerTable::default(),
            send_queue: Few::new(),
            left_out: Vec::new(),
            ack_queue: Few::new(),
            acks_are_due: false,
            control: Control::default(),
            buffered: 0,
        }
    }

    /// Breaks a rule.
    #[cfg(any(test, feature = "mutants"))]
    #[doc(hidden)]
    pub fn mutate(&mut self, mutant: mutant::Mutant) {
        self.mutation = Mutation(Some(mutant));
    }

    /// Whether [`Session::poll_event`] has one.
    #[must_use]
    #[inline]
    pub fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    /// Next event, oldest first.
    #[inline]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Session::handle_timeout`], if at all. What was due then may have moved away, which
    /// that call finds out.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.quiet_until()
    }

    /// Bytes held in both directions, unacked and undelivered.
    #[must_use]
    pub fn buffered(&self) -> u64 {
        self.buffered
    }

    /// The attachment in use.
    #[must_use]
    pub fn attachment(&self) -> Option<u32> {
        self.attachment.as_ref().map(|attachment| attachment.n)
    }

    /// Number of live streams.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// The session's id and token: known to a client once welcomed.
    #[must_use]
    pub fn identity(&self) -> Option<(&str, &[u8; TOKEN_LEN])> {
        self.identity
            .as_ref()
            .map(|identity| (identity.0.as_str(), &identity.1))
    }

    /// Whether the session is over, and why.
    #[must_use]
    pub fn ended(&self) -> Option<Code> {
        self.ended
    }

    /// What a live stream carried so far.
    #[must_use]
    pub fn stats(&self, stream: StreamId) -> Option<StreamStats> {
        self.streams.get(stream).map(Stream::stats)
    }

    /// Sets how long the session is kept when detached, from the next detach on.
    pub fn set_resume_timeout(&mut self, resume: Duration) {
        self.resume = resume;
    }

    /// Sets the longest silence on an open transport before a PING, so that a crowd of sessions does not speak in
    /// step.
    pub fn set_heartbeat(&mut self, heartbeat: Duration) {
        self.heartbeat = heartbeat;
    }

    /// Opens a stream (client).
    pub fn open(&mut self, service: u8, target: &str) -> StreamId {
        debug_assert_eq!(self.role, Role::Client);
        let id = self.next_stream;
        self.next_stream += 1;
        let stream = self.new_stream(service, target.into());
        self.streams.insert(id, stream);
        self.queue_open(id);
        id
    }

    /// Answers [`Event::Open`]: the backend was reached (gateway).
    pub fn accept(&mut self, id: StreamId, reached: &str) {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.opened = true;
            stream.target = reached.into();
            self.queue_open(id);
        }
    }

    /// How many bytes [`Session::write`] would take.
    #[must_use]
    pub fn room(&self, stream: StreamId) -> usize {
        self.streams.get(stream).map_or(0, |stream| {
            if stream.send.is_finished() {
                return 0;
            }
            usize::try_from(self.config.replay.saturating_sub(stream.send.held()))
                .unwrap_or(usize::MAX)
        })
    }

    /// Appends to the log this endpoint sends and says how many bytes it took: fewer than offered
    /// if the peer has not acked enough. [`Event::Writable`] follows when there is room again.
    pub fn write(&mut self, id: StreamId, bytes: &[u8]) -> usize {
        let Some(stream) = self.streams.get_mut(id) else {
            return 0;
        };
        let before = stream.send.held();
        let taken = stream.send.write(bytes, self.config.replay, self.mutation);
        self.buffered = (self.buffered + stream.send.held()).saturating_sub(before);
        stream.writer_waits = taken < bytes.len();
        stream.queue_send(id, &mut self.send_queue);
        taken
    }

    /// Says that the writer has stopped for want of room, without a write that says so.
    pub fn await_room(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.writer_waits = true;
        }
    }

    /// Ends the log this endpoint sends: FIN after what was written.
    pub fn finish(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.send.finish();
            self.queue_send(id);
        }
    }

    /// The bytes of a stream that wait to be delivered, in order.
    pub fn peek(&self, id: StreamId) -> impl Iterator<Item = &[u8]> {
        self.streams
            .get(id)
            .map_or_else(Runs::default, |stream| stream.receive.runs())
    }

    /// Whether bytes, or the peer's FIN, wait to be delivered.
    #[must_use]
    pub fn has_to_deliver(&self, id: StreamId) -> bool {
        self.streams
            .get(id)
            .is_some_and(|stream| stream.receive.held() > 0 || stream.receive.fin_is_next())
    }

    /// Whether the peer's FIN is next: all bytes before it were delivered.
    #[must_use]
    pub fn fin_is_next(&self, id: StreamId) -> bool {
        self.streams
            .get(id)
            .is_some_and(|stream| stream.receive.fin_is_next())
    }

    /// `len` bytes of what [`Session::peek`] showed left this endpoint for good.
    pub fn consume(&mut self, id: StreamId, len: usize, now: Instant) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let before = stream.receive.held();
        stream.receive.consume(len);
        self.buffered = (self.buffered + stream.receive.held()).saturating_sub(before);
        if stream.receive.ack_is_wanted() {
            let urgent = stream.receive.ack_is_urgent();
            stream.queue_ack(id, &mut self.ack_queue);
            self.ack_soon(urgent, now);
        }
    }

    /// The peer's FIN was passed on.
    pub fn consume_fin(&mut self, id: StreamId, now: Instant) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        stream.receive.consume_fin();
        self.want_ack(id, true, now);
    }

    /// Ends both directions of a stream; `text` is for people and names no address.
    pub fn reset(&mut self, id: StreamId, code: Code, text: &'static str, now: Instant) {
        self.close(id, code, text, true, None, now);
    }

    /// Ends the session: each stream and then the session itself are told so.
    pub fn end(&mut self, code: Code, text: &'static str, now: Instant) {
        if self.ended.is_some() {
            return;
        }
        let ids: Vec<StreamId> = self.streams.ids().collect();
        for id in ids {
            self.close(id, code, text, true, None, now);
        }
        self.control.leaving().end = Some((code, text));
        self.over(code);
    }

    /// Asks the client to attach again, or to finish (gateway).
    pub fn go_away(&mut self, after: Duration, code: Code) {
        self.control.leaving().go_away = Some((after, code));
    }

    fn over(&mut self, code: Code) {
        self.ended = Some(code);
        self.timers.stop_all();
        self.send_queue.clear();
        self.ack_queue.clear();
        self.events.push_back(Event::Ended { code });
    }

    fn new_stream(&self, service: u8, target: Box<str>) -> Stream {
        Stream::new(service, target, self.peer_initial, self.config.window)
    }

    /// Removes a stream, remembers its end and says so.
    fn close(
        &mut self,
        id: StreamId,
        code: Code,
        text: &'static str,
        tell: bool,
        peer_text: Option<&str>,
        now: Instant,
    ) {
        let Some(stream) = self.streams.remove(id) else {
            return;
        };
        self.buffered = self
            .buffered
            .saturating_sub(stream.send.held() + stream.receive.held());
        self.tombstones.bury(
            id,
            (code, stream.receive.delivered(), text),
            tell,
            self.batch + 1,
            now + self.config.tombstone,
        );
        self.arm_tombstones();
        let text = peer_text.unwrap_or(text).to_owned();
        self.events.push_back(Event::Closed {
            stream: id,
            code,
            text,
            stats: stream.stats(),
        });
    }

    fn close_if_over(&mut self, id: StreamId, now: Instant) {
        if self.streams.get(id).is_some_and(Stream::is_over) {
            self.close(id, Code::Closed, "", false, None, now);
        }
    }

    fn want_ack(&mut self, id: StreamId, urgent: bool, now: Instant) {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.queue_ack(id, &mut self.ack_queue);
            self.ack_soon(urgent, now);
        }
    }

    /// What waits to be acked is told at once, or with whatever is told next and in a while at the
    /// latest.
    fn ack_soon(&mut self, urgent: bool, now: Instant) {
        if urgent {
            self.acks_are_due = true;
        } else if !self.acks_are_due {
            self.timers
                .set_once(Timer::AckDelay, now + self.config.ack_delay);
        }
    }

    fn queue_send(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.queue_send(id, &mut self.send_queue);
        }
    }

    /// Makes OPEN or OPENED of a stream due, once however often it is asked for.
    fn queue_open(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(id)
            && !stream.in_open_queue
        {
            stream.in_open_queue = true;
            self.control.opens.push_back(id);
        }
    }

    fn tell_opens_again(&mut self) {
        let unopened: Vec<StreamId> = self
            .streams
            .iter()
            .filter(|(_, stream)| !stream.opened)
            .map(|(id, _)| id)
            .collect();
        for id in unopened {
            self.queue_open(id);
        }
    }

    /// Restarts the watch over the peer of an open transport.
    fn heard(&mut self, now: Instant) {
        match &self.attachment {
            Some(Attachment {
                link: Link::Open, ..
            }) => {
                self.timers
                    .set(Timer::PeerDead, now + self.config.peer_dead);
                self.timers.set_once(Timer::Heartbeat, now + self.heartbeat);
            }
            Some(Attachment {
                link: Link::Poll, ..
            })
            | None => {
                self.timers.stop(Timer::PeerDead);
                self.timers.stop(Timer::Heartbeat);
            }
        }
    }

    fn arm_tombstones(&mut self) {
        match self.tombstones.next_expiry() {
            Some(deadline) if self.attachment.is_some() => {
                self.timers.set(Timer::Tombstone, deadline)
            }
            _ => self.timers.stop(Timer::Tombstone),
        }
    }
}

#[cfg(test)]
impl Session {
    /// (base, next, sent, limit) of the log sent.
    pub(crate) fn send_state(&self, id: StreamId) -> Option<(u64, u64, u64, u64)> {
        self.streams
            .get(id)
            .map(|s| (s.send.base(), s.send.next(), s.send.sent(), s.send.limit()))
    }

    /// (rn, granted) of the log received.
    pub(crate) fn receive_state(&self, id: StreamId) -> Option<(u64, u64)> {
        self.streams
            .get(id)
            .map(|s| (s.receive.rn(), s.receive.granted()))
    }

    /// Bytes held of the log sent.
    pub(crate) fn held(&self, id: StreamId) -> u64 {
        self.streams.get(id).map_or(0, |s| s.send.held())
    }
}

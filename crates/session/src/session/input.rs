//! What arrives: frames and deadlines (protocol section 5).

use std::{
    collections::BTreeSet,
    io::IoSlice,
    time::{Duration, Instant},
};

use super::{Role, Session, stream::Stream};
use crate::{
    Code, CodecError, Event, Frame, StreamId, Timer,
    frame::{Ack, Raw},
    receive::Received,
    send::SendLog,
};

/// PINGs answered at a time; a peer that sends more gets an answer to the newest.
const MAX_PONGS: usize = 4;
/// A client does not go back twice to the same offset within this time: ACKs that ask for it
/// come in bunches.
const REWIND_PAUSE: Duration = Duration::from_secs(1);
/// Runs of bytes that are offered at once to who delivers them.
const MAX_RUNS: usize = 8;

/// Leaves all bytes for [`Session::peek`].
fn take_nothing(_: StreamId, _: &[IoSlice<'_>]) -> usize {
    0
}

impl Session {
    /// Applies a message that is a whole number of frames.
    ///
    /// A message that breaks the protocol ends the session.
    pub fn handle_message(&mut self, message: &[u8], now: Instant) {
        self.handle_message_with(message, now, take_nothing);
    }

    /// The same, and offers `deliver` what a stream waits for where it lies in the message, at least one
    /// byte. It says how many of them, from the front, left this endpoint for good, as
    /// [`Session::consume`] would be told, and only the rest is held for [`Session::peek`]. Of bytes
    /// that were all taken no event tells.
    pub fn handle_message_with(
        &mut self,
        mut message: &[u8],
        now: Instant,
        deliver: impl FnMut(StreamId, &[IoSlice<'_>]) -> usize,
    ) {
        self.apply(&mut message, now, |_| {}, deliver);
        if !message.is_empty() {
            self.violated(&CodecError::Cut, now);
        }
    }

    /// Applies the body of an uplink request, and says which streams it named: those that
    /// [`Session::transmit_acks`] answers for.
    pub fn handle_request(&mut self, mut body: &[u8], now: Instant) -> BTreeSet<StreamId> {
        let mut named = BTreeSet::new();
        let name = |stream| {
            named.insert(stream);
        };
        self.apply(&mut body, now, name, take_nothing);
        if !body.is_empty() {
            self.violated(&CodecError::Cut, now);
        }
        named
    }

    /// Applies the reply of an uplink request (client). That requests get through says nothing of
    /// the downlink: its peer may be dead all the same.
    pub fn handle_reply(&mut self, mut reply: &[u8], now: Instant) {
        self.apply_frames(&mut reply, now, |_| {}, take_nothing);
        if !reply.is_empty() {
            self.violated(&CodecError::Cut, now);
        }
    }

    /// Applies the whole frames at the front of `bytes` and leaves the rest of them there.
    pub fn handle_bytes(&mut self, bytes: &mut &[u8], now: Instant) {
        self.apply(bytes, now, |_| {}, take_nothing);
    }

    /// The same for an attachment that is not the newest (client): that it still brings something is
    /// no sign of life of the one that is.
    pub fn handle_late(&mut self, bytes: &mut &[u8], now: Instant) {
        self.apply_frames(bytes, now, |_| {}, take_nothing);
    }

    fn apply(
        &mut self,
        bytes: &mut &[u8],
        now: Instant,
        named: impl FnMut(StreamId),
        deliver: impl FnMut(StreamId, &[IoSlice<'_>]) -> usize,
    ) {
        self.heard(now);
        self.apply_frames(bytes, now, named, deliver);
    }

    fn apply_frames(
        &mut self,
        bytes: &mut &[u8],
        now: Instant,
        mut named: impl FnMut(StreamId),
        mut deliver: impl FnMut(StreamId, &[IoSlice<'_>]) -> usize,
    ) {
        while self.ended.is_none() {
            let applied = match Raw::take(bytes) {
                Ok(Some(frame)) => self.apply_frame(frame, bytes, now, &mut named, &mut deliver),
                Ok(None) => break,
                Err(error) => Err(error),
            };
            match applied {
                Ok(()) if bytes.is_empty() => break,
                Ok(()) => {}
                Err(error) => self.violated(&error, now),
            }
        }
        if self.ended.is_some() {
            *bytes = &[];
        } else if !self.left_out.is_empty() {
            self.close_left_out(now);
        }
    }

    /// `rest` follows the frame, and may lose frames that go with it.
    fn apply_frame<'a>(
        &mut self,
        frame: Raw<'a>,
        rest: &mut &'a [u8],
        now: Instant,
        named: &mut impl FnMut(StreamId),
        deliver: &mut impl FnMut(StreamId, &[IoSlice<'_>]) -> usize,
    ) -> Result<(), CodecError> {
        if let Some(data) = frame.data() {
            let (offset, bytes) = data?;
            named(frame.stream);
            self.confirm_if_welcomed();
            if self.is_next(frame.stream, offset, bytes) {
                self.pass(frame.stream, (offset, bytes), rest, now, deliver);
            } else {
                self.data(frame.stream, offset, bytes, now);
            }
        } else if let Some(ack) = frame.ack() {
            let ack = ack?;
            named(frame.stream);
            self.confirm_if_welcomed();
            self.acked(frame.stream, ack, now);
        } else {
            let frame = frame.decode()?;
            frame.stream().into_iter().for_each(named);
            self.confirm_if_welcomed();
            self.handle_frame(&frame, now);
        }
        Ok(())
    }

    /// What came with the first HELLO does not show that its WELCOME arrived.
    fn confirm_if_welcomed(&mut self) {
        if self.control.welcomed_in.is_some() {
            self.confirm();
        }
    }

    /// Applies the deadlines that passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if !self.timers.may_be_due(now) {
            return;
        }
        for timer in Timer::ALL {
            if !self.timers.take_expired(timer, now) {
                continue;
            }
            match timer {
                Timer::Heartbeat => self.control.ping = true,
                Timer::PeerDead => {
                    if let Some(n) = self.attachment() {
                        self.detach(n, now);
                        self.events.push_back(Event::PeerDead { n });
                    }
                }
                Timer::AckDelay => self.acks_are_due = true,
                Timer::Resume => self.end(Code::Lost, "the client did not come back in time", now),
                Timer::Tombstone => {
                    self.tombstones.drop_expired(now);
                    self.arm_tombstones();
                }
            }
        }
    }

    /// A client's uplink lost what was in flight: everything not acked is transmitted again.
    pub fn rewind(&mut self, now: Instant) {
        debug_assert_eq!(self.role, Role::Client);
        let ids: Vec<StreamId> = self.streams.ids().collect();
        for id in ids {
            self.rewind_stream(id, |send| send.base());
            if self
                .streams
                .get(id)
                .is_some_and(|stream| stream.receive.delivered() > 0)
            {
                self.want_ack(id, true, now);
            }
        }
        self.tell_opens_again();
        self.tombstones.tell_all();
    }

    fn handle_frame(&mut self, frame: &Frame<'_>, now: Instant) {
        match (frame, self.role) {
            (Frame::Pad { .. } | Frame::Pong { .. }, _) => {}
            (
                Frame::Data {
                    stream,
                    offset,
                    bytes,
                },
                _,
            ) => self.data(*stream, *offset, bytes, now),
            (Frame::Fin { stream, offset }, _) => {
                self.receive(*stream, now, |s| s.receive.fin(*offset))
            }
            (
                &Frame::Ack {
                    stream,
                    ack,
                    limit,
                    rn,
                },
                _,
            ) => self.acked(stream, Ack { ack, limit, rn }, now),
            (
                Frame::Reset {
                    stream: 0, code, ..
                },
                _,
            ) => self.ended_by_peer(*code, now),
            (
                Frame::Reset {
                    stream,
                    code,
                    ack,
                    text,
                },
                _,
            ) => self.reset_by_peer(*stream, *code, *ack, text, now),
            (Frame::Ping { t }, _) => {
                if self.control.pongs.len() == MAX_PONGS {
                    self.control.pongs.pop_front();
                }
                self.control.pongs.push_back(*t);
            }
            (Frame::Detach { n, why }, _) => {
                if self.attachment() == Some(*n) {
                    self.detach(*n, now);
                }
                self.events.push_back(Event::Detached { n: *n, why: *why });
            }
            (
                Frame::Open {
                    stream,
                    service,
                    target,
                },
                Role::Gateway,
            ) => self.opened_by_peer(*stream, *service, target, now),
            (Frame::Opened { stream, reached }, Role::Client) => {
                if let Some(s) = self.streams.get_mut(*stream)
                    && !s.opened
                {
                    s.opened = true;
                    self.events.push_back(Event::Opened {
                        stream: *stream,
                        reached: (*reached).to_owned(),
                    });
                }
            }
            (Frame::Welcome(welcome), Role::Client) => self.welcomed(welcome, now),
            (Frame::GoAway { after_ms, code }, Role::Client) => {
                let after = Duration::from_millis((*after_ms).into());
                self.events.push_back(Event::GoAway { after, code: *code });
            }
            (Frame::Hello(_), _)
            | (Frame::Open { .. }, Role::Client)
            | (Frame::Opened { .. } | Frame::Welcome(_) | Frame::GoAway { .. }, Role::Gateway) => {
                self.end(
                    Code::Protocol,
                    "a frame came from the wrong side or in the wrong place",
                    now,
                );
            }
        }
    }

    fn is_next(&self, id: StreamId, offset: u64, bytes: &[u8]) -> bool {
        self.streams
            .get(id)
            .is_some_and(|stream| stream.receive.is_next(offset, offset + bytes.len() as u64))
    }

    /// Offers the bytes of a DATA frame that [`Session::is_next`], and of those right behind it that go on
    /// where it ends, to who delivers them, and holds what is not taken.
    fn pass<'a>(
        &mut self,
        id: StreamId,
        (offset, bytes): (u64, &'a [u8]),
        rest: &mut &'a [u8],
        now: Instant,
        deliver: &mut impl FnMut(StreamId, &[IoSlice<'_>]) -> usize,
    ) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let mut runs = [IoSlice::new(&[]); MAX_RUNS];
        runs[0] = IoSlice::new(bytes);
        let (mut count, mut len) = (1, bytes.len());
        let mut ahead = *rest;
        while count < MAX_RUNS
            && !ahead.is_empty()
            && let Ok(Some(frame)) = Raw::take(&mut ahead)
            && frame.stream == id
            && let Some(Ok((at, more))) = frame.data()
            && at == offset + len as u64
            && !more.is_empty()
            && stream.receive.is_next(offset, at + more.len() as u64)
        {
            runs[count] = IoSlice::new(more);
            count += 1;
            len += more.len();
            *rest = ahead;
        }
        let runs = &runs[..count];
        let taken = deliver(id, runs).min(len);
        stream.receive.pass(taken, runs.iter().map(|run| &**run));
        self.buffered += (len - taken) as u64;
        if taken < len {
            self.events.push_back(Event::Readable(id));
        }
        if stream.receive.ack_is_wanted() {
            let urgent = stream.receive.ack_is_urgent();
            stream.queue_ack(id, &mut self.ack_queue);
            self.ack_soon(urgent, now);
        }
    }

    fn data(&mut self, id: StreamId, offset: u64, bytes: &[u8], now: Instant) {
        let mutation = self.mutation;
        self.receive(id, now, |stream| {
            stream.receive.data(offset, bytes, mutation)
        });
    }

    fn receive(
        &mut self,
        id: StreamId,
        now: Instant,
        append: impl FnOnce(&mut Stream) -> Result<Received, Code>,
    ) {
        let Some(stream) = self.streams.get_mut(id) else {
            // Not known: its sender still holds the bytes. Over: say so again.
            self.tombstones.tell(id);
            return;
        };
        let before = stream.receive.held();
        let outcome = append(stream);
        self.buffered = (self.buffered + stream.receive.held()).saturating_sub(before);
        match outcome {
            Ok(Received::Fresh) => self.events.push_back(Event::Readable(id)),
            Ok(Received::Repeated) => {
                stream.queue_ack(id, &mut self.ack_queue);
                self.ack_soon(true, now);
            }
            Ok(Received::Gap) => {
                stream.tell_rn = true;
                stream.queue_ack(id, &mut self.ack_queue);
                self.ack_soon(true, now);
            }
            Err(code) => self.close(id, code, "sent what was not granted", true, None, now),
        }
    }

    fn acked(&mut self, id: StreamId, Ack { ack, limit, rn }: Ack, now: Instant) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let before = stream.send.held();
        if let Err(code) = stream.send.acked(ack, limit, self.mutation) {
            return self.close(id, code, "acked what was not sent", true, None, now);
        }
        self.buffered = (self.buffered + stream.send.held()).saturating_sub(before);
        if stream.writer_waits && stream.send.held() < self.config.replay {
            stream.writer_waits = false;
            self.events.push_back(Event::Writable(id));
        }
        if let Some(rn) = rn
            && self.role == Role::Client
            && rn < stream.send.next()
        {
            let recently = stream
                .rewound
                .as_deref()
                .is_some_and(|&(at, when)| at == rn && now < when + REWIND_PAUSE);
            if !recently {
                stream.rewound = Some(Box::new((rn, now)));
                stream.send.rewind(rn);
            }
        }
        stream.queue_send(id, &mut self.send_queue);
        if stream.is_over() {
            self.close(id, Code::Closed, "", false, None, now);
        }
    }

    fn opened_by_peer(&mut self, id: StreamId, service: u8, target: &str, now: Instant) {
        if let Some(stream) = self.streams.get(id) {
            if stream.opened {
                self.queue_open(id);
            }
            return;
        }
        if self.tombstones.tell(id) {
            return;
        }
        match self.ids.take(id) {
            Err(_) => self.end(Code::Protocol, "stream ids must be opened in order", now),
            Ok(false) => self.refuse(id, Code::Lost, "this stream is over", now),
            Ok(true) if self.streams.len() >= self.config.max_streams => {
                self.refuse(id, Code::Limit, "too many streams", now);
                let (target, code) = (target.to_owned(), Code::Limit);
                self.events.push_back(Event::Refused { target, code });
            }
            Ok(true) => {
                let stream = self.new_stream(service, target.into());
                self.streams.insert(id, stream);
                self.events.push_back(Event::Open {
                    stream: id,
                    service,
                    target: target.to_owned(),
                });
            }
        }
    }

    /// Answers for a stream that does not exist.
    pub(super) fn refuse(&mut self, id: StreamId, code: Code, text: &'static str, now: Instant) {
        self.tombstones.bury(
            id,
            (code, 0, text),
            true,
            self.batch + 1,
            now + self.config.tombstone,
        );
        self.arm_tombstones();
    }

    fn reset_by_peer(&mut self, id: StreamId, code: Code, ack: u64, text: &str, now: Instant) {
        let Some(stream) = self.streams.get_mut(id) else {
            if self.role == Role::Gateway && !self.tombstones.contains(id) && self.ids.may_come(id)
            {
                self.ids.forget(id);
            }
            return;
        };
        let before = stream.send.held();
        // The stream ends anyway; an ack that cannot be true changes nothing.
        _ = stream.send.acked(ack, 0, self.mutation);
        self.buffered = (self.buffered + stream.send.held()).saturating_sub(before);
        self.close(id, code, "", false, Some(text), now);
    }

    fn ended_by_peer(&mut self, code: Code, now: Instant) {
        let ids: Vec<StreamId> = self.streams.ids().collect();
        for id in ids {
            self.close(id, code, "", false, None, now);
        }
        self.over(code);
    }

    pub(super) fn rewind_stream(&mut self, id: StreamId, to: impl FnOnce(&SendLog) -> u64) {
        if let Some(stream) = self.streams.get_mut(id) {
            let to = to(&stream.send);
            stream.send.rewind(to);
            stream.rewound = None;
            self.queue_send(id);
        }
    }

    fn violated(&mut self, error: &CodecError, now: Instant) {
        let text = match error {
            CodecError::Length { .. } => "a frame has a length its type does not allow",
            CodecError::Stream { .. } => {
                "a frame names a stream where it must not, or none where it must"
            }
            CodecError::Type(_) => "unknown frame type",
            CodecError::Offset(_) => "an offset is out of range",
            CodecError::Text => "text is not UTF-8",
            CodecError::Field(_) => "a field has a value that is not allowed",
            CodecError::Version(_) => "this version is not spoken here",
            CodecError::Cut => "the last frame is cut",
        };
        self.end(error.code(), text, now);
    }
}

impl Frame<'_> {
    /// The stream a frame is about, if it is about one.
    fn stream(&self) -> Option<StreamId> {
        match self {
            Frame::Data { stream, .. }
            | Frame::Ack { stream, .. }
            | Frame::Fin { stream, .. }
            | Frame::Open { stream, .. }
            | Frame::Opened { stream, .. } => Some(*stream),
            Frame::Reset { stream, .. } => Some(*stream).filter(|id| *id != 0),
            Frame::Pad { .. }
            | Frame::Ping { .. }
            | Frame::Pong { .. }
            | Frame::Hello(_)
            | Frame::Welcome(_)
            | Frame::GoAway { .. }
            | Frame::Detach { .. } => None,
        }
    }
}

//! What to transmit, in this order: the frame that opens the attachment, ends, control, acks, data.

use std::{collections::BTreeSet, time::Instant};

use super::{Attachment, Role, Session, Welcoming, mutant::Mutation, stream::Stream};
use crate::{
    Code, DetachReason, Frame, HEADER_LEN, Link, Position, StreamId, Timer, VERSION, Welcome,
    frame::{Ack, put_ack, put_data},
    send::Segment,
};

/// Room a DATA frame needs beside its payload, and the least payload worth a frame of its own.
const DATA_OVERHEAD: usize = HEADER_LEN + 8;
const MIN_PAYLOAD: usize = 1;

impl Session {
    /// Whether there is something to say that should not wait: what releases a held poll.
    #[must_use]
    pub fn can_transmit(&self) -> bool {
        let Some(attachment) = &self.attachment else {
            return false;
        };
        self.control.hello
            || self.control.welcome == Some(Welcoming::Prompt)
            || self.has_control_frame()
            || (self.acks_are_due && !self.ack_queue.is_empty())
            || (!self.send_queue.is_empty() && !attachment.awaits_welcome)
    }

    /// Appends frames to `out` until there is nothing to say or `max` bytes were appended, and
    /// says whether it appended any. HELLO and WELCOME may pass `max`.
    ///
    /// What was appended counts as transmitted: call it only when the transport has room.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>, max: usize, now: Instant) -> bool {
        if self.attachment.is_none() {
            return false;
        }
        self.batch += 1;
        let start = out.len();
        self.opening(out);
        let full = |out: &Vec<u8>| out.len() - start + DATA_OVERHEAD + MIN_PAYLOAD > max;
        while self.has_control_frame() && !full(out) && self.control_frame(out) {}
        let company = out.len() > start || self.acks_are_due || !self.send_queue.is_empty();
        while company && !self.ack_queue.is_empty() && !full(out) {
            self.ack_frame(out, now);
        }
        while !full(out) && self.data_frame(out, max - (out.len() - start)) {}
        let any = out.len() > start;
        if any
            && self
                .attachment
                .as_ref()
                .is_some_and(|attachment| attachment.link == Link::Open)
        {
            self.timers.set(Timer::Heartbeat, now + self.heartbeat);
        }
        any
    }

    /// Appends only what opens a client's attachment: HELLO and the acks, for a request body that
    /// should stay small. `prompt` asks for an answer at once, as does an attachment whose DATA waits for it.
    pub fn transmit_hello(&mut self, out: &mut Vec<u8>, prompt: bool, now: Instant) {
        let mut hello = self.hello();
        let waits = |attachment: &Attachment| attachment.awaits_welcome;
        hello.prompt = prompt || self.attachment.as_ref().is_some_and(waits);
        self.control.hello = false;
        Frame::Hello(hello).encode(out);
        while !self.ack_queue.is_empty() {
            self.ack_frame(out, now);
        }
    }

    /// How far what was transmitted gets a client that has all of it: what
    /// [`Session::continue_attachment`] takes when the transport ends before that.
    #[must_use]
    pub fn position(&self) -> Position {
        let unacked = self.streams.iter().filter_map(|(id, stream)| {
            let next = stream.send.next();
            (next > stream.send.base()).then_some((id, next))
        });
        Position::new(self.batch, unacked)
    }

    /// Appends an ACK with `rn`, or the RESET, of each stream: the reply to an uplink request.
    pub fn transmit_acks(&mut self, streams: &BTreeSet<StreamId>, out: &mut Vec<u8>, now: Instant) {
        // The downlink did not tell this, so whoever goes on from any point of it is told again.
        let batch = self.batch + 1;
        for &id in streams {
            if let Some(stream) = self.streams.get_mut(id) {
                stream.write_ack(id, true, batch, self.mutation, out);
                self.close_if_over(id, now);
            } else {
                self.tombstones.tell(id);
            }
        }
        self.ack_queue.retain(|id| !streams.contains(id));
        if self.ack_queue.is_empty() {
            self.acks_are_due = false;
            self.timers.stop(Timer::AckDelay);
        }
        while let Some((stream, end)) = self.tombstones.next_to_tell(batch) {
            Frame::Reset {
                stream,
                code: end.code,
                ack: end.ack,
                text: end.text,
            }
            .encode(out);
        }
        if let Some((code, text)) = self
            .control
            .leaving
            .as_ref()
            .and_then(|leaving| leaving.end)
        {
            Frame::Reset {
                stream: 0,
                code,
                ack: 0,
                text,
            }
            .encode(out);
        }
    }

    /// Appends the DETACH that ends attachment `n`.
    pub fn transmit_detach(n: u32, why: DetachReason, out: &mut Vec<u8>) {
        Frame::Detach { n, why }.encode(out);
    }

    fn opening(&mut self, out: &mut Vec<u8>) {
        if self.control.hello {
            self.control.hello = false;
            let hello = self.hello();
            Frame::Hello(hello).encode(out);
        }
        if self.control.welcome.take().is_some() {
            self.control.welcomed_in = Some(self.batch);
            // What only the reply of a request tells may come after this, which leaves those streams out.
            self.tombstones.tell_after(self.batch - 1);
            let welcome = self.welcome();
            Frame::Welcome(welcome).encode(out);
        }
    }

    fn welcome(&mut self) -> Welcome {
        let millis =
            |duration: std::time::Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        // Told in the first WELCOME, and again only where the same attachment goes on without it; a
        // client that missed it starts over.
        let identity = self.identity.as_deref().cloned();
        Welcome {
            version: VERSION,
            caps: 0,
            n: self.last_n,
            heartbeat_ms: millis(self.heartbeat),
            resume_ms: millis(self.resume),
            initial: self.config.window,
            identity,
            entries: self.entries(),
        }
    }

    fn has_control_frame(&self) -> bool {
        self.tombstones.anything_to_tell()
            || !self.control.pongs.is_empty()
            || self.control.ping
            || !self.control.opens.is_empty()
            || (self.control.leaving.as_ref())
                .is_some_and(|leaving| leaving.end.is_some() || leaving.go_away.is_some())
    }

    /// One frame that is neither ACK nor DATA.
    fn control_frame(&mut self, out: &mut Vec<u8>) -> bool {
        let batch = self.batch;
        if let Some((stream, end)) = self.tombstones.next_to_tell(batch) {
            Frame::Reset {
                stream,
                code: end.code,
                ack: end.ack,
                text: end.text,
            }
            .encode(out);
        } else if let Some((code, text)) =
            (self.control.leaving.as_mut()).and_then(|leaving| leaving.end.take())
        {
            Frame::Reset {
                stream: 0,
                code,
                ack: 0,
                text,
            }
            .encode(out);
        } else if let Some(t) = self.control.pongs.pop_front() {
            Frame::Pong { t }.encode(out);
        } else if std::mem::take(&mut self.control.ping) {
            Frame::Ping { t: self.last_n }.encode(out);
        } else if let Some(leaving) = &mut self.control.leaving
            && let Some((after, code)) = leaving.go_away.take()
        {
            leaving.gone_away_in = Some((after, code, batch));
            let after_ms = u32::try_from(after.as_millis()).unwrap_or(u32::MAX);
            Frame::GoAway { after_ms, code }.encode(out);
        } else if let Some(id) = self.control.opens.pop_front() {
            // A stream that ended meanwhile has its RESET among the tombstones.
            if let Some(stream) = self.streams.get_mut(id) {
                stream.in_open_queue = false;
                stream.opened_in = batch;
                match self.role {
                    Role::Client => {
                        Frame::Open {
                            stream: id,
                            service: stream.service,
                            target: &stream.target,
                        }
                        .encode(out);
                    }
                    Role::Gateway => Frame::Opened {
                        stream: id,
                        reached: &stream.target,
                    }
                    .encode(out),
                }
            }
        } else {
            return false;
        }
        true
    }

    /// One ACK, whose stream is taken from the queue.
    fn ack_frame(&mut self, out: &mut Vec<u8>, now: Instant) {
        let Some(id) = self.ack_queue.pop_front() else {
            return;
        };
        if self.ack_queue.is_empty() {
            self.acks_are_due = false;
            self.timers.stop(Timer::AckDelay);
        }
        if let Some(stream) = self.streams.get_mut(id) {
            let with_rn = std::mem::take(&mut stream.tell_rn);
            stream.write_ack(id, with_rn, self.batch, self.mutation, out);
            if stream.is_over() {
                self.close(id, Code::Closed, "", false, None, now);
            }
        }
    }

    fn data_frame(&mut self, out: &mut Vec<u8>, room: usize) -> bool {
        if self
            .attachment
            .as_ref()
            .is_none_or(|attachment| attachment.awaits_welcome)
        {
            return false;
        }
        let Some(id) = self.send_queue.pop_front() else {
            return false;
        };
        let Some(stream) = self.streams.get_mut(id) else {
            return true;
        };
        stream.in_send_queue = false;
        let end = match stream.send.segment(room - DATA_OVERHEAD) {
            Some(Segment::Data { offset, bytes }) => {
                put_data(out, id, offset, bytes);
                offset + bytes.len() as u64
            }
            Some(Segment::Fin { offset }) => {
                Frame::Fin { stream: id, offset }.encode(out);
                offset + 1
            }
            None => return true,
        };
        stream.send.transmitted(end, self.mutation);
        stream.queue_send(id, &mut self.send_queue);
        true
    }
}

impl Stream {
    fn write_ack(
        &mut self,
        id: StreamId,
        with_rn: bool,
        batch: u64,
        mutation: Mutation,
        out: &mut Vec<u8>,
    ) {
        self.in_ack_queue = false;
        self.acked_in = batch;
        let rn = with_rn.then(|| self.receive.rn());
        let (ack, limit) = self.receive.tell(mutation);
        put_ack(out, id, Ack { ack, limit, rn });
    }
}

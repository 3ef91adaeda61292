//! From the broker to the client.

use std::time::Instant;

use bytes::Bytes;
use perigee_session::Code;
use perigee_stomp::{Command, Frame, HeartBeat, HeartBeats, Part, Version, encode_head};

use super::{CAN_SEND_MS, Refused, Stage, Stomp, WANTS_MS, WHOLE_BYTES};
use crate::service::{Message, Output};

/// What is on its way to the client.
pub(super) struct Down {
    /// Messages are whole frames, if these are not too long.
    whole: bool,
    /// What is held of a frame that is not complete.
    held: Vec<u8>,
    /// The client has a part of a frame.
    is_cut: bool,
    saw_error: bool,
}

impl Down {
    pub(super) fn new(whole: bool) -> Self {
        Self {
            whole,
            held: Vec::new(),
            is_cut: false,
            saw_error: false,
        }
    }

    /// Whether another frame could be sent now.
    pub(super) fn is_between_frames(&self) -> bool {
        !self.is_cut
    }

    /// Whether the broker has said why it ends the connection.
    pub(super) fn saw_error(&self) -> bool {
        self.saw_error
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.held.len()
    }

    /// A frame begins.
    fn begin(
        &mut self,
        frame: &Frame,
        version: Version,
        out: &mut Output,
    ) -> Result<(), perigee_stomp::Error> {
        encode_head(frame, version, &mut self.held)?;
        self.pass_on_what_is_cut(out);
        Ok(())
    }

    /// Bytes of its body.
    fn push(&mut self, bytes: &[u8], out: &mut Output) {
        self.held.extend_from_slice(bytes);
        self.pass_on_what_is_cut(out);
    }

    fn pass_on_what_is_cut(&mut self, out: &mut Output) {
        if self.whole && !self.is_cut && self.held.len() <= WHOLE_BYTES {
            return;
        }
        self.is_cut = true;
        if self.whole {
            self.pass_on(out);
        }
    }

    /// The frame is complete.
    fn end(&mut self, out: &mut Output) {
        self.held.extend_from_slice(b"\0");
        if self.whole && !self.is_cut {
            out.send_client(message(std::mem::take(&mut self.held)));
        } else if self.whole {
            self.pass_on(out);
        }
        self.is_cut = false;
    }

    /// There is no more for now: what need not be whole goes.
    fn flush(&mut self, out: &mut Output) {
        if (!self.whole || self.is_cut) && !self.held.is_empty() {
            self.pass_on(out);
        }
    }

    fn pass_on(&mut self, out: &mut Output) {
        out.send_client(Message::Binary(std::mem::take(&mut self.held).into()));
    }
}

/// A whole frame as a message: text where it is text.
pub(super) fn message(frame: Vec<u8>) -> Message {
    match String::from_utf8(frame) {
        Ok(text) => Message::Text(text),
        Err(bytes) => Message::Binary(Bytes::from(bytes.into_bytes())),
    }
}

impl Stomp {
    /// Takes bytes of the broker.
    pub(super) fn pass_down(
        &mut self,
        input: &[u8],
        now: Instant,
        out: &mut Output,
    ) -> Result<(), Refused> {
        let before = out.client_bytes;
        let read = self.read_broker(input, now, out);
        self.down.flush(out);
        if let Some(beats) = &mut self.client_beats
            && out.client_bytes > before
        {
            beats.sent(now);
        }
        read
    }

    fn read_broker(
        &mut self,
        mut input: &[u8],
        now: Instant,
        out: &mut Output,
    ) -> Result<(), Refused> {
        let broken = |error: perigee_stomp::Error| {
            Refused::new(
                Code::Reset,
                "the broker sent no valid STOMP",
                error.to_string(),
            )
        };
        while self.stage != Stage::Over {
            let Some(part) = self.from_broker.decode(&mut input).map_err(broken)? else {
                break;
            };
            match part {
                Part::HeartBeat => {}
                Part::Head(mut frame) => {
                    match frame.command {
                        Command::Connected => self.welcome(&mut frame, now)?,
                        Command::Error
                            if self.stage == Stage::Asked && self.settings.login.is_some() =>
                        {
                            // Its words would tell the page who the gateway is there.
                            return Err(Refused::new(
                                Code::Refused,
                                "the broker refused the connection",
                                "the gateway's own login is not good there; ask its operator",
                            ));
                        }
                        Command::Error => self.down.saw_error = true,
                        _ => {}
                    }
                    self.down.begin(&frame, self.version, out).map_err(broken)?;
                }
                Part::Body(bytes) => self.down.push(bytes, out),
                Part::End => self.down.end(out),
            }
        }
        Ok(())
    }

    /// CONNECTED: which version is spoken from now on, and how alive each side has to be.
    fn welcome(&mut self, frame: &mut Frame, now: Instant) -> Result<(), Refused> {
        let broken =
            |detail: &str| Refused::new(Code::Reset, "the broker sent no valid STOMP", detail);
        if self.stage != Stage::Asked {
            return Err(broken("CONNECTED that was not asked for"));
        }
        let version = frame
            .header("version")
            .map_or(Some(Version::V1_0), Version::parse);
        let version = version.ok_or_else(|| broken("a version that is not known"))?;
        let theirs = frame
            .heart_beat()
            .map_err(|_| broken("heart-beat that is not two numbers"))?;
        self.stage = Stage::Open;
        self.connect_by = None;
        self.version = version;
        self.from_client.set_version(version);
        self.from_broker.set_version(version);
        frame.remove("heart-beat");
        if self.settings.login.is_some() {
            frame.remove("user-name");
        }
        let (ours, broker) = if version > Version::V1_0 {
            let ours = HeartBeat {
                can_send_ms: CAN_SEND_MS,
                wants_ms: WANTS_MS,
            };
            frame.set("heart-beat", ours.to_value());
            (ours, self.broker_offer())
        } else {
            (HeartBeat::NONE, HeartBeat::NONE)
        };
        self.client_beats = Some(HeartBeats::new(ours, self.offer, now));
        self.broker_beats = Some(HeartBeats::new(broker, theirs, now));
        Ok(())
    }
}

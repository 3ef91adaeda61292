//! From the client to the broker.

use std::time::Instant;

use perigee_session::Code;
use perigee_stomp::{Command, Frame, Part, Version, encode_head};

use super::{Refused, Stage, Stomp};
use crate::service::Output;

/// Why a frame is refused, and the receipt that it asked for.
type Refusal = (Refused, Option<String>);

/// Room for what a head may have that the client's own had not: CONNECT gets headers of ours.
const HEAD_ROOM: usize = 64;

impl Stomp {
    /// Takes bytes of the client off the front of `input`, as far as they can be understood by now.
    pub(super) fn pass_up(
        &mut self,
        input: &mut &[u8],
        now: Instant,
        out: &mut Output,
    ) -> Result<(), Refusal> {
        let mut up = Vec::with_capacity(input.len() + HEAD_ROOM);
        let passed = self.read_client(input, &mut up, now);
        if !up.is_empty() {
            if let Some(beats) = &mut self.broker_beats {
                beats.sent(now);
            }
            out.send_backend(up);
        }
        passed
    }

    fn read_client(
        &mut self,
        input: &mut &[u8],
        up: &mut Vec<u8>,
        now: Instant,
    ) -> Result<(), Refusal> {
        while self.sending.is_some() || matches!(self.stage, Stage::New | Stage::Open) {
            let part = self.from_client.decode(input);
            let Some(part) = part.map_err(|error| (Refused::invalid(error), None))? else {
                return Ok(());
            };
            match part {
                // The gateway has its own with the broker.
                Part::HeartBeat => {}
                Part::Head(mut frame) => {
                    let admitted = match self.stage {
                        Stage::New => self.greet(&mut frame),
                        _ => self.admit(&mut frame),
                    };
                    let receipt = || frame.header("receipt").map(str::to_owned);
                    let head = admitted.and_then(|()| {
                        encode_head(&frame, self.version, up).map_err(Refused::invalid)
                    });
                    head.map_err(|why| (why, receipt()))?;
                    self.sending = Some(frame.command);
                }
                Part::Body(bytes) => {
                    let takes_body =
                        self.version == Version::V1_0 || self.sending.is_none_or(Command::has_body);
                    if !takes_body {
                        let why = Refused::invalid(perigee_stomp::Error::UnexpectedBody);
                        return Err((why, None));
                    }
                    up.extend_from_slice(bytes);
                }
                Part::End => {
                    up.extend_from_slice(b"\0");
                    let sent = self.sending.take();
                    if self.stage == Stage::New {
                        self.stage = Stage::Asked;
                        self.connect_by = Some(now + self.settings.connect_timeout);
                    } else if sent == Some(Command::Disconnect) {
                        self.stage = Stage::Leaving;
                    }
                }
            }
        }
        if self.stage == Stage::Leaving || self.stage == Stage::Over {
            // What comes behind the last word means nothing.
            *input = &[];
        }
        Ok(())
    }

    /// CONNECT: who it is, and what the broker is told of it.
    fn greet(&mut self, frame: &mut Frame) -> Result<(), Refused> {
        if !matches!(frame.command, Command::Connect | Command::Stomp) {
            return Err(Refused::new(
                Code::Protocol,
                "not connected",
                "the first frame has to be CONNECT",
            ));
        }
        self.offer = frame.heart_beat().map_err(Refused::invalid)?;
        let version = Version::negotiate(frame.header("accept-version"));
        let version = version.map_err(Refused::invalid)?;
        only_first(frame);
        self.access.identify(frame)?;
        if let Some(user) = self.access.user() {
            tracing::info!(
                target: "perigee::access",
                { client.addr = %self.client.address, to = %self.backend, user },
                "stomp login"
            );
        }
        if let Some(login) = &self.settings.login {
            frame.set("login", &login.login);
            frame.set("passcode", login.passcode.reveal());
        }
        if let Some(host) = &self.settings.host {
            frame.set("host", host);
        }
        frame.remove("heart-beat");
        if version > Version::V1_0 {
            frame.set("heart-beat", self.broker_offer().to_value());
        }
        Ok(())
    }

    /// A frame of a client that is connected.
    fn admit(&mut self, frame: &mut Frame) -> Result<(), Refused> {
        only_first(frame);
        self.access.check(frame, self.version)
    }
}

/// Of headers with one name the first counts; a broker that took another one would be told something else
/// than was checked.
fn only_first(frame: &mut Frame) {
    let mut at = 1;
    // A head has a few headers, and at most 64.
    while at < frame.headers.len() {
        let (before, from) = frame.headers.split_at(at);
        if before.iter().any(|header| header.name == from[0].name) {
            frame.headers.remove(at);
        } else {
            at += 1;
        }
    }
}

//! From the client to the broker.

use std::time::Instant;

use bytes::BytesMut;
use perigee_session::Code;
use perigee_stomp::{Command, Frame, Part, Version, encode_head};

use super::{Refused, Stage, Stomp};
use crate::service::Output;

/// Why a frame is refused, and the receipt that it asked for.
type Refusal = (Refused, Option<String>);

impl Stomp {
    /// Takes bytes of the client off the front of `input`, as far as they can be understood by now.
    pub(super) fn pass_up(
        &mut self,
        input: &mut &[u8],
        now: Instant,
        out: &mut Output,
    ) -> Result<(), Refusal> {
        let mut up = BytesMut::new();
        let passed = self.read_client(input, &mut up, now);
        if !up.is_empty() {
            if let Some(beats) = &mut self.broker_beats {
                beats.sent(now);
            }
            out.send_backend(up.freeze());
        }
        passed
    }

    fn read_client(
        &mut self,
        input: &mut &[u8],
        up: &mut BytesMut,
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
                    let head = match self.stage {
                        Stage::New => self.greet(&mut frame),
                        _ => self.admit(&mut frame),
                    };
                    let receipt = || frame.header("receipt").map(str::to_owned);
                    let head = head
                        .and_then(|()| encode_head(&frame, self.version).map_err(Refused::invalid))
                        .map_err(|why| (why, receipt()))?;
                    up.extend_from_slice(&head);
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
    let mut seen = std::collections::BTreeSet::new();
    frame
        .headers
        .retain(|header| seen.insert(header.name.clone()));
}

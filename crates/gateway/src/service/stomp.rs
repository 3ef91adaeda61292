//! The STOMP service: frames of a client that a broker may see, and heart-beats that mean something.
//!
//! Heads are read and written anew, bodies are passed on as they come. What a client may subscribe and send to is
//! what the rules say (`access`), and its login can be the gateway's own, so that no page knows the broker's.
//! Heart-beats are agreed on with each side separately: so a side that is dead is noticed though the other one lives,
//! and a client without a transport for the moment is alive for the broker.
//!
//! Invariants:
//! - of a frame that is refused nothing reaches the broker, and the connection ends with an ERROR that says why;
//! - nothing is put into the middle of a frame, in neither direction;
//! - of a client's frame its head is held, of a broker's frame its head, and up to [`WHOLE_BYTES`] for a
//!   client whose messages are whole frames.

mod access;
mod down;
mod up;

use std::time::{Duration, Instant};

use perigee_session::Code;
use perigee_stomp::{
    Beat, Command, Frame, HeartBeat, HeartBeats, Limits, Message as StompMessage, PartDecoder,
    Version, encode,
};

use self::{access::Access, down::Down};
use super::{Caller, Framing, Message, Output, Service};
use crate::{
    ops::access_log::Client,
    policy::{Permit, StompSettings},
};

/// What a client wants to be sent at least every second is sent every second.
const CAN_SEND_MS: u64 = 1000;
/// A page that nobody looks at gets its timers called once a minute; TCP and the transport's own heartbeat
/// notice sooner who is gone.
const WANTS_MS: u64 = 60_000;
/// Heads of a broker: more than any sends.
const BROKER_LIMITS: Limits = Limits {
    head_bytes: 64 * 1024,
    headers: 256,
    body_bytes: usize::MAX,
};
/// The longest frame of a broker that is sent as one message, which is text if the frame is: a body of 1 MiB and its
/// head. What is longer goes as binary messages, as it comes.
const WHOLE_BYTES: usize = 1024 * 1024 + 64 * 1024;
/// Bytes of a client that are looked at before the broker is asked whether it takes them.
const TURN_BYTES: usize = 16 * 1024;

/// One client on one broker.
pub(crate) struct Stomp {
    settings: StompSettings,
    client: Client,
    /// For the log.
    backend: std::sync::Arc<str>,
    stage: Stage,
    version: Version,
    access: Access,
    from_client: PartDecoder,
    /// The command of the frame whose body is passed to the broker.
    sending: Option<Command>,
    from_broker: PartDecoder,
    down: Down,
    /// What the client offered and wants.
    offer: HeartBeat,
    /// Between the client and the gateway; runs while there is a transport.
    client_beats: Option<HeartBeats>,
    broker_beats: Option<HeartBeats>,
    is_detached: bool,
    /// When CONNECTED has to be there.
    connect_by: Option<Instant>,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Before CONNECT.
    New,
    /// The broker was asked; what the client says meanwhile waits, as nobody knows which version it is in.
    Asked,
    Open,
    /// The client has said DISCONNECT: nothing more of it reaches the broker.
    Leaving,
    /// Over, and the client was told.
    Over,
}

/// Why a connection ends: the words of ERROR, and how the stream ends.
struct Refused {
    code: Code,
    text: &'static str,
    /// More for the client, which may name what it said itself.
    detail: String,
}

impl Refused {
    fn new(code: Code, text: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { code, text, detail }
    }

    fn invalid(error: perigee_stomp::Error) -> Self {
        Self::new(Code::Protocol, "not a valid STOMP frame", error.to_string())
    }
}

impl Stomp {
    /// A connection to a broker that has said nothing yet.
    pub(crate) fn new(
        settings: &StompSettings,
        permit: &Permit,
        caller: &Caller,
        now: Instant,
    ) -> Self {
        let client_limits = Limits {
            body_bytes: settings.max_body_bytes,
            ..Limits::default()
        };
        Self {
            settings: settings.clone(),
            client: caller.client.clone(),
            backend: std::sync::Arc::clone(&permit.backend.name),
            stage: Stage::New,
            version: Version::V1_0,
            access: Access::new(permit, caller.client.user.clone()),
            from_client: PartDecoder::new(client_limits),
            sending: None,
            from_broker: PartDecoder::new(BROKER_LIMITS),
            down: Down::new(caller.framing == Framing::Either),
            offer: HeartBeat::NONE,
            client_beats: None,
            broker_beats: None,
            is_detached: false,
            connect_by: Some(now + settings.connect_timeout),
        }
    }

    /// The version that broker and client agreed on.
    pub(crate) fn version(&self) -> Option<&'static str> {
        self.broker_beats.as_ref().map(|_| self.version.as_str())
    }

    /// What the gateway offers the broker and wants of it.
    fn broker_offer(&self) -> HeartBeat {
        let every = self.settings.heart_beat.as_millis();
        let every = u64::try_from(every).unwrap_or(u64::MAX);
        HeartBeat {
            can_send_ms: every,
            wants_ms: every,
        }
    }

    /// Tells the client why, and ends the connection.
    fn refuse(&mut self, why: &Refused, receipt: Option<&str>, out: &mut Output) {
        if self.stage == Stage::Over {
            return;
        }
        self.stage = Stage::Over;
        tracing::info!(
            target: "perigee::access",
            { client.addr = %self.client.address,
            user = self.access.user(),
            to = %self.backend,
            code = %why.code,
            reason = %why.text,
            detail = %why.detail },
            "stomp refused"
        );
        if self.down.is_between_frames() {
            let mut frame = Frame::new(Command::Error).with("message", why.text);
            if let Some(receipt) = receipt {
                frame = frame.with("receipt-id", receipt);
            }
            let body = format!("{}: {}", why.text, why.detail);
            let frame = frame
                .with("content-type", "text/plain")
                .with("content-length", body.len().to_string())
                .with_body(body);
            // A receipt that cannot be written down in this version cannot have come in it, either.
            if let Ok(bytes) = encode(&StompMessage::Frame(frame), self.version) {
                out.send_client(down::message(bytes.into()));
            }
        }
        out.end(why.code, why.text);
    }

    /// Whether a heart-beat or a last word may be put into what the broker reads.
    fn may_interject(&self) -> bool {
        self.sending.is_none()
    }

    fn client_due(&mut self, now: Instant, out: &mut Output) {
        if self.is_detached {
            return;
        }
        let Some(beats) = &mut self.client_beats else {
            return;
        };
        match beats.handle_timeout(now) {
            Some(Beat::Send) => {
                if self.down.is_between_frames() {
                    out.send_client(Message::Text("\n".to_owned()));
                }
                beats.sent(now);
            }
            Some(Beat::Dead) => {
                let why = "no frame and no heart-beat came for twice the time that was agreed on";
                let why = Refused::new(Code::Idle, "the client is silent", why);
                self.refuse(&why, None, out);
            }
            None => {}
        }
    }

    fn broker_due(&mut self, now: Instant, out: &mut Output) {
        let may_interject = self.may_interject();
        let Some(beats) = &mut self.broker_beats else {
            return;
        };
        match beats.handle_timeout(now) {
            Some(Beat::Send) => {
                if may_interject {
                    out.send_backend(&b"\n"[..]);
                }
                beats.sent(now);
            }
            Some(Beat::Dead) => {
                let why = "the broker sent no frame and no heart-beat for twice the time that was agreed on";
                let why = Refused::new(Code::Timeout, "the broker is silent", why);
                self.refuse(&why, None, out);
            }
            None => {}
        }
    }
}

impl Service for Stomp {
    fn client_says(&mut self, bytes: &[u8], now: Instant, out: &mut Output) -> usize {
        if self.stage == Stage::Over {
            return bytes.len();
        }
        if let Some(beats) = &mut self.client_beats {
            beats.heard(now);
        }
        let turn = &bytes[..bytes.len().min(TURN_BYTES)];
        let mut rest = turn;
        match self.pass_up(&mut rest, now, out) {
            Ok(()) => turn.len() - rest.len(),
            Err((why, receipt)) => {
                self.refuse(&why, receipt.as_deref(), out);
                bytes.len()
            }
        }
    }

    fn backend_says(&mut self, bytes: &[u8], now: Instant, out: &mut Output) {
        if let Some(beats) = &mut self.broker_beats {
            beats.heard(now);
        }
        if let Err(why) = self.pass_down(bytes, now, out) {
            self.refuse(&why, None, out);
        }
    }

    fn backend_ended(&mut self, _now: Instant, out: &mut Output) {
        if matches!(self.stage, Stage::Leaving | Stage::Over) || self.down.saw_error() {
            return;
        }
        let why = match self.stage {
            Stage::New | Stage::Asked => "the broker closed the connection before CONNECTED",
            _ => "the broker closed the connection",
        };
        let why = Refused::new(Code::Reset, why, "without ERROR");
        self.refuse(&why, None, out);
    }

    fn client_left(&mut self, _now: Instant, out: &mut Output) {
        let is_connected =
            matches!(self.stage, Stage::Open | Stage::Over) && self.broker_beats.is_some();
        if is_connected && self.may_interject() {
            out.send_backend(&b"DISCONNECT\n\n\0"[..]);
        }
        self.stage = Stage::Over;
    }

    fn client_detached(&mut self, _now: Instant, _out: &mut Output) {
        self.is_detached = true;
    }

    fn client_attached(&mut self, now: Instant, out: &mut Output) {
        self.is_detached = false;
        let Some(beats) = &mut self.client_beats else {
            return;
        };
        // It was away for longer than its interval, perhaps.
        if self.down.is_between_frames() {
            out.send_client(Message::Text("\n".to_owned()));
        }
        beats.sent(now);
        beats.heard(now);
    }

    fn deadline(&self) -> Option<Instant> {
        if self.stage == Stage::Over {
            return None;
        }
        let client = self.client_beats.as_ref().filter(|_| !self.is_detached);
        let beats = client.into_iter().chain(&self.broker_beats);
        beats
            .filter_map(HeartBeats::poll_timeout)
            .chain(self.connect_by)
            .min()
    }

    fn expired(&mut self, now: Instant, out: &mut Output) {
        if self.connect_by.is_some_and(|by| by <= now) {
            self.connect_by = None;
            let text = match self.stage {
                Stage::New => "no CONNECT came in time",
                _ => "the broker did not answer CONNECT in time",
            };
            let within = format!("it has {}", seconds(self.settings.connect_timeout));
            self.refuse(&Refused::new(Code::Timeout, text, within), None, out);
        }
        self.client_due(now, out);
        self.broker_due(now, out);
    }

    fn held_bytes(&self) -> usize {
        self.from_client.buffered() + self.from_broker.buffered() + self.down.held_bytes()
    }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}

#[cfg(test)]
mod tests;

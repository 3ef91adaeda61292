//! The broker as a state machine: bytes of clients in, bytes to clients out.
//!
//! It is told the time and knows no sockets. The order of use is that of the IRC network: change one
//! thing (`connect`, `handle_*`), then take what it wants sent with [`poll_output`](Hub::poll_output)
//! until there is nothing, and wake it at [`poll_timeout`](Hub::poll_timeout).
//!
//! # Invariants
//!
//! - `held` is the bytes of all messages in queues, backlogs, unacknowledged deliveries and transactions, and of all
//!   that is not written yet; it passes `held_bytes` by no more than the answers to the frames of one call.
//! - A message of a queue is waiting, or unacknowledged with one subscription, or gone: consumed, refused too often, or
//!   sent to a subscription that acknowledges by itself.
//! - A destination is known if and only if it has a subscriber or a message.
//! - A transaction takes effect as a whole or not at all.
//! - After its `Close` a client gets nothing more, and what it still sends is ignored.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::time::Instant;

use bytes::Bytes;
use perigee_stomp::{
    Beat, Command, Decoder, Error, Frame, Header, HeartBeats, Message, Version, encode,
};

use self::client::{Client, Stage};
use self::delivery::Destination;
use super::settings::Settings;

mod acknowledge;
mod client;
mod delivery;
mod transaction;

/// A client, by the order in which they came. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClientId(u64);

/// What the driver has to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Send bytes, and tell when they are written.
    Send { to: ClientId, bytes: Bytes },
    /// Send FIN behind what there is to send.
    Close { client: ClientId },
}

/// All clients, queues and topics of the broker.
#[derive(Debug)]
pub(crate) struct Hub {
    settings: Settings,
    /// The latest time we were told.
    now: Instant,
    clients: BTreeMap<ClientId, Client>,
    destinations: BTreeMap<String, Destination>,
    held: usize,
    next_client: u64,
    next_message: u64,
    next_delivery: u64,
    output: VecDeque<Output>,
}

/// Why a client's frame is its last: what `ERROR` says.
#[derive(Debug)]
struct Refused {
    /// One line, for the header `message`.
    short: &'static str,
    /// The whole sentence, for the body.
    long: String,
}

fn refused(short: &'static str, long: impl Into<String>) -> Refused {
    let long = long.into();
    Refused { short, long }
}

impl Hub {
    /// A broker without clients.
    pub(crate) fn new(settings: Settings, now: Instant) -> Self {
        Self {
            settings,
            now,
            clients: BTreeMap::new(),
            destinations: BTreeMap::new(),
            held: 0,
            next_client: 1,
            next_message: 1,
            next_delivery: 1,
            output: VecDeque::new(),
        }
    }

    /// Lets a client in.
    ///
    /// # Errors
    ///
    /// The frame to refuse it with if the broker is full.
    pub(crate) fn connect(&mut self, now: Instant) -> Result<ClientId, Bytes> {
        self.now = now;
        if self.clients.len() >= self.settings.max_clients {
            let limit = self.settings.max_clients;
            let full = refused(
                "broker is full",
                format!("{limit} clients are connected; try again later"),
            );
            return Err(error_frame(&full, None, Version::V1_0));
        }
        let id = ClientId(self.next_client);
        self.next_client += 1;
        let decoder = Decoder::new(self.settings.frame);
        self.clients.insert(id, Client::new(decoder, now));
        Ok(id)
    }

    /// What a client sent.
    pub(crate) fn handle_bytes(&mut self, now: Instant, id: ClientId, mut bytes: &[u8]) {
        self.now = now;
        if let Some(beats) = self.client(id).and_then(|client| client.beats.as_mut()) {
            beats.heard(now);
        }
        loop {
            let Some(client) = self.client(id) else {
                return;
            };
            let before = client.decoder.buffered();
            let decoded = client.decoder.decode(&mut bytes);
            let after = client.decoder.buffered();
            self.held = self.held - before + after;
            match decoded {
                Ok(Some(Message::Frame(frame))) => self.handle_frame(id, &frame),
                Ok(Some(Message::HeartBeat)) => {}
                Ok(None) => break,
                Err(error) => {
                    let why = not_a_frame(error);
                    self.refuse(id, &why, None);
                }
            }
        }
        if self.held > self.settings.held_bytes {
            self.refuse(id, &self.no_room(), None);
        }
    }

    /// So many bytes of what was to be sent are on their way.
    pub(crate) fn handle_written(&mut self, now: Instant, id: ClientId, len: usize) {
        self.now = now;
        let Some(client) = self.client(id) else {
            return;
        };
        let len = len.min(client.unsent);
        client.unsent -= len;
        self.held -= len;
        self.pump_client(id);
    }

    /// Nothing more comes from the client, or goes to it.
    pub(crate) fn handle_disconnect(&mut self, now: Instant, id: ClientId) {
        self.now = now;
        self.close(id);
    }

    /// All clients are told and closed.
    pub(crate) fn handle_shutdown(&mut self, now: Instant) {
        self.now = now;
        let why = refused("broker is stopping", "the broker is stopping");
        let ids: Vec<ClientId> = self.clients.keys().copied().collect();
        for id in ids {
            self.refuse(id, &why, None);
        }
    }

    /// What is due at `now`: heart-beats, and clients that are silent.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        let ids: Vec<ClientId> = self.clients.keys().copied().collect();
        for id in ids {
            let connect_timeout = self.settings.connect_timeout;
            let Some(client) = self.clients.get_mut(&id) else {
                continue;
            };
            match client.stage {
                Stage::New if now >= client.since + connect_timeout => {
                    let long = format!("no CONNECT came within {connect_timeout:?}");
                    self.refuse(id, &refused("no CONNECT came in time", long), None);
                    continue;
                }
                Stage::New | Stage::Open => {}
            }
            match client
                .beats
                .as_ref()
                .and_then(|beats| beats.handle_timeout(now))
            {
                Some(Beat::Send) => self.send(id, Bytes::from_static(b"\n")),
                Some(Beat::Dead) => {
                    let why = refused(
                        "no heart-beat",
                        "nothing was heard for twice the time that the heart-beat headers agreed on",
                    );
                    self.refuse(id, &why, None);
                }
                None => {}
            }
        }
    }

    /// When [`Hub::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.clients
            .values()
            .filter_map(|client| match client.stage {
                Stage::New => Some(client.since + self.settings.connect_timeout),
                Stage::Open => client.beats.as_ref().and_then(HeartBeats::poll_timeout),
            })
            .min()
    }

    /// The next thing for the driver to do.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    fn client(&mut self, id: ClientId) -> Option<&mut Client> {
        self.clients.get_mut(&id)
    }

    fn handle_frame(&mut self, id: ClientId, frame: &Frame) {
        let Some(client) = self.client(id) else {
            return;
        };
        let (stage, version) = (client.stage, client.version);
        let done = match (frame.command, stage) {
            (Command::Connect | Command::Stomp, Stage::New) => self.greet(id, frame),
            (Command::Connect | Command::Stomp, Stage::Open) => Err(refused(
                "connected already",
                "CONNECT may come once, as the first frame",
            )),
            (command, _) if !command.is_of_client() => Err(refused(
                "not a client's frame",
                format!("{command} is sent by servers only"),
            )),
            (command, Stage::New) => Err(refused(
                "not connected",
                format!("{command} came before CONNECT"),
            )),
            (_, Stage::Open) => match frame.check(version) {
                Ok(()) => self.obey(id, frame),
                Err(error) => {
                    let long = format!("{}: {error}", frame.command);
                    Err(refused("frame is not valid", long))
                }
            },
        };
        match done {
            Err(why) => self.refuse(id, &why, Some(frame)),
            Ok(()) => {
                if stage == Stage::Open {
                    self.confirm(id, frame);
                }
                if frame.command == Command::Disconnect {
                    self.close(id);
                }
            }
        }
    }

    /// Does what a frame of a connected client says.
    fn obey(&mut self, id: ClientId, frame: &Frame) -> Result<(), Refused> {
        match frame.command {
            Command::Send if frame.header("transaction").is_none() => self.accept(frame),
            Command::Send => self.keep(id, frame),
            Command::Ack | Command::Nack if frame.header("transaction").is_some() => {
                self.keep(id, frame)
            }
            Command::Ack | Command::Nack => self.acknowledge(id, frame),
            Command::Subscribe => self.subscribe(id, frame),
            Command::Unsubscribe => self.unsubscribe(id, frame),
            Command::Begin => self.begin(id, frame),
            Command::Commit => self.commit(id, frame),
            Command::Abort => self.abort(id, frame).map(drop),
            // The others do not come here.
            _ => Ok(()),
        }
    }

    /// `RECEIPT`, if it was asked for.
    fn confirm(&mut self, id: ClientId, frame: &Frame) {
        if let Some(receipt) = frame.header("receipt") {
            let receipt = Frame::new(Command::Receipt).with("receipt-id", receipt);
            self.send_frame(id, receipt);
        }
    }

    fn send_frame(&mut self, id: ClientId, frame: Frame) {
        if let Some(client) = self.clients.get(&id) {
            let bytes = carried(frame, client.version);
            self.send(id, bytes);
        }
    }

    fn send(&mut self, to: ClientId, bytes: Bytes) {
        let now = self.now;
        // Receipts and heart-beats that nobody reads: no frame of ours would reach this client either.
        let frame = self.settings.frame;
        let limit = 2 * self.settings.outbox_bytes + frame.body_bytes + frame.head_bytes;
        let Some(client) = self.client(to) else {
            return;
        };
        if client.unsent + bytes.len() > limit {
            tracing::debug!(?to, "stomp client does not read");
            self.close(to);
            return;
        }
        client.unsent += bytes.len();
        if let Some(beats) = &mut client.beats {
            beats.sent(now);
        }
        self.held += bytes.len();
        self.output.push_back(Output::Send { to, bytes });
    }

    /// `ERROR`, then the end.
    fn refuse(&mut self, id: ClientId, why: &Refused, frame: Option<&Frame>) {
        if let Some(client) = self.clients.get(&id) {
            tracing::debug!(?id, why.short, "stomp client refused");
            let bytes = error_frame(why, frame, client.version);
            self.output.push_back(Output::Send { to: id, bytes });
            self.close(id);
        }
    }

    fn no_room(&self) -> Refused {
        refused(
            "broker is full",
            format!(
                "{} bytes of messages are held; consume some first",
                self.settings.held_bytes
            ),
        )
    }
}

/// `ERROR` with what was wrong and, if it is known, with which frame.
fn error_frame(why: &Refused, frame: Option<&Frame>, version: Version) -> Bytes {
    let mut body = String::new();
    _ = write!(body, "{}.", why.long);
    let mut error = Frame::new(Command::Error).with("message", why.short);
    if let Some(receipt) = frame.and_then(|frame| frame.header("receipt")) {
        error = error.with("receipt-id", receipt);
    }
    if why.short == NO_COMMON_VERSION {
        error = error.with("version", "1.0,1.1,1.2");
    }
    let error = error
        .with("content-type", "text/plain")
        .with("content-length", body.len().to_string());
    carried(error.with_body(body), version)
}

/// The frame without those headers that `version` has no way to write down.
fn carried(mut frame: Frame, version: Version) -> Bytes {
    let message = Message::Frame(frame.clone());
    if let Ok(bytes) = encode(&message, version) {
        return bytes;
    }
    let alone = |header: &Header| {
        let frame = Frame::new(Command::Message).with(&header.name, &header.value);
        header.name == "content-length" || encode(&Message::Frame(frame), version).is_ok()
    };
    frame.headers.retain(alone);
    // What is left was checked header by header, and the length when the frame came.
    encode(&Message::Frame(frame), version).unwrap_or_default()
}

fn not_a_frame(error: Error) -> Refused {
    let short = match error {
        Error::HeadTooLong { .. } | Error::TooManyHeaders { .. } | Error::BodyTooLong { .. } => {
            "frame is too large"
        }
        _ => "not a frame",
    };
    refused(short, error.to_string())
}

const NO_COMMON_VERSION: &str = "no common version";

#[cfg(test)]
mod tests;

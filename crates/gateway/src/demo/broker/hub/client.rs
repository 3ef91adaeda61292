//! Clients: how they come in, what they are subscribed to, how they go.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use perigee_stomp::{AckMode, Command, Decoder, Frame, HeartBeats, Version};

use super::delivery::{Stored, Waiting, check_destination};
use super::transaction::Transaction;
use super::{ClientId, Hub, NO_COMMON_VERSION, Output, Refused, refused};

/// How far a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Before `CONNECT`.
    New,
    Open,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) stage: Stage,
    pub(super) since: Instant,
    pub(super) decoder: Decoder,
    pub(super) version: Version,
    pub(super) beats: Option<HeartBeats>,
    /// Bytes that are to be sent and not written yet.
    pub(super) unsent: usize,
    /// Bytes of its backlogs.
    pub(super) backlog: usize,
    pub(super) subscriptions: BTreeMap<SubscriptionKey, Subscription>,
    pub(super) transactions: BTreeMap<String, Transaction>,
}

/// What a client calls a subscription: by id or, in 1.0, also by destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SubscriptionKey {
    Id(String),
    Destination(String),
}

#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) destination: String,
    pub(super) ack: AckMode,
    /// Deliveries that wait for an acknowledgement, in their order.
    pub(super) unacknowledged: BTreeMap<u64, Waiting>,
    /// Of a topic: what waits to be sent.
    pub(super) backlog: VecDeque<Arc<Stored>>,
}

impl Client {
    pub(super) fn new(decoder: Decoder, now: Instant) -> Self {
        Self {
            stage: Stage::New,
            since: now,
            decoder,
            version: Version::V1_0,
            beats: None,
            unsent: 0,
            backlog: 0,
            subscriptions: BTreeMap::new(),
            transactions: BTreeMap::new(),
        }
    }

    /// How many deliveries wait for an acknowledgement.
    pub(super) fn unacknowledged(&self) -> usize {
        let of = |subscription: &Subscription| subscription.unacknowledged.len();
        self.subscriptions.values().map(of).sum()
    }
}

impl SubscriptionKey {
    /// As `SUBSCRIBE` and `UNSUBSCRIBE` name it.
    fn of(frame: &Frame) -> Self {
        match (frame.header("id"), frame.header("destination")) {
            (Some(id), _) => Self::Id(id.to_owned()),
            (None, destination) => Self::Destination(destination.unwrap_or_default().to_owned()),
        }
    }
}

impl Hub {
    /// `CONNECT`.
    pub(super) fn greet(&mut self, id: ClientId, frame: &Frame) -> Result<(), Refused> {
        let version = Version::negotiate(frame.header("accept-version"))
            .map_err(|error| refused(NO_COMMON_VERSION, error.to_string()))?;
        let theirs = frame
            .heart_beat()
            .map_err(|error| refused("frame is not valid", format!("CONNECT: {error}")))?;
        if let Some(wanted) = &self.settings.login {
            let given = (frame.header("login"), frame.header("passcode"));
            if given != (Some(&wanted.login), Some(&wanted.passcode)) {
                return Err(refused(
                    "access refused",
                    "login or passcode is wrong or missing",
                ));
            }
        }
        let ours = self.settings.heart_beat;
        let now = self.now;
        let Some(client) = self.client(id) else {
            return Ok(());
        };
        client.stage = Stage::Open;
        client.version = version;
        client.decoder.set_version(version);
        let mut connected = Frame::new(Command::Connected)
            .with("version", version.as_str())
            .with("session", format!("session-{}", id.0))
            .with("server", concat!("perigee/", env!("CARGO_PKG_VERSION")));
        if version > Version::V1_0 {
            client.beats = Some(HeartBeats::new(ours, theirs, now));
            connected = connected.with("heart-beat", ours.to_value());
        }
        self.send_frame(id, connected);
        Ok(())
    }

    pub(super) fn subscribe(&mut self, id: ClientId, frame: &Frame) -> Result<(), Refused> {
        let destination = check_destination(frame)?;
        let ack = AckMode::of(frame)
            .map_err(|error| refused("frame is not valid", format!("SUBSCRIBE: {error}")))?;
        self.open_destination(destination)?;
        let limit = self.settings.max_subscriptions;
        let key = SubscriptionKey::of(frame);
        let Some(client) = self.client(id) else {
            return Ok(());
        };
        let why = if client.subscriptions.contains_key(&key) {
            Some(refused(
                "subscribed already",
                "a subscription of this client has this id; take another one",
            ))
        } else if client.subscriptions.len() >= limit {
            let long = format!("a client may have {limit} subscriptions");
            Some(refused("too many subscriptions", long))
        } else {
            None
        };
        if let Some(why) = why {
            self.settle_destination(destination);
            return Err(why);
        }
        let subscription = Subscription {
            destination: destination.to_owned(),
            ack,
            unacknowledged: BTreeMap::new(),
            backlog: VecDeque::new(),
        };
        client.subscriptions.insert(key.clone(), subscription);
        if let Some(at) = self.destinations.get_mut(destination) {
            at.subscribers.push_back((id, key));
        }
        self.pump(destination);
        Ok(())
    }

    pub(super) fn unsubscribe(&mut self, id: ClientId, frame: &Frame) -> Result<(), Refused> {
        let key = SubscriptionKey::of(frame);
        if self.end_subscription(id, &key) {
            return Ok(());
        }
        Err(refused(
            "not subscribed",
            "no subscription of this client has this id or destination",
        ))
    }

    /// Takes a subscription away; what it did not acknowledge goes back to its queue.
    fn end_subscription(&mut self, id: ClientId, key: &SubscriptionKey) -> bool {
        let Some(client) = self.client(id) else {
            return false;
        };
        let Some(subscription) = client.subscriptions.remove(key) else {
            return false;
        };
        let backlog: usize = subscription
            .backlog
            .iter()
            .map(|message| message.size)
            .sum();
        client.backlog -= backlog;
        self.held -= backlog;
        let destination = &subscription.destination;
        if let Some(at) = self.destinations.get_mut(destination) {
            at.subscribers
                .retain(|other| (other.0, &other.1) != (id, key));
        }
        // The latest first, each to the front: they come to stand in their order.
        for (_, mut waiting) in subscription.unacknowledged.into_iter().rev() {
            waiting.redelivered = true;
            self.put_back(destination, waiting);
        }
        self.pump(destination);
        true
    }

    /// Takes a client away with all that it had.
    pub(super) fn close(&mut self, id: ClientId) {
        let Some(client) = self.client(id) else {
            return;
        };
        let keys: Vec<SubscriptionKey> = client.subscriptions.keys().cloned().collect();
        let transactions: Vec<String> = client.transactions.keys().cloned().collect();
        for name in transactions {
            self.forget_transaction(id, &name);
        }
        // Out of every rotation first, so that nothing is given back to this client.
        for destination in self.destinations.values_mut() {
            destination.subscribers.retain(|(other, _)| *other != id);
        }
        for key in keys {
            self.end_subscription(id, &key);
        }
        if let Some(client) = self.clients.remove(&id) {
            self.held -= client.unsent + client.decoder.buffered();
            self.output.push_back(Output::Close { client: id });
        }
    }
}

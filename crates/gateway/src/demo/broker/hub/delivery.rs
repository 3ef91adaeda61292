//! Destinations: what waits in them and who gets it next.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use perigee_stomp::{AckMode, Command, Frame, Header, Version};

use super::client::SubscriptionKey;
use super::{ClientId, Hub, Refused, carried, refused};

/// A queue or a topic.
#[derive(Debug, Default)]
pub(super) struct Destination {
    /// Of a queue: what no consumer has yet.
    pub(super) waiting: VecDeque<Waiting>,
    /// Of a queue: bytes that wait here and for acknowledgements.
    pub(super) bytes: usize,
    /// The one in front is asked first, and then goes to the end.
    pub(super) subscribers: VecDeque<(ClientId, SubscriptionKey)>,
}

/// A message as it was sent.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) id: u64,
    pub(super) destination: String,
    pub(super) headers: Vec<Header>,
    pub(super) body: Bytes,
    /// What it counts for.
    pub(super) size: usize,
}

/// A message that is not consumed yet.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) message: Arc<Stored>,
    /// Somebody got it before.
    pub(super) redelivered: bool,
    /// How often it was refused.
    pub(super) nacks: u32,
}

pub(super) fn is_topic(destination: &str) -> bool {
    destination.starts_with(TOPIC)
}

/// The destination of a frame, if it can be one.
pub(super) fn check_destination(frame: &Frame) -> Result<&str, Refused> {
    let destination = frame.header("destination").unwrap_or_default();
    let name = destination
        .strip_prefix(TOPIC)
        .or(destination.strip_prefix(QUEUE));
    match name {
        None | Some("") => Err(refused(
            "no such destination",
            "a destination is /topic/NAME or /queue/NAME",
        )),
        Some(name) if name.contains(['*', '>', '#', ',']) => Err(refused(
            "no such destination",
            "this broker has no wildcards: a name cannot have * > # or a comma",
        )),
        Some(name) if name.len() > NAME_BYTES || name.contains(char::is_control) => Err(refused(
            "no such destination",
            format!("a name is up to {NAME_BYTES} bytes without control characters"),
        )),
        Some(_) => Ok(destination),
    }
}

impl Hub {
    /// Makes sure that a destination is known.
    pub(super) fn open_destination(&mut self, name: &str) -> Result<(), Refused> {
        if self.destinations.contains_key(name) {
            return Ok(());
        }
        let limit = self.settings.max_destinations;
        if self.destinations.len() >= limit {
            let long = format!("{limit} queues and topics are in use; take one of them");
            return Err(refused("too many destinations", long));
        }
        self.destinations
            .insert(name.to_owned(), Destination::default());
        Ok(())
    }

    /// Forgets a destination that has neither messages nor subscribers.
    pub(super) fn settle_destination(&mut self, name: &str) {
        let is_idle = |destination: &Destination| {
            destination.subscribers.is_empty()
                && destination.waiting.is_empty()
                && destination.bytes == 0
        };
        if self.destinations.get(name).is_some_and(is_idle) {
            self.destinations.remove(name);
        }
    }

    /// Whether `bytes` more fit into `destination` and into the broker.
    pub(super) fn check_room(&self, destination: &str, bytes: usize) -> Result<(), Refused> {
        let at = self.destinations.get(destination);
        let copies = match at {
            Some(at) if is_topic(destination) => at.subscribers.len(),
            _ => 1,
        };
        if self.held.saturating_add(bytes.saturating_mul(copies)) > self.settings.held_bytes {
            return Err(self.no_room());
        }
        let queued = at.map_or(0, |at| at.bytes);
        if !is_topic(destination) && queued + bytes > self.settings.queue_bytes {
            let limit = self.settings.queue_bytes;
            let long = format!("a queue holds {limit} bytes; consume some of this one first");
            return Err(refused("queue is full", long));
        }
        Ok(())
    }

    /// `SEND` outside of a transaction.
    pub(super) fn accept(&mut self, frame: &Frame) -> Result<(), Refused> {
        let destination = check_destination(frame)?;
        self.check_room(destination, size(frame))?;
        self.publish(frame, destination)
    }

    /// Takes a message in whose destination and size were checked.
    pub(super) fn publish(&mut self, frame: &Frame, destination: &str) -> Result<(), Refused> {
        self.open_destination(destination)?;
        let message = Arc::new(Stored {
            id: self.next_message,
            destination: destination.to_owned(),
            headers: passed_on(frame),
            body: frame.body.clone(),
            size: size(frame),
        });
        self.next_message += 1;
        if is_topic(destination) {
            self.fan_out(destination, &message);
        } else {
            self.held += message.size;
            if let Some(queue) = self.destinations.get_mut(destination) {
                queue.bytes += message.size;
                queue.waiting.push_back(Waiting {
                    message,
                    redelivered: false,
                    nacks: 0,
                });
            }
        }
        self.pump(destination);
        Ok(())
    }

    fn fan_out(&mut self, destination: &str, message: &Arc<Stored>) {
        let subscribers = match self.destinations.get(destination) {
            Some(topic) => topic.subscribers.clone(),
            None => return,
        };
        for (id, key) in subscribers {
            let limit = self.settings.backlog_bytes;
            let Some(client) = self.clients.get_mut(&id) else {
                continue;
            };
            if client.backlog + message.size > limit {
                let long = format!(
                    "{limit} bytes of messages wait for this client; read or acknowledge faster"
                );
                self.refuse(id, &refused("client is too slow", long), None);
                continue;
            }
            if let Some(subscription) = client.subscriptions.get_mut(&key) {
                subscription.backlog.push_back(Arc::clone(message));
                client.backlog += message.size;
                self.held += message.size;
            }
        }
    }

    /// A message of a queue goes back to where it waited.
    pub(super) fn put_back(&mut self, destination: &str, waiting: Waiting) {
        if is_topic(destination) {
            return;
        }
        if let Some(queue) = self.destinations.get_mut(destination) {
            queue.waiting.push_front(waiting);
        }
    }

    /// A message of a queue is gone for good.
    pub(super) fn consume(&mut self, waiting: &Waiting) {
        let message = &waiting.message;
        if is_topic(&message.destination) {
            return;
        }
        self.held -= message.size;
        if let Some(queue) = self.destinations.get_mut(&message.destination) {
            queue.bytes -= message.size;
        }
    }

    /// Gives out what can be given out of one destination.
    pub(super) fn pump(&mut self, name: &str) {
        if is_topic(name) {
            let subscribers = match self.destinations.get(name) {
                Some(topic) => topic.subscribers.clone(),
                None => return,
            };
            for (id, key) in subscribers {
                self.pump_backlog(id, &key);
            }
        } else {
            while self.give_one(name) {}
        }
        self.settle_destination(name);
    }

    /// Gives a client what it has room for again.
    pub(super) fn pump_client(&mut self, id: ClientId) {
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        if client.unsent >= self.settings.outbox_bytes {
            return;
        }
        let subscriptions: Vec<(SubscriptionKey, String)> = client
            .subscriptions
            .iter()
            .map(|(key, subscription)| (key.clone(), subscription.destination.clone()))
            .collect();
        for (key, destination) in subscriptions {
            if is_topic(&destination) {
                self.pump_backlog(id, &key);
            } else {
                self.pump(&destination);
            }
        }
    }

    /// Whether another message may be sent to a subscription now.
    fn takes_more(&self, id: ClientId, key: &SubscriptionKey) -> bool {
        self.clients.get(&id).is_some_and(|client| {
            client.unsent < self.settings.outbox_bytes
                && client.subscriptions.contains_key(key)
                && client.unacknowledged() < self.settings.unacknowledged
        })
    }

    /// Gives the first message of a queue to the next consumer that takes one.
    fn give_one(&mut self, name: &str) -> bool {
        let Some(queue) = self.destinations.get(name) else {
            return false;
        };
        if queue.waiting.is_empty() {
            return false;
        }
        let Some(turn) = queue
            .subscribers
            .iter()
            .position(|(id, key)| self.takes_more(*id, key))
        else {
            return false;
        };
        let Some(queue) = self.destinations.get_mut(name) else {
            return false;
        };
        let (Some(waiting), Some(consumer)) =
            (queue.waiting.pop_front(), queue.subscribers.remove(turn))
        else {
            return false;
        };
        queue.subscribers.push_back(consumer.clone());
        let (id, key) = consumer;
        self.deliver(id, &key, waiting);
        true
    }

    fn pump_backlog(&mut self, id: ClientId, key: &SubscriptionKey) {
        while self.takes_more(id, key) {
            let Some(client) = self.clients.get_mut(&id) else {
                return;
            };
            let next = client
                .subscriptions
                .get_mut(key)
                .and_then(|subscription| subscription.backlog.pop_front());
            let Some(message) = next else {
                return;
            };
            client.backlog -= message.size;
            self.held -= message.size;
            let waiting = Waiting {
                message,
                redelivered: false,
                nacks: 0,
            };
            self.deliver(id, key, waiting);
        }
    }

    /// `MESSAGE` to one subscription.
    fn deliver(&mut self, id: ClientId, key: &SubscriptionKey, waiting: Waiting) {
        let delivery = self.next_delivery;
        self.next_delivery += 1;
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let version = client.version;
        let Some(subscription) = client.subscriptions.get_mut(key) else {
            return;
        };
        let message = &waiting.message;
        let mut frame = Frame::new(Command::Message)
            .with("destination", &message.destination)
            .with("message-id", message.id.to_string());
        if let SubscriptionKey::Id(id) = key {
            frame = frame.with("subscription", id);
        }
        let is_acknowledged = subscription.ack != AckMode::Auto;
        if is_acknowledged && version == Version::V1_2 {
            frame = frame.with("ack", delivery.to_string());
        }
        if waiting.redelivered {
            frame = frame.with("redelivered", "true");
        }
        frame.headers.extend(message.headers.iter().cloned());
        let bytes = carried(frame.with_body(message.body.clone()), version);
        if is_acknowledged {
            let waiting = match is_topic(&message.destination) {
                false => waiting,
                // A topic keeps nothing for those who did not take it.
                true => waiting.without_content(),
            };
            subscription.unacknowledged.insert(delivery, waiting);
        } else {
            self.consume(&waiting);
        }
        self.send(id, bytes);
    }

    /// A message that was refused: back to the front, or aside if that happened too often.
    pub(super) fn put_aside_or_back(&mut self, destination: &str, mut waiting: Waiting) {
        waiting.nacks += 1;
        waiting.redelivered = true;
        if is_topic(destination) {
            return;
        }
        if waiting.nacks < self.settings.max_nacks {
            self.put_back(destination, waiting);
            return;
        }
        self.consume(&waiting);
        let message = waiting.message;
        if destination == DEAD_LETTERS {
            return;
        }
        let mut frame = Frame::new(Command::Send).with("original-destination", destination);
        frame.headers.extend(message.headers.iter().cloned());
        let frame = frame.with_body(message.body.clone());
        let kept = self
            .check_room(DEAD_LETTERS, size(&frame))
            .and_then(|()| self.publish(&frame, DEAD_LETTERS));
        if let Err(why) = kept {
            tracing::debug!(why.short, "stomp message dropped after too many NACKs");
        }
    }
}

impl Waiting {
    fn without_content(&self) -> Self {
        let message = &self.message;
        Self {
            message: Arc::new(Stored {
                id: message.id,
                destination: message.destination.clone(),
                headers: Vec::new(),
                body: Bytes::new(),
                size: 0,
            }),
            ..*self
        }
    }
}

/// What a message counts for: its bytes, and what it costs to remember it.
pub(super) fn size(frame: &Frame) -> usize {
    let headers: usize = frame
        .headers
        .iter()
        .map(|header| header.name.len() + header.value.len() + size_of::<Header>())
        .sum();
    size_of::<Stored>() + headers + frame.body.len()
}

/// The headers of a `SEND` that its readers see: the first of each name, without those that are between
/// its sender and us or that we write.
fn passed_on(frame: &Frame) -> Vec<Header> {
    let mut headers: Vec<Header> = Vec::with_capacity(frame.headers.len());
    for header in &frame.headers {
        let is_ours = OURS.contains(&header.name.as_str());
        if !is_ours && !headers.iter().any(|other| other.name == header.name) {
            headers.push(header.clone());
        }
    }
    headers
}

const OURS: [&str; 7] = [
    "destination",
    "message-id",
    "subscription",
    "ack",
    "redelivered",
    "receipt",
    "transaction",
];
const TOPIC: &str = "/topic/";
const QUEUE: &str = "/queue/";
/// Where messages go that nobody wants.
const DEAD_LETTERS: &str = "/queue/dead-letters";
const NAME_BYTES: usize = 255;

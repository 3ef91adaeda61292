//! `ACK` and `NACK`: which deliveries are meant, and what becomes of them.

use perigee_stomp::{AckMode, Command, Frame, Version};

use super::client::SubscriptionKey;
use super::delivery::Waiting;
use super::{ClientId, Hub, Refused, refused};

/// One delivery.
pub(super) type Delivery = (SubscriptionKey, u64);

impl Hub {
    /// `ACK` or `NACK` outside of a transaction.
    pub(super) fn acknowledge(&mut self, id: ClientId, frame: &Frame) -> Result<(), Refused> {
        let delivery = self.find_delivery(id, frame)?;
        self.settle(id, &delivery, frame.command);
        Ok(())
    }

    /// The delivery that an acknowledgement names, in the words of its version.
    pub(super) fn find_delivery(&self, id: ClientId, frame: &Frame) -> Result<Delivery, Refused> {
        let unknown = || {
            refused(
                "nothing to acknowledge",
                format!(
                    "no message of this client waits for this {}: it was acknowledged before, \
                     its subscription has ended, or that has ack:auto",
                    frame.command
                ),
            )
        };
        let client = self.clients.get(&id).ok_or_else(unknown)?;
        let name = match client.version {
            Version::V1_2 => "id",
            Version::V1_0 | Version::V1_1 => "message-id",
        };
        let number = frame.header(name).and_then(|id| id.parse::<u64>().ok());
        let number = number.ok_or_else(unknown)?;
        let named = frame.header("subscription");
        let mut subscriptions = client.subscriptions.iter().filter(|(key, _)| {
            client.version == Version::V1_2
                || named.is_none_or(
                    |named| matches!(key, SubscriptionKey::Id(id) if id.as_str() == named),
                )
        });
        subscriptions
            .find_map(|(key, subscription)| {
                let mut unacknowledged = subscription.unacknowledged.iter();
                let delivery = match client.version {
                    Version::V1_2 => subscription
                        .unacknowledged
                        .contains_key(&number)
                        .then_some(number),
                    Version::V1_0 | Version::V1_1 => unacknowledged
                        .find(|(_, waiting)| waiting.message.id == number)
                        .map(|(&delivery, _)| delivery),
                };
                delivery.map(|delivery| (key.clone(), delivery))
            })
            .ok_or_else(unknown)
    }

    /// Whether a delivery still waits for its acknowledgement.
    pub(super) fn is_outstanding(&self, id: ClientId, (key, delivery): &Delivery) -> bool {
        self.clients
            .get(&id)
            .and_then(|client| client.subscriptions.get(key))
            .is_some_and(|subscription| subscription.unacknowledged.contains_key(delivery))
    }

    /// Applies an acknowledgement of a delivery that was found.
    pub(super) fn settle(&mut self, id: ClientId, (key, delivery): &Delivery, command: Command) {
        let Some(subscription) = self
            .client(id)
            .and_then(|client| client.subscriptions.get_mut(key))
        else {
            return;
        };
        let destination = subscription.destination.clone();
        let meant: Vec<Waiting> = if subscription.ack == AckMode::Client {
            let later = subscription.unacknowledged.split_off(&(delivery + 1));
            let up_to_it = std::mem::replace(&mut subscription.unacknowledged, later);
            up_to_it.into_values().collect()
        } else {
            subscription
                .unacknowledged
                .remove(delivery)
                .into_iter()
                .collect()
        };
        for waiting in meant.into_iter().rev() {
            if command == Command::Nack {
                self.put_aside_or_back(&destination, waiting);
            } else {
                self.consume(&waiting);
            }
        }
        self.pump(&destination);
    }
}

//! Transactions: frames that are kept until `COMMIT`.

use std::collections::BTreeMap;

use perigee_stomp::{Command, Frame};

use super::acknowledge::Delivery;
use super::delivery::{check_destination, is_topic, size};
use super::{ClientId, Hub, Refused, refused};

/// What a client did in a transaction, in its order.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) steps: Vec<Step>,
    /// Bytes of its messages.
    pub(super) bytes: usize,
}

#[derive(Debug)]
pub(super) enum Step {
    Send(Frame),
    Settle(Delivery, Command),
}

impl Hub {
    pub(super) fn begin(&mut self, id: ClientId, frame: &Frame) -> Result<(), Refused> {
        let limit = self.settings.max_transactions;
        let name = frame.header("transaction").unwrap_or_default();
        let Some(client) = self.client(id) else {
            return Ok(());
        };
        if client.transactions.contains_key(name) {
            return Err(refused(
                "transaction is open already",
                "BEGIN names a transaction that this client has open; take another name",
            ));
        }
        if client.transactions.len() >= limit {
            let long = format!("a client may have {limit} transactions open");
            return Err(refused("too many transactions", long));
        }
        client
            .transactions
            .insert(name.to_owned(), Transaction::default());
        Ok(())
    }

    /// A frame of a transaction is checked as far as it can be and waits.
    pub(super) fn keep(&mut self, id: ClientId, frame: &Frame) -> Result<(), Refused> {
        let (step, bytes) = if frame.command == Command::Send {
            let destination = check_destination(frame)?;
            let bytes = size(frame);
            self.check_room(destination, bytes)?;
            (Step::Send(frame.clone()), bytes)
        } else {
            let delivery = self.find_delivery(id, frame)?;
            (Step::Settle(delivery, frame.command), 0)
        };
        let limit = self.settings.transaction_frames;
        let name = frame.header("transaction").unwrap_or_default();
        let transaction = self
            .client(id)
            .and_then(|client| client.transactions.get_mut(name))
            .ok_or_else(not_open)?;
        if transaction.steps.len() >= limit {
            let long = format!("a transaction holds {limit} frames");
            return Err(refused("transaction is too long", long));
        }
        transaction.steps.push(step);
        transaction.bytes += bytes;
        self.held += bytes;
        Ok(())
    }

    pub(super) fn commit(&mut self, id: ClientId, frame: &Frame) -> Result<(), Refused> {
        let transaction = self.abort(id, frame)?;
        self.check_steps(id, &transaction.steps)?;
        for step in transaction.steps {
            match step {
                Step::Send(frame) => {
                    let destination = frame.header("destination").unwrap_or_default();
                    self.publish(&frame, destination)?;
                }
                // An acknowledgement of several may have covered this one.
                Step::Settle(delivery, command) => self.settle(id, &delivery, command),
            }
        }
        Ok(())
    }

    /// Whether all steps can be done, so that none is done if one cannot.
    fn check_steps(&self, id: ClientId, steps: &[Step]) -> Result<(), Refused> {
        let mut queued: BTreeMap<&str, usize> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Send(frame) => {
                    let destination = frame.header("destination").unwrap_or_default();
                    let bytes = queued.entry(destination).or_default();
                    *bytes += size(frame);
                    self.check_room(destination, *bytes)?;
                }
                Step::Settle(delivery, _) if !self.is_outstanding(id, delivery) => {
                    return Err(refused(
                        "nothing to acknowledge",
                        "the transaction acknowledges a message that no longer waits for it; nothing of it was done",
                    ));
                }
                Step::Settle(..) => {}
            }
        }
        let new = queued
            .keys()
            .filter(|name| !self.destinations.contains_key(**name))
            .count();
        let copies = |name: &str| match self.destinations.get(name) {
            Some(at) if is_topic(name) => at.subscribers.len(),
            _ => 1,
        };
        let total: usize = queued
            .iter()
            .map(|(name, bytes)| bytes.saturating_mul(copies(name)))
            .sum();
        if self.held.saturating_add(total) > self.settings.held_bytes {
            return Err(self.no_room());
        }
        // Refused messages may need a queue, too.
        let aside = steps
            .iter()
            .any(|step| matches!(step, Step::Settle(_, Command::Nack)));
        let limit = self.settings.max_destinations;
        if self.destinations.len() + new + usize::from(aside) > limit {
            let long = format!("{limit} queues and topics are in use; take some of them");
            return Err(refused("too many destinations", long));
        }
        Ok(())
    }

    pub(super) fn abort(&mut self, id: ClientId, frame: &Frame) -> Result<Transaction, Refused> {
        let name = frame.header("transaction").unwrap_or_default();
        self.forget_transaction(id, name).ok_or_else(not_open)
    }

    pub(super) fn forget_transaction(&mut self, id: ClientId, name: &str) -> Option<Transaction> {
        let transaction = self.client(id)?.transactions.remove(name)?;
        self.held -= transaction.bytes;
        Some(transaction)
    }
}

fn not_open() -> Refused {
    refused(
        "transaction is not open",
        "no BEGIN of this client named this transaction, or it is over",
    )
}

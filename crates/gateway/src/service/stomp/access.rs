//! What a client may do: who it is, what the rules let it subscribe and send to, and what it has open.

use std::{collections::BTreeSet, sync::Arc};

use perigee_session::Code;
use perigee_stomp::{Command, Frame, Header, Version};

use super::Refused;
use crate::policy::{DestinationPattern, Permit, StompGrant, StompRule, Users, quote};

/// Subscriptions and transactions that a client may have open: so many ids are remembered.
const MAX_OPEN: usize = 256;
/// Bytes of an id that is remembered.
const MAX_ID_BYTES: usize = 256;

/// The rules that are for a client, and what it has open.
pub(super) struct Access {
    grants: Vec<StompGrant>,
    users: Arc<Users>,
    user: Option<Arc<str>>,
    subscriptions: BTreeSet<String>,
    transactions: BTreeSet<String>,
}

impl Access {
    /// `user` is who the client has proven to be by HTTP.
    pub(super) fn new(permit: &Permit, user: Option<Arc<str>>) -> Self {
        Self {
            grants: permit.stomp.clone(),
            users: Arc::clone(&permit.users),
            user,
            subscriptions: BTreeSet::new(),
            transactions: BTreeSet::new(),
        }
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Finds out who says CONNECT and which rules are for them. A login and passcode that are a user's are taken out
    /// of the frame: they are for the gateway and no broker's business.
    pub(super) fn identify(&mut self, connect: &mut Frame) -> Result<(), Refused> {
        let header = |name| connect.header(name).unwrap_or_default();
        if let Some(user) = self.users.by_login(header("login"), header("passcode")) {
            self.user = Some(user);
            connect.remove("login");
            connect.remove("passcode");
        }
        let user = self.user.clone();
        self.grants.retain(|grant| grant.is_for(user.as_deref()));
        if self.grants.is_empty() {
            return Err(Refused::new(
                Code::Denied,
                "login or passcode is wrong or missing",
                "the login is the name of a user of this gateway, and the passcode the token",
            ));
        }
        Ok(())
    }

    /// Judges a frame of a client that is connected, and remembers what it opens and ends.
    pub(super) fn check(&mut self, frame: &Frame, version: Version) -> Result<(), Refused> {
        frame.check(version).map_err(Refused::invalid)?;
        for Header { name, .. } in &frame.headers {
            // Some brokers trim names, and would read another header than we do.
            let is_plain = name.bytes().all(|byte| byte.is_ascii_graphic());
            if !is_plain && (name.trim() != name || name.contains(char::is_control)) {
                return Err(Refused::new(
                    Code::Protocol,
                    "not a valid STOMP frame",
                    "a header's name begins or ends with white space, or has a control character",
                ));
            }
        }
        match frame.command {
            Command::Send => {
                self.check_destination(frame, |rule| &rule.send)?;
                self.check_transaction(frame)
            }
            Command::Subscribe => {
                self.check_destination(frame, |rule| &rule.subscribe)?;
                let key = frame.header("id").or(frame.header("destination"));
                open(&mut self.subscriptions, key, "subscriptions")
            }
            Command::Unsubscribe => {
                let key = frame.header("id").or(frame.header("destination"));
                let is_own = key.is_some_and(|key| self.subscriptions.remove(key));
                own(is_own, "UNSUBSCRIBE", "a subscription")
            }
            Command::Ack | Command::Nack => {
                let is_own = match frame.header("subscription") {
                    Some(id) if version < Version::V1_2 => self.subscriptions.contains(id),
                    _ => !self.subscriptions.is_empty(),
                };
                own(is_own, frame.command.as_str(), "a subscription")?;
                self.check_transaction(frame)
            }
            Command::Begin => {
                let name = frame.header("transaction");
                open(&mut self.transactions, name, "transactions")
            }
            Command::Commit | Command::Abort => {
                self.check_transaction(frame)?;
                if let Some(name) = frame.header("transaction") {
                    self.transactions.remove(name);
                }
                Ok(())
            }
            Command::Disconnect => Ok(()),
            Command::Connect | Command::Stomp => Err(Refused::new(
                Code::Protocol,
                "connected already",
                "CONNECT may come once, as the first frame",
            )),
            Command::Connected | Command::Message | Command::Receipt | Command::Error => {
                Err(Refused::new(
                    Code::Protocol,
                    "not a client's frame",
                    format!("{} is sent by brokers only", frame.command),
                ))
            }
        }
    }

    fn check_destination(
        &self,
        frame: &Frame,
        list: fn(&StompRule) -> &Option<Vec<DestinationPattern>>,
    ) -> Result<(), Refused> {
        let destination = frame.header("destination").unwrap_or_default();
        let lists = || self.grants.iter().map(|grant| list(&grant.rule).as_deref());
        let is_everything = |list: Option<&[DestinationPattern]>| {
            list.is_none_or(|list| list.iter().any(DestinationPattern::is_everything))
        };
        if lists().any(is_everything) {
            return Ok(());
        }
        let covers = |list: &[DestinationPattern]| list.iter().any(|one| one.covers(destination));
        if !lists().flatten().any(covers) {
            return Err(Refused::new(
                Code::Denied,
                "not allowed by this gateway",
                format!("{} {}", frame.command, quote(destination)),
            ));
        }
        // RabbitMQ takes the messages of a queue of this name then, whatever the destination.
        if frame.header("x-queue-name").is_some() {
            return Err(Refused::new(
                Code::Denied,
                "not allowed by this gateway",
                "x-queue-name is for clients that may subscribe to everything",
            ));
        }
        Ok(())
    }

    fn check_transaction(&self, frame: &Frame) -> Result<(), Refused> {
        let is_own = frame
            .header("transaction")
            .is_none_or(|name| self.transactions.contains(name));
        own(is_own, frame.command.as_str(), "a transaction")
    }
}

fn open(ids: &mut BTreeSet<String>, id: Option<&str>, what: &str) -> Result<(), Refused> {
    let id = id.unwrap_or_default();
    if id.len() > MAX_ID_BYTES || ids.len() >= MAX_OPEN {
        return Err(Refused::new(
            Code::Limit,
            "too much at once",
            format!("a client may have {MAX_OPEN} {what}, with ids of up to {MAX_ID_BYTES} bytes"),
        ));
    }
    if !ids.insert(id.to_owned()) {
        return Err(Refused::new(
            Code::Protocol,
            "in use already",
            format!("one of the client's {what} has this id"),
        ));
    }
    Ok(())
}

fn own(is_own: bool, command: &str, what: &str) -> Result<(), Refused> {
    if is_own {
        return Ok(());
    }
    Err(Refused::new(
        Code::Protocol,
        "not the client's own",
        format!("{command} names {what} that this client has not opened"),
    ))
}

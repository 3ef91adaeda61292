//! Capability negotiation: `CAP` of version 302 (IRCv3 `capability-negotiation`).
//!
//! The client lists what the server has, asks for what both want, and ends; registration waits for
//! that end. Later the server may add and take away capabilities.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::{Message, numeric};

/// Bytes of capability names in one `CAP REQ`: with the rest of the line it stays below 512.
const REQUEST_BYTES: usize = 450;

/// One client's negotiation, for as long as it is connected.
///
/// ```
/// use perigee_irc::{Capabilities, CapabilityState, Message};
///
/// let mut capabilities = Capabilities::new(["server-time", "sasl"]);
/// assert_eq!(capabilities.start().command, "CAP");
/// let listed = Message::parse(":irc.example CAP * LS :server-time sasl=PLAIN away-notify")?;
/// let requests = capabilities.handle(&listed);
/// assert_eq!(requests[0].params[1], "sasl server-time");
/// capabilities.handle(&Message::parse(":irc.example CAP * ACK :sasl server-time")?);
/// assert_eq!(capabilities.state(), CapabilityState::Settled);
/// assert!(capabilities.is_enabled("sasl"));
/// assert_eq!(capabilities.offered("sasl"), Some("PLAIN"));
/// // Here the client would authenticate, and then:
/// assert_eq!(capabilities.end().params[0], "END");
/// # Ok::<(), perigee_irc::Error>(())
/// ```
#[derive(Debug)]
pub struct Capabilities {
    wanted: BTreeSet<String>,
    /// What the server has, with its value.
    offered: BTreeMap<String, String>,
    enabled: BTreeSet<String>,
    /// Requests without an answer, in the order in which they were made.
    requested: Vec<BTreeSet<String>>,
    state: CapabilityState,
}

/// How far a negotiation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapabilityState {
    /// Nothing was asked.
    Idle,
    /// `CAP LS` was sent and its last line has not come.
    Listing,
    /// Something was asked for and is not answered.
    Requesting,
    /// Every request is answered, and the caller may authenticate and then [`Capabilities::end`].
    Settled,
    /// `CAP END` was sent, or registration is over.
    Ended,
    /// The server knows no `CAP`.
    Unsupported,
}

impl Capabilities {
    /// Wants these, where the server has them.
    pub fn new<Name: Into<String>>(wanted: impl IntoIterator<Item = Name>) -> Self {
        Self {
            wanted: wanted.into_iter().map(Into::into).collect(),
            offered: BTreeMap::new(),
            enabled: BTreeSet::new(),
            requested: Vec::new(),
            state: CapabilityState::Idle,
        }
    }

    /// The first line of a connection: `CAP LS 302`.
    pub fn start(&mut self) -> Message {
        self.state = CapabilityState::Listing;
        Message::new("CAP", ["LS", "302"])
    }

    /// Ends the negotiation: registration goes on. To be sent once, when [`state`](Self::state) is
    /// [`Settled`](CapabilityState::Settled).
    pub fn end(&mut self) -> Message {
        self.state = CapabilityState::Ended;
        Message::new("CAP", ["END"])
    }

    /// How far it is.
    pub fn state(&self) -> CapabilityState {
        self.state
    }

    /// Whether the server has agreed to it.
    pub fn is_enabled(&self, name: &str) -> bool {
        self.enabled.contains(name)
    }

    /// The value with which the server offers it, empty if there is none; `None` if it does not.
    pub fn offered(&self, name: &str) -> Option<&str> {
        self.offered.get(name).map(String::as_str)
    }

    /// Takes a message of the server and gives those to send for it.
    pub fn handle(&mut self, message: &Message) -> Vec<Message> {
        match message.command.as_str() {
            "CAP" => self.handle_cap(message),
            numeric::ERR_UNKNOWNCOMMAND
                if self.state == CapabilityState::Listing
                    && message.param(1).is_some_and(|command| command == "CAP") =>
            {
                self.state = CapabilityState::Unsupported;
                Vec::new()
            }
            // An old server passes over what it does not know and registers the client.
            numeric::RPL_WELCOME => {
                self.state = match self.state {
                    CapabilityState::Listing | CapabilityState::Unsupported => {
                        CapabilityState::Unsupported
                    }
                    _ => CapabilityState::Ended,
                };
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn handle_cap(&mut self, message: &Message) -> Vec<Message> {
        // CAP <nick> <subcommand> [*] :<list>
        let Some(subcommand) = message.param(1) else {
            return Vec::new();
        };
        let more = message.param(2).is_some_and(|param| param == "*") && message.params.len() > 3;
        let list = message.params.get(2..).and_then(<[Bytes]>::last);
        let names = words(list);
        match &subcommand.to_ascii_uppercase()[..] {
            b"LS" => {
                self.offer(names);
                if more || self.state != CapabilityState::Listing {
                    return Vec::new();
                }
                self.request()
            }
            b"NEW" => {
                self.offer(names);
                self.request()
            }
            b"DEL" => {
                for name in names {
                    self.offered.remove(&name);
                    self.enabled.remove(&name);
                }
                Vec::new()
            }
            b"ACK" => {
                for name in names {
                    match name.strip_prefix('-') {
                        Some(name) => self.enabled.remove(name),
                        None => self.enabled.insert(name),
                    };
                }
                self.answered()
            }
            b"NAK" => self.answered(),
            _ => Vec::new(),
        }
    }

    fn offer(&mut self, names: impl Iterator<Item = String>) {
        for name in names {
            let (name, value) = name.split_once('=').unwrap_or((&name, ""));
            self.offered.insert(name.to_owned(), value.to_owned());
        }
    }

    /// Asks for what is wanted, offered, and neither enabled nor asked for.
    fn request(&mut self) -> Vec<Message> {
        let mut requests: Vec<BTreeSet<String>> = Vec::new();
        let mut bytes = REQUEST_BYTES;
        for name in &self.wanted {
            let known = self.enabled.contains(name)
                || self.requested.iter().any(|request| request.contains(name));
            if known || !self.offered.contains_key(name) {
                continue;
            }
            if bytes + name.len() + 1 > REQUEST_BYTES {
                requests.push(BTreeSet::new());
                bytes = 0;
            }
            bytes += name.len() + 1;
            if let Some(request) = requests.last_mut() {
                request.insert(name.clone());
            }
        }
        let lines = requests
            .iter()
            .map(|names| {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                Message::new("CAP", ["REQ".to_owned(), names.join(" ")])
            })
            .collect();
        self.requested.extend(requests);
        self.settle();
        lines
    }

    /// Requests are answered in their order, each as a whole.
    fn answered(&mut self) -> Vec<Message> {
        if !self.requested.is_empty() {
            self.requested.remove(0);
        }
        self.settle();
        Vec::new()
    }

    fn settle(&mut self) {
        if matches!(
            self.state,
            CapabilityState::Listing | CapabilityState::Requesting
        ) {
            self.state = match self.requested.is_empty() {
                true => CapabilityState::Settled,
                false => CapabilityState::Requesting,
            };
        }
    }
}

fn words(list: Option<&Bytes>) -> impl Iterator<Item = String> {
    list.map(|list| String::from_utf8_lossy(list).into_owned())
        .unwrap_or_default()
        .split_ascii_whitespace()
        .map(str::to_owned)
        .collect::<Vec<_>>()
        .into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(capabilities: &mut Capabilities, line: &str) -> Vec<String> {
        let message = Message::parse(line.to_owned()).expect("the cases are messages");
        let sent = capabilities.handle(&message);
        let params = |message: &Message| {
            let texts: Vec<_> = message
                .params
                .iter()
                .map(|param| String::from_utf8_lossy(param).into_owned())
                .collect();
            texts.join(" ")
        };
        sent.iter().map(params).collect()
    }

    #[test]
    fn a_list_of_several_lines_is_waited_for() {
        let mut capabilities = Capabilities::new(["batch", "server-time", "echo-message"]);
        capabilities.start();
        assert!(handle(&mut capabilities, "CAP * LS * :batch sasl=PLAIN,EXTERNAL").is_empty());
        assert_eq!(capabilities.state(), CapabilityState::Listing);
        assert_eq!(
            handle(&mut capabilities, "CAP * LS :server-time"),
            ["REQ batch server-time"]
        );
        assert_eq!(capabilities.offered("sasl"), Some("PLAIN,EXTERNAL"));
        assert_eq!(capabilities.offered("echo-message"), None);
        assert_eq!(capabilities.state(), CapabilityState::Requesting);
        handle(&mut capabilities, "CAP me ACK :batch server-time ");
        assert_eq!(capabilities.state(), CapabilityState::Settled);
        assert!(capabilities.is_enabled("batch"));
    }

    #[test]
    fn what_is_refused_is_not_enabled() {
        let mut capabilities = Capabilities::new(["batch"]);
        capabilities.start();
        handle(&mut capabilities, "CAP * LS :batch");
        handle(&mut capabilities, "CAP * NAK :batch");
        assert_eq!(capabilities.state(), CapabilityState::Settled);
        assert!(!capabilities.is_enabled("batch"));
    }

    #[test]
    fn nothing_wanted_is_settled_at_once() {
        let mut capabilities = Capabilities::new(["batch"]);
        capabilities.start();
        assert!(handle(&mut capabilities, "CAP * LS :").is_empty());
        assert_eq!(capabilities.state(), CapabilityState::Settled);
    }

    #[test]
    fn servers_add_and_take_away() {
        let mut capabilities = Capabilities::new(["batch", "sasl"]);
        capabilities.start();
        handle(&mut capabilities, "CAP * LS :batch");
        handle(&mut capabilities, "CAP * ACK :batch");
        capabilities.end();
        assert_eq!(
            handle(&mut capabilities, "CAP me NEW :sasl=PLAIN other"),
            ["REQ sasl"]
        );
        handle(&mut capabilities, "CAP me ACK :sasl");
        assert!(capabilities.is_enabled("sasl"));
        handle(&mut capabilities, "CAP me DEL :sasl batch");
        assert!(!capabilities.is_enabled("sasl") && !capabilities.is_enabled("batch"));
        assert_eq!(capabilities.state(), CapabilityState::Ended);
    }

    #[test]
    fn an_old_server_is_noticed() {
        for line in ["421 me CAP :Unknown command", "001 me :Welcome"] {
            let mut capabilities = Capabilities::new(["batch"]);
            capabilities.start();
            handle(&mut capabilities, line);
            assert_eq!(capabilities.state(), CapabilityState::Unsupported, "{line}");
        }
    }

    #[test]
    fn many_names_are_asked_for_in_several_lines() {
        let names: Vec<String> = (0..60).map(|at| format!("example.org/name-{at}")).collect();
        let mut capabilities = Capabilities::new(names.iter());
        capabilities.start();
        let requests = handle(&mut capabilities, &format!("CAP * LS :{}", names.join(" ")));
        assert!(requests.len() > 1);
        assert!(requests.iter().all(|request| request.len() < 500));
        let asked: usize = requests
            .iter()
            .map(|request| request.split(' ').count() - 1)
            .sum();
        assert_eq!(asked, names.len());
        for _ in &requests {
            assert_eq!(capabilities.state(), CapabilityState::Requesting);
            handle(&mut capabilities, "CAP * ACK :batch");
        }
        assert_eq!(capabilities.state(), CapabilityState::Settled);
    }
}

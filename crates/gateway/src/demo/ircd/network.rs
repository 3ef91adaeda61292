//! The IRC network as a state machine: messages of clients in, lines to clients out.
//!
//! It is told the time and knows no sockets. The order of use is that of quinn and str0m:
//! change one thing (`connect`, `handle_*`), then take what it wants sent with
//! [`poll_output`](Network::poll_output) until there is nothing, and wake it at
//! [`poll_timeout`](Network::poll_timeout).
//!
//! # Invariants
//!
//! - The answer to one message is bounded: a few lines for each client and channel there can be.
//! - Everything a client can make the server remember is bounded by [`Settings`] and the lengths below.
//! - A client is in a channel if and only if the channel has it as a member; no channel is empty.
//! - After its `Close` a client gets nothing more, and what it still sends is ignored.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use perigee_irc::numeric::{ERR_INPUTTOOLONG, ERR_NOTREGISTERED, ERR_UNKNOWNCOMMAND};
use perigee_irc::{Casemapping, Error, Limits, Message, encode, is_middle};

use super::client::{Client, Stage, User};
use super::settings::Settings;

mod channel;
mod query;
mod registration;
mod talk;

/// A client, by the order in which they came. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ClientId(u64);

/// A nickname or channel name with its case folded: equal for names that are the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(Vec<u8>);

/// What the driver has to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Send a line.
    Line { to: ClientId, line: Bytes },
    /// Send a last line, then FIN.
    Close { client: ClientId, line: Bytes },
}

/// All clients and channels of the server.
#[derive(Debug)]
pub(super) struct Network {
    settings: Settings,
    started: Instant,
    /// The wall clock at `started`.
    epoch: Duration,
    /// The latest time we were told.
    now: Instant,
    clients: BTreeMap<ClientId, Client>,
    /// Who has which nickname, registered or not.
    nicks: BTreeMap<Key, ClientId>,
    channels: BTreeMap<Key, Channel>,
    next_id: u64,
    output: VecDeque<Output>,
}

#[derive(Debug)]
struct Channel {
    /// As its first member wrote it.
    name: Bytes,
    created: Instant,
    topic: Option<Topic>,
    members: BTreeSet<ClientId>,
}

#[derive(Debug)]
struct Topic {
    text: Bytes,
    /// `nick!user@host`.
    set_by: Bytes,
    set: Instant,
}

/// A registered client whose command is being handled.
struct Caller {
    id: ClientId,
    /// `nick!user@host`.
    source: Bytes,
}

impl Network {
    /// A server without clients. `wall` is the time of day at `now`.
    pub(super) fn new(settings: Settings, now: Instant, wall: SystemTime) -> Self {
        Self {
            settings,
            started: now,
            epoch: wall
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default(),
            now,
            clients: BTreeMap::new(),
            nicks: BTreeMap::new(),
            channels: BTreeMap::new(),
            next_id: 0,
            output: VecDeque::new(),
        }
    }

    /// Lets a client in.
    ///
    /// # Errors
    ///
    /// The line to refuse it with if the server is full.
    pub(super) fn connect(&mut self, now: Instant, addr: IpAddr) -> Result<ClientId, Bytes> {
        self.now = now;
        let host = host(addr);
        if self.clients.len() >= self.settings.max_clients {
            return Err(closing_line(&host, b"Server is full"));
        }
        let id = ClientId(self.next_id);
        self.next_id += 1;
        self.clients.insert(id, Client::new(now, host));
        Ok(id)
    }

    /// Handles a message of a client.
    pub(super) fn handle_message(&mut self, now: Instant, id: ClientId, message: &Message) {
        self.now = now;
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.heard = now;
        client.pinged = None;
        match &message.command[..] {
            "CAP" => self.cap(id, message),
            "PASS" => self.pass(id),
            "NICK" => self.nick(id, message),
            "USER" => self.user(id, message),
            "PING" => self.ping(id, message),
            // Having been heard is all there is to a PONG.
            "PONG" => {}
            "QUIT" => self.quit(id, message),
            command => match self.caller(id) {
                Some(caller) => self.handle_command(&caller, command, message),
                None => self.reply(id, ERR_NOTREGISTERED, &[b"You have not registered"]),
            },
        }
    }

    fn handle_command(&mut self, caller: &Caller, command: &str, message: &Message) {
        match command {
            "AWAY" => self.away(caller, message),
            "ISON" => self.ison(caller, message),
            "JOIN" => self.join(caller, message),
            "LIST" => self.list(caller, message),
            "LUSERS" => self.lusers(caller.id),
            "MODE" => self.mode(caller, message),
            "MOTD" => self.motd(caller.id),
            "NAMES" => self.names(caller, message),
            "NOTICE" | "PRIVMSG" => self.talk(caller, message),
            "PART" => self.part(caller, message),
            "TOPIC" => self.topic(caller, message),
            "USERHOST" => self.userhost(caller, message),
            "VERSION" => self.version(caller),
            "WHO" => self.who(caller, message),
            "WHOIS" => self.whois(caller, message),
            unknown => {
                let unknown = shown(unknown.as_bytes());
                self.reply(
                    caller.id,
                    ERR_UNKNOWNCOMMAND,
                    &[unknown, b"Unknown command"],
                );
            }
        }
    }

    /// Handles a line of a client that was not a message.
    pub(super) fn handle_invalid(&mut self, now: Instant, id: ClientId, error: Error) {
        self.now = now;
        match error {
            Error::TagsTooLong { .. } | Error::LineTooLong { .. } => {
                self.reply(id, ERR_INPUTTOOLONG, &[b"Input line was too long"]);
            }
            error => {
                let text = error.to_string();
                self.reply(id, ERR_UNKNOWNCOMMAND, &[b"*", text.as_bytes()]);
            }
        }
    }

    /// Takes a client off the network: its connection ended, or has to.
    ///
    /// Does nothing for a client that is gone already.
    pub(super) fn handle_disconnect(&mut self, now: Instant, id: ClientId, reason: &[u8]) {
        self.now = now;
        let caller = self.caller(id);
        let Some(client) = self.clients.remove(&id) else {
            return;
        };
        if let Some(nick) = client.nick() {
            self.nicks.remove(&Key::of(nick));
        }
        if let (Some(caller), Stage::Registered(user)) = (caller, &client.stage) {
            let peers = self.peers(id, user);
            self.relay(peers, &caller.source, "QUIT", None, reason);
            for key in &user.channels {
                self.leave(key, id);
            }
        }
        self.output.push_back(Output::Close {
            client: id,
            line: closing_line(&client.host, reason),
        });
    }

    /// Pings who has been silent, and closes who stayed silent or did not register.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        let due: Vec<_> = self
            .clients
            .iter()
            .filter(|(_, client)| client.deadline(&self.settings) <= now)
            .map(|(&id, _)| id)
            .collect();
        for id in due {
            let Some(client) = self.clients.get_mut(&id) else {
                continue;
            };
            match (&client.stage, client.pinged) {
                (Stage::Registering(_), _) => {
                    self.handle_disconnect(now, id, b"Registration timed out");
                }
                (Stage::Registered(_), None) => {
                    client.pinged = Some(now);
                    // Without a source: that is how every server sends it, and `ii` expects it.
                    let token = self.settings.server_name.clone();
                    self.send([id], &Message::new("PING", [token]));
                }
                (Stage::Registered(_), Some(_)) => {
                    let silent = now.duration_since(client.heard).as_secs();
                    let reason = format!("Ping timeout: {silent} seconds");
                    self.handle_disconnect(now, id, reason.as_bytes());
                }
            }
        }
    }

    /// Closes all clients.
    pub(super) fn handle_shutdown(&mut self, now: Instant) {
        self.now = now;
        self.nicks.clear();
        self.channels.clear();
        for (client, Client { host, .. }) in std::mem::take(&mut self.clients) {
            let line = closing_line(&host, b"Server is shutting down");
            self.output.push_back(Output::Close { client, line });
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due. Any other call may change it.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = self.clients.values();
        deadlines
            .map(|client| client.deadline(&self.settings))
            .min()
    }

    /// The next thing to do, in order.
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    fn caller(&self, id: ClientId) -> Option<Caller> {
        let client = self.clients.get(&id)?;
        let Stage::Registered(user) = &client.stage else {
            return None;
        };
        let source = [
            &user.nick,
            &b"!"[..],
            &user.user,
            b"@",
            client.host.as_bytes(),
        ];
        Some(Caller {
            id,
            source: Bytes::from(source.concat()),
        })
    }

    /// A registered client and who it is.
    fn registered(&self, id: ClientId) -> Option<(&Client, &User)> {
        let client = self.clients.get(&id)?;
        match &client.stage {
            Stage::Registered(user) => Some((client, user)),
            Stage::Registering(_) => None,
        }
    }

    fn registered_mut(&mut self, id: ClientId) -> Option<&mut User> {
        match &mut self.clients.get_mut(&id)?.stage {
            Stage::Registered(user) => Some(user),
            Stage::Registering(_) => None,
        }
    }

    /// The registered client with a nickname.
    fn find(&self, nick: &[u8]) -> Option<(ClientId, &Client, &User)> {
        let id = *self.nicks.get(&Key::of(nick))?;
        let (client, user) = self.registered(id)?;
        Some((id, client, user))
    }

    /// Everyone but `id` who shares a channel with `user`.
    fn peers(&self, id: ClientId, user: &User) -> BTreeSet<ClientId> {
        let channels = user
            .channels
            .iter()
            .filter_map(|key| self.channels.get(key));
        let mut peers: BTreeSet<_> = channels
            .flat_map(|channel| &channel.members)
            .copied()
            .collect();
        peers.remove(&id);
        peers
    }

    /// Takes a member out of a channel, and the channel away if it was the last.
    fn leave(&mut self, key: &Key, id: ClientId) {
        if let Some(channel) = self.channels.get_mut(key) {
            channel.members.remove(&id);
            if channel.members.is_empty() {
                self.channels.remove(key);
            }
        }
    }

    /// Sends a numeric; the client's nickname is put before `params`.
    fn reply(&mut self, to: ClientId, numeric: &str, params: &[&[u8]]) {
        let Some(client) = self.clients.get(&to) else {
            return;
        };
        let nick = client.nick().map_or(&b"*"[..], |nick| nick);
        let params = [&[nick], params].concat();
        self.send([to], &self.server_message(numeric, &params));
    }

    fn server_message(&self, command: &str, params: &[&[u8]]) -> Message {
        let params = params.iter().map(|param| Bytes::copy_from_slice(param));
        Message::new(command, params).with_source(self.settings.server_name.clone())
    }

    /// Sends what a client said, cut to the length of a line, as every server does:
    /// the sender cannot know how long its own source is.
    fn relay(
        &mut self,
        to: impl IntoIterator<Item = ClientId>,
        source: &Bytes,
        command: &str,
        target: Option<&Bytes>,
        text: &[u8],
    ) {
        let target_bytes = target.map_or(0, |target| target.len() + 1);
        let overhead = ":  :\r\n".len() + source.len() + command.len() + target_bytes;
        let room = Limits::FROM_SERVER.line_bytes.saturating_sub(overhead);
        let text = Bytes::copy_from_slice(cut(text, room));
        let params = target.cloned().into_iter().chain([text]);
        self.send(
            to,
            &Message::new(command, params).with_source(source.clone()),
        );
    }

    /// Queues one line for several clients, who share its memory.
    fn send(&mut self, to: impl IntoIterator<Item = ClientId>, message: &Message) {
        if let Some(line) = compose(message) {
            let lines = to.into_iter().map(|to| Output::Line {
                to,
                line: line.clone(),
            });
            self.output.extend(lines);
        }
    }

    /// Seconds since 1970.
    fn unix(&self, at: Instant) -> u64 {
        (self.epoch + at.duration_since(self.started)).as_secs()
    }
}

impl Key {
    pub(super) fn of(name: &[u8]) -> Self {
        Self(CASEMAPPING.fold(name))
    }
}

/// A line that cannot be composed is a mistake of ours: it is not sent, and the server goes on.
fn compose(message: &Message) -> Option<Bytes> {
    match encode(message, &Limits::FROM_SERVER) {
        Ok(line) => Some(line),
        Err(error) => {
            debug_assert!(false, "{error}: {message:?}");
            tracing::error!(%error, command = message.command, "cannot compose a line");
            None
        }
    }
}

fn closing_line(host: &str, reason: &[u8]) -> Bytes {
    let text = [
        b"Closing link: ",
        host.as_bytes(),
        b" (",
        cut(reason, REASON_BYTES),
        b")",
    ]
    .concat();
    compose(&Message::new("ERROR", [text])).unwrap_or_default()
}

/// The address as a parameter: an IPv6 one must not start with a colon.
fn host(addr: IpAddr) -> String {
    let host = addr.to_canonical().to_string();
    if host.starts_with(':') {
        format!("0{host}")
    } else {
        host
    }
}

/// What a client sent, to be named in an answer: short, and `*` if it cannot be a parameter.
fn shown(param: &[u8]) -> &[u8] {
    if is_middle(param) {
        cut(param, SHOWN_BYTES)
    } else {
        b"*"
    }
}

/// The first `max` bytes of `text`, or a few less where UTF-8 would be cut in a character.
fn cut(text: &[u8], max: usize) -> &[u8] {
    if text.len() <= max {
        return text;
    }
    let continues = |at: usize| text[at] & 0xc0 == 0x80;
    let mut end = max;
    while end > 0 && max - end < 3 && continues(end) {
        end -= 1;
    }
    &text[..end]
}

/// The names in a list, joined to as few texts of at most [`LIST_BYTES`] as they need.
fn lines_of<'a>(names: impl Iterator<Item = &'a Bytes>) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for name in names {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + name.len() <= LIST_BYTES => {
                line.push(b' ');
                line.extend_from_slice(name);
            }
            _ => lines.push(name.to_vec()),
        }
    }
    lines
}

const CASEMAPPING: Casemapping = Casemapping::Ascii;
const VERSION: &str = concat!("perigee-", env!("CARGO_PKG_VERSION"));

/// Channels in one JOIN, PART, NAMES or LIST.
const CHANNEL_TARGETS: usize = 20;
/// Targets of one PRIVMSG or NOTICE: what a client can multiply its lines by.
const TEXT_TARGETS: usize = 4;
/// RFC 2812 §4.8.
const USERHOST_NICKS: usize = 5;

// Lengths in bytes. Together they leave room for each in the longest numeric that has several,
// RPL_WHOREPLY: 63 (server, twice) + 30 (nick, twice) + 64 + 12 + 46 (host) + 100 < 512.
const NICK_BYTES: usize = 30;
const USER_BYTES: usize = 12;
const REAL_NAME_BYTES: usize = 100;
const CHANNEL_BYTES: usize = 64;
const TOPIC_BYTES: usize = 300;
const AWAY_BYTES: usize = 200;
const REASON_BYTES: usize = 300;
const LIST_BYTES: usize = 300;
const SHOWN_BYTES: usize = 64;

#[cfg(test)]
mod tests;

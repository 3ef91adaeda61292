//! From a connection to a user and back: CAP, PASS, NICK, USER, PING, QUIT and the welcome.

use std::collections::BTreeSet;
use std::mem;

use perigee_irc::is_nickname;
use perigee_irc::numeric::*;

use super::*;
use crate::demo::ircd::client::Registering;

impl Network {
    /// We have no capabilities, but a client that asks gets an answer and can go on.
    pub(super) fn cap(&mut self, id: ClientId, message: &Message) {
        let Some(subcommand) = message.param(0) else {
            self.reply(id, ERR_NEEDMOREPARAMS, &[b"CAP", b"Not enough parameters"]);
            return;
        };
        let subcommand = subcommand.to_ascii_uppercase();
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let nick = client.nick().map_or(Bytes::from_static(b"*"), Bytes::clone);
        if let Stage::Registering(registering) = &mut client.stage {
            match &subcommand[..] {
                b"LS" | b"REQ" => registering.negotiating = true,
                b"END" => registering.negotiating = false,
                _ => {}
            }
        }
        match &subcommand[..] {
            b"LS" | b"LIST" => {
                self.send(
                    [id],
                    &self.server_message("CAP", &[&nick, &subcommand, b""]),
                );
            }
            b"REQ" => {
                // Cut, because our own prefix may not leave room for all of a long list.
                let wanted = message
                    .param(1)
                    .map_or(&b""[..], |wanted| cut(wanted, LIST_BYTES));
                self.send([id], &self.server_message("CAP", &[&nick, b"NAK", wanted]));
            }
            b"END" => self.complete_registration(id),
            other => {
                self.reply(
                    id,
                    ERR_INVALIDCAPCMD,
                    &[shown(other), b"Invalid CAP command"],
                );
            }
        }
    }

    /// There is no password: any is right.
    pub(super) fn pass(&mut self, id: ClientId) {
        if self.registered(id).is_some() {
            self.already_registered(id);
        }
    }

    pub(super) fn nick(&mut self, id: ClientId, message: &Message) {
        let nick = match message.param(0) {
            Some(nick) if !nick.is_empty() => nick,
            _ => {
                self.reply(id, ERR_NONICKNAMEGIVEN, &[b"No nickname given"]);
                return;
            }
        };
        if !is_nickname(nick, NICK_BYTES) {
            self.reply(
                id,
                ERR_ERRONEUSNICKNAME,
                &[shown(nick), b"Erroneous nickname"],
            );
            return;
        }
        let key = Key::of(nick);
        if self.nicks.get(&key).is_some_and(|&owner| owner != id) {
            self.reply(
                id,
                ERR_NICKNAMEINUSE,
                &[nick, b"Nickname is already in use"],
            );
            return;
        }
        let caller = self.caller(id);
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        if client.nick() == Some(nick) {
            return;
        }
        if let Some(old) = client.nick() {
            self.nicks.remove(&Key::of(old));
        }
        self.nicks.insert(key, id);
        let nick = Bytes::copy_from_slice(nick);
        match (&mut client.stage, caller) {
            (Stage::Registered(user), Some(caller)) => {
                user.nick = nick.clone();
                let mut audience = match self.registered(id) {
                    Some((_, user)) => self.peers(id, user),
                    None => BTreeSet::new(),
                };
                audience.insert(id);
                let message = Message::new("NICK", [nick]).with_source(caller.source);
                self.send(audience, &message);
            }
            (Stage::Registering(registering), _) => {
                registering.nick = Some(nick);
                self.complete_registration(id);
            }
            (Stage::Registered(_), None) => {}
        }
    }

    pub(super) fn user(&mut self, id: ClientId, message: &Message) {
        let (Some(user), Some(real_name)) = (message.param(0), message.param(3)) else {
            self.reply(id, ERR_NEEDMOREPARAMS, &[b"USER", b"Not enough parameters"]);
            return;
        };
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        match &mut client.stage {
            Stage::Registering(registering) if registering.user.is_none() => {
                let real_name = Bytes::copy_from_slice(cut(real_name, REAL_NAME_BYTES));
                registering.user = Some((user_name(user), real_name));
                self.complete_registration(id);
            }
            Stage::Registering(_) | Stage::Registered(_) => self.already_registered(id),
        }
    }

    fn already_registered(&mut self, id: ClientId) {
        self.reply(id, ERR_ALREADYREGISTERED, &[b"You may not reregister"]);
    }

    /// Makes the client a user and welcomes it, if everything for that is there.
    fn complete_registration(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let Stage::Registering(Registering {
            nick: Some(nick),
            user: user @ Some(_),
            negotiating: false,
            ..
        }) = &mut client.stage
        else {
            return;
        };
        let (user, real_name) = mem::take(user).unwrap_or_default();
        client.stage = Stage::Registered(User {
            nick: mem::take(nick),
            user,
            real_name,
            away: None,
            signed_on: self.now,
            spoke: self.now,
            channels: BTreeSet::new(),
        });
        self.welcome(id);
    }

    fn welcome(&mut self, id: ClientId) {
        let Some(caller) = self.caller(id) else {
            return;
        };
        let Settings {
            server_name,
            network_name,
            channels_per_client,
            ..
        } = self.settings.clone();
        let welcome = [
            b"Welcome to ",
            network_name.as_bytes(),
            b", ",
            &caller.source,
        ]
        .concat();
        self.reply(id, RPL_WELCOME, &[&welcome]);
        let your_host = format!("Your host is {server_name}, running {VERSION}");
        self.reply(id, RPL_YOURHOST, &[your_host.as_bytes()]);
        self.reply(
            id,
            RPL_CREATED,
            &[b"This server was created when the demo started"],
        );
        let server = server_name.as_bytes();
        self.reply(id, RPL_MYINFO, &[server, VERSION.as_bytes(), b"a", b"n"]);

        let tokens = [
            format!("AWAYLEN={AWAY_BYTES}"),
            format!("CASEMAPPING={}", CASEMAPPING.name()),
            format!("CHANLIMIT=#&:{channels_per_client}"),
            "CHANMODES=,,,n".into(),
            format!("CHANNELLEN={CHANNEL_BYTES}"),
            "CHANTYPES=#&".into(),
            format!("NETWORK={network_name}"),
            format!("NICKLEN={NICK_BYTES}"),
            "PREFIX=".into(),
            format!(
                "TARGMAX=JOIN:{CHANNEL_TARGETS},LIST:{CHANNEL_TARGETS},NAMES:{CHANNEL_TARGETS},NOTICE:{TEXT_TARGETS},PART:{CHANNEL_TARGETS},PRIVMSG:{TEXT_TARGETS},WHOIS:1"
            ),
            format!("TOPICLEN={TOPIC_BYTES}"),
            format!("USERLEN={USER_BYTES}"),
        ];
        // At most 13 tokens fit into one line of 15 parameters.
        let mut params: Vec<_> = tokens.iter().map(String::as_bytes).collect();
        params.push(b"are supported by this server");
        self.reply(id, RPL_ISUPPORT, &params);

        self.lusers(id);
        self.motd(id);
    }

    pub(super) fn motd(&mut self, id: ClientId) {
        if self.settings.motd.is_empty() {
            self.reply(id, ERR_NOMOTD, &[b"MOTD File is missing"]);
            return;
        }
        let start = format!("- {} Message of the day -", self.settings.server_name);
        self.reply(id, RPL_MOTDSTART, &[start.as_bytes()]);
        for line in self.settings.motd.clone() {
            let line = format!("- {line}");
            self.reply(id, RPL_MOTD, &[line.as_bytes()]);
        }
        self.reply(id, RPL_ENDOFMOTD, &[b"End of /MOTD command"]);
    }

    pub(super) fn ping(&mut self, id: ClientId, message: &Message) {
        let token = match message.param(0) {
            // Our own name comes before it in the answer, so the longest token may not fit.
            Some(token) if !token.is_empty() => cut(token, REASON_BYTES),
            _ => {
                self.reply(id, ERR_NOORIGIN, &[b"No origin specified"]);
                return;
            }
        };
        let server = self.settings.server_name.clone();
        self.send(
            [id],
            &self.server_message("PONG", &[server.as_bytes(), token]),
        );
    }

    pub(super) fn quit(&mut self, id: ClientId, message: &Message) {
        // With a prefix, so that nobody can fake a reason of the server's.
        let reason = match message.param(0) {
            Some(text) if !text.is_empty() => [b"Quit: ", &text[..]].concat(),
            _ => b"Client quit".to_vec(),
        };
        self.handle_disconnect(self.now, id, &reason);
    }
}

/// A user name without anything that has a meaning in a source or a mask.
fn user_name(wanted: &[u8]) -> Bytes {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    let name: Vec<u8> = wanted
        .iter()
        .copied()
        .filter(plain)
        .take(USER_BYTES)
        .collect();
    if name.is_empty() {
        Bytes::from_static(b"user")
    } else {
        Bytes::from(name)
    }
}

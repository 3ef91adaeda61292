//! Channels: JOIN, PART, TOPIC, NAMES, LIST and MODE.
//!
//! There are no operators: channels belong to everyone in them. All have one fixed mode, `n`:
//! who is not in a channel cannot speak there.

use std::collections::btree_map::Entry;

use perigee_irc::is_channel_name;
use perigee_irc::numeric::*;

use super::*;

impl Network {
    pub(super) fn join(&mut self, caller: &Caller, message: &Message) {
        let Some(names) = self.targets(caller, message, CHANNEL_TARGETS) else {
            return;
        };
        for name in names {
            if &name[..] == b"0" {
                self.part_all(caller);
            } else {
                self.join_one(caller, &name);
            }
        }
    }

    fn join_one(&mut self, caller: &Caller, name: &Bytes) {
        let id = caller.id;
        if !is_channel_name(name, CHANNEL_BYTES) {
            self.reply(id, ERR_NOSUCHCHANNEL, &[shown(name), b"No such channel"]);
            return;
        }
        let key = Key::of(name);
        let limit = self.settings.channels_per_client;
        let Some(user) = self.registered_mut(id) else {
            return;
        };
        if user.channels.contains(&key) {
            return;
        }
        if user.channels.len() >= limit {
            self.reply(
                id,
                ERR_TOOMANYCHANNELS,
                &[name, b"You have joined too many channels"],
            );
            return;
        }
        let full = self.channels.len() >= self.settings.max_channels;
        let channel = match self.channels.entry(key.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if full => {
                self.reply(
                    id,
                    ERR_UNAVAILRESOURCE,
                    &[name, b"The server has too many channels"],
                );
                return;
            }
            Entry::Vacant(entry) => entry.insert(Channel {
                name: Bytes::copy_from_slice(name),
                created: self.now,
                topic: None,
                members: BTreeSet::new(),
            }),
        };
        channel.members.insert(id);
        let (name, members) = (channel.name.clone(), channel.members.clone());
        if let Some(user) = self.registered_mut(id) {
            user.channels.insert(key.clone());
        }
        let join = Message::new("JOIN", [name]).with_source(caller.source.clone());
        self.send(members, &join);
        self.tell_topic(id, &key);
        self.tell_names(id, &key);
    }

    pub(super) fn part(&mut self, caller: &Caller, message: &Message) {
        let Some(names) = self.targets(caller, message, CHANNEL_TARGETS) else {
            return;
        };
        let reason = message.param(1);
        for name in names {
            if let Some(key) = self.joined(caller, &name) {
                self.part_one(caller, &key, reason);
            }
        }
    }

    fn part_all(&mut self, caller: &Caller) {
        let channels = self
            .registered(caller.id)
            .map(|(_, user)| user.channels.clone());
        for key in channels.unwrap_or_default() {
            self.part_one(caller, &key, None);
        }
    }

    fn part_one(&mut self, caller: &Caller, key: &Key, reason: Option<&Bytes>) {
        let Some(Channel { name, members, .. }) = self.channels.get(key) else {
            return;
        };
        let (name, members) = (name.clone(), members.clone());
        match reason {
            Some(reason) => self.relay(members, &caller.source, "PART", Some(&name), reason),
            None => {
                let part = Message::new("PART", [name]).with_source(caller.source.clone());
                self.send(members, &part);
            }
        }
        self.leave(key, caller.id);
        if let Some(user) = self.registered_mut(caller.id) {
            user.channels.remove(key);
        }
    }

    pub(super) fn topic(&mut self, caller: &Caller, message: &Message) {
        let Some(name) = message.param(0) else {
            self.need_more_params(caller, message);
            return;
        };
        let Some(text) = message.param(1) else {
            let Some((key, name)) = self.existing(caller, name) else {
                return;
            };
            if self
                .channels
                .get(&key)
                .is_some_and(|channel| channel.topic.is_none())
            {
                self.reply(caller.id, RPL_NOTOPIC, &[&name, b"No topic is set"]);
            }
            self.tell_topic(caller.id, &key);
            return;
        };
        let Some(key) = self.joined(caller, name) else {
            return;
        };
        let Some(channel) = self.channels.get_mut(&key) else {
            return;
        };
        let text = Bytes::copy_from_slice(cut(text, TOPIC_BYTES));
        channel.topic = (!text.is_empty()).then(|| Topic {
            text: text.clone(),
            set_by: caller.source.clone(),
            set: self.now,
        });
        let (name, members) = (channel.name.clone(), channel.members.clone());
        self.relay(members, &caller.source, "TOPIC", Some(&name), &text);
    }

    pub(super) fn names(&mut self, caller: &Caller, message: &Message) {
        // Of everything there is, as RFC 1459 has it, would be an answer without use.
        if message.params.is_empty() {
            self.reply(caller.id, RPL_ENDOFNAMES, &[b"*", b"End of /NAMES list"]);
            return;
        }
        let Some(names) = self.targets(caller, message, CHANNEL_TARGETS) else {
            return;
        };
        for name in names {
            let key = Key::of(&name);
            if self.channels.contains_key(&key) {
                self.tell_names(caller.id, &key);
            } else {
                self.reply(
                    caller.id,
                    RPL_ENDOFNAMES,
                    &[shown(&name), b"End of /NAMES list"],
                );
            }
        }
    }

    pub(super) fn list(&mut self, caller: &Caller, message: &Message) {
        // An empty list, and one that starts with a condition (`>3`), is a list of everything:
        // ISUPPORT says that we know no conditions.
        let wanted: Option<Vec<Key>> = match message.param(0) {
            Some(names) if names.starts_with(b"#") || names.starts_with(b"&") => {
                let Some(names) = self.targets(caller, message, CHANNEL_TARGETS) else {
                    return;
                };
                Some(names.iter().map(|name| Key::of(name)).collect())
            }
            _ => None,
        };
        let rows: Vec<_> = self
            .channels
            .iter()
            .filter(|(key, _)| wanted.as_ref().is_none_or(|wanted| wanted.contains(key)))
            .map(|(_, channel)| {
                let topic = channel.topic.as_ref().map(|topic| topic.text.clone());
                let size = channel.members.len().to_string();
                (channel.name.clone(), size, topic.unwrap_or_default())
            })
            .collect();
        self.reply(caller.id, RPL_LISTSTART, &[b"Channel", b"Users  Name"]);
        for (name, size, topic) in rows {
            self.reply(caller.id, RPL_LIST, &[&name, size.as_bytes(), &topic]);
        }
        self.reply(caller.id, RPL_LISTEND, &[b"End of /LIST"]);
    }

    pub(super) fn mode(&mut self, caller: &Caller, message: &Message) {
        let Some(target) = message.param(0) else {
            self.need_more_params(caller, message);
            return;
        };
        if target.starts_with(b"#") || target.starts_with(b"&") {
            self.channel_mode(caller, target, message.param(1));
        } else {
            self.user_mode(caller, target, message.param(1));
        }
    }

    fn channel_mode(&mut self, caller: &Caller, name: &Bytes, change: Option<&Bytes>) {
        let Some((key, name)) = self.existing(caller, name) else {
            return;
        };
        let id = caller.id;
        let Some(change) = change else {
            let Some(channel) = self.channels.get(&key) else {
                return;
            };
            let created = self.unix(channel.created).to_string();
            self.reply(id, RPL_CHANNELMODEIS, &[&name, b"+n"]);
            self.reply(id, RPL_CREATIONTIME, &[&name, created.as_bytes()]);
            return;
        };
        for mode in change.iter().filter(|mode| !b"+-".contains(mode)) {
            match mode {
                // Clients ask for the ban list when they join. It is always empty.
                b'b' => {
                    self.reply(id, RPL_ENDOFBANLIST, &[&name, b"End of channel ban list"]);
                }
                b'n' => {
                    let text = b"This server has no channel operators";
                    self.reply(id, ERR_CHANOPRIVSNEEDED, &[&name, text]);
                }
                other => {
                    // A byte that is no character of its own cannot be repeated.
                    let mode = if other.is_ascii_graphic() {
                        shown(&[*other]).to_vec()
                    } else {
                        b"*".to_vec()
                    };
                    self.reply(id, ERR_UNKNOWNMODE, &[&mode, b"is unknown mode char to me"]);
                }
            }
        }
    }

    /// A user has one mode, `a`, which says that it is away and is set by AWAY alone (RFC 2812 §3.1.5).
    fn user_mode(&mut self, caller: &Caller, nick: &Bytes, change: Option<&Bytes>) {
        let Some((id, _, user)) = self.find(nick) else {
            self.reply(
                caller.id,
                ERR_NOSUCHNICK,
                &[shown(nick), b"No such nick/channel"],
            );
            return;
        };
        if id != caller.id {
            let text = b"Cannot see or change modes of other users";
            self.reply(caller.id, ERR_USERSDONTMATCH, &[text]);
            return;
        }
        match change {
            None => {
                let modes: &[u8] = if user.away.is_some() { b"+a" } else { b"+" };
                self.reply(id, RPL_UMODEIS, &[modes]);
            }
            Some(change) if change.iter().any(|mode| !b"+-a".contains(mode)) => {
                self.reply(id, ERR_UMODEUNKNOWNFLAG, &[b"Unknown MODE flag"]);
            }
            Some(_) => {}
        }
    }

    fn tell_topic(&mut self, id: ClientId, key: &Key) {
        let Some(Channel {
            name,
            topic: Some(topic),
            ..
        }) = self.channels.get(key)
        else {
            return;
        };
        let (name, text, set_by) = (name.clone(), topic.text.clone(), topic.set_by.clone());
        let set = self.unix(topic.set).to_string();
        self.reply(id, RPL_TOPIC, &[&name, &text]);
        self.reply(id, RPL_TOPICWHOTIME, &[&name, &set_by, set.as_bytes()]);
    }

    fn tell_names(&mut self, id: ClientId, key: &Key) {
        let Some(channel) = self.channels.get(key) else {
            return;
        };
        let name = channel.name.clone();
        let members = channel.members.iter().filter_map(|&id| self.registered(id));
        for nicks in lines_of(members.map(|(_, user)| &user.nick)) {
            self.reply(id, RPL_NAMREPLY, &[b"=", &name, &nicks]);
        }
        self.reply(id, RPL_ENDOFNAMES, &[&name, b"End of /NAMES list"]);
    }

    /// A channel that is there, and its name; otherwise the client is told.
    fn existing(&mut self, caller: &Caller, name: &[u8]) -> Option<(Key, Bytes)> {
        let key = Key::of(name);
        if let Some(channel) = self.channels.get(&key) {
            return Some((key, channel.name.clone()));
        }
        self.reply(
            caller.id,
            ERR_NOSUCHCHANNEL,
            &[shown(name), b"No such channel"],
        );
        None
    }

    /// A channel that the client is in; otherwise it is told.
    fn joined(&mut self, caller: &Caller, name: &[u8]) -> Option<Key> {
        let (key, name) = self.existing(caller, name)?;
        let channel = self.channels.get(&key)?;
        if channel.members.contains(&caller.id) {
            return Some(key);
        }
        self.reply(
            caller.id,
            ERR_NOTONCHANNEL,
            &[&name, b"You're not on that channel"],
        );
        None
    }
}

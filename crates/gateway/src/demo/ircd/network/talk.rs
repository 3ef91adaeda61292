//! PRIVMSG, NOTICE and AWAY, and what the commands with a list of targets share.

use perigee_irc::numeric::*;

use super::*;

impl Network {
    /// A NOTICE is passed on like a PRIVMSG, but never answered (RFC 2812 §3.3.2).
    pub(super) fn talk(&mut self, caller: &Caller, message: &Message) {
        let id = caller.id;
        let answered = message.command == "PRIVMSG";
        let Some(targets) = message.param(0).filter(|targets| !targets.is_empty()) else {
            if answered {
                self.reply(id, ERR_NORECIPIENT, &[b"No recipient given (PRIVMSG)"]);
            }
            return;
        };
        let Some(text) = message.param(1).filter(|text| !text.is_empty()) else {
            if answered {
                self.reply(id, ERR_NOTEXTTOSEND, &[b"No text to send"]);
            }
            return;
        };
        let targets = split_list(targets);
        if targets.len() > TEXT_TARGETS {
            if answered {
                self.too_many_targets(caller, &targets);
            }
            return;
        }
        let now = self.now;
        if answered && let Some(user) = self.registered_mut(id) {
            user.spoke = now;
        }
        for target in targets {
            match self.audience(id, &target) {
                Audience::Channel { name, others } => {
                    self.relay(others, &caller.source, &message.command, Some(&name), text);
                }
                Audience::User { id: to, nick, away } => {
                    self.relay([to], &caller.source, &message.command, Some(&nick), text);
                    if answered && let Some(away) = away {
                        self.reply(id, RPL_AWAY, &[&nick, &away]);
                    }
                }
                Audience::NotAllowed if answered => {
                    let text = b"Cannot send to channel";
                    self.reply(id, ERR_CANNOTSENDTOCHAN, &[&target, text]);
                }
                Audience::Nobody if answered => {
                    self.reply(
                        id,
                        ERR_NOSUCHNICK,
                        &[shown(&target), b"No such nick/channel"],
                    );
                }
                Audience::NotAllowed | Audience::Nobody => {}
            }
        }
    }

    fn audience(&self, sender: ClientId, target: &[u8]) -> Audience {
        if let Some(channel) = self.channels.get(&Key::of(target)) {
            let mut others = channel.members.clone();
            if !others.remove(&sender) {
                return Audience::NotAllowed;
            }
            let name = channel.name.clone();
            return Audience::Channel { name, others };
        }
        match self.find(target) {
            Some((id, _, user)) => Audience::User {
                id,
                nick: user.nick.clone(),
                away: user.away.clone(),
            },
            None => Audience::Nobody,
        }
    }

    pub(super) fn away(&mut self, caller: &Caller, message: &Message) {
        let text = message.param(0).filter(|text| !text.is_empty());
        let away = text.map(|text| Bytes::copy_from_slice(cut(text, AWAY_BYTES)));
        let (numeric, answer): (_, &[u8]) = match away {
            Some(_) => (RPL_NOWAWAY, b"You have been marked as being away"),
            None => (RPL_UNAWAY, b"You are no longer marked as being away"),
        };
        if let Some(user) = self.registered_mut(caller.id) {
            user.away = away;
        }
        self.reply(caller.id, numeric, &[answer]);
    }

    /// The first parameter as a list of at most `max` targets; otherwise the client is told.
    pub(super) fn targets(
        &mut self,
        caller: &Caller,
        message: &Message,
        max: usize,
    ) -> Option<Vec<Bytes>> {
        let targets = message.param(0).map(split_list).unwrap_or_default();
        if targets.is_empty() {
            self.need_more_params(caller, message);
            return None;
        }
        if targets.len() > max {
            self.too_many_targets(caller, &targets);
            return None;
        }
        Some(targets)
    }

    pub(super) fn need_more_params(&mut self, caller: &Caller, message: &Message) {
        let command = message.command.as_bytes();
        self.reply(
            caller.id,
            ERR_NEEDMOREPARAMS,
            &[command, b"Not enough parameters"],
        );
    }

    fn too_many_targets(&mut self, caller: &Caller, targets: &[Bytes]) {
        let first = targets.first().map_or(&b"*"[..], |first| shown(first));
        self.reply(caller.id, ERR_TOOMANYTARGETS, &[first, b"Too many targets"]);
    }
}

/// Who gets a message.
enum Audience {
    /// The members of a channel but the sender.
    Channel {
        name: Bytes,
        others: BTreeSet<ClientId>,
    },
    User {
        id: ClientId,
        nick: Bytes,
        away: Option<Bytes>,
    },
    /// There is such a channel, but the sender is not in it.
    NotAllowed,
    Nobody,
}

fn split_list(list: &Bytes) -> Vec<Bytes> {
    list.split(|&byte| byte == b',')
        .filter(|part| !part.is_empty())
        .map(|part| list.slice_ref(part))
        .collect()
}

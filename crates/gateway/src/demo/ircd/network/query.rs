//! Questions about users and the server: WHO, WHOIS, USERHOST, ISON, LUSERS, VERSION.

use perigee_irc::numeric::*;

use super::*;

impl Network {
    /// Of a channel, of one nickname, or of everyone.
    pub(super) fn who(&mut self, caller: &Caller, message: &Message) {
        let mask = message.param(0).map_or(&b"*"[..], |mask| shown(mask));
        let found: Vec<ClientId> = if let Some(channel) = self.channels.get(&Key::of(mask)) {
            channel.members.iter().copied().collect()
        } else if mask == b"*" || mask == b"0" {
            self.clients.keys().copied().collect()
        } else {
            self.find(mask).map(|(id, ..)| id).into_iter().collect()
        };
        let channel = self
            .channels
            .get(&Key::of(mask))
            .map(|channel| channel.name.clone());
        let channel = channel.unwrap_or(Bytes::from_static(b"*"));
        let server = self.settings.server_name.clone();
        for id in found {
            let Some((client, user)) = self.registered(id) else {
                continue;
            };
            let row = (user.user.clone(), client.host.clone(), user.nick.clone());
            let flags: &[u8] = if user.away.is_some() { b"G" } else { b"H" };
            let hops_and_name = [b"0 ", &user.real_name[..]].concat();
            let (user, host, nick) = (&row.0, row.1.as_bytes(), &row.2);
            let params = [
                &channel,
                user,
                host,
                server.as_bytes(),
                nick,
                flags,
                &hops_and_name,
            ];
            self.reply(caller.id, RPL_WHOREPLY, &params);
        }
        self.reply(caller.id, RPL_ENDOFWHO, &[mask, b"End of WHO list"]);
    }

    pub(super) fn whois(&mut self, caller: &Caller, message: &Message) {
        // With two parameters the first is the server to ask, and there is only this one.
        let Some(nick) = message
            .param(1)
            .or(message.param(0))
            .filter(|nick| !nick.is_empty())
        else {
            self.reply(caller.id, ERR_NONICKNAMEGIVEN, &[b"No nickname given"]);
            return;
        };
        let id = caller.id;
        let end = b"End of /WHOIS list";
        let Some((_, client, user)) = self.find(nick) else {
            self.reply(id, ERR_NOSUCHNICK, &[shown(nick), b"No such nick/channel"]);
            self.reply(id, RPL_ENDOFWHOIS, &[shown(nick), end]);
            return;
        };
        let (nick, user_name, real_name) =
            (user.nick.clone(), user.user.clone(), user.real_name.clone());
        let (host, away) = (client.host.clone(), user.away.clone());
        let channels = user
            .channels
            .iter()
            .filter_map(|key| self.channels.get(key));
        let channels = lines_of(channels.map(|channel| &channel.name));
        let idle = self.now.duration_since(user.spoke).as_secs().to_string();
        let signed_on = self.unix(user.signed_on).to_string();
        let server = self.settings.server_name.clone();
        let network = self.settings.network_name.clone();

        self.reply(
            id,
            RPL_WHOISUSER,
            &[&nick, &user_name, host.as_bytes(), b"*", &real_name],
        );
        for names in channels {
            self.reply(id, RPL_WHOISCHANNELS, &[&nick, &names]);
        }
        self.reply(
            id,
            RPL_WHOISSERVER,
            &[&nick, server.as_bytes(), network.as_bytes()],
        );
        if let Some(away) = away {
            self.reply(id, RPL_AWAY, &[&nick, &away]);
        }
        let text = b"seconds idle, signon time";
        self.reply(
            id,
            RPL_WHOISIDLE,
            &[&nick, idle.as_bytes(), signed_on.as_bytes(), text],
        );
        self.reply(id, RPL_ENDOFWHOIS, &[&nick, end]);
    }

    pub(super) fn userhost(&mut self, caller: &Caller, message: &Message) {
        if message.params.is_empty() {
            self.need_more_params(caller, message);
            return;
        }
        let found = message.params.iter().take(USERHOST_NICKS);
        let found: Vec<_> = found
            .filter_map(|nick| self.find(nick))
            .map(|(_, client, user)| {
                let here: &[u8] = if user.away.is_some() { b"=-" } else { b"=+" };
                [&user.nick, here, &user.user, b"@", client.host.as_bytes()].concat()
            })
            .collect();
        self.reply(caller.id, RPL_USERHOST, &[&found.join(&b' ')]);
    }

    pub(super) fn ison(&mut self, caller: &Caller, message: &Message) {
        if message.params.is_empty() {
            self.need_more_params(caller, message);
            return;
        }
        // Some clients send the nicknames as one parameter.
        let nicks = message
            .params
            .iter()
            .flat_map(|param| param.split(|&byte| byte == b' '));
        let found: Vec<_> = nicks.filter_map(|nick| self.find(nick)).collect();
        let found = lines_of(found.iter().map(|(_, _, user)| &user.nick));
        let first = found.into_iter().next().unwrap_or_default();
        self.reply(caller.id, RPL_ISON, &[&first]);
    }

    pub(super) fn lusers(&mut self, id: ClientId) {
        let users = self
            .clients
            .keys()
            .filter(|&&id| self.registered(id).is_some())
            .count();
        let clients = self.clients.len();
        let channels = self.channels.len().to_string();
        let users = format!("There are {users} users and 0 invisible on 1 servers");
        let local = format!("I have {clients} clients and 0 servers");
        self.reply(id, RPL_LUSERCLIENT, &[users.as_bytes()]);
        self.reply(
            id,
            RPL_LUSERCHANNELS,
            &[channels.as_bytes(), b"channels formed"],
        );
        self.reply(id, RPL_LUSERME, &[local.as_bytes()]);
    }

    pub(super) fn version(&mut self, caller: &Caller) {
        let server = self.settings.server_name.clone();
        let text = b"A part of Perigee";
        self.reply(
            caller.id,
            RPL_VERSION,
            &[VERSION.as_bytes(), server.as_bytes(), text],
        );
    }
}

//! Numeric replies by name.
//!
//! Names are those of RFC 2812 and modern.ircdocs.horse/#numerics, odd spellings included.
//! Each is the text that stands in [`Message::command`](crate::Message::command).

macro_rules! numerics {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal;)+) => {
        $($(#[doc = $doc])+ pub const $name: &str = $code;)+

        #[cfg(test)]
        const ALL: &[&str] = &[$($code),+];
    };
}

numerics! {
    /// Registration is complete; the first parameter is the nickname the client has.
    RPL_WELCOME = "001";
    /// The server's name and version.
    RPL_YOURHOST = "002";
    /// Since when the server runs.
    RPL_CREATED = "003";
    /// Name, version, user modes and channel modes.
    RPL_MYINFO = "004";
    /// What the server supports, as `KEY=value` tokens.
    RPL_ISUPPORT = "005";
    /// The client's own modes.
    RPL_UMODEIS = "221";
    /// How many users there are.
    RPL_LUSERCLIENT = "251";
    /// How many channels there are.
    RPL_LUSERCHANNELS = "254";
    /// How many clients this server has.
    RPL_LUSERME = "255";
    /// The user is away, and why.
    RPL_AWAY = "301";
    /// Answer to `USERHOST`.
    RPL_USERHOST = "302";
    /// Answer to `ISON`.
    RPL_ISON = "303";
    /// No longer marked as away.
    RPL_UNAWAY = "305";
    /// Marked as away.
    RPL_NOWAWAY = "306";
    /// `WHOIS`: user, host and real name.
    RPL_WHOISUSER = "311";
    /// `WHOIS`: the server of the user.
    RPL_WHOISSERVER = "312";
    /// End of `WHO`.
    RPL_ENDOFWHO = "315";
    /// `WHOIS`: seconds idle and the time of sign-on.
    RPL_WHOISIDLE = "317";
    /// End of `WHOIS`.
    RPL_ENDOFWHOIS = "318";
    /// `WHOIS`: the channels of the user.
    RPL_WHOISCHANNELS = "319";
    /// Start of `LIST`.
    RPL_LISTSTART = "321";
    /// `LIST`: a channel, its size and topic.
    RPL_LIST = "322";
    /// End of `LIST`.
    RPL_LISTEND = "323";
    /// The modes of a channel.
    RPL_CHANNELMODEIS = "324";
    /// When a channel was created.
    RPL_CREATIONTIME = "329";
    /// The channel has no topic.
    RPL_NOTOPIC = "331";
    /// The topic of the channel.
    RPL_TOPIC = "332";
    /// Who set the topic, and when.
    RPL_TOPICWHOTIME = "333";
    /// Answer to `VERSION`.
    RPL_VERSION = "351";
    /// `WHO`: one user.
    RPL_WHOREPLY = "352";
    /// Members of a channel.
    RPL_NAMREPLY = "353";
    /// End of `NAMES`.
    RPL_ENDOFNAMES = "366";
    /// End of the ban list.
    RPL_ENDOFBANLIST = "368";
    /// One line of the message of the day.
    RPL_MOTD = "372";
    /// Start of the message of the day.
    RPL_MOTDSTART = "375";
    /// End of the message of the day.
    RPL_ENDOFMOTD = "376";
    /// Answer to `TIME`.
    RPL_TIME = "391";
    /// No such nickname or channel.
    ERR_NOSUCHNICK = "401";
    /// No such server.
    ERR_NOSUCHSERVER = "402";
    /// No such channel, or not a channel name.
    ERR_NOSUCHCHANNEL = "403";
    /// Cannot send to the channel.
    ERR_CANNOTSENDTOCHAN = "404";
    /// In too many channels already.
    ERR_TOOMANYCHANNELS = "405";
    /// Too many targets in one command.
    ERR_TOOMANYTARGETS = "407";
    /// `PING` without a token.
    ERR_NOORIGIN = "409";
    /// Unknown subcommand of `CAP`.
    ERR_INVALIDCAPCMD = "410";
    /// Nobody to send to.
    ERR_NORECIPIENT = "411";
    /// Nothing to send.
    ERR_NOTEXTTOSEND = "412";
    /// The line or its tags were too long.
    ERR_INPUTTOOLONG = "417";
    /// Unknown command.
    ERR_UNKNOWNCOMMAND = "421";
    /// There is no message of the day.
    ERR_NOMOTD = "422";
    /// No nickname given.
    ERR_NONICKNAMEGIVEN = "431";
    /// Not a nickname.
    ERR_ERRONEUSNICKNAME = "432";
    /// The nickname is in use.
    ERR_NICKNAMEINUSE = "433";
    /// The channel cannot be created for now.
    ERR_UNAVAILRESOURCE = "437";
    /// The user is not in the channel.
    ERR_USERNOTINCHANNEL = "441";
    /// The client is not in the channel.
    ERR_NOTONCHANNEL = "442";
    /// Only for registered clients.
    ERR_NOTREGISTERED = "451";
    /// Not enough parameters.
    ERR_NEEDMOREPARAMS = "461";
    /// Only before registration.
    ERR_ALREADYREGISTERED = "462";
    /// No such channel mode.
    ERR_UNKNOWNMODE = "472";
    /// Only for channel operators.
    ERR_CHANOPRIVSNEEDED = "482";
    /// No such user mode.
    ERR_UMODEUNKNOWNFLAG = "501";
    /// The modes of others are not to be seen or changed.
    ERR_USERSDONTMATCH = "502";
    /// Logged in to an account (IRCv3 `sasl-3.1`).
    RPL_LOGGEDIN = "900";
    /// Logged out of it.
    RPL_LOGGEDOUT = "901";
    /// The account is locked or held.
    ERR_NICKLOCKED = "902";
    /// SASL succeeded.
    RPL_SASLSUCCESS = "903";
    /// SASL failed: wrong account or password.
    ERR_SASLFAIL = "904";
    /// A line of `AUTHENTICATE` was too long.
    ERR_SASLTOOLONG = "905";
    /// SASL was given up by the client.
    ERR_SASLABORTED = "906";
    /// SASL was done already.
    ERR_SASLALREADY = "907";
    /// The mechanisms the server has.
    RPL_SASLMECHS = "908";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numerics_are_three_digits_and_stand_once() {
        assert!(!ALL.is_empty());
        for code in ALL {
            assert!(
                code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit()),
                "{code}"
            );
        }
        assert!(ALL.is_sorted_by(|one, next| one < next));
    }
}

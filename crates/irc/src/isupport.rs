//! What a server says about itself in `RPL_ISUPPORT` (modern.ircdocs.horse/#rplisupport-parameters).

use std::collections::BTreeMap;

use crate::{Casemapping, Message, numeric};

/// Everything a server supports, as far as it was told: the defaults of RFC 1459 until then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Isupport {
    tokens: BTreeMap<String, String>,
}

impl Isupport {
    /// Takes the tokens of one `RPL_ISUPPORT`; any other message changes nothing.
    ///
    /// Later tokens replace earlier ones and `-KEY` takes one back. What is no token is passed over,
    /// as the specification asks.
    pub fn handle(&mut self, message: &Message) {
        if message.command != numeric::RPL_ISUPPORT {
            return;
        }
        // The first parameter is the client's nickname, the last the words "are supported by this server".
        let tokens = message.params.get(1..message.params.len().max(2) - 1);
        for token in tokens.unwrap_or_default() {
            let Ok(token) = std::str::from_utf8(token) else {
                continue;
            };
            let (key, value) = token.split_once('=').unwrap_or((token, ""));
            match key.strip_prefix('-') {
                Some(key) => {
                    self.tokens.remove(key);
                }
                None if is_key(key) => {
                    self.tokens.insert(key.to_owned(), unescape(value));
                }
                None => {}
            }
        }
    }

    /// The value of a token, empty if it has none; `None` if the server did not send it.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.tokens.get(key).map(String::as_str)
    }

    /// `CASEMAPPING`: unknown ones compare like [`Casemapping::Ascii`], which folds least.
    pub fn casemapping(&self) -> Casemapping {
        match self.get("CASEMAPPING") {
            None | Some("rfc1459") => Casemapping::Rfc1459,
            Some(_) => Casemapping::Ascii,
        }
    }

    /// `CHANTYPES`: the characters that channel names begin with.
    pub fn channel_types(&self) -> &str {
        self.get("CHANTYPES").unwrap_or("#&")
    }

    /// Whether `name` is a channel's and not a user's.
    pub fn is_channel(&self, name: &[u8]) -> bool {
        name.first()
            .is_some_and(|first| self.channel_types().as_bytes().contains(first))
    }

    /// `PREFIX`: modes of members and the characters that stand for them in `NAMES`, the highest first.
    ///
    /// A value that is not two lists of one length counts as none.
    pub fn prefixes(&self) -> Vec<(char, char)> {
        let parse = |value: &str| {
            let (modes, prefixes) = value.strip_prefix('(')?.split_once(')')?;
            (modes.chars().count() == prefixes.chars().count())
                .then(|| modes.chars().zip(prefixes.chars()).collect())
        };
        parse(self.get("PREFIX").unwrap_or("(ov)@+")).unwrap_or_default()
    }

    /// A token that is a number, such as `NICKLEN`, `TOPICLEN` or `LINELEN`.
    pub fn number(&self, key: &str) -> Option<usize> {
        self.get(key)?.parse().ok()
    }
}

fn is_key(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'/')
}

/// `\xHH` is a byte that a token cannot have as it is. What is no UTF-8 afterwards is left as it came.
fn unescape(value: &str) -> String {
    let mut plain = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = rest.strip_prefix(b"\\x").and_then(|hex| {
            let hex = std::str::from_utf8(hex.get(..2)?).ok()?;
            let digits = hex.bytes().all(|digit| digit.is_ascii_hexdigit());
            digits.then(|| u8::from_str_radix(hex, 16).ok()).flatten()
        });
        match escaped {
            Some(byte) => {
                plain.push(byte);
                rest = &rest[4..];
            }
            None => {
                plain.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(plain).unwrap_or_else(|_| value.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn isupport(lines: &[&str]) -> Isupport {
        let mut isupport = Isupport::default();
        for line in lines {
            let line = format!(":irc.example 005 nick {line} :are supported by this server");
            isupport.handle(&Message::parse(line).expect("the cases are messages"));
        }
        isupport
    }

    #[test]
    fn tokens_come_and_go() {
        let isupport = isupport(&[
            "CHANTYPES=# NICKLEN=30 EXCEPTS NETWORK=Big\\x20Net CASEMAPPING=ascii",
            "NICKLEN=16 -EXCEPTS odd=1 PREFIX=(qaohv)~&@%+",
        ]);
        assert_eq!(isupport.number("NICKLEN"), Some(16), "the later one");
        assert_eq!(isupport.get("EXCEPTS"), None);
        assert_eq!(isupport.get("NETWORK"), Some("Big Net"));
        assert_eq!(isupport.get("odd"), None, "keys are upper case");
        assert_eq!(isupport.casemapping(), Casemapping::Ascii);
        assert_eq!(isupport.prefixes()[..2], [('q', '~'), ('a', '&')]);
        assert!(isupport.is_channel(b"#a") && !isupport.is_channel(b"&a"));
        assert!(!isupport.is_channel(b""));
    }

    #[test]
    fn a_server_that_says_nothing_is_an_old_one() {
        let isupport = Isupport::default();
        assert_eq!(isupport.casemapping(), Casemapping::Rfc1459);
        assert_eq!(isupport.prefixes(), [('o', '@'), ('v', '+')]);
        assert!(isupport.is_channel(b"&a"));
        assert_eq!(self::isupport(&["PREFIX=(ov)@"]).prefixes(), []);
        assert_eq!(self::isupport(&["PREFIX="]).prefixes(), []);
    }

    proptest! {
        #[test]
        fn any_tokens_are_survived(tokens in "\\PC{0,80}") {
            let line = format!("005 nick {tokens}");
            if let Ok(message) = Message::parse(line) {
                let mut isupport = Isupport::default();
                isupport.handle(&message);
                isupport.prefixes();
            }
        }
    }
}

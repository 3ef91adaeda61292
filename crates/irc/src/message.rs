//! One IRC message and how a line is read as one.
//!
//! A message is plain data: every field may be set freely, and [`encode`](crate::encode())
//! is the one place that says whether it can be a line.

use bytes::Bytes;

use crate::Error;
use crate::tag::{self, Tag};

/// One IRC message: `@tags :source COMMAND params… :last`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Tags in the order of the line. A key may be there twice; [`tag`](Self::tag) finds the last.
    pub tags: Vec<Tag>,
    /// Who the message is from, without its colon. Clients send none; see [`source`](Self::source).
    pub source: Option<Bytes>,
    /// The command in upper case (`PRIVMSG`) or three digits (`001`; see [`numeric`](crate::numeric)).
    pub command: String,
    /// The parameters. Only the last one may be empty, hold spaces or start with a colon.
    ///
    /// There can be more than the 15 of RFC 1459: only the length of the line limits them.
    pub params: Vec<Bytes>,
}

impl Message {
    /// A message without tags and source.
    pub fn new<P: Into<Bytes>>(
        command: impl Into<String>,
        params: impl IntoIterator<Item = P>,
    ) -> Self {
        Self {
            command: command.into(),
            params: params.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// The same message from `source`: a server's name or `nick!user@host`.
    pub fn with_source(self, source: impl Into<Bytes>) -> Self {
        Self {
            source: Some(source.into()),
            ..self
        }
    }

    /// The same message with one more tag.
    pub fn with_tag(mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.tags.push(Tag {
            key: key.into(),
            value: value.into(),
        });
        self
    }

    /// Reads one line, which must not include its line end.
    ///
    /// More than one space between two parts counts as one, and spaces at the end count as none:
    /// servers send both.
    ///
    /// # Errors
    ///
    /// [`Error::ForbiddenByte`] for NUL, CR or LF in the line, [`Error::InvalidSource`],
    /// [`Error::MissingCommand`] or [`Error::InvalidCommand`]. The length is not checked here.
    pub fn parse(line: impl Into<Bytes>) -> Result<Self, Error> {
        let line: Bytes = line.into();
        if line.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
            return Err(Error::ForbiddenByte);
        }
        let mut rest = &line[..];

        let mut tags = Vec::new();
        if let Some(tagged) = rest.strip_prefix(b"@") {
            let (word, after) = split_word(tagged);
            tags = tag::parse(&line.slice_ref(word));
            rest = after;
        }

        let mut source = None;
        if let Some(sourced) = rest.strip_prefix(b":") {
            let (word, after) = split_word(sourced);
            if word.is_empty() {
                return Err(Error::InvalidSource);
            }
            source = Some(line.slice_ref(word));
            rest = after;
        }

        let (command, mut rest) = split_word(rest);
        if command.is_empty() {
            return Err(Error::MissingCommand);
        }
        let command = std::str::from_utf8(command)
            .map_err(|_| Error::InvalidCommand)?
            .to_ascii_uppercase();
        if !is_command(&command) {
            return Err(Error::InvalidCommand);
        }

        let mut params = Vec::new();
        while !rest.is_empty() {
            if let Some(last) = rest.strip_prefix(b":") {
                params.push(line.slice_ref(last));
                break;
            }
            let (word, after) = split_word(rest);
            params.push(line.slice_ref(word));
            rest = after;
        }

        Ok(Self {
            tags,
            source,
            command,
            params,
        })
    }

    /// The parameter at `index`, counted from 0.
    pub fn param(&self, index: usize) -> Option<&Bytes> {
        self.params.get(index)
    }

    /// The value of a tag, empty if it has none; `None` if there is no such tag.
    ///
    /// Of two tags with one key the last counts (IRCv3 `message-tags`, "Rules for naming").
    pub fn tag(&self, key: impl AsRef<[u8]>) -> Option<&Bytes> {
        let key = key.as_ref();
        let tag = self.tags.iter().rev().find(|tag| tag.key == key)?;
        Some(&tag.value)
    }

    /// The parts of the source.
    pub fn source(&self) -> Option<Source<'_>> {
        self.source.as_deref().map(Source::parse)
    }
}

/// The parts of `name!user@host`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    /// A nickname, or a server's name; nothing in the line tells which.
    pub name: &'a [u8],
    /// The user name, if there is one.
    pub user: Option<&'a [u8]>,
    /// The host, if there is one.
    pub host: Option<&'a [u8]>,
}

impl<'a> Source<'a> {
    fn parse(source: &'a [u8]) -> Self {
        // The host is cut off first: it is the one part that cannot hold the separator of another.
        let (rest, host) = split_at_last(source, b'@');
        let (name, user) = match rest.iter().position(|&byte| byte == b'!') {
            Some(at) => (&rest[..at], Some(&rest[at + 1..])),
            None => (rest, None),
        };
        Self { name, user, host }
    }
}

/// Whether `word` is letters in upper case or three digits.
pub(crate) fn is_command(word: &str) -> bool {
    let bytes = word.as_bytes();
    if bytes.first().is_some_and(u8::is_ascii_digit) {
        return bytes.len() == 3 && bytes.iter().all(u8::is_ascii_digit);
    }
    !bytes.is_empty() && bytes.iter().all(u8::is_ascii_uppercase)
}

/// The bytes before the first space, and those from the next byte on that is not a space.
fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(|&byte| byte == b' ')
        .unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let spaces = rest.iter().take_while(|&&byte| byte == b' ').count();
    (word, &rest[spaces..])
}

fn split_at_last(text: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    match text.iter().rposition(|&byte| byte == separator) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_into_its_parts() {
        let plain =
            |command: &str, params: &[&'static str]| Message::new(command, params.iter().copied());
        let cases = [
            ("command only", "QUIT", plain("QUIT", &[])),
            ("lower case", "quit", plain("QUIT", &[])),
            (
                "numeric",
                ":s 001 me :Hi",
                plain("001", &["me", "Hi"]).with_source("s"),
            ),
            ("last without colon", "JOIN #a", plain("JOIN", &["#a"])),
            ("last with colon", "JOIN :#a", plain("JOIN", &["#a"])),
            (
                "spaces in the last",
                "PRIVMSG #a :b  c ",
                plain("PRIVMSG", &["#a", "b  c "]),
            ),
            ("empty last", "TOPIC #a :", plain("TOPIC", &["#a", ""])),
            (
                "last is colons",
                "PRIVMSG #a :::",
                plain("PRIVMSG", &["#a", "::"]),
            ),
            (
                "colon inside a middle",
                "MODE a:b c",
                plain("MODE", &["a:b", "c"]),
            ),
            (
                "many spaces",
                ":s  PING   a   b",
                plain("PING", &["a", "b"]).with_source("s"),
            ),
            ("spaces at the end", "PING a  ", plain("PING", &["a"])),
            ("tab is no separator", "PING a\tb", plain("PING", &["a\tb"])),
            (
                "text is UTF-8",
                "PRIVMSG #ä :grüß €",
                plain("PRIVMSG", &["#ä", "grüß €"]),
            ),
            (
                "tags",
                "@a=b;c PING x",
                plain("PING", &["x"]).with_tag("a", "b").with_tag("c", ""),
            ),
            ("no tags behind @", "@ PING x", plain("PING", &["x"])),
            (
                "all of it",
                "@time=12:00 :n!u@h PRIVMSG me :hi",
                plain("PRIVMSG", &["me", "hi"])
                    .with_source("n!u@h")
                    .with_tag("time", "12:00"),
            ),
        ];
        for (name, line, want) in cases {
            assert_eq!(Message::parse(line), Ok(want), "{name}");
        }
    }

    #[test]
    fn text_need_not_be_utf8() {
        let message = Message::parse(&b"PRIVMSG #a :\xe4\xff"[..]).unwrap();
        assert_eq!(message.params[1], &b"\xe4\xff"[..]);
    }

    #[test]
    fn parameters_are_not_limited_to_fifteen() {
        let line = format!("X{}", " a".repeat(40));
        assert_eq!(Message::parse(line).unwrap().params.len(), 40);
    }

    #[test]
    fn a_line_that_is_no_message_is_refused() {
        let cases: &[(&str, &[u8], Error)] = &[
            ("empty", b"", Error::MissingCommand),
            ("space", b" ", Error::MissingCommand),
            ("leading space", b" PING", Error::MissingCommand),
            ("source only", b":a", Error::MissingCommand),
            ("tags only", b"@a=b", Error::MissingCommand),
            ("empty source", b": PING", Error::InvalidSource),
            ("two digits", b"01 a", Error::InvalidCommand),
            ("four digits", b"0001 a", Error::InvalidCommand),
            ("digits and letters", b"1AB", Error::InvalidCommand),
            ("letters and digits", b"AB1", Error::InvalidCommand),
            ("punctuation", b"GET/ HTTP", Error::InvalidCommand),
            ("command not UTF-8", b"\xff", Error::InvalidCommand),
            ("NUL", b"PING a\0b", Error::ForbiddenByte),
            (
                "CR, which some servers take for a line end",
                b"PING a\rQUIT",
                Error::ForbiddenByte,
            ),
            ("LF", b"PING a\nQUIT", Error::ForbiddenByte),
        ];
        for (name, line, want) in cases {
            assert_eq!(Message::parse(*line), Err(*want), "{name}");
        }
    }

    #[test]
    fn a_source_has_up_to_three_parts() {
        type Parts = (&'static str, Option<&'static str>, Option<&'static str>);
        let cases: &[(&str, Parts)] = &[
            ("irc.example", ("irc.example", None, None)),
            ("n!u@h", ("n", Some("u"), Some("h"))),
            ("n@h", ("n", None, Some("h"))),
            ("n!u", ("n", Some("u"), None)),
            ("n!u@x@h", ("n", Some("u@x"), Some("h"))),
            ("n!u!v@h", ("n", Some("u!v"), Some("h"))),
        ];
        for (source, (name, user, host)) in cases {
            let message = Message::new("PING", ["x"]).with_source(*source);
            let want = Source {
                name: name.as_bytes(),
                user: user.map(str::as_bytes),
                host: host.map(str::as_bytes),
            };
            assert_eq!(message.source(), Some(want), "{source}");
        }
    }

    #[test]
    fn the_last_of_two_equal_tags_counts() {
        let message = Message::parse("@a=1;a=2;b PING x").unwrap();
        assert_eq!(message.tag("a").map(|value| &value[..]), Some(&b"2"[..]));
        assert_eq!(message.tag("b").map(|value| &value[..]), Some(&b""[..]));
        assert_eq!(message.tag("c"), None);
    }
}

//! CTCP: commands inside of `PRIVMSG` and `NOTICE` (draft-oakley-irc-ctcp-02).

use bytes::Bytes;

use crate::Message;

const DELIMITER: u8 = 0x01;

/// A CTCP request (in a `PRIVMSG`) or reply (in a `NOTICE`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ctcp {
    /// The command in upper case, such as `ACTION` or `VERSION`.
    pub command: String,
    /// Everything behind the command and its space; may be empty.
    pub params: Bytes,
}

impl Ctcp {
    /// The CTCP in a message's text; `None` if it is plain text.
    ///
    /// The delimiter at the end may be missing, because long texts lose it on the way (§2.1).
    pub fn of(message: &Message) -> Option<Self> {
        let of_text = matches!(message.command.as_str(), "PRIVMSG" | "NOTICE");
        let text = message.param(1).filter(|_| of_text)?;
        let inner = text.strip_prefix(&[DELIMITER])?;
        let inner = inner.strip_suffix(&[DELIMITER]).unwrap_or(inner);
        let end = inner.iter().position(|&byte| byte == b' ');
        let (command, params) = inner.split_at(end.unwrap_or(inner.len()));
        let params = params.strip_prefix(b" ").unwrap_or(params);
        let command = std::str::from_utf8(command).ok()?;
        (is_command(command) && !params.contains(&DELIMITER)).then(|| Self {
            command: command.to_ascii_uppercase(),
            params: text.slice_ref(params),
        })
    }

    /// The text that carries it; `None` if the command is no word or the parameters have the
    /// delimiter, which nothing can escape. NUL, CR and LF are refused by [`encode`](crate::encode()).
    pub fn to_text(&self) -> Option<Bytes> {
        if !is_command(&self.command) || self.params.contains(&DELIMITER) {
            return None;
        }
        let mut text = vec![DELIMITER];
        text.extend_from_slice(self.command.as_bytes());
        if !self.params.is_empty() {
            text.push(b' ');
            text.extend_from_slice(&self.params);
        }
        text.push(DELIMITER);
        Some(Bytes::from(text))
    }
}

fn is_command(command: &str) -> bool {
    !command.is_empty() && command.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ctcp(text: &[u8]) -> Option<(String, Vec<u8>)> {
        let message = Message::new("PRIVMSG", [Bytes::from("#a"), Bytes::copy_from_slice(text)]);
        Ctcp::of(&message).map(|ctcp| (ctcp.command, ctcp.params.to_vec()))
    }

    #[test]
    fn a_command_between_delimiters() {
        let some = |command: &str, params: &[u8]| Some((command.to_owned(), params.to_vec()));
        let cases: &[(&[u8], _)] = &[
            (b"\x01ACTION waves\x01", some("ACTION", b"waves")),
            (b"\x01action waves", some("ACTION", b"waves")),
            (b"\x01VERSION\x01", some("VERSION", b"")),
            (b"\x01PING 1 2\x01", some("PING", b"1 2")),
            (b"\x01ACTION \xff\x01", some("ACTION", b"\xff")),
            (b"waves", None),
            (b"", None),
            (b"\x01", None),
            (b"\x01\x01", None),
            (b"\x01A\x01B\x01", None),
            (b"\x01A b\x01c\x01", None),
        ];
        for (text, want) in cases {
            assert_eq!(&ctcp(text), want, "{}", text.escape_ascii());
        }
        let topic = Message::new("TOPIC", ["#a", "\u{1}ACTION\u{1}"]);
        assert_eq!(Ctcp::of(&topic), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(command in "[A-Z]{1,8}", params in "[^\u{1}]{0,40}") {
            let written = Ctcp { command, params: Bytes::from(params) };
            let text = written.to_text().expect("nothing in it is forbidden");
            let message = Message::new("NOTICE", [Bytes::from("nick"), text]);
            prop_assert_eq!(Ctcp::of(&message), Some(written));
        }
    }

    #[test]
    fn nothing_ends_it_early() {
        let ctcp = |command: &str, params: &'static str| Ctcp {
            command: command.into(),
            params: params.into(),
        };
        assert_eq!(ctcp("ACTION", "a\u{1}b").to_text(), None);
        assert_eq!(ctcp("A B", "").to_text(), None);
        assert_eq!(ctcp("", "").to_text(), None);
    }
}

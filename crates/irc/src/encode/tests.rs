use proptest::prelude::*;

use super::*;
use crate::Decoder;

const LIMITS: Limits = Limits::FROM_SERVER;

fn message(command: &str, params: &[&'static str]) -> Message {
    Message::new(command, params.iter().copied())
}

#[test]
fn a_message_is_written_as_one_line() {
    let cases = [
        ("no parameters", message("LUSERS", &[]), "LUSERS\r\n"),
        ("one word", message("JOIN", &["#a"]), "JOIN #a\r\n"),
        (
            "last with spaces",
            message("MODE", &["#a", "b c"]),
            "MODE #a :b c\r\n",
        ),
        ("last empty", message("LIST", &[""]), "LIST :\r\n"),
        (
            "last with colon in front",
            message("JOIN", &[":a"]),
            "JOIN ::a\r\n",
        ),
        (
            "last with colon inside",
            message("JOIN", &["a:b"]),
            "JOIN a:b\r\n",
        ),
        (
            "text always has its colon",
            message("PRIVMSG", &["#a", "b"]),
            "PRIVMSG #a :b\r\n",
        ),
        (
            "a channel has none",
            message("PART", &["#a"]),
            "PART #a\r\n",
        ),
        ("a token too", message("PING", &["a"]), "PING :a\r\n"),
        (
            "and what a numeric says",
            message("353", &["n", "=", "#a", "b"]),
            "353 n = #a :b\r\n",
        ),
        (
            "source",
            message("JOIN", &["#a"]).with_source("n!u@h"),
            ":n!u@h JOIN #a\r\n",
        ),
        (
            "tags",
            message("PING", &["x"])
                .with_tag("a", "b; \\\r\n")
                .with_tag("+c/d", ""),
            "@a=b\\:\\s\\\\\\r\\n;+c/d PING :x\r\n",
        ),
    ];
    for (name, message, want) in cases {
        assert_eq!(
            encode(&message, &LIMITS).as_deref(),
            Ok(want.as_bytes()),
            "{name}"
        );
    }
}

#[test]
fn what_would_be_read_as_something_else_is_refused() {
    let privmsg = |text| message("PRIVMSG", &["#a", text]);
    let cases = [
        ("LF in text", privmsg("a\nQUIT"), Error::ForbiddenByte),
        ("CR in text", privmsg("a\rQUIT"), Error::ForbiddenByte),
        ("CR LF in text", privmsg("a\r\nQUIT"), Error::ForbiddenByte),
        ("NUL in text", privmsg("a\0"), Error::ForbiddenByte),
        (
            "LF in a middle",
            message("PRIVMSG", &["a\nQUIT", "b"]),
            Error::ForbiddenByte,
        ),
        (
            "space in a middle",
            message("PRIVMSG", &["a b", "c"]),
            Error::InvalidMiddle,
        ),
        (
            "empty middle",
            message("PRIVMSG", &["", "c"]),
            Error::InvalidMiddle,
        ),
        (
            "colon before a middle",
            message("PRIVMSG", &[":a", "c"]),
            Error::InvalidMiddle,
        ),
        ("no command", message("", &[]), Error::MissingCommand),
        (
            "line end in a command",
            message("A\r\nB", &[]),
            Error::InvalidCommand,
        ),
        (
            "space in a command",
            message("A B", &[]),
            Error::InvalidCommand,
        ),
        (
            "source in a command",
            message(":A", &[]),
            Error::InvalidCommand,
        ),
        (
            "tag in a command",
            message("@A", &[]),
            Error::InvalidCommand,
        ),
        (
            "lower case command",
            message("quit", &[]),
            Error::InvalidCommand,
        ),
        ("four digits", message("0001", &[]), Error::InvalidCommand),
        (
            "empty source",
            privmsg("a").with_source(""),
            Error::InvalidSource,
        ),
        (
            "space in a source",
            privmsg("a").with_source("n QUIT"),
            Error::InvalidSource,
        ),
        (
            "LF in a source",
            privmsg("a").with_source("n\nQUIT"),
            Error::ForbiddenByte,
        ),
        (
            "empty tag key",
            privmsg("a").with_tag("", "b"),
            Error::InvalidTagKey,
        ),
        (
            "space in a tag key",
            privmsg("a").with_tag("a b", ""),
            Error::InvalidTagKey,
        ),
        (
            "semicolon in a tag key",
            privmsg("a").with_tag("a;b", ""),
            Error::InvalidTagKey,
        ),
        (
            "equals sign in a tag key",
            privmsg("a").with_tag("a=b", ""),
            Error::InvalidTagKey,
        ),
        (
            "LF in a tag key",
            privmsg("a").with_tag("a\n", ""),
            Error::ForbiddenByte,
        ),
        (
            "NUL in a tag value",
            privmsg("a").with_tag("a", "\0"),
            Error::ForbiddenByte,
        ),
    ];
    for (name, message, want) in cases {
        assert_eq!(encode(&message, &LIMITS), Err(want), "{name}");
    }
}

#[test]
fn a_line_is_never_longer_than_its_limits() {
    // "PING :" and CR LF are 8 bytes, "@a=" and the space are 4.
    let fits = Message::new("PING", ["x".repeat(504)]).with_tag("a", "y".repeat(8187));
    assert_eq!(
        encode(&fits, &LIMITS).map(|line| line.len()),
        Ok(8191 + 512)
    );

    let line = Message::new("PING", ["x".repeat(505)]);
    assert_eq!(
        encode(&line, &LIMITS),
        Err(Error::LineTooLong { limit: 512 })
    );

    let tags = Message::new("PING", ["x"]).with_tag("a", "y".repeat(8188));
    assert_eq!(
        encode(&tags, &LIMITS),
        Err(Error::TagsTooLong { limit: 8191 })
    );

    let escaped = Message::new("PING", ["x"]).with_tag("a", " ".repeat(4094));
    assert_eq!(
        encode(&escaped, &LIMITS),
        Err(Error::TagsTooLong { limit: 8191 })
    );
}

fn bytes(from: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Bytes> {
    from.prop_map(Bytes::from)
}

/// A few bytes, often ones that mean something in a line.
fn hostile() -> impl Strategy<Value = Bytes> {
    let byte = prop_oneof![
        1 => prop::sample::select(b"@:;= \\\r\n\0".to_vec()),
        2 => prop::sample::select(b"AZ09az#!".to_vec()),
        1 => any::<u8>(),
    ];
    bytes(prop::collection::vec(byte, 0..6))
}

fn hostile_message() -> impl Strategy<Value = Message> {
    let tags = prop::collection::vec((hostile(), hostile()), 0..3);
    let command = prop_oneof![3 => "[A-Z]{1,5}", 1 => "[0-9]{3}", 1 => "(?s).{0,3}"];
    let params = prop::collection::vec(hostile(), 0..4);
    let parts = (tags, prop::option::of(hostile()), command, params);
    parts.prop_map(|(tags, source, command, params)| Message {
        tags: tags
            .into_iter()
            .map(|(key, value)| crate::Tag { key, value })
            .collect(),
        source,
        command,
        params,
    })
}

/// A message that is a line by construction, of any bytes that the grammar allows.
fn valid_message() -> impl Strategy<Value = Message> {
    let any_of = |forbidden: &'static [u8], length| {
        let byte = any::<u8>().prop_filter("not in the grammar", |byte| !forbidden.contains(byte));
        bytes(prop::collection::vec(byte, length))
    };
    let tag = (any_of(b"\0\r\n =;", 1..6), any_of(b"\0", 0..6));
    let tags = prop::collection::vec(tag, 0..4);
    let source = prop::option::of(any_of(b"\0\r\n ", 1..12));
    let command = prop_oneof!["[A-Z]{1,9}", "[0-9]{3}"];
    let middles = prop::collection::vec(any_of(b"\0\r\n :", 1..8), 0..20);
    let last = prop::option::of(any_of(b"\0\r\n", 0..60));
    let parts = (tags, source, command, middles, last);
    parts.prop_map(|(tags, source, command, middles, last)| Message {
        tags: tags
            .into_iter()
            .map(|(key, value)| crate::Tag { key, value })
            .collect(),
        source,
        command,
        params: middles.into_iter().chain(last).collect(),
    })
}

fn decode(line: &[u8]) -> Result<Option<Message>, Error> {
    Decoder::new(LIMITS).decode(&mut &*line)
}

proptest! {
    #[test]
    fn decoding_gives_what_was_encoded(message in valid_message()) {
        let line = encode(&message, &LIMITS);
        prop_assert!(line.is_ok(), "{line:?}");
        prop_assert_eq!(decode(&line.unwrap()), Ok(Some(message)));
    }

    #[test]
    fn no_message_becomes_anything_but_one_line(message in hostile_message()) {
        if let Ok(line) = encode(&message, &LIMITS) {
            let content = line.strip_suffix(b"\r\n");
            prop_assert!(content.is_some());
            prop_assert!(!content.unwrap().iter().any(|byte| b"\0\r\n".contains(byte)));
            prop_assert_eq!(decode(&line), Ok(Some(message)));
        }
    }
}

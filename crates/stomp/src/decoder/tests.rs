use proptest::prelude::*;

use super::*;
use crate::{Command, encode};

type Decoded = Vec<Result<Message, Error>>;

/// Small limits, so that a case fits on its line.
const SMALL: Limits = Limits {
    head_bytes: 24,
    headers: 2,
    body_bytes: 8,
};

fn decode_chunks<'a>(
    limits: Limits,
    version: Version,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> Decoded {
    let mut decoder = Decoder::new(limits);
    decoder.set_version(version);
    let mut decoded = Vec::new();
    for mut input in chunks {
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(message)) => decoded.push(Ok(message)),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.decode(&mut &b"\n"[..]), Err(error), "final");
                    decoded.push(Err(error));
                    return decoded;
                }
            }
        }
        assert!(input.is_empty(), "all of the input is taken");
        let kept = decoder.buffered();
        assert!(
            kept <= limits.head_bytes.max(limits.body_bytes),
            "keeps {kept} bytes"
        );
    }
    decoded
}

/// The input whole, byte by byte and cut in two anywhere gives the same.
fn decode(limits: Limits, version: Version, input: &[u8]) -> Decoded {
    let whole = decode_chunks(limits, version, [input]);
    assert_eq!(
        decode_chunks(limits, version, input.chunks(1)),
        whole,
        "byte by byte"
    );
    for at in 0..=input.len() {
        let (start, end) = input.split_at(at);
        assert_eq!(
            decode_chunks(limits, version, [start, end]),
            whole,
            "cut at {at}"
        );
    }
    whole
}

fn send(headers: &[(&str, &str)], body: &'static str) -> Result<Message, Error> {
    let frame = headers
        .iter()
        .fold(Frame::new(Command::Send), |frame, (name, value)| {
            frame.with(*name, *value)
        });
    Ok(Message::Frame(frame.with_body(body)))
}

#[test]
fn frames_are_found_in_the_stream() {
    let beat = || Ok(Message::HeartBeat);
    let cases: &[(&str, &[u8], Decoded)] = &[
        ("nothing", b"", vec![]),
        ("heart-beats", b"\n\r\n\n", vec![beat(), beat(), beat()]),
        ("no headers", b"SEND\n\nhi\0", vec![send(&[], "hi")]),
        (
            "a line end behind the NUL",
            b"SEND\n\n\0\nSEND\n\n\0",
            vec![send(&[], ""), beat(), send(&[], "")],
        ),
        (
            "CR LF",
            b"SEND\r\na:b\r\n\r\nhi\0",
            vec![send(&[("a", "b")], "hi")],
        ),
        (
            "a body of line ends",
            b"SEND\n\n\n\r\n\0",
            vec![send(&[], "\n\r\n")],
        ),
        (
            "content-length",
            b"SEND\ncontent-length:3\n\na\0b\0",
            vec![send(&[("content-length", "3")], "a\0b")],
        ),
        (
            "content-length 0",
            b"SEND\ncontent-length:0\n\n\0",
            vec![send(&[("content-length", "0")], "")],
        ),
        (
            "an empty value and a colon in a value",
            b"SEND\na:\nb:c:d\n\n\0",
            vec![send(&[("a", ""), ("b", "c:d")], "")],
        ),
        (
            "escapes",
            b"SEND\na\\cb:\\n\\r\\\\\n\n\0",
            vec![send(&[("a:b", "\n\r\\")], "")],
        ),
        (
            "spaces are part of a value",
            b"SEND\na: b \n\n\0",
            vec![send(&[("a", " b ")], "")],
        ),
        ("unfinished head", b"SEND\na:b", vec![]),
        ("unfinished body", b"SEND\n\nhalf", vec![]),
    ];
    for (name, input, want) in cases {
        assert_eq!(
            &decode(Limits::default(), Version::V1_2, input),
            want,
            "{name}"
        );
    }
}

#[test]
fn what_is_no_frame_is_refused() {
    let cases: &[(&[u8], Error)] = &[
        (b"\rX", Error::StrayCarriageReturn),
        (b"GET / HTTP/1.1\n\n", Error::UnknownCommand),
        (b"send\n\n\0", Error::UnknownCommand),
        (b"SE\0ND\n\n\0", Error::NulInHead),
        (b"SEND\na:b\0", Error::NulInHead),
        (b"SEND\na\n\n\0", Error::InvalidHeader),
        (b"SEND\n:a\n\n\0", Error::InvalidHeader),
        (b"SEND\na:b\rc\n\n\0", Error::StrayCarriageReturn),
        (b"SEND\na:b\\t\n\n\0", Error::InvalidEscape),
        (b"SEND\na:\xff\n\n\0", Error::NotUtf8),
        (
            b"SEND\ncontent-length:-1\n\n\0",
            Error::InvalidContentLength,
        ),
        (
            b"SEND\ncontent-length:+1\n\na\0",
            Error::InvalidContentLength,
        ),
        (b"SEND\ncontent-length:\n\n\0", Error::InvalidContentLength),
        (
            b"SEND\ncontent-length:99999999999999999999\n\n\0",
            Error::InvalidContentLength,
        ),
        (
            b"SEND\ncontent-length:1\n\nab\0",
            Error::ContentLengthMismatch,
        ),
    ];
    for (input, want) in cases {
        assert_eq!(
            decode(Limits::default(), Version::V1_2, input),
            [Err(*want)],
            "{}",
            input.escape_ascii()
        );
    }
}

#[test]
fn nothing_grows_past_its_limit() {
    let too_long = |limit| [Err(Error::HeadTooLong { limit })];
    let long = [b'A'; 100];
    assert_eq!(decode(SMALL, Version::V1_2, &long), too_long(24));
    // 24 bytes with the empty line.
    assert_eq!(
        decode(SMALL, Version::V1_2, b"SEND\na:234567890123456\n\n\0").len(),
        1
    );
    assert_eq!(
        decode(SMALL, Version::V1_2, b"SEND\na:2345678901234567\n\n\0"),
        too_long(24)
    );
    assert_eq!(
        decode(SMALL, Version::V1_2, b"SEND\na:1\nb:2\nc:3\n\n\0"),
        [Err(Error::TooManyHeaders { limit: 2 })]
    );
    assert!(decode(SMALL, Version::V1_2, b"SEND\n\n12345678\0")[0].is_ok());
    let body = [Err(Error::BodyTooLong { limit: 8 })];
    assert_eq!(decode(SMALL, Version::V1_2, b"SEND\n\n123456789"), body);
    let promised = b"SEND\ncontent-length:9\n\n";
    let roomy = Limits {
        head_bytes: 64,
        ..SMALL
    };
    assert_eq!(
        decode(roomy, Version::V1_2, promised),
        body,
        "before it comes"
    );
}

#[test]
fn each_version_reads_headers_its_own_way() {
    let wire = b"SEND\na: \\n\n\n\0";
    let value = |version| match &decode(Limits::default(), version, wire)[..] {
        [Ok(Message::Frame(frame))] => frame.header("a").map(str::to_owned),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        value(Version::V1_0).as_deref(),
        Some("\\n"),
        "trimmed, no escapes"
    );
    assert_eq!(value(Version::V1_1).as_deref(), Some(" \n"));
    // A passcode is what it is, before and after a version is agreed on.
    for version in Version::ALL {
        let decoded = decode(
            Limits::default(),
            version,
            b"CONNECT\npasscode: a\\nb:\n\n\0",
        );
        let [Ok(Message::Frame(frame))] = &decoded[..] else {
            panic!("{decoded:?}")
        };
        assert_eq!(frame.header("passcode"), Some(" a\\nb:"));
    }
}

fn any_version() -> impl Strategy<Value = Version> {
    proptest::sample::select(Version::ALL.to_vec())
}

fn any_message() -> impl Strategy<Value = Message> {
    let header = ("[a-z:\\\\\n\r ä-]{1,8}", "[a-z:\\\\\n\r äö€]{0,12}");
    let body = proptest::collection::vec(any::<u8>(), 0..40);
    let command = proptest::sample::select(Command::ALL.to_vec());
    let frame = (command, proptest::collection::vec(header, 0..5), body).prop_map(
        |(command, headers, body)| {
            let frame = headers
                .into_iter()
                .fold(Frame::new(command), |frame, (name, value)| {
                    frame.with(name, value)
                });
            match command.has_body() {
                true => frame.with_body(body),
                false => frame,
            }
        },
    );
    prop_oneof![9 => frame.prop_map(Message::Frame), 1 => Just(Message::HeartBeat)]
}

proptest! {
    #[test]
    fn what_is_encoded_comes_back(
        messages in proptest::collection::vec(any_message(), 1..5),
        version in any_version(),
    ) {
        let mut wire = Vec::new();
        let mut want = Vec::new();
        for message in messages {
            // What a version cannot carry is refused, and leaves nothing behind.
            let Ok(bytes) = encode(&message, version) else { continue };
            wire.extend_from_slice(&bytes);
            want.push(message);
        }
        let mut got = Vec::new();
        for decoded in decode(Limits::default(), version, &wire) {
            let mut message = decoded.expect("it was encoded");
            if let Message::Frame(frame) = &mut message && frame.body.contains(&0) {
                frame.remove("content-length");
            }
            got.push(message);
        }
        prop_assert_eq!(got, want);
    }

    #[test]
    fn any_bytes_end_in_messages_or_one_error(
        input in proptest::collection::vec(
            proptest::sample::select(b"SEND\n\n\r\0:\\ncotet-lgh012 \xff".to_vec()), 0..80,
        ),
        version in any_version(),
    ) {
        let decoded = decode(SMALL, version, &input);
        let errors = decoded.iter().filter(|message| message.is_err()).count();
        prop_assert!(errors <= 1);
    }
}

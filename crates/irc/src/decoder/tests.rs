use proptest::prelude::*;

use super::*;

type Decoded = Vec<Result<Message, Error>>;

/// Small limits, so that a case fits on its line: 8 bytes of tags, 8 of content.
const SMALL: Limits = Limits {
    tags_bytes: 8,
    line_bytes: 10,
};

fn decode_chunks<'a>(limits: Limits, chunks: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let mut decoder = Decoder::new(limits);
    let mut decoded = Vec::new();
    for mut input in chunks {
        while let Some(message) = decoder.decode(&mut input).transpose() {
            decoded.push(message);
        }
        assert!(input.is_empty(), "all of the input is taken");
        let kept = match &decoder.state {
            State::Line(line) => line.bytes.len(),
            State::Skipping => 0,
        };
        assert!(
            kept < limits.tags_bytes + limits.line_bytes,
            "keeps {kept} bytes"
        );
    }
    decoded
}

/// The input whole, byte by byte and cut in two anywhere gives the same.
fn decode(limits: Limits, input: &[u8]) -> Decoded {
    let whole = decode_chunks(limits, [input]);
    assert_eq!(
        decode_chunks(limits, input.chunks(1)),
        whole,
        "byte by byte"
    );
    for at in 0..=input.len() {
        let (start, end) = input.split_at(at);
        assert_eq!(decode_chunks(limits, [start, end]), whole, "cut at {at}");
    }
    whole
}

fn message(line: &'static str) -> Result<Message, Error> {
    Message::parse(line)
}

#[test]
fn lines_are_found_in_the_stream() {
    let cases: &[(&str, &[u8], Decoded)] = &[
        ("nothing", b"", vec![]),
        ("CR LF", b"PING a\r\n", vec![message("PING a")]),
        ("LF", b"PING a\n", vec![message("PING a")]),
        (
            "two",
            b"PING a\r\nPING b\n",
            vec![message("PING a"), message("PING b")],
        ),
        ("unfinished", b"PING a\r\nPING b", vec![message("PING a")]),
        ("CR is not yet the end", b"PING a\r", vec![]),
        (
            "empty lines",
            b"\r\n\n\r\nPING a\r\n\r\n",
            vec![message("PING a")],
        ),
        (
            "UTF-8",
            "PING ä€😀\r\n".as_bytes(),
            vec![message("PING ä€😀")],
        ),
        ("two CRs", b"PING a\r\r\n", vec![Err(Error::ForbiddenByte)]),
        (
            "CR in the line",
            b"PING a\rQUIT\r\n",
            vec![Err(Error::ForbiddenByte)],
        ),
        ("NUL", b"PING \0\r\n", vec![Err(Error::ForbiddenByte)]),
        (
            "goes on behind an error",
            b"\0\r\nPING a\r\n",
            vec![Err(Error::ForbiddenByte), message("PING a")],
        ),
    ];
    for (name, input, want) in cases {
        assert_eq!(decode(Limits::FROM_CLIENT, input), *want, "{name}");
    }
}

#[test]
fn a_line_has_its_limits() {
    let line_too_long = || Err(Error::LineTooLong { limit: 10 });
    let tags_too_long = || Err(Error::TagsTooLong { limit: 8 });
    let cases: &[(&str, &[u8], Decoded)] = &[
        ("longest", b"PING 678\r\n", vec![message("PING 678")]),
        (
            "longest with LF alone",
            b"PING 678\n",
            vec![message("PING 678")],
        ),
        ("one more", b"PING 6789\r\n", vec![line_too_long()]),
        (
            "one more with LF alone",
            b"PING 6789\n",
            vec![line_too_long()],
        ),
        ("one more, a CR", b"PING 678\r\r\n", vec![line_too_long()]),
        (
            "no line end ever",
            b"PING 6789 and so on and so on",
            vec![line_too_long()],
        ),
        (
            "longest tags",
            b"@a=3456 PING 678\r\n",
            vec![message("@a=3456 PING 678")],
        ),
        (
            "longest tags, line too long",
            b"@a=3456 PING 6789\r\n",
            vec![line_too_long()],
        ),
        (
            "tags too long",
            b"@a=34567 PING 6\r\n",
            vec![tags_too_long()],
        ),
        (
            "tags too long, no end ever",
            b"@a=345678901234567890",
            vec![tags_too_long()],
        ),
        (
            "tags and line too long",
            b"@a=34567 PING 6789\r\n",
            vec![tags_too_long()],
        ),
        (
            "short tags give no room to the line",
            b"@a PING 6789\r\n",
            vec![line_too_long()],
        ),
        (
            "goes on behind a long line",
            b"PING 6789 and so on\r\nPING a\r\n",
            vec![line_too_long(), message("PING a")],
        ),
        (
            "two long lines are two errors",
            b"PING 6789\r\nPING 6789\nPING a\n",
            vec![line_too_long(), line_too_long(), message("PING a")],
        ),
    ];
    for (name, input, want) in cases {
        assert_eq!(decode(SMALL, input), *want, "{name}");
    }
}

#[test]
fn the_limits_are_those_of_the_specifications() {
    let line = |tags: usize, content: usize| {
        let tags = format!("@{} ", "t".repeat(tags - 2));
        let content = format!("PING {}\r\n", "c".repeat(content - 7));
        (tags + &content).into_bytes()
    };
    for (limits, tags) in [(Limits::FROM_CLIENT, 4096), (Limits::FROM_SERVER, 8191)] {
        assert!(decode_chunks(limits, [&line(tags, 512)[..]])[0].is_ok());
        assert_eq!(
            decode_chunks(limits, [&line(tags, 513)[..]]),
            [Err(Error::LineTooLong { limit: 512 })]
        );
        assert_eq!(
            decode_chunks(limits, [&line(tags + 1, 512)[..]]),
            [Err(Error::TagsTooLong { limit: tags })]
        );
    }
}

#[test]
fn an_idle_decoder_holds_no_memory() {
    let mut decoder = Decoder::new(Limits::FROM_CLIENT);
    for mut part in [&b"PING "[..], b"a\r\n"] {
        let _ = decoder.decode(&mut part).unwrap();
    }
    match &decoder.state {
        State::Line(line) => assert_eq!(line.bytes.capacity(), 0),
        State::Skipping => panic!("no line was too long"),
    }
}

proptest! {
    #[test]
    fn any_bytes_give_the_same_however_they_are_cut(
        // Mostly bytes that mean something, so that more than garbage is met.
        input in prop::collection::vec(prop_oneof![
            4 => prop::sample::select(b"@:; =\\\r\nPA1".to_vec()),
            1 => any::<u8>(),
        ], 0..60),
    ) {
        decode(SMALL, &input);
        decode(Limits::FROM_CLIENT, &input);
    }
}

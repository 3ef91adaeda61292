//! The one composer of frames.
//!
//! # Invariant
//!
//! What comes back is one frame or one heart-beat for every reader of the same version: nothing in a
//! header or a body can end it early or add a header.

use bytes::Bytes;

use crate::{Command, Error, Frame, Header, Message, Version, escape::Escapes};

/// `UNSUBSCRIBE`, and the line ends behind it and behind the headers.
const LONGEST_COMMAND: usize = 13;
/// A body that is appended to its head needs no other memory, if it is not longer.
const SHORT_BODY: usize = 128;

/// Writes `message` down: a frame with the NUL behind it and no line end after that, or a heart-beat.
///
/// `content-length` is written if the frame has it, and added where the body has a NUL, which nothing else can carry.
/// It is not added otherwise: ActiveMQ takes its absence for a text message and its presence for a binary one.
///
/// # Errors
///
/// [`Error::InvalidHeader`], [`Error::Unescapable`] and [`Error::NulInHead`] for headers that this
/// version has no way to write down, [`Error::UnexpectedBody`] (since 1.1), and
/// [`Error::InvalidContentLength`] and [`Error::ContentLengthMismatch`] for a header that is not the
/// length of the body. Nothing is ever cut or replaced to fit.
pub fn encode(message: &Message, version: Version) -> Result<Bytes, Error> {
    let Message::Frame(frame) = message else {
        return Ok(Bytes::from_static(b"\n"));
    };
    let Frame {
        command,
        headers,
        body,
    } = frame;
    if !command.has_body() && !body.is_empty() && version > Version::V1_0 {
        return Err(Error::UnexpectedBody);
    }
    let written = content_length(frame)?;
    if written.is_some_and(|length| length != body.len()) {
        return Err(Error::ContentLengthMismatch);
    }

    let mut out = Vec::with_capacity(64 + 32 * headers.len() + body.len());
    write_head(*command, headers, version, &mut out)?;
    if written.is_none() && body.contains(&0) {
        out.extend_from_slice(format!("content-length:{}\n", body.len()).as_bytes());
    }
    out.push(b'\n');
    out.extend_from_slice(body);
    out.push(0);
    Ok(Bytes::from(out))
}

/// Appends the head of a frame to `out`, with the empty line behind it, for a body that is passed on as it comes.
///
/// The body has to be as long as `content-length` says, or without NUL if there is none, and NUL ends the frame.
///
/// # Errors
///
/// As [`encode`] has for headers. Then `out` is as it was.
pub fn encode_head(frame: &Frame, version: Version, out: &mut Vec<u8>) -> Result<(), Error> {
    content_length(frame)?;
    let len = out.len();
    let headers = frame.headers.iter();
    let head: usize = headers
        .map(|one| one.name.len() + one.value.len() + 2)
        .sum();
    out.reserve(head + LONGEST_COMMAND + SHORT_BODY);
    write_head(frame.command, &frame.headers, version, out).inspect_err(|_| out.truncate(len))?;
    out.push(b'\n');
    Ok(())
}

fn write_head(
    command: Command,
    headers: &[Header],
    version: Version,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    out.extend_from_slice(command.as_str().as_bytes());
    out.push(b'\n');
    let escapes = escapes(command, version);
    for header in headers {
        if is_trimmed(command, version)
            && [&header.name, &header.value]
                .into_iter()
                .any(|text| text.trim_matches(' ') != text)
        {
            return Err(Error::Unescapable);
        }
        escapes.name(&header.name, out)?;
        out.push(b':');
        escapes.value(&header.value, out)?;
        out.push(b'\n');
    }
    Ok(())
}

/// The length that a frame says its body has.
pub(crate) fn content_length(frame: &Frame) -> Result<Option<usize>, Error> {
    let Some(value) = frame.header("content-length") else {
        return Ok(None);
    };
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    match value.parse() {
        Ok(length) if digits => Ok(Some(length)),
        _ => Err(Error::InvalidContentLength),
    }
}

/// The escapes in the headers of `command`.
pub(crate) fn escapes(command: Command, version: Version) -> Escapes {
    if command.is_unescaped() {
        Escapes::None
    } else {
        version.into()
    }
}

/// Whether spaces around names and values mean nothing: in 1.0, whose own examples have them.
pub(crate) fn is_trimmed(command: Command, version: Version) -> bool {
    version == Version::V1_0 && !command.is_unescaped()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_what_a_frame_has_before_its_body() {
        let frame = Frame::new(Command::Send)
            .with("destination", "/queue/a:b")
            .with("content-length", "5");
        let mut head = Vec::new();
        encode_head(&frame, Version::V1_2, &mut head).expect("the headers can be written");
        let whole = encode(&Message::Frame(frame.with_body("hello")), Version::V1_2);
        assert_eq!(whole.as_deref(), Ok(&[&head[..], b"hello\0"].concat()[..]));
        let wrong = Frame::new(Command::Send).with("content-length", "-1");
        assert_eq!(
            encode_head(&wrong, Version::V1_2, &mut head),
            Err(Error::InvalidContentLength)
        );
        let (before, wrong) = (head.clone(), Frame::new(Command::Send).with("a", "\0"));
        let refused = encode_head(&wrong, Version::V1_2, &mut head);
        assert_eq!((refused, head), (Err(Error::NulInHead), before));
    }

    fn written(frame: Frame, version: Version) -> Result<String, Error> {
        encode(&Message::Frame(frame), version)
            .map(|bytes| String::from_utf8(bytes.to_vec()).expect("the cases are text"))
    }

    #[test]
    fn frames_are_written_as_the_specification_has_them() {
        let send = |body: &'static str| {
            Frame::new(Command::Send)
                .with("destination", "/queue/a")
                .with_body(body)
        };
        let cases = [
            (send("hello"), Ok("SEND\ndestination:/queue/a\n\nhello\0")),
            (send(""), Ok("SEND\ndestination:/queue/a\n\n\0")),
            (
                send("a\0b"),
                Ok("SEND\ndestination:/queue/a\ncontent-length:3\n\na\0b\0"),
            ),
            (
                send("ä").with("content-length", "2"),
                Ok("SEND\ndestination:/queue/a\ncontent-length:2\n\nä\0"),
            ),
            (
                send("ä").with("content-length", "1"),
                Err(Error::ContentLengthMismatch),
            ),
            (
                send("ä").with("content-length", "+2"),
                Err(Error::InvalidContentLength),
            ),
            (
                send("").with("a:b", "c\nd\\"),
                Ok("SEND\ndestination:/queue/a\na\\cb:c\\nd\\\\\n\n\0"),
            ),
            (
                Frame::new(Command::Begin).with_body("x"),
                Err(Error::UnexpectedBody),
            ),
            (
                Frame::new(Command::Connect).with("passcode", "a:b\\n"),
                Ok("CONNECT\npasscode:a:b\\n\n\n\0"),
            ),
            (
                Frame::new(Command::Connect).with("passcode", "a\ninjected:yes"),
                Err(Error::Unescapable),
            ),
        ];
        for (frame, want) in cases {
            assert_eq!(
                written(frame.clone(), Version::V1_2)
                    .as_deref()
                    .map_err(|error| *error),
                want,
                "{frame:?}"
            );
        }
        assert_eq!(
            encode(&Message::HeartBeat, Version::V1_1).as_deref(),
            Ok(&b"\n"[..])
        );
    }

    #[test]
    fn version_1_0_has_no_way_to_write_some_things() {
        for value in ["a\nb", " a", "a "] {
            let frame = Frame::new(Command::Send).with("destination", value);
            assert_eq!(
                written(frame, Version::V1_0),
                Err(Error::Unescapable),
                "{value:?}"
            );
        }
    }
}

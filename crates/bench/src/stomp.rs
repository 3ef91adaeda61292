//! STOMP 1.2, as much of it as carries messages there and back: the frames, for clients and a broker
//! that answers each SEND by a MESSAGE.

use crate::Result;

/// Most bytes of a frame's head.
const MAX_HEAD: usize = 8 * 1024;

/// A frame, in the bytes that it came in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) command: &'a str,
    /// Lines of `name:value`.
    pub(crate) headers: &'a str,
    pub(crate) body: &'a [u8],
}

impl<'a> Frame<'a> {
    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            (found == name).then_some(value)
        })
    }
}

/// Makes a frame of a command, its header lines and its body.
pub(crate) fn frame(command: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{command}\n{headers}\n");
    [head.as_bytes(), body, b"\0"].concat()
}

/// The frame at the beginning and how long it is with the line ends before it, or none that is whole.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>> {
    let start = bytes.iter().take_while(|byte| **byte == b'\n').count();
    let rest = &bytes[start..];
    let Some(end) = rest.windows(2).position(|window| window == b"\n\n") else {
        if rest.len() > MAX_HEAD {
            return Err("the head of a frame does not end".into());
        }
        return Ok(None);
    };
    let head = std::str::from_utf8(&rest[..end])?;
    let (command, headers) = head.split_once('\n').unwrap_or((head, ""));
    let after = &rest[end + 2..];
    let mut frame = Frame {
        command,
        headers,
        body: b"",
    };
    let len = match frame.header("content-length") {
        Some(len) => len.parse()?,
        None => match after.iter().position(|byte| *byte == 0) {
            Some(len) => len,
            None => return Ok(None),
        },
    };
    let Some(ended) = after.get(..=len) else {
        return Ok(None);
    };
    if ended[len] != 0 {
        return Err("a frame is longer than it says".into());
    }
    frame.body = &ended[..len];
    Ok(Some((frame, start + end + 2 + len + 1)))
}

/// What a broker keeps of a connection.
#[derive(Debug, Default)]
pub(crate) struct Broker {
    /// What came of a frame that is not whole.
    cut: Vec<u8>,
    messages: u64,
}

impl Broker {
    /// Takes bytes of a client and appends the answers.
    pub(crate) fn received(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.cut.extend_from_slice(bytes);
        let mut used = 0;
        while let Some((frame, len)) = read(&self.cut[used..])? {
            answer(&frame, &mut self.messages, out)?;
            used += len;
        }
        self.cut.drain(..used);
        Ok(())
    }
}

fn answer(asked: &Frame<'_>, messages: &mut u64, out: &mut Vec<u8>) -> Result<()> {
    match asked.command {
        "CONNECT" | "STOMP" => {
            out.extend_from_slice(&frame("CONNECTED", "version:1.2\n", b""));
        }
        "SUBSCRIBE" | "DISCONNECT" => {}
        "SEND" => {
            *messages += 1;
            let destination = asked.header("destination").ok_or("SEND to nowhere")?;
            let headers = format!(
                "subscription:0\nmessage-id:{messages}\ndestination:{destination}\ncontent-length:{}\n",
                asked.body.len()
            );
            out.extend_from_slice(&frame("MESSAGE", &headers, asked.body));
        }
        other => return Err(format!("a broker does not know {other}").into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_answers_at_every_cut() {
        let sent = [
            frame("CONNECT", "accept-version:1.2\n", b""),
            frame("SUBSCRIBE", "id:0\ndestination:/a\n", b""),
            frame("SEND", "destination:/a\ncontent-length:3\n", b"x\0y"),
            b"\n".to_vec(),
            frame("SEND", "destination:/a\n", b"z"),
        ]
        .concat();
        let expected = [
            frame("CONNECTED", "version:1.2\n", b""),
            frame(
                "MESSAGE",
                "subscription:0\nmessage-id:1\ndestination:/a\ncontent-length:3\n",
                b"x\0y",
            ),
            frame(
                "MESSAGE",
                "subscription:0\nmessage-id:2\ndestination:/a\ncontent-length:1\n",
                b"z",
            ),
        ]
        .concat();
        for cut in 0..sent.len() {
            let (mut broker, mut out) = (Broker::default(), Vec::new());
            broker.received(&sent[..cut], &mut out).expect("valid");
            broker.received(&sent[cut..], &mut out).expect("valid");
            assert_eq!(out, expected, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        for (name, bytes) in [
            (
                "longer than it says",
                &b"SEND\ndestination:/a\ncontent-length:1\n\nab\0"[..],
            ),
            ("a length that is none", b"SEND\ncontent-length:x\n\n\0"),
            ("nowhere", b"SEND\n\n\0"),
            ("a command of brokers", b"MESSAGE\n\n\0"),
        ] {
            let got = Broker::default().received(bytes, &mut Vec::new());
            assert!(got.is_err(), "{name}");
        }
    }
}

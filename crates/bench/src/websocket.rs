//! RFC 6455, as much of it as both ends of a measurement need: the handshake, and frames of data
//! masked and unmasked. Nothing is fragmented and nothing is compressed.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};

use crate::Result;

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// What every client here sends as its key, and what the answer to it is.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ANSWER: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// A client's request.
pub(crate) fn request(host: &str, path: &str, subprotocol: &str, origin: &str) -> String {
    let subprotocol = if subprotocol.is_empty() {
        String::new()
    } else {
        format!("Sec-WebSocket-Protocol: {subprotocol}\r\n")
    };
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{subprotocol}\r\n"
    )
}

/// Whether the head of a response accepts it.
pub(crate) fn is_accepted(head: &str) -> bool {
    head.contains(" 101 ") && head.contains(ANSWER)
}

/// The answer to a client's request, once it is whole.
pub(crate) fn accept(request: &[u8]) -> Result<Option<String>> {
    if !request.ends_with(b"\r\n\r\n") {
        return Ok(None);
    }
    let head = std::str::from_utf8(request)?;
    let key = head
        .lines()
        .find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("sec-websocket-key")
                .then(|| value.trim())
        })
        .ok_or("the request has no key")?;
    let digest = Sha1::new()
        .chain_update(key.as_bytes())
        .chain_update(GUID)
        .finalize();
    let answer = STANDARD.encode(digest);
    Ok(Some(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {answer}\r\n\r\n"
    )))
}

/// Writes the header of a binary message of `len` bytes that ends right before `end`, and says where it begins.
pub(crate) fn put_header(buffer: &mut [u8], end: usize, len: usize) -> usize {
    let (header, used) = header(BINARY, len, 0);
    let start = end - used;
    buffer[start..end].copy_from_slice(&header[..used]);
    start
}

fn header(opcode: u8, len: usize, mask_bit: u8) -> ([u8; 10], usize) {
    let mut header = [0; 10];
    header[0] = 0x80 | opcode;
    let used = if let Ok(len @ 0..=125) = u8::try_from(len) {
        header[1] = len;
        2
    } else if let Ok(len) = u16::try_from(len) {
        header[1] = 126;
        header[2..4].copy_from_slice(&len.to_be_bytes());
        4
    } else {
        header[1] = 127;
        header[2..].copy_from_slice(&(len as u64).to_be_bytes());
        10
    };
    header[1] |= mask_bit;
    (header, used)
}

/// Appends a client's message.
pub(crate) fn put_masked(out: &mut Vec<u8>, opcode: u8, payload: &[u8], mask: [u8; 4]) {
    let (header, used) = header(opcode, payload.len(), 0x80);
    out.extend_from_slice(&header[..used]);
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    apply_mask(&mut out[start..], mask);
}

fn apply_mask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(word) ^ wide).to_ne_bytes());
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Reads headers of frames that may be cut anywhere.
#[derive(Debug, Default)]
struct Head {
    bytes: [u8; 14],
    len: u8,
}

impl Head {
    /// Takes what belongs to the header and says how much that was; the header is whole when it says so.
    fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut taken = 0;
        loop {
            let missing = self.wanted() - usize::from(self.len);
            if missing == 0 {
                return (taken, true);
            }
            let take = missing.min(bytes.len() - taken);
            if take == 0 {
                return (taken, false);
            }
            let start = usize::from(self.len);
            self.bytes[start..start + take].copy_from_slice(&bytes[taken..taken + take]);
            self.len += take as u8;
            taken += take;
        }
    }

    /// Bytes of the header, as far as is known yet.
    fn wanted(&self) -> usize {
        if self.len < 2 {
            return 2;
        }
        2 + self.length_bytes() + if self.bytes[1] & 0x80 == 0 { 0 } else { 4 }
    }

    fn length_bytes(&self) -> usize {
        match self.bytes[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        }
    }

    fn opcode(&self) -> u8 {
        self.bytes[0] & 0x0f
    }

    fn payload(&self) -> u64 {
        match self.length_bytes() {
            0 => u64::from(self.bytes[1] & 0x7f),
            n => self.bytes[2..2 + n]
                .iter()
                .fold(0, |value, byte| value << 8 | u64::from(*byte)),
        }
    }

    fn mask(&self) -> [u8; 4] {
        let start = 2 + self.length_bytes();
        let mut mask = [0; 4];
        mask.copy_from_slice(&self.bytes[start..start + 4]);
        mask
    }
}

/// A server's end of a client's frames: unmasks data in place and drops the rest.
#[derive(Debug, Default)]
pub(crate) struct Unframer {
    head: Head,
    left: u64,
    mask: [u8; 4],
    opcode: u8,
}

impl Unframer {
    /// Leaves the data of all frames at the front of `bytes` and says how much that is.
    pub(crate) fn unmask(&mut self, bytes: &mut [u8]) -> usize {
        let mut read = 0;
        let mut kept = 0;
        while read < bytes.len() && !self.is_closed() {
            if self.left == 0 {
                let (taken, whole) = self.head.take(&bytes[read..]);
                read += taken;
                if whole {
                    self.left = self.head.payload();
                    self.mask = self.head.mask();
                    self.opcode = self.head.opcode();
                    self.head.len = 0;
                }
                continue;
            }
            let take = self.left.min((bytes.len() - read) as u64) as usize;
            if self.opcode <= BINARY {
                bytes.copy_within(read..read + take, kept);
                apply_mask(&mut bytes[kept..kept + take], self.mask);
                kept += take;
            }
            self.mask.rotate_left(take % 4);
            self.left -= take as u64;
            read += take;
        }
        kept
    }

    /// The client closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.opcode == CLOSE
    }
}

/// A part of a message from a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub(crate) opcode: u8,
    pub(crate) bytes: &'a [u8],
    /// The last one of its frame.
    pub(crate) last: bool,
}

/// A client's end of a server's frames.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    head: Head,
    left: u64,
    inside: bool,
}

impl Reader {
    pub(crate) fn read<'a>(
        &mut self,
        mut bytes: &'a [u8],
        mut each: impl FnMut(Piece<'a>) -> Result<()>,
    ) -> Result<()> {
        while !bytes.is_empty() {
            if !self.inside {
                let (taken, whole) = self.head.take(bytes);
                bytes = &bytes[taken..];
                if !whole {
                    continue;
                }
                self.inside = true;
                self.left = self.head.payload();
                if self.head.bytes[1] & 0x80 != 0 {
                    return Err("the server masks".into());
                }
            }
            let take = self.left.min(bytes.len() as u64) as usize;
            self.left -= take as u64;
            let last = self.left == 0;
            each(Piece {
                opcode: self.head.opcode(),
                bytes: &bytes[..take],
                last,
            })?;
            bytes = &bytes[take..];
            if last {
                self.inside = false;
                self.head.len = 0;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_of_the_rfc() {
        let request = request("example.org", "/", "binary", "http://example.org");
        assert!(
            accept(&request.as_bytes()[..request.len() - 1])
                .expect("no mistake")
                .is_none()
        );
        let reply = accept(request.as_bytes())
            .expect("no mistake")
            .expect("it is whole");
        assert!(is_accepted(&reply), "{reply}");
    }

    #[test]
    fn what_a_client_masks_is_unmasked_at_every_cut() {
        for len in [0, 1, 7, 125, 126, 300, 65_535, 65_536, 70_000] {
            let payload: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let mut sent = Vec::new();
            put_masked(&mut sent, PING, b"ping", [9, 8, 7, 6]);
            put_masked(&mut sent, BINARY, &payload, [1, 2, 3, 4]);
            put_masked(&mut sent, TEXT, b"end", [5, 6, 7, 8]);
            let step = if len > 1000 { 997 } else { 1 };
            for cut in (0..sent.len()).step_by(step) {
                let mut unframer = Unframer::default();
                let (mut a, mut b) = (sent[..cut].to_vec(), sent[cut..].to_vec());
                let first = unframer.unmask(&mut a);
                let second = unframer.unmask(&mut b);
                let got = [&a[..first], &b[..second], b""].concat();
                assert_eq!(
                    got,
                    [&payload[..], b"end"].concat(),
                    "{len} bytes cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn a_server_s_frames_are_read_at_every_cut() {
        for len in [0, 1, 125, 126, 300, 66_000] {
            let payload = vec![7; len];
            let mut sent = vec![0; 10];
            let start = put_header(&mut sent, 10, len);
            let sent = [&sent[start..], &payload, &[0x81, 2, b'o', b'k']].concat();
            let step = if len > 1000 { 997 } else { 1 };
            for cut in (0..sent.len()).step_by(step) {
                let mut reader = Reader::default();
                let mut messages = vec![(0, Vec::new())];
                let mut each = |piece: Piece<'_>| {
                    let message = messages.last_mut().expect("there is one");
                    message.0 = piece.opcode;
                    message.1.extend_from_slice(piece.bytes);
                    if piece.last {
                        messages.push((0, Vec::new()));
                    }
                    Ok(())
                };
                reader.read(&sent[..cut], &mut each).expect("no mistake");
                reader.read(&sent[cut..], &mut each).expect("no mistake");
                let expected = [
                    (BINARY, payload.clone()),
                    (TEXT, b"ok".to_vec()),
                    (0, Vec::new()),
                ];
                assert_eq!(messages, expected, "{len} bytes cut at {cut}");
            }
        }
    }
}

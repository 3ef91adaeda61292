//! A client that writes what frames of HTTP/2 it likes, byte by byte.

use std::net::SocketAddr;

use tokio::io::AsyncReadExt;

use crate::{raw::Raw, wait::soon};

/// What a connection begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (RFC 9113 §6).
pub const DATA: u8 = 0;
/// See [`DATA`].
pub const HEADERS: u8 = 1;
/// See [`DATA`].
pub const RST_STREAM: u8 = 3;
/// See [`DATA`].
pub const SETTINGS: u8 = 4;
/// See [`DATA`].
pub const GOAWAY: u8 = 7;

/// Nothing follows on the stream.
pub const END_STREAM: u8 = 1;
/// The header block is whole.
pub const END_HEADERS: u8 = 4;
/// The settings were heard.
const ACK: u8 = 1;

/// A frame as bytes.
///
/// # Panics
///
/// When it is too long for one.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len())
        .expect("a short frame")
        .to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), body].concat()
}

/// A header block in which nothing is indexed and nothing compressed.
#[must_use]
pub fn header_block<'a>(fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        // RFC 7541 §6.2.2.
        block.push(0);
        string(name, &mut block);
        string(value, &mut block);
    }
    block
}

/// RFC 7541 §5.2, not Huffman's code.
fn string(text: &[u8], block: &mut Vec<u8>) {
    const PREFIX: usize = 127;
    if text.len() < PREFIX {
        block.push(u8::try_from(text.len()).expect("short"));
    } else {
        block.push(127);
        let mut left = text.len() - PREFIX;
        while left >= 128 {
            block.push(u8::try_from(left % 128).expect("7 bits") | 128);
            left /= 128;
        }
        block.push(u8::try_from(left).expect("7 bits"));
    }
    block.extend_from_slice(text);
}

/// The status at the front of the first header block that a server sends with it.
///
/// # Panics
///
/// When there is none.
#[must_use]
pub fn status(block: &[u8]) -> u16 {
    // RFC 7541, appendix A.
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    match *block {
        [first @ 0x88..=0x8e, ..] => INDEXED[usize::from(first - 0x88)],
        // A literal with the name at 8, whatever is to be remembered of it.
        [0x48 | 0x08 | 0x18, len, ref rest @ ..] => {
            let value = &rest[..usize::from(len & 0x7f)];
            let digits = match len & 0x80 {
                0 => value.to_vec(),
                _ => huffman_digits(value),
            };
            let text = String::from_utf8_lossy(&digits);
            text.parse()
                .unwrap_or_else(|_| panic!("{text:?} is no status"))
        }
        _ => panic!("no status in {block:02x?}"),
    }
}

/// Digits in Huffman's code (RFC 7541, appendix B): 0, 1 and 2 in five bits, the others in six.
fn huffman_digits(code: &[u8]) -> Vec<u8> {
    let mut bits = code
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let mut digits = Vec::new();
    loop {
        let mut take = |count| (0..count).try_fold(0, |value, _| Some(value << 1 | bits.next()?));
        let Some(five) = take(5) else {
            return digits;
        };
        if five <= 2 {
            digits.push(b'0' + five);
            continue;
        }
        // The end is filled up with ones.
        let Some(last) = take(1).filter(|_| five < 16) else {
            return digits;
        };
        digits.push(b'3' + (five << 1 | last) - 0b01_1001);
    }
}

/// A frame that came.
#[derive(Debug)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// What it carries.
    pub body: Vec<u8>,
}

/// A bare connection to the gateway that has begun to speak HTTP/2.
#[derive(Debug)]
pub struct RawHttp2 {
    /// The connection.
    pub raw: Raw,
}

impl RawHttp2 {
    /// Connects, and says what every connection begins with.
    pub async fn connect(address: SocketAddr) -> Self {
        let mut raw = Raw::connect(address).await;
        raw.write([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat())
            .await;
        Self { raw }
    }

    /// Writes a frame, as far as it is taken.
    pub async fn write(&mut self, kind: u8, flags: u8, stream: u32, body: &[u8]) {
        let frame = frame(kind, flags, stream, body);
        self.raw.write_what_is_taken(frame).await;
    }

    /// Asks by a request with these fields.
    pub async fn request(&mut self, stream: u32, block: &[u8], ends: bool) {
        let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
        self.write(HEADERS, flags, stream, block).await;
    }

    /// The next frame that is not about the connection's own business; `None` when it is closed.
    ///
    /// # Panics
    ///
    /// When nothing comes.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            let read = self.raw.stream.read_exact(&mut head);
            soon("a frame", read).await.ok()?;
            let [a, b, c, kind, flags, d, e, f, g] = head;
            let len = usize::try_from(u32::from_be_bytes([0, a, b, c])).expect("24 bits");
            let mut body = vec![0; len];
            let read = self.raw.stream.read_exact(&mut body);
            soon("a frame", read).await.ok()?;
            if kind == SETTINGS && flags & ACK == 0 {
                self.write(SETTINGS, ACK, 0, &[]).await;
            }
            if matches!(kind, DATA | HEADERS | RST_STREAM | GOAWAY) {
                let stream = u32::from_be_bytes([d, e, f, g]);
                return Some(Frame { kind, stream, body });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_in_each_of_its_forms() {
        for (block, want) in [
            (&[0x88][..], 200),
            (&[0x8c, 0x00], 400),
            (b"\x48\x03421", 421),
            // 421 is 011010 00010 00001, and 396 is 011001 011111 011100, both filled up with ones.
            (&[0x48, 0x82, 0b0110_1000, 0b0100_0001], 421),
            (&[0x08, 0x83, 0b0110_0101, 0b1111_0111, 0b0011_1111], 396),
        ] {
            assert_eq!(status(block), want, "{block:02x?}");
        }
    }

    #[test]
    fn a_long_string_says_how_long_it_is() {
        let block = header_block([(&b"n"[..], &[b'v'; 300][..])]);
        assert_eq!(block[..6], [0, 1, b'n', 127, 173, 1]);
        assert_eq!(block.len(), 6 + 300);
    }
}

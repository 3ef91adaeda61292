//! Writing replies: heads, and bodies of a known length or in chunks, each piece in one write with what stands before it.

use std::{
    cell::RefCell,
    io::{IoSlice, Write},
    time::UNIX_EPOCH,
};

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use bytes::{Buf, Bytes};

use crate::{
    http::{DRESS_LINES, Dress},
    net,
};

/// Pieces up to this size are copied behind what stands before them; larger ones are written from where they are.
const COPIED_BYTES: usize = 4 * 1024;

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// There can be none.
    Empty,
    Length(u64),
    Chunked,
}

/// What is to be written.
#[derive(Default)]
pub(super) struct Sending {
    before: Vec<u8>,
    written: usize,
    data: Bytes,
    after: &'static [u8],
}

impl Sending {
    pub(super) fn is_empty(&self) -> bool {
        self.written == self.before.len() && self.data.is_empty() && self.after.is_empty()
    }

    /// Whether another piece may be added before this is written.
    pub(super) fn has_room(&self) -> bool {
        self.data.is_empty() && self.before.len() < COPIED_BYTES
    }

    /// The bytes, where they lie together.
    pub(super) fn only_run(&self) -> Option<&[u8]> {
        let is_only = self.data.is_empty() && self.after.is_empty();
        is_only.then(|| &self.before[self.written..])
    }

    pub(super) fn runs(&self) -> [IoSlice<'_>; 3] {
        [
            IoSlice::new(&self.before[self.written..]),
            IoSlice::new(&self.data),
            IoSlice::new(self.after),
        ]
    }

    /// So much was written. What is written whole holds no memory.
    pub(super) fn advance(&mut self, mut len: usize) {
        let before = len.min(self.before.len() - self.written);
        self.written += before;
        len -= before;
        let data = len.min(self.data.len());
        self.data.advance(data);
        len -= data;
        self.after = &self.after[len..];
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// The head of a reply. The connection ends after it if `closes`.
    pub(super) fn head(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        dress: Option<&Dress>,
        framing: Framing,
        closes: bool,
    ) {
        let out = &mut self.before;
        out.reserve(512);
        status_line(out, status);
        for (name, value) in headers {
            if name == header::CONTENT_LENGTH && framing != Framing::Empty {
                continue;
            }
            line(out, name.as_str(), value.as_bytes());
        }
        if let Some(Dress { origin }) = dress {
            dress_lines(out, origin.as_ref().map(HeaderValue::as_bytes));
        }
        match framing {
            Framing::Empty => {}
            Framing::Length(length) => length_line(out, length),
            Framing::Chunked => line(out, "transfer-encoding", b"chunked"),
        }
        if closes {
            line(out, "connection", b"close");
        }
        date(out);
        out.extend_from_slice(b"\r\n");
    }

    /// A whole reply of frames, as `http::frames_response` and `http::Dress` make it.
    pub(super) fn frames(&mut self, origin: Option<&[u8]>, frames: Vec<u8>, closes: bool) {
        let out = &mut self.before;
        let copied = if frames.len() <= COPIED_BYTES {
            frames.len()
        } else {
            0
        };
        out.reserve(448 + copied);
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n");
        dress_lines(out, origin);
        length_line(out, frames.len() as u64);
        if closes {
            line(out, "connection", b"close");
        }
        date(out);
        out.extend_from_slice(b"\r\n");
        if copied > 0 {
            out.extend_from_slice(&frames);
        } else {
            self.data = Bytes::from(frames);
        }
    }

    /// A piece of a body.
    pub(super) fn piece(&mut self, data: Bytes, framing: Framing) {
        if data.is_empty() {
            return;
        }
        let end: &'static [u8] = if framing == Framing::Chunked {
            // Writing into memory does not fail.
            _ = write!(self.before, "{:x}\r\n", data.len());
            b"\r\n"
        } else {
            b""
        };
        if data.len() <= COPIED_BYTES {
            self.before.extend_from_slice(&data);
            self.before.extend_from_slice(end);
        } else {
            self.data = data;
            self.after = end;
        }
    }

    /// The end of a body.
    pub(super) fn end(&mut self, framing: Framing) {
        if framing == Framing::Chunked {
            self.before.extend_from_slice(b"0\r\n\r\n");
        }
    }
}

fn status_line(out: &mut Vec<u8>, status: StatusCode) {
    // What tunnels begin with.
    if status == StatusCode::SWITCHING_PROTOCOLS {
        out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn dress_lines(out: &mut Vec<u8>, origin: Option<&[u8]>) {
    out.extend_from_slice(DRESS_LINES);
    if let Some(origin) = origin {
        line(out, "access-control-allow-origin", origin);
    }
}

fn length_line(out: &mut Vec<u8>, length: u64) {
    // Writing into memory does not fail.
    _ = write!(out, "content-length: {length}\r\n");
}

/// The time of day (RFC 9110 §6.6.1), made anew once a second.
fn date(out: &mut Vec<u8>) {
    thread_local! {
        static DATE: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    let now = net::wall_clock();
    let second = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    DATE.with_borrow_mut(|(of, text)| {
        if *of != second {
            *of = second;
            *text = format!("date: {}\r\n", httpdate::HttpDate::from(now));
        }
        out.extend_from_slice(text.as_bytes());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `step` bytes at a time.
    fn written(mut sending: Sending, step: usize) -> String {
        let mut text = Vec::new();
        while !sending.is_empty() {
            let all: Vec<u8> = sending.runs().iter().flat_map(|run| run.to_vec()).collect();
            let len = step.min(all.len());
            text.extend_from_slice(&all[..len]);
            sending.advance(len);
        }
        assert_eq!(sending.before.capacity(), 0);
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn bodies_are_framed_however_they_are_written() {
        let large = "x".repeat(COPIED_BYTES + 1);
        for (framing, want) in [
            (Framing::Length(3), format!("abc{large}")),
            (
                Framing::Chunked,
                format!("3\r\nabc\r\n1001\r\n{large}\r\n0\r\n\r\n"),
            ),
        ] {
            for step in [1, 2, 1000, 100_000] {
                let mut sending = Sending::default();
                sending.piece(Bytes::from_static(b"abc"), framing);
                sending.piece(Bytes::new(), framing);
                sending.piece(large.clone().into(), framing);
                assert!(!sending.has_room());
                let mut text = written(sending, step);
                let mut sending = Sending::default();
                sending.end(framing);
                text += &written(sending, step);
                assert_eq!(text, want);
            }
        }
    }

    #[test]
    fn a_head_has_one_length_and_a_date() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, "7".parse().expect("a value"));
        let mut sending = Sending::default();
        sending.head(
            StatusCode::NOT_FOUND,
            &headers,
            None,
            Framing::Length(7),
            true,
        );
        let text = written(sending, 1000);
        assert!(
            text.starts_with(
                "HTTP/1.1 404 Not Found\r\ncontent-length: 7\r\nconnection: close\r\ndate: "
            ),
            "{text}"
        );
        assert!(text.ends_with(" GMT\r\n\r\n"), "{text}");
    }
}

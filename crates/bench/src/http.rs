//! HTTP/1.1 as a client needs it that keeps one request in flight: requests with a length, and
//! responses that may be cut anywhere.

use std::fmt::Write;

use crate::Result;

/// Most bytes of a response's head.
const MAX_HEAD: usize = 16 * 1024;

/// Appends a request with a body.
pub(crate) fn post(out: &mut Vec<u8>, host: &str, path: &str, headers: &str, body: &[u8]) {
    let mut head = String::with_capacity(256);
    _ = write!(
        head,
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(body);
}

/// Appends a request without one.
pub(crate) fn get(out: &mut Vec<u8>, host: &str, path: &str, headers: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
    out.extend_from_slice(request.as_bytes());
}

/// A part of a response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    Head(&'a str),
    Body(&'a [u8]),
    End,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Head,
    /// So much of the body is left.
    Length(u64),
    /// The line with the size of a chunk.
    Size(u64),
    /// So much of a chunk is left, with the line's end behind it.
    Chunk(u64),
    /// The line's end behind a chunk.
    AfterChunk,
    /// The empty line after the last chunk; nobody here sends trailers.
    Last(u8),
}

/// Reads responses, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Responses {
    state: State,
    head: Vec<u8>,
}

impl Responses {
    pub(crate) fn read(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Part<'_>) -> Result<()>,
    ) -> Result<()> {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Head => {
                    let before = self.head.len();
                    self.head.extend_from_slice(bytes);
                    let search = before.saturating_sub(3);
                    let Some(end) = self.head[search..]
                        .windows(4)
                        .position(|window| window == b"\r\n\r\n")
                        .map(|at| search + at + 4)
                    else {
                        if self.head.len() > MAX_HEAD {
                            return Err("the head of a response does not end".into());
                        }
                        return Ok(());
                    };
                    bytes = &bytes[end - before..];
                    self.head.truncate(end);
                    let head = std::str::from_utf8(&self.head)?;
                    let chunked = header(head, "transfer-encoding")
                        .is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
                    let length = match header(head, "content-length") {
                        Some(value) => value.parse()?,
                        None => 0,
                    };
                    each(Part::Head(head))?;
                    self.head.clear();
                    if chunked {
                        self.state = State::Size(0);
                    } else if length > 0 {
                        self.state = State::Length(length);
                    } else {
                        each(Part::End)?;
                    }
                }
                State::Length(left) | State::Chunk(left) => {
                    let take = (*left).min(bytes.len() as u64) as usize;
                    *left -= take as u64;
                    let whole = *left == 0;
                    each(Part::Body(&bytes[..take]))?;
                    bytes = &bytes[take..];
                    if whole && matches!(self.state, State::Length(_)) {
                        self.state = State::Head;
                        each(Part::End)?;
                    } else if whole {
                        self.state = State::AfterChunk;
                    }
                }
                State::AfterChunk => {
                    if bytes[0] == b'\n' {
                        self.state = State::Size(0);
                    }
                    bytes = &bytes[1..];
                }
                State::Size(size) => {
                    match bytes[0] {
                        digit if digit.is_ascii_hexdigit() => {
                            let digit = char::from(digit).to_digit(16).unwrap_or(0);
                            *size = *size << 4 | u64::from(digit);
                        }
                        b'\r' => {}
                        b'\n' if *size == 0 => self.state = State::Last(0),
                        b'\n' => self.state = State::Chunk(*size),
                        _ => return Err("a chunk has no size".into()),
                    }
                    bytes = &bytes[1..];
                }
                State::Last(read) => {
                    *read += 1;
                    let whole = *read == 2;
                    bytes = &bytes[1..];
                    if whole {
                        self.state = State::Head;
                        each(Part::End)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The status of a response's head.
pub(crate) fn status(head: &str) -> u16 {
    head.split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0)
}

/// A header's value.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_read_at_every_cut() {
        let sent = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
            HTTP/1.1 204 No Content\r\n\r\n\
            HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1a\r\nABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n0\r\n\r\n\
            HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        for cut in 0..sent.len() {
            let mut responses = Responses::default();
            let mut got = vec![(0, String::new())];
            let mut ends = 0;
            let mut each = |part: Part<'_>| {
                match part {
                    Part::Head(head) => got.last_mut().expect("there is one").0 = status(head),
                    Part::Body(bytes) => {
                        got.last_mut().expect("there is one").1 += std::str::from_utf8(bytes)?;
                    }
                    Part::End => {
                        ends += 1;
                        got.push((0, String::new()));
                    }
                }
                Ok(())
            };
            responses.read(&sent[..cut], &mut each).expect("no mistake");
            responses.read(&sent[cut..], &mut each).expect("no mistake");
            let expected = [
                (200, "hello"),
                (204, ""),
                (200, "abcABCDEFGHIJKLMNOPQRSTUVWXYZ"),
                (404, ""),
                (0, ""),
            ];
            let got: Vec<_> = got
                .iter()
                .map(|(status, body)| (*status, body.as_str()))
                .collect();
            assert_eq!((got, ends), (expected.to_vec(), 4), "cut at {cut}");
        }
    }
}

//! What comes on a connection: requests, as far as they are whole, or the end.

use std::{
    cell::RefCell,
    io, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

use super::{
    Connection, Next,
    again::Places,
    head::{self, Beginning},
};

/// Bytes read at a time.
const READ_LEN: usize = 16 * 1024;
/// A head that comes in more pieces than this is left to hyper.
const MAX_HEAD_PIECES: u32 = 4;
/// Bytes that are read while a request is being served, to see whether the peer is still there.
const GLANCE_LEN: usize = 512;

thread_local! {
    /// One read buffer per thread: no connection owns memory for bytes that are not there.
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_LEN]);
}

impl Connection {
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if !self.ahead.is_empty() && self.ahead.len() >= self.wanted {
            let ahead = mem::take(&mut self.ahead);
            if let Some(next) = self.take(&ahead) {
                return Poll::Ready(next);
            }
        }
        if self.ahead.is_empty() && self.shared().ending.is_cancelled() {
            return Poll::Ready(Next::End);
        }
        while let Poll::Ready(next) = READ_BUFFER.with_borrow_mut(|b| self.poll_take(b, cx)) {
            if let Some(next) = next {
                self.timer.stop();
                return Poll::Ready(next);
            }
        }
        ready!(self.timer.poll(cx));
        Poll::Ready(self.late())
    }

    /// Who said nothing is not told; what came so far is for hyper to answer.
    fn late(&self) -> Next {
        if self.ahead.is_empty() {
            Next::End
        } else {
            Next::Other
        }
    }

    fn poll_take(&mut self, buffer: &mut [u8], cx: &mut Context<'_>) -> Poll<Option<Next>> {
        let bytes = match ready!(self.poll_read(buffer, cx)) {
            Err(_) => return Poll::Ready(Some(Next::End)),
            Ok(0) => return Poll::Ready(Some(self.late())),
            Ok(len) => &buffer[..len],
        };
        if self.ahead.is_empty() {
            return Poll::Ready(self.take(bytes));
        }
        self.ahead.extend_from_slice(bytes);
        if self.ahead.len() < self.wanted {
            return Poll::Ready(None);
        }
        let ahead = mem::take(&mut self.ahead);
        Poll::Ready(self.take(&ahead))
    }

    fn poll_read(&mut self, buffer: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let polled = Pin::new(&mut self.socket).poll_read(cx, &mut buffer);
        polled.map_ok(|()| buffer.filled().len())
    }

    /// Takes a request off the front of what came, if it is whole; keeps what is not taken.
    fn take(&mut self, bytes: &[u8]) -> Option<Next> {
        if let Some((head_len, body_len)) =
            self.again.as_ref().and_then(|again| again.matches(bytes))
        {
            let len = head_len + body_len;
            if bytes.len() < len {
                return self.wait_for_body(bytes, len);
            }
            self.keep(&bytes[len..]);
            return Some(Next::Again(Bytes::copy_from_slice(&bytes[head_len..len])));
        }
        match head::read(bytes) {
            Beginning::Request(mut plain, len) => {
                let path = plain.request.uri().path();
                let may_come_again = path.ends_with("/up") || path.ends_with("/poll");
                plain.places = may_come_again.then(|| Places::of(bytes, &plain)).flatten();
                self.keep(&bytes[len..]);
                Some(Next::Request(plain))
            }
            Beginning::Body(len) => self.wait_for_body(bytes, len),
            Beginning::Head if self.pieces < MAX_HEAD_PIECES && bytes.len() < READ_LEN => {
                if self.pieces == 0 {
                    self.timer.set(self.shared().config.timeouts.head);
                }
                self.ahead.extend_from_slice(bytes);
                self.pieces += 1;
                self.wanted = bytes.len() + 1;
                None
            }
            Beginning::Head | Beginning::Other => {
                self.ahead.extend_from_slice(bytes);
                Some(Next::Other)
            }
        }
    }

    fn keep(&mut self, rest: &[u8]) {
        self.ahead.extend_from_slice(rest);
        (self.wanted, self.pieces) = (0, 0);
    }

    fn wait_for_body(&mut self, bytes: &[u8], len: usize) -> Option<Next> {
        self.timer.set(self.shared().config.timeouts.body);
        self.ahead.reserve_exact(len);
        self.ahead.extend_from_slice(bytes);
        self.wanted = len;
        None
    }

    /// Ready when the peer is gone. What it says beforehand is kept, and then nothing more is read.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        while self.ahead.is_empty() {
            let mut glance = [0; GLANCE_LEN];
            match ready!(self.poll_read(&mut glance, cx)) {
                Err(error) => return Poll::Ready(error),
                Ok(0) => return Poll::Ready(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => self.ahead.extend_from_slice(&glance[..len]),
            }
        }
        Poll::Pending
    }
}

//! HTTP/1.1 as browsers speak it to us, without hyper: what a request of an HTTP transport costs is mostly HTTP.
//!
//! Only requests that cannot be misunderstood are read here (`head`); with any other the connection goes to hyper, with
//! all that was read of it. A request goes to the same routes, unless it is the same again as one before it on the
//! connection but for its body (`again`).
//!
//! Invariants:
//! - a connection that waits owns no buffer: bytes are read into one of the thread;
//! - every wait for the peer has a deadline, except while a request is being served;
//! - the bytes after a request are not touched before its reply is written.

mod again;
mod handover;
pub(crate) mod head;
mod reply;

use std::{
    cell::RefCell,
    future::poll_fn,
    io, mem,
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    http::{Extensions, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

pub(crate) use self::{
    again::Known,
    handover::{Handover, Rest, Successor},
};
use self::{
    again::{Again, Places},
    handover::Taker,
    head::{Beginning, Plain},
    reply::{Framing, Sending},
};
use perigee_session::Code;

use crate::{
    http::{Dress, Peer, Refusal, Routes, SamePort},
    listener::ClientSocket,
    shared::Shared,
    transport::{awaited::Awaited, poll, uplink},
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

/// How serving a connection ended.
pub(crate) enum Served {
    Over,
    /// With a request that is for hyper.
    Other,
    HandedOver(Taker),
}

/// Who the requests of a connection come from.
#[derive(Clone, Copy)]
pub(crate) struct From {
    pub(crate) address: IpAddr,
    /// It speaks TLS to us.
    pub(crate) tls: bool,
    /// To a listener that speaks WebTransport on the UDP port of the same number.
    pub(crate) webtransport: bool,
}

impl From {
    /// Has a request say it.
    pub(crate) fn put_on(self, extensions: &mut Extensions, handover: Option<Handover>) {
        extensions.insert(Peer {
            address: self.address,
            tls: self.tls,
            handover,
        });
        if self.webtransport {
            extensions.insert(SamePort);
        }
    }
}

/// A connection that speaks HTTP/1.1, or may.
pub(crate) struct Connection {
    socket: ClientSocket,
    from: From,
    routes: Routes,
    again: Option<Again>,
    /// What was read and not used yet.
    ahead: Vec<u8>,
    /// How many bytes of that have to be there before it is looked at again.
    wanted: usize,
    /// In how many pieces a head has come so far.
    pieces: u32,
    timer: Timer,
}

/// What comes next on a connection.
enum Next {
    Request(Box<Plain>),
    /// The same as before, with this body.
    Again(Bytes),
    /// What hyper is for.
    Other,
    End,
}

/// What is done about that.
enum Begun<'a> {
    Exchange(Pin<Box<dyn Future<Output = io::Result<After>> + Send + 'a>>),
    Awaited(Awaited),
    Other,
    End,
}

/// What follows a reply.
enum After {
    Request,
    Handover(Taker),
    /// There is no reply yet: one of frames that come later, to a request that may come again.
    Awaited(Awaited),
    End,
}

impl Connection {
    /// The first byte comes within `first`.
    pub(crate) fn new(socket: ClientSocket, from: From, routes: Routes, first: Duration) -> Self {
        Self {
            socket,
            from,
            routes,
            again: None,
            ahead: Vec::new(),
            wanted: 0,
            pieces: 0,
            timer: Timer::new(first),
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        self.routes.shared()
    }

    /// Whether the two ends agreed on HTTP/2, which is for hyper.
    pub(crate) fn is_http2(&self) -> bool {
        self.socket.is_http2()
    }

    pub(crate) fn into_rest(self) -> Rest {
        Rest {
            socket: self.socket,
            ahead: self.ahead,
        }
    }

    pub(crate) fn into_parts(self) -> (Rest, From, Routes) {
        let rest = Rest {
            socket: self.socket,
            ahead: self.ahead,
        };
        (rest, self.from, self.routes)
    }

    /// Serves requests until the connection ends, or one comes that is not for us.
    ///
    /// What a request takes is in boxes, so that a connection that waits, for the next one or for what a
    /// poll is held for, has no room for it.
    pub(crate) async fn serve(&mut self) -> Served {
        loop {
            let next = poll_fn(|cx| self.poll_next(cx)).await;
            let mut outcome = match self.begin(next) {
                Begun::Exchange(exchange) => exchange.await,
                Begun::Awaited(awaited) => Ok(After::Awaited(awaited)),
                Begun::Other => return Served::Other,
                Begun::End => Ok(After::End),
            };
            if let Ok(After::Awaited(awaited)) = &mut outcome {
                let mut awaited = Pin::new(awaited);
                outcome = match poll_fn(|cx| self.poll_until_gone(awaited.as_mut(), cx)).await {
                    Ok(frames) => Box::pin(self.reply_again(frames)).await,
                    Err(error) => Err(error),
                };
            }
            match outcome {
                Ok(After::Request | After::Awaited(_)) => {
                    self.timer.set(self.shared().config.timeouts.http_idle);
                }
                Ok(After::Handover(taker)) => return Served::HandedOver(taker),
                Ok(After::End) => {
                    _ = poll_fn(|cx| Pin::new(&mut self.socket).poll_shutdown(cx)).await;
                    return Served::Over;
                }
                Err(_) => return Served::Over,
            }
        }
    }

    fn begin(&mut self, next: Next) -> Begun<'_> {
        match next {
            Next::Request(plain) => Begun::Exchange(Box::pin(self.ask(plain))),
            Next::Again(body) => match self.ask_again(body) {
                Ok(awaited) => Begun::Awaited(awaited),
                Err(refusal) => Begun::Exchange(Box::pin(self.reply_again(Err(refusal)))),
            },
            Next::Other => Begun::Other,
            Next::End => Begun::End,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
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
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
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

    /// What `answer` comes to, unless the peer is gone before.
    async fn until_gone<T>(
        &mut self,
        mut answer: Pin<&mut impl Future<Output = T>>,
    ) -> io::Result<T> {
        poll_fn(|cx| self.poll_until_gone(answer.as_mut(), cx)).await
    }

    fn poll_until_gone<T>(
        &mut self,
        answer: Pin<&mut impl Future<Output = T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        match answer.poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Ok(answer)),
            Poll::Pending => self.poll_gone(cx).map(Err),
        }
    }

    /// Has a request answered by the one who is responsible for its path.
    async fn ask(&mut self, plain: Box<Plain>) -> io::Result<After> {
        let mut request = plain.request;
        let extensions = request.extensions_mut();
        let handover = plain.upgrades.then(Handover::default);
        self.from.put_on(extensions, handover.clone());
        let mut response = {
            let answer = pin!(self.routes.answer(request));
            self.until_gone(answer).await?
        };
        if let Some(places) = plain.places
            && let Some(known) = response.extensions_mut().remove()
        {
            self.again = Some(places.with(known));
            if let Some(awaited) = Awaited::of(&mut response) {
                return Ok(After::Awaited(awaited));
            }
        }
        let mut response = {
            let response = pin!(Awaited::in_response(response));
            self.until_gone(response).await?
        };
        let granted = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let dress = Dress::of(&mut response);
        let after = self.reply(response, dress).await?;
        let taker = handover
            .filter(|_| granted)
            .and_then(|handover| handover.take());
        Ok(taker.map_or(after, After::Handover))
    }

    /// Has a request answered of which all but the body is known.
    fn ask_again(&self, body: Bytes) -> Result<Awaited, Refusal> {
        let Some(again) = &self.again else {
            return Err(Refusal::new(Code::Internal, "nothing was asked before"));
        };
        let door = Arc::clone(&again.door);
        match &again.token {
            None => Ok(uplink::apply(&door, body)),
            Some(token) => poll::hold_again(door, body, |shown| again::is_token(token, shown)),
        }
    }

    /// Answers such a request.
    async fn reply_again(&mut self, answered: Result<Vec<u8>, Refusal>) -> io::Result<After> {
        let origin = self.again.as_ref().and_then(Again::origin);
        let frames = match answered {
            Ok(frames) => frames,
            Err(refusal) => {
                let origin = origin.and_then(|origin| HeaderValue::from_bytes(origin).ok());
                // The session it was about is over.
                self.again = None;
                return Box::pin(self.refuse(refusal, origin)).await;
            }
        };
        let closes = self.shared().ending.is_cancelled();
        let mut sending = Sending::default();
        sending.frames(origin, frames, closes);
        poll_fn(|cx| self.poll_write(&mut sending, cx)).await?;
        Ok(After::request_unless(closes))
    }

    async fn refuse(&mut self, refusal: Refusal, origin: Option<HeaderValue>) -> io::Result<After> {
        let dress = Dress { origin };
        self.reply(refusal.into_response(), Some(dress)).await
    }

    async fn reply(&mut self, response: Response, dress: Option<Dress>) -> io::Result<After> {
        let (parts, mut body) = response.into_parts();
        let has_none = parts.status.is_informational()
            || matches!(
                parts.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        let framing = match body.size_hint().exact() {
            _ if has_none => Framing::Empty,
            Some(length) => Framing::Length(length),
            None => Framing::Chunked,
        };
        let closes = !parts.status.is_informational() && self.shared().ending.is_cancelled();
        let mut sending = Sending::default();
        sending.head(
            parts.status,
            &parts.headers,
            dress.as_ref(),
            framing,
            closes,
        );
        drop((parts, dress));
        let mut ended = framing == Framing::Empty;
        poll_fn(|cx| self.poll_body(&mut body, framing, &mut sending, &mut ended, cx)).await?;
        Ok(After::request_unless(closes))
    }

    /// Sends a body, piece by piece, as fast as the peer takes it.
    fn poll_body(
        &mut self,
        body: &mut Body,
        framing: Framing,
        sending: &mut Sending,
        ended: &mut bool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            while !*ended && sending.has_room() {
                match Pin::new(&mut *body).poll_frame(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Ok(frame))) => {
                        if let Ok(data) = frame.into_data() {
                            sending.piece(data, framing);
                        }
                    }
                    Poll::Ready(Some(Err(error))) => {
                        return Poll::Ready(Err(io::Error::other(error)));
                    }
                    Poll::Ready(None) => {
                        *ended = true;
                        sending.end(framing);
                    }
                }
            }
            if !sending.is_empty() {
                ready!(self.poll_write(sending, cx))?;
            } else if *ended {
                return Poll::Ready(Ok(()));
            } else {
                return self.poll_gone(cx).map(Err);
            }
        }
    }

    /// Writes all of it; `Err` also when the peer takes nothing for too long.
    fn poll_write(&mut self, sending: &mut Sending, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let socket = Pin::new(&mut self.socket);
            let is_written = sending.is_empty();
            let polled = if is_written {
                // TLS may hold some of it.
                socket.poll_flush(cx).map_ok(|()| 0)
            } else {
                match sending.only_run() {
                    Some(run) => socket.poll_write(cx, run),
                    None => socket.poll_write_vectored(cx, &sending.runs()),
                }
            };
            match polled {
                Poll::Pending => {
                    if self.timer.at.is_none() {
                        self.timer.set(self.shared().config.timeouts.peer_dead);
                    }
                    ready!(self.timer.poll(cx));
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                Poll::Ready(len) => {
                    let len = len?;
                    self.timer.stop();
                    if is_written {
                        return Poll::Ready(Ok(()));
                    } else if len == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    sending.advance(len);
                }
            }
        }
    }
}

impl After {
    fn request_unless(closes: bool) -> Self {
        if closes { Self::End } else { Self::Request }
    }
}

/// A deadline that costs nothing to move: the timer is made when something waits, and moved only when it fires too early.
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    at: Option<Instant>,
}

impl Timer {
    fn new(after: Duration) -> Self {
        Self {
            sleep: None,
            at: Some(Instant::now() + after),
        }
    }

    fn set(&mut self, after: Duration) {
        self.at = Some(Instant::now() + after);
    }

    fn stop(&mut self) {
        self.at = None;
    }

    /// Ready when the deadline has passed.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
    }
}

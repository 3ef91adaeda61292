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
mod incoming;
mod outgoing;
mod reply;
mod timer;

use std::{
    future::poll_fn,
    io,
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::http::{Extensions, HeaderValue, StatusCode};
use bytes::Bytes;
use perigee_session::Code;
use tokio::io::AsyncWrite;

use self::{again::Again, handover::Taker, head::Plain, reply::Sending, timer::Timer};
pub(crate) use self::{
    again::Known,
    handover::{Handover, Rest, Successor},
};
use crate::{
    http::{Dress, Peer, Refusal, Routes, SamePort},
    listener::ClientSocket,
    shared::Shared,
    transport::{awaited::Awaited, poll, uplink},
};

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
        self.into_parts().0
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
}

impl After {
    fn request_unless(closes: bool) -> Self {
        if closes { Self::End } else { Self::Request }
    }
}

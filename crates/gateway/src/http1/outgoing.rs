//! What goes out on a connection: a reply, as fast as the peer takes it.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, HttpBody},
    http::{HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use tokio::io::AsyncWrite;

use super::{
    After, Connection,
    reply::{Framing, Sending},
};
use crate::http::{Dress, Refusal};

impl Connection {
    pub(super) async fn refuse(
        &mut self,
        refusal: Refusal,
        origin: Option<HeaderValue>,
    ) -> io::Result<After> {
        let dress = Dress { origin };
        self.reply(refusal.into_response(), Some(dress)).await
    }

    pub(super) async fn reply(
        &mut self,
        response: Response,
        dress: Option<Dress>,
    ) -> io::Result<After> {
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
    pub(super) fn poll_write(
        &mut self,
        sending: &mut Sending,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
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

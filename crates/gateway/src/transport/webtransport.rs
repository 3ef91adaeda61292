//! The WebTransport transport: one bidirectional stream that the client opens, frames both ways as
//! one sequence of bytes.

mod frames;
mod http3;

use std::{
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::http::StatusCode;
use bytes::{Buf, Bytes};
use perigee_session::Code;
use quinn::{ReadError, RecvStream, SendStream, WriteError};
use tokio::time::timeout;

use self::http3::{Error, Session};
pub(crate) use self::{frames::WholeFrames, http3::Request};
use super::{Gone, Input, attach};
use crate::{
    http::{Asker, server_name},
    listener::Accepted,
    ops::access_log::Client,
    shared::Shared,
};

/// Bytes taken from QUIC at a time.
const READ_BYTES: usize = 64 * 1024;
/// Time for the last frames of a stream that ends.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// `CONNECT {sid}/wt`, with the connection it came on.
pub(crate) async fn handle(shared: &Shared, request: Request, accepted: Accepted) {
    let address = request.peer().ip().to_canonical();
    let client = Client {
        origin: None,
        address,
        secure: true,
        user: None,
    };
    if !server_name::is_ours(shared, &client, request.host()) {
        request.refuse(StatusCode::MISDIRECTED_REQUEST).await;
        return;
    }
    let Some(sid) = sid(request.path()).map(str::to_owned) else {
        request.refuse(StatusCode::NOT_FOUND).await;
        return;
    };
    let asker = match Asker::identify(shared, (address, true), request.headers()) {
        Ok(asker) => asker,
        Err(refusal) => {
            request.refuse(refusal.status()).await;
            return;
        }
    };
    tokio::select! {
        biased;
        () = attach(shared, &sid, &asker, request, accepted) => {}
        // What has no session by now has nothing to be told.
        () = shared.ending.cancelled() => {}
    }
}

/// The session that a path names.
pub(crate) fn sid(path: &str) -> Option<&str> {
    let sid = path.strip_prefix("/perigee/v1/")?.strip_suffix("/wt")?;
    (!sid.is_empty() && !sid.contains('/')).then_some(sid)
}

/// Waits for HELLO and gives the stream to its session.
async fn attach(shared: &Shared, sid: &str, asker: &Asker, request: Request, accepted: Accepted) {
    let Ok(mut session) = request.accept().await else {
        return;
    };
    let beginning = async {
        let (send, recv) = session.stream().await?;
        let mut stream = Stream {
            send,
            recv,
            queue: Bytes::new(),
            incoming: WholeFrames::default(),
        };
        let message = stream.read().await?;
        Ok::<_, Error>(message.map(|message| (stream, message)))
    };
    let (stream, message) = match timeout(shared.config.timeouts.hello, beginning).await {
        Ok(Ok(Some(begun))) => begun,
        // It left before it said anything.
        Ok(Ok(None) | Err(_)) => return,
        Err(_) => {
            session
                .close(close_code(Code::Idle), Code::Idle.name())
                .await;
            return;
        }
    };
    let downlink = Box::new(Downlink {
        session,
        stream,
        _accepted: accepted,
    });
    match attach::find(shared, sid, asker, message) {
        Ok(attach) => {
            let downlink = super::Downlink::WebTransport(downlink);
            if let Err((refused, code)) = attach.deliver(downlink).await {
                refused.finish(Vec::new(), code, &shared.tasks);
            }
        }
        Err(refusal) => downlink.finish(Vec::new(), refusal.code()).await,
    }
}

/// The same numbers as over a WebSocket: 0 is what a session is closed with that nobody gave a code.
fn close_code(code: Code) -> u32 {
    u32::from(code.close_code())
}

/// The stream of an attachment, and what it counts against.
pub(crate) struct Downlink {
    session: Session,
    stream: Stream,
    _accepted: Accepted,
}

/// The stream that carries the frames.
struct Stream {
    send: SendStream,
    recv: RecvStream,
    /// Handed over and not yet taken by QUIC: one batch at most.
    queue: Bytes,
    incoming: WholeFrames,
}

impl Downlink {
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        self.stream.poll_write_queue(cx).map_err(|_| Gone)
    }

    pub(super) fn send(&mut self, frames: Vec<u8>) {
        // There was room, so the queue is empty.
        self.stream.queue = Bytes::from(frames);
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Result<(), Gone> {
        match self.poll_room(cx) {
            Poll::Ready(gone) => gone,
            Poll::Pending => Ok(()),
        }
    }

    pub(super) fn poll_input(
        &mut self,
        cx: &mut Context<'_>,
        mut take: impl FnMut(&[u8], bool),
    ) -> Poll<Input> {
        if let Poll::Ready(read) = self.stream.poll_read(cx) {
            return Poll::Ready(match read {
                Ok(Some(frames)) => {
                    // QUIC may have more, which shows at the next look.
                    take(&frames, false);
                    Input::Frames
                }
                Ok(None) | Err(_) => Input::Gone,
            });
        }
        self.session.ended.as_mut().poll(cx).map(|()| Input::Gone)
    }

    /// Sends last frames, says why, and waits a little for the other side to have it.
    pub(super) async fn finish(mut self: Box<Self>, frames: Vec<u8>, code: Code) {
        // The end of a session takes its streams with it, also what a browser has received and its
        // page has not read. So the stream ends first, and the client ends its half when it has read that.
        _ = timeout(CLOSE_TIMEOUT, self.stream.finish(frames)).await;
        self.session.close(close_code(code), code.name()).await;
    }
}

impl Stream {
    /// Hands the queue to QUIC; ready when it is empty.
    fn poll_write_queue(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        while !self.queue.is_empty() {
            let written = ready!(Pin::new(&mut self.send).poll_write(cx, &self.queue))?;
            self.queue.advance(written);
        }
        self.queue = Bytes::new();
        Poll::Ready(Ok(()))
    }

    /// A whole number of frames; `None` when the client has ended its half.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ReadError>> {
        loop {
            // What wakes us is kept by the connection, not by this future.
            let chunk = pin!(self.recv.read_chunk(READ_BYTES, true));
            let Some(chunk) = ready!(chunk.poll(cx))? else {
                return Poll::Ready(Ok(None));
            };
            let frames = self.incoming.push(chunk.bytes);
            if !frames.is_empty() {
                return Poll::Ready(Ok(Some(frames)));
            }
        }
    }

    async fn read(&mut self) -> Result<Option<Bytes>, ReadError> {
        std::future::poll_fn(|cx| self.poll_read(cx)).await
    }

    async fn finish(&mut self, frames: Vec<u8>) -> Result<(), WriteError> {
        std::future::poll_fn(|cx| self.poll_write_queue(cx)).await?;
        self.send.write_all(&frames).await?;
        _ = self.send.finish();
        while let Ok(Some(_)) = self.recv.read_chunk(READ_BYTES, true).await {}
        Ok(())
    }
}

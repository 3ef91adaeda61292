//! What comes down, over each transport. The WebSocket carries both directions.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream::FuturesUnordered};
use http_body_util::BodyExt;
use hyper::{Method, StatusCode, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use perigee_session::{Code, Link, Uplink};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue},
};

use super::{Inner, Refusal, State, Transport, tickets};
use crate::{
    ORIGIN,
    http::{Error, Version},
};

/// Most bytes of a WebSocket message.
const MESSAGE: usize = 48 * 1024;
/// Polls at a time, when they overlap on purpose.
const MAX_POLLS: usize = 3;
/// The gateway's name for its protocol on a WebSocket.
const SUBPROTOCOL: &str = "perigee.v1";

/// Carries the session until the transport ends or another one takes over.
pub(super) async fn run(state: Arc<State>, transport: Transport, epoch: u64) {
    // How a transport fails is not the story; that the session goes on is.
    let carried = async {
        let carried = match transport {
            Transport::WebSocket => websocket(&state, epoch, upgrade(&state)).await,
            Transport::Http2WebSocket => websocket(&state, epoch, connect(&state)).await,
            Transport::WebTransport => super::webtransport::run(&state, epoch).await,
            Transport::Stream => stream(&state, Version::Http1, epoch).await,
            Transport::Http2Stream => stream(&state, Version::Http2, epoch).await,
            Transport::Poll => polls(&state, Version::Http1, epoch).await,
            Transport::Http2Poll => polls(&state, Version::Http2, epoch).await,
            Transport::Sse => tickets::run(&state, epoch, tickets::Kind::Sse).await,
            Transport::Htmlfile => tickets::run(&state, epoch, tickets::Kind::Htmlfile).await,
            Transport::Jsonp => tickets::run(&state, epoch, tickets::Kind::Jsonp).await,
        };
        let note = |inner: &mut Inner, _| {
            let diary = &mut inner.diary;
            diary.note(format_args!("transport {epoch} ended: {carried:?}"));
        };
        state.change(note);
        // The end of the session goes up by a request, which takes an attachment to be said.
        let said = state.when(|inner| {
            let due = inner.epoch == epoch && inner.uplink.is_some() && inner.ended.is_some();
            (!due || !inner.session.can_transmit()).then_some(())
        });
        said.await;
    };
    tokio::select! {
        () = carried => {}
        () = state.when(|inner| (inner.silent >= epoch).then_some(())) => {
            state.give_up_http2().await;
        }
    }
    state.change(|inner, now| {
        if inner.epoch == epoch {
            inner.alive = false;
            if let Some(n) = inner.session.attachment() {
                inner.session.detach(n, now);
            }
        }
    });
}

impl Inner {
    pub(super) fn sid(&self) -> String {
        self.session
            .identity()
            .map_or("new", |(sid, _)| sid)
            .to_owned()
    }

    /// The gateway does not know the session any more, and with it all streams are lost.
    pub(super) fn lost(&mut self) {
        self.session.end(Code::Lost, "", Instant::now());
    }

    /// Applies the whole frames that a downlink brought, and leaves the rest. What an older one still
    /// brings is no sign of life of the newest.
    pub(super) fn brought(&mut self, epoch: u64, frames: &mut &[u8], now: Instant) {
        if self.epoch == epoch {
            self.session.handle_bytes(frames, now);
        } else {
            self.session.handle_late(frames, now);
        }
    }

    /// The same for a message, which is a whole number of frames.
    pub(super) fn brought_message(&mut self, epoch: u64, message: &[u8], now: Instant) {
        if self.epoch == epoch {
            self.session.handle_message(message, now);
        } else {
            self.session.handle_reply(message, now);
        }
    }

    pub(super) fn refused(&mut self, epoch: u64, refusal: Refusal) {
        if self.epoch != epoch {
            return;
        }
        self.refusal = Some(refusal);
        self.diary
            .note(format_args!("transport {epoch} was refused: {refusal:?}"));
        if refusal == Refusal::Status(Code::Lost.http_status())
            || refusal == Refusal::Close(Code::Lost.close_code())
        {
            self.lost();
        }
    }
}

impl State {
    /// The body that begins an attachment, unless another one has begun.
    pub(super) fn hello(&self, epoch: u64, link: Link) -> Option<(String, Vec<u8>)> {
        self.change(|inner, now| {
            if inner.epoch != epoch || inner.ended.is_some() {
                return None;
            }
            let n = inner.session.attach(link, Uplink::Separate, now);
            inner.diary.note(format_args!("attachment {n}, {link:?}"));
            let mut body = Vec::new();
            inner.session.transmit_hello(&mut body, false, now);
            Some((inner.sid(), body))
        })
    }

    pub(super) async fn until_reading(&self) {
        // The sender is in `self`.
        _ = self.paused.subscribe().wait_for(|paused| !paused).await;
    }
}

/// A WebSocket on a connection of its own.
async fn upgrade(state: &State) -> Result<WebSocketStream<TcpStream>, Error> {
    let sid = state.lock().sid();
    let mut request =
        format!("ws://{}/perigee/v1/{sid}/ws", state.address).into_client_request()?;
    request
        .headers_mut()
        .insert("origin", HeaderValue::from_static(ORIGIN));
    request.headers_mut().insert(
        "sec-websocket-protocol",
        HeaderValue::from_static(SUBPROTOCOL),
    );
    let tcp = TcpStream::connect(state.address).await?;
    let (websocket, _) = tokio_tungstenite::client_async(request, tcp).await?;
    Ok(websocket)
}

/// A WebSocket on a stream of the connection that HTTP/2 requests share.
async fn connect(state: &State) -> Result<WebSocketStream<TokioIo<Upgraded>>, Error> {
    let path = format!("/perigee/v1/{}/ws", state.lock().sid());
    state.http2.websocket(&path, Some(SUBPROTOCOL)).await
}

async fn websocket<S>(
    state: &State,
    epoch: u64,
    opening: impl Future<Output = Result<WebSocketStream<S>, Error>>,
) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let websocket = state.patiently(opening).await?;
    let (mut sink, mut source) = websocket.split();
    let began = state.change(|inner, now| {
        let newest = inner.epoch == epoch && inner.ended.is_none();
        if newest {
            let n = inner.session.attach(Link::Open, Uplink::Fresh, now);
            inner.diary.note(format_args!("attachment {n}"));
        }
        newest
    });
    if !began {
        return Ok(());
    }
    let up = async {
        let mut repeated: Option<Bytes> = None;
        while let Some(message) = next_message(state, epoch).await {
            // HELLO is never repeated: each attachment has one.
            if let Some(old) = repeated.filter(|_| state.lock().chance(|faults| faults.duplicate)) {
                sink.send(Message::Binary(old)).await?;
            }
            repeated = (message.first() != Some(&0x10)).then(|| message.clone());
            sink.send(Message::Binary(message)).await?;
        }
        // Another transport took over; the gateway ends this one.
        std::future::pending::<Result<(), Error>>().await
    };
    let down = async {
        loop {
            state.until_reading().await;
            match source.next().await {
                Some(Ok(Message::Binary(message))) => {
                    state.change(|inner, now| inner.brought_message(epoch, &message, now));
                }
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.map_or(1005, |frame| frame.code.into());
                    state.change(|inner, _| inner.refused(epoch, Refusal::Close(code)));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            }
        }
    };
    tokio::select! { ended = up => ended, ended = down => ended }
}

/// The next message to send on a transport of both directions; `None` when it is not the newest transport any more.
pub(super) async fn next_message(state: &State, epoch: u64) -> Option<Bytes> {
    state
        .when(|inner| {
            if inner.epoch != epoch {
                return Some(None);
            }
            let mut frames = Vec::new();
            inner
                .session
                .poll_transmit(&mut frames, MESSAGE, Instant::now())
                .then(|| Some(Bytes::from(frames)))
        })
        .await
}

async fn stream(state: &State, version: Version, epoch: u64) -> Result<(), Error> {
    let Some((sid, hello)) = state.hello(epoch, Link::Open) else {
        return Ok(());
    };
    let http = state.http(version);
    let path = format!("/perigee/v1/{sid}/stream");
    let reply = http.send(Method::POST, &path, &[], hello);
    let reply = state.patiently(reply).await?;
    let status = reply.response.status();
    if status != StatusCode::OK {
        state.change(|inner, _| inner.refused(epoch, Refusal::Status(status.as_u16())));
        return Ok(());
    }
    let mut reply = reply;
    let mut cut = Vec::new();
    loop {
        state.until_reading().await;
        let Some(frame) = reply.response.body_mut().frame().await else {
            return Ok(());
        };
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        cut.extend_from_slice(&data);
        let mut rest = &cut[..];
        state.change(|inner, now| {
            inner.brought(epoch, &mut rest, now);
        });
        cut = rest.to_vec();
    }
}

async fn polls(state: &State, version: Version, epoch: u64) -> Result<(), Error> {
    let mut outstanding = FuturesUnordered::new();
    loop {
        let Some((sid, hello)) = state.hello(epoch, Link::Poll) else {
            return Ok(());
        };
        outstanding.push(poll(state, version, epoch, sid, hello));
        loop {
            if outstanding.len() < MAX_POLLS
                && state.lock().chance(|faults| faults.overlapping_poll)
            {
                break;
            }
            match outstanding.next().await {
                Some(answer) => answer?,
                None => break,
            }
        }
    }
}

async fn poll(
    state: &State,
    version: Version,
    epoch: u64,
    sid: String,
    hello: Vec<u8>,
) -> Result<(), Error> {
    state.until_reading().await;
    let http = state.http(version);
    let path = format!("/perigee/v1/{sid}/poll");
    let reply = http.fetch(Method::POST, &path, &[], hello);
    let reply = state.patiently(reply).await?;
    if reply.status != StatusCode::OK {
        state.change(|inner, _| inner.refused(epoch, Refusal::Status(reply.status.as_u16())));
        return Err("refused".into());
    }
    state.change(|inner, now| {
        inner.brought_message(epoch, &reply.body, now);
    });
    Ok(())
}

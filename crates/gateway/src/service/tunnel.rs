//! The tunnel service: a stream's bytes are the backend's bytes.
//!
//! Half-close and reset travel in both directions, and neither side is read while the other has
//! no room.
//!
//! Invariants:
//! - what is consumed from the session, or passes it by, was taken by the backend's socket before;
//! - the backend is read only into room that the session has.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use perigee_session::{Code, Session, StreamId};

use crate::{
    backend::{self, Connection, TlsClients, Unreached},
    policy::Permit,
};

/// One stream and its backend.
pub(crate) struct Tunnel {
    stream: StreamId,
    state: TunnelState,
    downward: Downward,
    /// The backend's connection may hold back what it took.
    is_unflushed: bool,
    /// How long the stream outlives its transport.
    pub(crate) resume_timeout: Duration,
}

/// Where a tunnel is in its life.
enum TunnelState {
    /// Waiting for the backend.
    Dialing {
        dialing: Pin<Box<dyn Future<Output = Result<Connection, Unreached>> + Send>>,
        /// The canonical target, for OPENED.
        reached: Arc<str>,
    },
    /// Bytes flow.
    Open(Connection),
    /// Over.
    Over,
}

/// What is known of the bytes that come from a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Downward {
    /// There may be some.
    Unknown,
    /// There are none: the backend wakes when there are.
    Awaited,
    /// There will be none: the end was seen.
    Ended,
}

/// Where there may be something to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// The session has something for the backend, or room.
    Session,
    /// So may the backend.
    Both,
}

/// Why a tunnel ended its stream, for the operator.
pub(crate) struct Failure(pub(crate) String);

/// Bytes read from a backend at a time, and buffers handed to one vectored write.
const READ_LEN: usize = 64 * 1024;
const MAX_RUNS: usize = 16;
/// Bytes moved for one stream before its neighbours have their turn.
const TURN_BYTES: usize = 256 * 1024;
/// Less than this is cheaper to copy than to write by itself if more follows: several short messages of one
/// read go out with one write.
const OFFERED_BYTES: usize = 4 * 1024;

thread_local! {
    /// One read buffer per thread: no stream owns memory for bytes that are not there.
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_LEN]);
}

impl Tunnel {
    /// Starts to connect; poll the tunnel to make progress.
    pub(crate) fn new(stream: StreamId, permit: Permit, tls: Arc<TlsClients>) -> Self {
        let resume_timeout = permit.backend.resume_timeout;
        let reached = Arc::clone(&permit.backend.name);
        let dialing = Box::pin(async move { backend::reach(&permit, &tls).await });
        let state = TunnelState::Dialing { dialing, reached };
        Self {
            stream,
            state,
            downward: Downward::Unknown,
            is_unflushed: false,
            resume_timeout,
        }
    }

    /// Moves what can be moved. `may_read` is false while memory is short.
    ///
    /// Returns whether the tunnel should be polled again though nothing will wake it.
    pub(crate) fn poll(
        &mut self,
        session: &mut Session,
        look: Look,
        may_read: bool,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Result<bool, Failure> {
        if let TunnelState::Dialing { dialing, reached } = &mut self.state {
            match dialing.as_mut().poll(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(connection)) => {
                    session.accept(self.stream, reached);
                    self.state = TunnelState::Open(connection);
                }
                Poll::Ready(Err(Unreached { code, detail })) => {
                    self.state = TunnelState::Over;
                    session.reset(self.stream, code, reason(code), now);
                    return Err(Failure(detail));
                }
            }
        }
        let TunnelState::Open(connection) = &mut self.state else {
            return Ok(false);
        };
        if look == Look::Both && self.downward == Downward::Awaited {
            self.downward = Downward::Unknown;
        }
        let moved = (|| {
            let unflushed = &mut self.is_unflushed;
            write(self.stream, connection, unflushed, session, now, cx)?;
            if self.downward != Downward::Unknown || !may_read {
                return Ok(false);
            }
            read(self.stream, &mut self.downward, connection, session, cx)
        })();
        moved.map_err(|error: io::Error| {
            session.reset(self.stream, Code::Reset, reason(Code::Reset), now);
            Failure(format!("backend: {error}"))
        })
    }

    /// Offers the backend bytes that the session does not hold, nor any before them, and says how many it
    /// took: none if they are few and not the `is_last` that came.
    ///
    /// An error shows when the tunnel is polled, which is due then.
    pub(crate) fn offer(
        &mut self,
        runs: &[IoSlice<'_>],
        is_last: bool,
        cx: &mut Context<'_>,
    ) -> usize {
        let TunnelState::Open(connection) = &mut self.state else {
            return 0;
        };
        if !is_last && runs.iter().map(|run| run.len()).sum::<usize>() < OFFERED_BYTES {
            return 0;
        }
        let Poll::Ready(Ok(taken)) = connection.poll_write(cx, runs) else {
            return 0;
        };
        if taken > 0 {
            self.is_unflushed = true;
            match connection.poll_flush(cx) {
                Poll::Ready(Ok(())) => self.is_unflushed = false,
                // Nothing that the session has left would have the tunnel polled.
                Poll::Ready(Err(_)) => cx.waker().wake_by_ref(),
                Poll::Pending => {}
            }
        }
        taken
    }

    /// The stream is over: the backend sees FIN if all ended well and RST otherwise.
    pub(crate) fn close(self, code: Code) {
        if let TunnelState::Open(connection) = self.state
            && code != Code::Closed
        {
            connection.reset();
        }
    }
}

fn write(
    stream: StreamId,
    connection: &mut Connection,
    is_unflushed: &mut bool,
    session: &mut Session,
    now: Instant,
    cx: &mut Context<'_>,
) -> io::Result<()> {
    while session.has_to_deliver(stream) {
        let written = {
            let mut runs = session.peek(stream);
            match (runs.next(), runs.next()) {
                (None, _) => break,
                // What came since the last look is one run, nearly always.
                (Some(run), None) => connection.poll_write(cx, &[IoSlice::new(run)])?,
                (Some(first), Some(second)) => {
                    let mut slices = [IoSlice::new(&[]); MAX_RUNS];
                    let count = slices
                        .iter_mut()
                        .zip([first, second].into_iter().chain(runs))
                        .map(|(slice, run)| *slice = IoSlice::new(run))
                        .count();
                    connection.poll_write(cx, &slices[..count])?
                }
            }
        };
        match written {
            Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(taken) => {
                *is_unflushed = true;
                session.consume(stream, taken, now);
            }
            Poll::Pending => return Ok(()),
        }
    }
    if *is_unflushed && connection.poll_flush(cx)?.is_ready() {
        *is_unflushed = false;
    }
    if session.fin_is_next(stream) && connection.poll_shutdown(cx)?.is_ready() {
        session.consume_fin(stream, now);
    }
    Ok(())
}

/// Says whether it left some for the neighbours' sake.
fn read(
    stream: StreamId,
    downward: &mut Downward,
    connection: &mut Connection,
    session: &mut Session,
    cx: &mut Context<'_>,
) -> io::Result<bool> {
    READ_BUFFER.with_borrow_mut(|buffer| {
        let mut turn = TURN_BYTES;
        while turn > 0 {
            let room = session.room(stream).min(buffer.len());
            if room == 0 {
                session.await_room(stream);
                return Ok(false);
            }
            match connection.poll_read(cx, &mut buffer[..room])? {
                Poll::Pending => {
                    *downward = Downward::Awaited;
                    return Ok(false);
                }
                Poll::Ready(0) => {
                    *downward = Downward::Ended;
                    session.finish(stream);
                    return Ok(false);
                }
                Poll::Ready(len) => {
                    session.write(stream, &buffer[..len]);
                    turn = turn.saturating_sub(len);
                }
            }
        }
        Ok(true)
    })
}

/// The fixed words that go with a code to the client.
pub(super) fn reason(code: Code) -> &'static str {
    match code {
        Code::Refused => "the backend refused the connection",
        Code::Timeout => "the backend did not answer in time",
        Code::Dns => "the backend's name has no usable address",
        Code::Tls => "TLS to the backend failed",
        Code::Unreachable => "the backend could not be reached",
        Code::Reset => "the backend reset the connection",
        _ => "",
    }
}

#[cfg(test)]
mod tests;

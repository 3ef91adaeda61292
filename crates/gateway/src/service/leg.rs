//! A service and its backend: what a stream and a front door have in common.

use std::{
    cell::RefCell,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Buf;
use perigee_session::Code;
use tokio::time::{Sleep, sleep_until, timeout};

use super::{Message, Output, QUEUE_BYTES, Service};
use crate::{backend::Connection, net::now};

/// Bytes read from a backend at a time. A service may make more of them, but not many times more.
const READ_LEN: usize = 16 * 1024;
/// Buffers handed to one vectored write.
const MAX_RUNS: usize = 16;
/// Bytes read for one client before others have their turn.
const TURN_BYTES: usize = 256 * 1024;
/// For a backend to take its last words and to close the connection.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

thread_local! {
    /// One read buffer per thread: nobody owns memory for bytes that are not there.
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_LEN]);
}

/// One service and its connected backend.
pub(crate) struct Leg {
    service: Box<dyn Service>,
    out: Output,
    connection: Connection,
    reading: Reading,
    writing: Writing,
    /// Why the backend takes no more, though it did not end.
    write_failure: Option<io::Error>,
    timer: Option<Pin<Box<Sleep>>>,
    /// The timer will wake who pumped last.
    timer_is_armed: bool,
}

/// The way from the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// There may be something.
    Open,
    /// There was no room for what it may say.
    Stopped,
    /// There was nothing, and it wakes when there is.
    Quiet,
    /// The end was seen.
    Ended,
}

/// What became of an attempt to move something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pumped {
    /// Something was moved.
    pub(crate) any: bool,
    /// There may be more, though nothing will wake for it.
    pub(crate) again: bool,
}

/// The way to the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    Open,
    /// The last words are in the queue.
    Ending,
    /// FIN was sent, or the backend takes no more.
    Closed,
}

impl Leg {
    pub(super) fn new(service: Box<dyn Service>, out: Output, connection: Connection) -> Self {
        Self {
            service,
            out,
            connection,
            reading: Reading::Open,
            writing: Writing::Open,
            write_failure: None,
            timer: None,
            timer_is_armed: false,
        }
    }

    /// Offers bytes of the client, and says how many were taken; 0 while there is no room. What
    /// comes after the end is taken and means nothing.
    pub(crate) fn offer(&mut self, bytes: &[u8], now: Instant) -> usize {
        if self.out.end.is_some() {
            return bytes.len();
        }
        let has_room =
            self.out.backend_bytes < QUEUE_BYTES && self.out.client_bytes < 2 * QUEUE_BYTES;
        if !has_room || bytes.is_empty() {
            return 0;
        }
        self.service.client_says(bytes, now, &mut self.out)
    }

    /// The client will say no more.
    pub(crate) fn client_left(&mut self, now: Instant) {
        if self.writing == Writing::Open {
            self.service.client_left(now, &mut self.out);
            self.writing = Writing::Ending;
        }
    }

    /// The client has a transport, or none for the moment.
    pub(crate) fn client_is_attached(&mut self, attached: bool, now: Instant) {
        if attached {
            self.service.client_attached(now, &mut self.out);
        } else {
            self.service.client_detached(now, &mut self.out);
        }
    }

    /// The gateway stops. What the service says to it is to be handed to the client.
    pub(crate) fn gateway_stops(&mut self, now: Instant) {
        if self.out.end.is_none() {
            self.service.gateway_stops(now, &mut self.out);
        }
    }

    /// Whether there is something for the client.
    pub(crate) fn has_for_client(&self) -> bool {
        self.out.has_for_client()
    }

    /// The backend may have something to say: what was polled with it woke.
    pub(crate) fn backend_woke(&mut self) {
        if self.reading == Reading::Quiet {
            self.reading = Reading::Open;
        }
    }

    /// Whether the backend is not read until one side has taken something.
    pub(crate) fn waits_for_room(&self) -> bool {
        self.reading == Reading::Stopped
    }

    /// Moves what can be moved between the service and its backend, which is not read while
    /// `may_read` is false, nor before [`Leg::backend_woke`] when it had nothing the last time.
    /// It is for one task to call, which polls under one waker.
    pub(crate) fn pump(
        &mut self,
        may_read: bool,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> io::Result<Pumped> {
        if self.service.deadline().is_some_and(|at| at <= now) {
            self.service.expired(now, &mut self.out);
        }
        let mut any = false;
        let mut turn = TURN_BYTES;
        loop {
            any |= self.write(cx);
            if matches!(self.reading, Reading::Quiet | Reading::Ended)
                || self.out.end.is_some()
                || !may_read
            {
                break;
            }
            let has_room =
                self.out.client_bytes < QUEUE_BYTES && self.out.backend_bytes < 2 * QUEUE_BYTES;
            if !has_room {
                self.reading = Reading::Stopped;
                break;
            }
            self.reading = Reading::Open;
            if turn == 0 {
                return Ok(Pumped { any, again: true });
            }
            match self.read(now, cx)? {
                Poll::Ready(len) => {
                    any = true;
                    turn = turn.saturating_sub(len);
                }
                Poll::Pending => self.reading = Reading::Quiet,
            }
        }
        let again = match self.service.deadline() {
            Some(at) => self.wake_at(at, now, cx),
            None => false,
        };
        Ok(Pumped { any, again })
    }

    /// Wakes at this time; true if it has come.
    pub(crate) fn wake_at(&mut self, at: Instant, now: Instant, cx: &mut Context<'_>) -> bool {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(at.into())));
        // Deadlines move away with every message. One that is armed too early wakes once in vain, which
        // costs less than to arm it anew each time.
        let armed = timer.deadline().into_std();
        if self.timer_is_armed && now < armed && armed <= at {
            return false;
        }
        timer.as_mut().reset(at.into());
        self.timer_is_armed = true;
        timer.as_mut().poll(cx).is_ready()
    }

    /// The next message for the client.
    pub(crate) fn next_for_client(&mut self) -> Option<Message> {
        self.out.next_for_client()
    }

    /// How it ended, once the client has been handed all there is for it: by the service, or
    /// because the backend closed the connection.
    pub(crate) fn ended(&self) -> Option<(Code, &'static str)> {
        if self.out.has_for_client() {
            None
        } else if self.out.end.is_some() {
            self.out.end
        } else {
            (self.reading == Reading::Ended).then_some((Code::Closed, ""))
        }
    }

    /// Whether the backend has taken all that it is to take.
    pub(crate) fn is_delivered(&self) -> bool {
        self.out.backend.is_empty() || self.out.end.is_some()
    }

    /// Bytes that are held here.
    pub(crate) fn buffered(&self) -> u64 {
        (self.out.backend_bytes + self.out.client_bytes + self.service.held_bytes()) as u64
    }

    /// Leaves the backend: what is in the queue for it is sent, with last words unless the client
    /// said them, and the connection is closed in good order if the backend takes them in time.
    pub(crate) async fn goodbye(mut self) {
        if self.reading == Reading::Ended {
            return;
        }
        self.client_left(now());
        let goodbye = poll_fn(|cx| {
            self.write(cx);
            self.poll_discard(cx)
        });
        if timeout(GOODBYE_TIMEOUT, goodbye).await.is_err() {
            self.connection.reset();
        }
    }

    /// Ready at the end of what the backend says.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            loop {
                match ready!(self.connection.poll_read(cx, buffer)) {
                    Ok(0) | Err(_) => return Poll::Ready(()),
                    Ok(_) => {}
                }
            }
        })
    }

    fn read(&mut self, now: Instant, cx: &mut Context<'_>) -> io::Result<Poll<usize>> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let len = match self.connection.poll_read(cx, buffer) {
                Poll::Pending => return Ok(Poll::Pending),
                // TLS that was cut off without its own end, as by many a server that stops. Whether it
                // was cut in the middle of something, a service knows.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
                Poll::Ready(len) => len?,
            };
            if len == 0 {
                self.reading = Reading::Ended;
                if let Some(error) = self.write_failure.take() {
                    return Err(error);
                }
                self.service.backend_ended(now, &mut self.out);
            } else {
                self.service
                    .backend_says(&buffer[..len], now, &mut self.out);
            }
            Ok(Poll::Ready(len))
        })
    }

    /// Writes what the backend takes, and says whether that was anything. A backend that takes no more
    /// may still have something to say, such as why: so it is read to the end.
    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        let mut wrote = false;
        if self.writing != Writing::Closed {
            match self.try_write(cx) {
                Ok(any) => wrote = any,
                Err(error) => {
                    self.writing = Writing::Closed;
                    self.write_failure = Some(error);
                }
            }
        }
        if self.writing == Writing::Closed && !self.out.backend.is_empty() {
            self.out.backend.clear();
            self.out.backend_bytes = 0;
            // What waited for room need not wait.
            wrote = true;
        }
        wrote
    }

    fn try_write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let queue = &mut self.out.backend;
        let mut wrote = false;
        while !queue.is_empty() {
            let written = if let (1, Some(run)) = (queue.len(), queue.front()) {
                self.connection.poll_write(cx, &[IoSlice::new(run)])
            } else {
                let mut runs = [IoSlice::new(&[]); MAX_RUNS];
                let count = runs
                    .iter_mut()
                    .zip(&*queue)
                    .map(|(slot, run)| *slot = IoSlice::new(run))
                    .count();
                self.connection.poll_write(cx, &runs[..count])
            };
            let mut taken = match written? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(taken) => taken,
                Poll::Pending => return Ok(wrote),
            };
            wrote = true;
            self.out.backend_bytes -= taken;
            while let Some(run) = queue.front_mut()
                && taken > 0
            {
                let of_run = taken.min(run.len());
                run.advance(of_run);
                taken -= of_run;
                if run.is_empty() {
                    queue.pop_front();
                }
            }
        }
        if wrote {
            _ = self.connection.poll_flush(cx)?;
        }
        if self.writing == Writing::Ending && self.connection.poll_shutdown(cx)?.is_ready() {
            self.writing = Writing::Closed;
        }
        Ok(wrote)
    }
}

#[cfg(test)]
mod tests;

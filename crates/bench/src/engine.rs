//! Clients on one thread: sockets, readiness and time around wires.
//!
//! What is measured is decided by a [`Load`]; the engine moves bytes and knows no figures.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io::{ErrorKind, Read},
    net::{Ipv4Addr, SocketAddr},
    os::fd::AsRawFd,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::{
    Result,
    socket::{Got, Socket},
    wire::{Io, Kind, MAX_SOCKETS, Wire},
};

const ALARM: Token = Token(usize::MAX - 1);
/// Clients whose connections are being made at a time, so that no listener's queue overflows.
const CONNECTING: usize = 64;

/// What clients are used for.
pub(crate) trait Load {
    /// Streams of a client can be used.
    fn ready(&mut self, client: &mut Client<'_>) -> Result<()>;

    /// Bytes of a stream came.
    fn received(&mut self, client: &mut Client<'_>, stream: usize, bytes: &[u8]) -> Result<()>;

    /// There may be room again.
    fn writable(&mut self, _client: &mut Client<'_>) -> Result<()> {
        Ok(())
    }

    /// When to call [`Load::due`].
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Time has come: says to which client something is to be done by [`Load::writable`].
    fn due(&mut self, _now: Instant) -> Option<usize> {
        None
    }
}

/// One client, for a load.
pub(crate) struct Client<'a> {
    /// Its place, from 0.
    pub(crate) place: usize,
    /// Its number: no other client has it, of this load or another.
    pub(crate) number: u64,
    pub(crate) now: Instant,
    /// It is to be replaced by a new one.
    pub(crate) over: bool,
    wire: &'a mut dyn Wire,
    io: &'a mut Io,
    backlog: usize,
}

impl Client<'_> {
    /// Sends bytes as one message; takes them all or none, or fewer where streams have a window.
    pub(crate) fn send(&mut self, stream: usize, bytes: &[u8]) -> usize {
        self.wire.send(stream, bytes, self.io, self.now)
    }

    /// Bytes that were sent and wait for the network.
    pub(crate) fn backlog(&self) -> usize {
        self.backlog + self.io.out.iter().map(Vec::len).sum::<usize>()
    }
}

struct Place {
    number: u64,
    wire: Box<dyn Wire>,
    sockets: Vec<Socket>,
    connected: [bool; MAX_SOCKETS],
    ready: bool,
    /// When it is in the queue of deadlines.
    scheduled: Option<Instant>,
}

pub(crate) struct Engine {
    poll: Poll,
    alarm: std::os::fd::OwnedFd,
    alarm_at: Option<Instant>,
    kind: Kind,
    to: SocketAddr,
    backend: SocketAddr,
    streams: usize,
    /// Where clients connect from, if it matters.
    pub(crate) from: Option<Ipv4Addr>,
    /// What numbers of clients begin after, so that those of several processes differ.
    pub(crate) after: u64,
    places: Vec<Option<Place>>,
    /// Clients whose streams can be used.
    ready: usize,
    deadlines: BinaryHeap<Reverse<(Instant, usize)>>,
    buffer: Vec<u8>,
    io: Io,
    /// Nothing is read: clients are stalled.
    pub(crate) stalled: bool,
}

/// Ends once a condition holds.
pub(crate) type Until<'a, L> = &'a mut dyn FnMut(&L, &Engine) -> bool;

impl Engine {
    pub(crate) fn new(
        kind: Kind,
        to: SocketAddr,
        backend: SocketAddr,
        streams: usize,
    ) -> Result<Self> {
        let poll = Poll::new()?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let alarm = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        poll.registry()
            .register(&mut SourceFd(&alarm.as_raw_fd()), ALARM, Interest::READABLE)?;
        Ok(Self {
            poll,
            alarm,
            alarm_at: None,
            kind,
            to,
            backend,
            streams,
            from: None,
            after: 0,
            places: Vec::new(),
            ready: 0,
            deadlines: BinaryHeap::new(),
            buffer: vec![0; 256 * 1024],
            io: Io::default(),
            stalled: false,
        })
    }

    /// Opens clients until there are `count`, a few at a time.
    pub(crate) fn open<L: Load>(
        &mut self,
        count: usize,
        load: &mut L,
        patience: Duration,
    ) -> Result<()> {
        let deadline = Instant::now() + patience;
        while self.ready < count {
            let room = CONNECTING.saturating_sub(self.places.len() - self.ready);
            for _ in 0..room.min(count - self.places.len()) {
                self.places.push(None);
                self.connect(self.places.len() - 1)?;
            }
            let before = self.ready;
            self.run(load, deadline, &mut |_, engine| engine.ready > before)?;
            if self.ready == before {
                let late = format!("{} of {count} clients got through", self.ready);
                return Err(late.into());
            }
        }
        Ok(())
    }

    fn connect(&mut self, place: usize) -> Result<()> {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let number = self.after + NUMBER.fetch_add(1, Ordering::Relaxed);
        let wire = self.kind.wire(number, self.to, self.backend, self.streams);
        let sockets = (0..wire.sockets())
            .map(|socket| {
                let token = Token(place * MAX_SOCKETS + socket);
                Socket::connect(self.from, self.to, self.poll.registry(), token)
            })
            .collect::<std::io::Result<Vec<_>>>()?;
        self.places[place] = Some(Place {
            number,
            wire,
            sockets,
            connected: [false; MAX_SOCKETS],
            ready: false,
            scheduled: None,
        });
        Ok(())
    }

    /// Lets a load say something to every client, and sends it.
    pub(crate) fn each<L: Load>(&mut self, load: &mut L) -> Result<()> {
        for place in 0..self.places.len() {
            self.fill(place, load)?;
        }
        Ok(())
    }

    /// Carries on until the condition holds or the deadline passes; says whether it holds.
    pub(crate) fn run<L: Load>(
        &mut self,
        load: &mut L,
        deadline: Instant,
        until: Until<'_, L>,
    ) -> Result<bool> {
        let mut events = Events::with_capacity(1024);
        loop {
            if until(load, self) {
                return Ok(true);
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(false);
            }
            while let Some(place) = load.due(now) {
                self.fill(place, load)?;
            }
            self.expire(now)?;
            let mut next = deadline;
            next = next.min(load.deadline().unwrap_or(next));
            if let Some(Reverse((first, _))) = self.deadlines.peek() {
                next = next.min(*first);
            }
            self.set_alarm(next)?;
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                if event.token() == ALARM {
                    let mut ticks = [0; 8];
                    _ = std::fs::File::from(self.alarm.try_clone()?).read(&mut ticks);
                    self.alarm_at = None;
                    continue;
                }
                let place = event.token().0 / MAX_SOCKETS;
                let socket = event.token().0 % MAX_SOCKETS;
                self.event(place, socket, event, load)?;
            }
        }
    }

    /// The kernel's timers for waiting count milliseconds; this one counts microseconds.
    fn set_alarm(&mut self, at: Instant) -> Result<()> {
        if self.alarm_at == Some(at) {
            return Ok(());
        }
        self.alarm_at = Some(at);
        let left = at.saturating_duration_since(Instant::now());
        // Zero would turn it off.
        let left = left.max(Duration::from_nanos(1));
        let value = Timespec {
            tv_sec: i64::try_from(left.as_secs())?,
            tv_nsec: left.subsec_nanos().into(),
        };
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: value,
        };
        timerfd_settime(&self.alarm, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    fn event<L: Load>(
        &mut self,
        place: usize,
        socket: usize,
        event: &mio::event::Event,
        load: &mut L,
    ) -> Result<()> {
        let Some(Some(state)) = self.places.get_mut(place) else {
            return Ok(());
        };
        if event.is_error() {
            return Err(format!("connection {}: the connection failed", state.number).into());
        }
        if event.is_writable() {
            state.sockets[socket].flush()?;
            if state.connected[socket] {
                let drained = state.sockets[socket].is_drained();
                if drained && state.ready {
                    self.fill(place, load)?;
                }
            } else {
                state.connected[socket] = true;
                let now = Instant::now();
                let connected = state.wire.connected(socket, &mut self.io, now);
                self.named(place, connected)?;
                self.settle(place, load, now)?;
            }
        }
        if event.is_readable() && !self.stalled {
            self.read(place, socket, event.is_read_closed(), load)?;
        }
        Ok(())
    }

    fn read<L: Load>(
        &mut self,
        place: usize,
        socket: usize,
        hung_up: bool,
        load: &mut L,
    ) -> Result<()> {
        loop {
            let Some(Some(state)) = self.places.get_mut(place) else {
                return Ok(());
            };
            let number = state.number;
            match state.sockets[socket].read(&mut self.buffer)? {
                Got::Nothing => return Ok(()),
                Got::End => {
                    return Err(format!("connection {number}: the server ended it").into());
                }
                Got::Bytes(len) => {
                    let now = Instant::now();
                    let bytes = &self.buffer[..len];
                    let received = state.wire.received(socket, bytes, &mut self.io, now);
                    self.named(place, received)?;
                    self.settle(place, load, now)?;
                    if len < self.buffer.len() && !hung_up {
                        return Ok(());
                    }
                    // Another client may be in its place.
                    if !matches!(self.places.get(place), Some(Some(state)) if state.number == number)
                    {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Hands what came of a wire to the load, and what both have to say to the sockets.
    fn settle<L: Load>(&mut self, place: usize, load: &mut L, now: Instant) -> Result<()> {
        let Some(Some(state)) = self.places.get_mut(place) else {
            return Ok(());
        };
        let mut over = false;
        let becomes_ready = !state.ready && state.wire.is_ready();
        if becomes_ready {
            state.ready = true;
            self.ready += 1;
        }
        let runs = std::mem::take(&mut self.io.runs);
        let bytes = std::mem::take(&mut self.io.bytes);
        let ready = state.ready;
        {
            let mut client = Client {
                place,
                number: state.number,
                now,
                over: false,
                backlog: state.sockets.iter().map(Socket::backlog).sum(),
                wire: &mut *state.wire,
                io: &mut self.io,
            };
            if becomes_ready {
                load.ready(&mut client)?;
            }
            let mut start = 0;
            for (stream, len) in &runs {
                load.received(&mut client, *stream, &bytes[start..start + len])?;
                start += len;
            }
            over |= client.over;
        }
        self.io.runs = runs;
        self.io.runs.clear();
        self.io.bytes = bytes;
        self.io.bytes.clear();
        if over {
            self.send(place)?;
            self.close(place, now);
            self.connect(place)
        } else if ready {
            self.fill(place, load)
        } else {
            self.send(place)
        }
    }

    /// Sends what there is and what the load has to say, as long as the network takes it at once:
    /// that there is room is told only after there was none.
    fn fill<L: Load>(&mut self, place: usize, load: &mut L) -> Result<()> {
        let now = Instant::now();
        while let Some(Some(state)) = self.places.get_mut(place) {
            let backlog = state.sockets.iter().map(Socket::backlog).sum();
            load.writable(&mut Client {
                place,
                number: state.number,
                now,
                over: false,
                backlog,
                wire: &mut *state.wire,
                io: &mut self.io,
            })?;
            let silent = self.io.out.iter().all(Vec::is_empty);
            self.send(place)?;
            if silent || backlog > 0 {
                break;
            }
        }
        Ok(())
    }

    fn send(&mut self, place: usize) -> Result<()> {
        let Some(Some(state)) = self.places.get_mut(place) else {
            return Ok(());
        };
        let mut sent = Ok(());
        for (socket, out) in state.sockets.iter_mut().zip(&mut self.io.out) {
            if !out.is_empty() {
                sent = sent.and(socket.write(out));
                out.clear();
            }
        }
        if let Some(deadline) = state.wire.deadline()
            && state.scheduled.is_none_or(|scheduled| deadline < scheduled)
        {
            state.scheduled = Some(deadline);
            self.deadlines.push(Reverse((deadline, place)));
        }
        self.named(place, sent.map_err(Into::into))
    }

    fn expire(&mut self, now: Instant) -> Result<()> {
        while let Some(Reverse((deadline, place))) = self.deadlines.peek().copied()
            && deadline <= now
        {
            self.deadlines.pop();
            let Some(Some(state)) = self.places.get_mut(place) else {
                continue;
            };
            // An entry that was overtaken by an earlier one, or belonged to the client before.
            if state.scheduled != Some(deadline) {
                continue;
            }
            state.scheduled = None;
            if state.wire.deadline().is_some_and(|due| due <= now) {
                state.wire.timeout(&mut self.io, now);
            }
            self.send(place)?;
        }
        Ok(())
    }

    /// Closes one client with its last words.
    fn close(&mut self, place: usize, now: Instant) {
        if let Some(mut state) = self.places[place].take() {
            state.wire.close(&mut self.io, now);
            for (socket, out) in state.sockets.iter_mut().zip(&mut self.io.out) {
                // Who is gone already needs no goodbye.
                _ = socket.write(out);
                out.clear();
            }
            self.ready -= usize::from(state.ready);
        }
    }

    /// Closes all clients.
    pub(crate) fn close_all(&mut self) {
        let now = Instant::now();
        for place in 0..self.places.len() {
            self.close(place, now);
        }
        self.places.clear();
    }

    fn named(&self, place: usize, result: Result<()>) -> Result<()> {
        result.map_err(|error| match self.places.get(place) {
            Some(Some(state)) => format!("connection {}: {error}", state.number).into(),
            _ => error,
        })
    }
}

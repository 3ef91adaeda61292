//! What clients do while they are measured.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{
    Result, backend,
    engine::{Client, Load},
    pattern,
};

/// Bytes that may wait for the network before a source waits, too.
const BACKLOG: usize = 256 * 1024;
/// Bytes of a message of bulk.
const BULK: usize = 16 * 1024;

/// A stream whose bytes come back.
#[derive(Debug, Default)]
struct Lane {
    /// Messages go up to here.
    goal: u64,
    sent: u64,
    received: u64,
    /// When each message that is not back was due.
    since: VecDeque<Instant>,
}

/// Messages that come back: `window` of them at a time on each stream, or as many as are due at a pace.
#[derive(Debug)]
pub(crate) struct Echo {
    size: usize,
    window: usize,
    streams: usize,
    /// A message every so often, by one client after the other.
    pace: Option<Pace>,
    lanes: Vec<Vec<Lane>>,
    /// Messages take turns on the streams of a client; the window is that of all of them.
    turn: Option<usize>,
    /// Clients take turns, with one message at a time for all of them.
    client_turn: Option<usize>,
    /// Clients end when their first message is back, and others take their place.
    churn: bool,
    /// Messages that are back since [`Echo::start`].
    pub(crate) messages: u64,
    pub(crate) latencies: Histogram<u64>,
    /// Messages after which no more are sent.
    pub(crate) budget: u64,
    outstanding: u64,
}

#[derive(Debug)]
struct Pace {
    every: Duration,
    next: Instant,
    turn: usize,
}

impl Echo {
    pub(crate) fn new(size: usize, window: usize, streams: usize) -> Result<Self> {
        Ok(Self {
            size,
            window,
            streams,
            pace: None,
            lanes: Vec::new(),
            turn: None,
            client_turn: None,
            churn: false,
            messages: 0,
            latencies: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
            budget: u64::MAX,
            outstanding: 0,
        })
    }

    /// Each client sends one message only.
    pub(crate) fn churn(size: usize) -> Result<Self> {
        let mut echo = Self::new(size, 1, 1)?;
        echo.churn = true;
        Ok(echo)
    }

    /// One message at a time for all streams, which take turns.
    pub(crate) fn in_turn(mut self) -> Self {
        self.turn = Some(0);
        self
    }

    /// One message at a time for all clients, which take turns.
    pub(crate) fn clients_in_turn(mut self) -> Self {
        self.client_turn = Some(0);
        self
    }

    /// From now on `rate` messages in a second, whatever comes back.
    pub(crate) fn pace(&mut self, rate: u32) {
        self.pace = Some(Pace {
            every: Duration::from_secs(1) / rate,
            next: Instant::now(),
            turn: 0,
        });
    }

    /// Counts from here on.
    pub(crate) fn start(&mut self) {
        self.messages = 0;
        self.latencies.reset();
    }

    /// Messages that are under way.
    pub(crate) fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// More messages at a time, from the next [`Load::writable`] on.
    pub(crate) fn set_window(&mut self, window: usize) {
        self.window = window;
    }

    fn lane(&mut self, place: usize, stream: usize) -> &mut Lane {
        if self.lanes.len() <= place {
            self.lanes.resize_with(place + 1, Vec::new);
        }
        let lanes = &mut self.lanes[place];
        if lanes.len() <= stream {
            lanes.resize_with(stream + 1, Lane::default);
        }
        &mut lanes[stream]
    }

    fn ask(&mut self, client: &Client<'_>, stream: usize, since: Instant) {
        if self.budget == 0 {
            return;
        }
        self.budget -= 1;
        self.outstanding += 1;
        let size = self.size as u64;
        let lane = self.lane(client.place, stream);
        lane.goal += size;
        lane.since.push_back(since);
    }

    /// Sends what is asked for and not sent, as far as it goes.
    fn push(&mut self, client: &mut Client<'_>, stream: usize) {
        let size = self.size as u64;
        let seed = seed(client, stream);
        let lane = self.lane(client.place, stream);
        while lane.sent < lane.goal {
            let len = (size - lane.sent % size) as usize;
            let taken = client.send(stream, pattern::slice(seed, lane.sent, len));
            if taken == 0 {
                return;
            }
            lane.sent += taken as u64;
        }
    }
}

fn seed(client: &Client<'_>, stream: usize) -> u64 {
    client.number * 4_096 + stream as u64
}

impl Load for Echo {
    fn ready(&mut self, client: &mut Client<'_>) -> Result<()> {
        if let Some(lanes) = self.lanes.get_mut(client.place) {
            // A new client in an old place.
            lanes.clear();
        }
        Ok(())
    }

    fn received(&mut self, client: &mut Client<'_>, stream: usize, bytes: &[u8]) -> Result<()> {
        let size = self.size as u64;
        let now = client.now;
        let lane = self.lane(client.place, stream);
        if lane.received + bytes.len() as u64 > lane.sent {
            return Err("more came back than was sent".into());
        }
        pattern::verify(seed(client, stream), lane.received, bytes)?;
        let before = lane.received / size;
        lane.received += bytes.len() as u64;
        let whole = lane.received / size - before;
        for _ in 0..whole {
            let since = self
                .lane(client.place, stream)
                .since
                .pop_front()
                .unwrap_or(now);
            let nanos = u64::try_from(now.saturating_duration_since(since).as_nanos())?;
            self.latencies.saturating_record(nanos.max(1));
            self.messages += 1;
            self.outstanding -= 1;
        }
        client.over |= self.churn && whole > 0;
        Ok(())
    }

    fn writable(&mut self, client: &mut Client<'_>) -> Result<()> {
        if let Some(turn) = self.turn {
            let stream = turn % self.streams;
            if self.window > 0 && self.outstanding == 0 && self.budget > 0 {
                self.turn = Some(turn + 1);
                self.ask(client, stream, client.now);
                self.push(client, stream);
            }
            return Ok(());
        }
        for stream in 0..self.streams {
            while self.pace.is_none()
                && self.client_turn.is_none()
                && self.lane(client.place, stream).since.len() < self.window
            {
                let before = self.outstanding;
                self.ask(client, stream, client.now);
                if self.outstanding == before {
                    break;
                }
            }
            self.push(client, stream);
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        self.pace.as_ref().map(|pace| pace.next)
    }

    fn due(&mut self, now: Instant) -> Option<usize> {
        let size = self.size as u64;
        let clients = self.lanes.len().max(1);
        let (place, since) = if let Some(turn) = &mut self.client_turn {
            if self.window == 0 || self.outstanding > 0 {
                return None;
            }
            *turn += 1;
            (*turn % clients, now)
        } else {
            let pace = self.pace.as_mut().filter(|pace| pace.next <= now)?;
            let place = pace.turn % clients;
            // From when it was due, so that a server that stops for a while is not measured by fewer messages.
            let since = pace.next;
            pace.turn += 1;
            pace.next += pace.every;
            (place, since)
        };
        if self.budget == 0 {
            return None;
        }
        self.budget -= 1;
        self.outstanding += 1;
        let lane = self.lane(place, 0);
        lane.goal += size;
        lane.since.push_back(since);
        Some(place)
    }
}

/// A source's bytes, which come down, or are left where they are.
#[derive(Debug)]
pub(crate) struct Down {
    len: u64,
    received: Vec<u64>,
    asked: usize,
    pub(crate) total: u64,
}

impl Down {
    pub(crate) fn new(len: u64) -> Self {
        Self {
            len,
            received: Vec::new(),
            asked: 0,
            total: 0,
        }
    }
}

impl Load for Down {
    fn ready(&mut self, client: &mut Client<'_>) -> Result<()> {
        let request = backend::source(client.number, self.len);
        if client.send(0, request.as_bytes()) != request.len() {
            return Err("there is no room for a request".into());
        }
        self.asked += 1;
        self.received
            .resize(self.received.len().max(client.place + 1), 0);
        Ok(())
    }

    fn received(&mut self, client: &mut Client<'_>, _: usize, bytes: &[u8]) -> Result<()> {
        let received = &mut self.received[client.place];
        pattern::verify(client.number, *received, bytes)?;
        *received += bytes.len() as u64;
        self.total += bytes.len() as u64;
        if *received > self.len {
            return Err("more came than was asked for".into());
        }
        Ok(())
    }
}

/// Bytes for a sink, as fast as they go.
#[derive(Debug)]
pub(crate) struct Up {
    len: u64,
    greeted: bool,
    sent: u64,
    answer: Vec<u8>,
    /// Bytes that the sink has verified.
    pub(crate) total: u64,
}

impl Up {
    pub(crate) fn new(len: u64) -> Self {
        Self {
            len,
            greeted: false,
            sent: 0,
            answer: Vec::new(),
            total: 0,
        }
    }
}

impl Load for Up {
    fn ready(&mut self, _client: &mut Client<'_>) -> Result<()> {
        Ok(())
    }

    fn received(&mut self, _client: &mut Client<'_>, _: usize, bytes: &[u8]) -> Result<()> {
        self.answer.extend_from_slice(bytes);
        while let Some((digits, _)) = self.answer.split_at_checked(16) {
            self.total = backend::number(digits)?;
            self.answer.drain(..16);
        }
        Ok(())
    }

    fn writable(&mut self, client: &mut Client<'_>) -> Result<()> {
        if !self.greeted {
            let request = backend::sink(client.number);
            if client.send(0, request.as_bytes()) == 0 {
                return Ok(());
            }
            self.greeted = true;
        }
        while self.sent < self.len && client.backlog() < BACKLOG {
            let len = BULK.min((self.len - self.sent) as usize);
            let taken = client.send(0, pattern::slice(client.number, self.sent, len));
            if taken == 0 {
                break;
            }
            self.sent += taken as u64;
        }
        Ok(())
    }
}

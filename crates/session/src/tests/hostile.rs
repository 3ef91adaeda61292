//! Two endpoints and a link that loses, repeats, reorders and cuts, all from one seed.
//!
//! A run returns what went wrong rather than panicking, so that the same run proves the rules
//! right and each mutant wrong.

use std::{
    collections::BTreeMap,
    io::IoSlice,
    time::{Duration, Instant},
};

use super::epoch;
use crate::{Attach, Config, Event, Frame, Link, Mutant, Session, StreamId, Uplink};

/// A small generator with a seed (xorshift64*), so that a failing seed replays exactly.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

/// One endpoint with its application: what it wrote, what it was given.
struct End {
    session: Session,
    written: BTreeMap<StreamId, Vec<u8>>,
    taken: BTreeMap<StreamId, Vec<u8>>,
    eof: BTreeMap<StreamId, bool>,
    finished: BTreeMap<StreamId, bool>,
    closed: BTreeMap<StreamId, crate::Code>,
    limits_seen: BTreeMap<StreamId, (u64, u64)>,
}

/// A message on its way, with the attachment that carries it.
#[derive(Clone)]
struct Flight {
    n: u32,
    bytes: Vec<u8>,
    to_gateway: bool,
    /// It goes up by a request, whose sender learns that it is lost.
    posted: bool,
}

struct World {
    random: Random,
    now: Instant,
    client: End,
    gateway: End,
    in_flight: Vec<Flight>,
    /// Frames go up by requests.
    posts: bool,
    /// Length of every log.
    target: usize,
    streams: usize,
    events: Counters,
}

#[derive(Default)]
struct Counters {
    delivered: usize,
    attaches: usize,
    /// Bytes taken before a session held them.
    passed: usize,
}

const REPLAY: u64 = 64;
const WINDOW: u64 = 24;

fn config() -> Config {
    // The link is cut for long stretches; how sessions expire is told in `stories`.
    let forever = Duration::from_secs(24 * 3600);
    Config {
        window: WINDOW,
        replay: REPLAY,
        resume: forever,
        confirm: forever,
        ..Config::default()
    }
}

impl End {
    fn new(session: Session) -> Self {
        Self {
            session,
            written: BTreeMap::new(),
            taken: BTreeMap::new(),
            eof: BTreeMap::new(),
            finished: BTreeMap::new(),
            closed: BTreeMap::new(),
            limits_seen: BTreeMap::new(),
        }
    }

    fn events(&mut self) -> Result<(), String> {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Open { stream, target, .. } => {
                    self.session.accept(stream, &target);
                    self.written.insert(stream, Vec::new());
                }
                Event::Closed {
                    stream, code, text, ..
                } => {
                    if code != crate::Code::Closed {
                        return Err(format!("stream {stream} ended with {code}: {text}"));
                    }
                    if self.closed.insert(stream, code).is_some() {
                        return Err(format!("stream {stream} ended twice"));
                    }
                }
                Event::Ended { code } => return Err(format!("session ended with {code}")),
                Event::Opened { .. }
                | Event::Refused { .. }
                | Event::Readable(_)
                | Event::Writable(_)
                | Event::Detached { .. }
                | Event::PeerDead { .. }
                | Event::GoAway { .. } => {}
            }
        }
        Ok(())
    }

    fn write_some(&mut self, id: StreamId, len: usize, target: usize) {
        let Some(written) = self.written.get_mut(&id) else {
            return;
        };
        let left = target - written.len();
        let start = written.len();
        let bytes: Vec<u8> = (0..len.min(left)).map(|i| pattern(id, start + i)).collect();
        let taken = self.session.write(id, &bytes);
        written.extend_from_slice(&bytes[..taken]);
        if written.len() == target && !self.finished.contains_key(&id) {
            self.session.finish(id);
            self.finished.insert(id, true);
        }
    }

    fn take_some(&mut self, id: StreamId, max: usize, now: Instant) {
        let bytes: Vec<u8> = self.session.peek(id).flatten().copied().take(max).collect();
        self.taken.entry(id).or_default().extend_from_slice(&bytes);
        self.session.consume(id, bytes.len(), now);
        if self.session.fin_is_next(id) {
            self.session.consume_fin(id, now);
            *self.eof.entry(id).or_insert(false) = true;
        }
    }
}

/// The byte at an offset of a stream's log: wrong order or repetition shows at once.
fn pattern(id: StreamId, offset: usize) -> u8 {
    ((offset as u64)
        .wrapping_mul(2_654_435_761)
        .wrapping_add(u64::from(id) * 77)
        >> 7) as u8
}

impl World {
    fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        let now = epoch();
        let mut client = Session::client(config());
        let mut gateway = Session::gateway(config(), "n1-test".to_owned(), [7; 32], now);
        if let Some(mutant) = mutant {
            client.mutate(mutant);
            gateway.mutate(mutant);
        }
        let mut random = Random::new(seed);
        let target = 200 + random.below(400);
        let mut world = Self {
            random,
            now,
            client: End::new(client),
            gateway: End::new(gateway),
            in_flight: Vec::new(),
            posts: false,
            target,
            streams: 3,
            events: Counters::default(),
        };
        // The first WELCOME carries the identity; losing it means starting over, which is a story
        // of its own.
        world.attach();
        world
    }

    fn attach(&mut self) {
        let uplink = if self.random.percent(70) {
            Uplink::Fresh
        } else {
            Uplink::Separate
        };
        let link = if self.random.percent(70) {
            Link::Open
        } else {
            Link::Poll
        };
        self.client.session.attach(link, uplink, self.now);
        self.posts = uplink == Uplink::Separate;
        self.events.attaches += 1;
    }

    fn transmit(&mut self, from_client: bool) {
        let max = 20 + self.random.below(200);
        let end = if from_client {
            &mut self.client
        } else {
            &mut self.gateway
        };
        let mut bytes = Vec::new();
        if end.session.poll_transmit(&mut bytes, max, self.now) {
            let n = end
                .session
                .attachment()
                .expect("only an attached session transmits");
            self.in_flight.push(Flight {
                n,
                bytes,
                to_gateway: from_client,
                posted: from_client && self.posts,
            });
        }
    }

    fn deliver(&mut self, flight: &Flight) {
        self.events.delivered += 1;
        if !flight.to_gateway {
            self.hear(false, &flight.bytes);
            return;
        }
        let mut rest = flight.bytes.as_slice();
        let mut peek = rest;
        if let Ok(Some(Frame::Hello(hello))) = Frame::decode(&mut peek) {
            rest = peek;
            let link = if flight.n.is_multiple_of(3) {
                Link::Poll
            } else {
                Link::Open
            };
            let attach = self.gateway.session.handle_hello(&hello, link, self.now);
            debug_assert!(matches!(attach, Attach::Newest { .. } | Attach::Stale));
        }
        self.hear(true, rest);
    }

    /// An end that hears a message, whose application may take some of it before the session holds it.
    fn hear(&mut self, by_gateway: bool, bytes: &[u8]) {
        let (end, random) = (
            if by_gateway {
                &mut self.gateway
            } else {
                &mut self.client
            },
            &mut self.random,
        );
        let (written, taken, events) = (&end.written, &mut end.taken, &mut self.events);
        let deliver = |id: StreamId, runs: &[IoSlice<'_>]| {
            if !written.contains_key(&id) || random.percent(50) {
                return 0;
            }
            let offered: Vec<u8> = runs.iter().flat_map(|run| run.iter()).copied().collect();
            let len = if random.percent(40) {
                offered.len()
            } else {
                random.below(offered.len() + 1)
            };
            events.passed += len;
            let taken = taken.entry(id).or_default();
            taken.extend_from_slice(&offered[..len]);
            len
        };
        end.session.handle_message_with(bytes, self.now, deliver);
    }

    /// A message that never arrives. What a client sends on a transport of both directions it misses only
    /// when it attaches again.
    fn lose(&mut self, flight: &Flight) {
        if flight.posted {
            self.client.session.rewind(self.now);
        }
    }

    /// A message whose end was cut off: the receiver sees a prefix of an HTTP stream's bytes.
    fn deliver_cut(&mut self, flight: &Flight) {
        let cut = self.random.below(flight.bytes.len());
        let mut bytes = &flight.bytes[..cut];
        self.client.session.handle_bytes(&mut bytes, self.now);
        self.client.session.detach(flight.n, self.now);
    }

    fn step(&mut self, hostile: bool) -> Result<(), String> {
        self.now += Duration::from_millis(self.random.below(60) as u64);
        for end in [&mut self.client, &mut self.gateway] {
            end.session.handle_timeout(self.now);
        }
        match self.random.below(if hostile { 12 } else { 9 }) {
            0 => self.transmit(true),
            1 => self.transmit(false),
            2..=4 if !self.in_flight.is_empty() => {
                // A healed link is in order; a hostile one takes whatever comes to hand.
                let at = if hostile && self.random.percent(40) {
                    self.random.below(self.in_flight.len())
                } else {
                    0
                };
                let flight = self.in_flight.remove(at);
                if !hostile {
                    self.deliver(&flight);
                } else if self.random.percent(25) {
                    self.lose(&flight);
                } else if !flight.to_gateway && self.random.percent(10) {
                    self.deliver_cut(&flight);
                } else {
                    if self.random.percent(15) {
                        self.in_flight.push(flight.clone());
                    }
                    self.deliver(&flight);
                }
            }
            5 => self.write(),
            6 => self.take(),
            7 if self.client.written.len() < self.streams => {
                let id = self.client.session.open(0, "echo");
                self.client.written.insert(id, Vec::new());
            }
            9 if self.random.percent(30) => self.attach(),
            10 if self.random.percent(20) => {
                let n = self.client.session.attachment();
                if let Some(n) = n {
                    self.client.session.detach(n, self.now);
                }
            }
            11 if self.random.percent(20) => {
                if let Some(n) = self.gateway.session.attachment() {
                    self.gateway.session.detach(n, self.now);
                }
            }
            _ => {}
        }
        self.client.events()?;
        self.gateway.events()?;
        self.check()
    }

    fn write(&mut self) {
        let id = 1 + self.random.below(self.streams) as StreamId;
        let len = 1 + self.random.below(50);
        let end = if self.random.percent(50) {
            &mut self.client
        } else {
            &mut self.gateway
        };
        end.write_some(id, len, self.target);
    }

    fn take(&mut self) {
        let id = 1 + self.random.below(self.streams) as StreamId;
        // Slow consumers: often a few bytes, rarely all.
        let max = if self.random.percent(30) {
            usize::MAX
        } else {
            1 + self.random.below(9)
        };
        let end = if self.random.percent(50) {
            &mut self.client
        } else {
            &mut self.gateway
        };
        end.take_some(id, max, self.now);
    }

    fn check(&mut self) -> Result<(), String> {
        for (from, to, way) in [
            (&self.client, &self.gateway, "up"),
            (&self.gateway, &self.client, "down"),
        ] {
            for (id, taken) in &to.taken {
                let written = from.written.get(id).map_or(&[][..], Vec::as_slice);
                if !written.starts_with(taken) {
                    return Err(format!(
                        "stream {id} {way}: delivered is no prefix of written"
                    ));
                }
                let eof = to.eof.get(id).copied().unwrap_or(false);
                if eof && (taken.len() != written.len() || !from.finished.contains_key(id)) {
                    return Err(format!("stream {id} {way}: end before the last byte"));
                }
            }
            for (&id, written) in &from.written {
                let Some((base, next, sent, limit)) = from.session.send_state(id) else {
                    continue;
                };
                let delivered = to.taken.get(&id).map_or(0, Vec::len) as u64;
                if base > delivered + 1 || base.min(written.len() as u64) > delivered {
                    return Err(format!(
                        "stream {id} {way}: acked {base} > delivered {delivered}"
                    ));
                }
                if sent.min(written.len() as u64) > limit || next > sent.max(base) {
                    return Err(format!("stream {id} {way}: sent {sent} > limit {limit}"));
                }
                if let Some((rn, granted)) = to.session.receive_state(id)
                    && (rn > sent || rn > granted + 1)
                {
                    return Err(format!(
                        "stream {id} {way}: received {rn} > sent {sent} or granted {granted}"
                    ));
                }
                let held = written.len() as u64 - base.min(written.len() as u64);
                if from.session.held(id) < held || held > REPLAY {
                    return Err(format!(
                        "stream {id} {way}: holds {} of {held}",
                        from.session.held(id)
                    ));
                }
            }
        }
        for end in [&mut self.client, &mut self.gateway] {
            let ids: Vec<StreamId> = end.written.keys().copied().collect();
            let mut held = 0;
            for id in ids {
                let Some((base, _, _, limit)) = end.session.send_state(id) else {
                    continue;
                };
                let seen = end.limits_seen.entry(id).or_default();
                if base < seen.0 || limit < seen.1 {
                    return Err(format!("stream {id}: ack or limit fell"));
                }
                *seen = (base, limit);
                let waiting: usize = end.session.peek(id).map(<[u8]>::len).sum();
                if waiting as u64 > WINDOW {
                    return Err(format!(
                        "stream {id}: {waiting} bytes wait, window is {WINDOW}"
                    ));
                }
                held += end.session.held(id) + waiting as u64;
            }
            if held != end.session.buffered() {
                return Err(format!(
                    "buffered says {}, holds {held}",
                    end.session.buffered()
                ));
            }
        }
        Ok(())
    }

    fn done(&self) -> bool {
        self.client.closed.len() == self.streams && self.gateway.closed.len() == self.streams
    }

    fn run(&mut self) -> Result<(), String> {
        for _ in 0..60 {
            self.step(false)?;
        }
        for _ in 0..1_500 {
            self.step(true)?;
        }
        // The network heals: nothing old is on its way and one transport stays.
        for flight in std::mem::take(&mut self.in_flight) {
            self.lose(&flight);
        }
        self.attach();
        for _ in 0..40_000 {
            self.step(false)?;
            if self.done() {
                for end in [&self.client, &self.gateway] {
                    if end.session.buffered() != 0 || end.session.stream_count() != 0 {
                        return Err("something is left after the end".to_owned());
                    }
                }
                for (id, written) in &self.client.written {
                    if self.gateway.taken.get(id) != Some(written)
                        || self.client.taken.get(id) != self.gateway.written.get(id)
                        || written.len() != self.target
                    {
                        return Err(format!("stream {id}: not everything arrived"));
                    }
                }
                return Ok(());
            }
        }
        Err("the healed session never finished".to_owned())
    }
}

fn run(seed: u64, mutant: Option<Mutant>) -> Result<Counters, String> {
    let mut world = World::new(seed, mutant);
    world.run()?;
    Ok(world.events)
}

/// More seeds than the default can be had with `PERIGEE_SEEDS=20000`.
fn seeds() -> u64 {
    std::env::var("PERIGEE_SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(400)
}

#[test]
fn nothing_is_lost_repeated_or_reordered_on_a_hostile_link() {
    let mut total = Counters::default();
    for seed in 0..seeds() {
        match run(seed, None) {
            Ok(counters) => {
                total.delivered += counters.delivered;
                total.attaches += counters.attaches;
                total.passed += counters.passed;
            }
            Err(problem) => panic!("seed {seed}: {problem}"),
        }
    }
    assert!(
        total.attaches as u64 > seeds() * 5,
        "the link was not hostile: {} attaches",
        total.attaches
    );
    assert!(total.delivered as u64 > seeds() * 100);
    assert!(total.passed as u64 > seeds() * 200, "{}", total.passed);
}

#[test]
fn every_broken_rule_is_caught() {
    for mutant in [
        Mutant::NoDedupe,
        Mutant::TrimOnSend,
        Mutant::RelativeCredit,
        Mutant::AcceptGaps,
        Mutant::DropOldest,
        Mutant::AckOnReceive,
    ] {
        let caught = (0..40)
            .filter(|&seed| run(seed, Some(mutant)).is_err())
            .count();
        assert!(
            caught >= 10,
            "{mutant:?} was caught by only {caught} of 40 seeds"
        );
    }
}

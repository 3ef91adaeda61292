//! A client as docs/protocol.md wants it: opens streams, attaches over one transport or another,
//! comes back after a loss, and starts over when its session is gone.
//!
//! All of it is one task, so that a page that is asleep is a task that waits.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use perigee_integration_tests::random::Random;
use perigee_session::{Code, Config, DetachReason, Event, Link, Mutant, Session, StreamId, Uplink};
use tokio::time::{Sleep, sleep, sleep_until};

use crate::{
    backend::{REQUEST_LEN, Request},
    ledger::{Direction, Ledger},
    show::Show,
    transport::{self, BATCH, Broken, Carrier, Incoming1, Kind, Opening, Place},
};

/// What a client has to do in its life: a stream for each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) backend: usize,
    pub(crate) request: Request,
    /// After the client began.
    pub(crate) at: Duration,
    /// The client reads and writes little at a time.
    pub(crate) lazy: bool,
}

/// What is true of a client in all of its lives.
pub(crate) struct Setting {
    pub(crate) id: usize,
    pub(crate) seed: u64,
    pub(crate) gateway: SocketAddr,
    pub(crate) ledger: Ledger,
    pub(crate) config: Config,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) kinds: &'static [Kind],
    /// What is left to do; a client that crashed goes on with it.
    pub(crate) jobs: RefCell<VecDeque<Job>>,
    /// What is done to the client from outside.
    pub(crate) order: Cell<Option<Order>>,
    pub(crate) lives: Cell<u64>,
}

/// What is done to a client.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    /// The page does not run for a while, as in a laptop that sleeps with its lid closed.
    Sleep(Duration),
    /// Its clock is ahead by so much from one moment to the next.
    Jump(Duration),
}

/// Longest wait for an answer to an attempt to attach, and for that to a request with frames.
const PATIENCE: Duration = Duration::from_secs(5);
/// Waits between attempts: at most this, doubled with each failure, with full jitter.
const BACKOFF: Duration = Duration::from_millis(300);
const MAX_BACKOFF: Duration = Duration::from_secs(4);
/// Attempts at a job whose stream ended with a code.
const MAX_ATTEMPTS: u64 = 200;
/// Turns without time passing.
const MAX_TURNS: u32 = 100_000;

/// One life of a client, until all its jobs are done.
pub(crate) async fn run(setting: Rc<Setting>) -> turmoil::Result {
    let life = setting.lives.replace(setting.lives.get() + 1);
    setting
        .ledger
        .trace(format_args!("client {}: life {life}", setting.id));
    if life > 0 {
        // The streams of the life before are nobody's; what they were for is done anew.
        for job in setting.jobs.borrow_mut().iter_mut() {
            job.request.key += 1;
            job.at = Duration::ZERO;
        }
    }
    let mut client = Client::new(&setting, life);
    let mut spin = (now(), 0_u32);
    while !client.is_done() {
        match setting.order.take() {
            Some(Order::Sleep(time)) => sleep(time).await,
            Some(Order::Jump(time)) => tokio::time::advance(time).await,
            None => {}
        }
        client.turn();
        spin = if spin.0 == now() {
            (spin.0, spin.1 + 1)
        } else {
            (now(), 0)
        };
        assert!(spin.1 < MAX_TURNS, "the client goes round and round");
        poll_fn(|cx| client.poll(cx)).await;
    }
    setting
        .ledger
        .trace(format_args!("client {}: done", setting.id));
    Ok(())
}

struct Client<'a> {
    setting: &'a Setting,
    random: Random,
    born: Instant,
    session: Session,
    session_since: Duration,
    streams: BTreeMap<StreamId, App>,
    /// Jobs that are not done, those with a stream included.
    pending: VecDeque<Job>,
    kind: Kind,
    current: Option<Carrier>,
    /// The number of the attachment that `current` or a request for it carries.
    n: Option<u32>,
    /// Frames of that attachment go up by requests.
    by_request: bool,
    /// The transport before, which may still bring something.
    former: Option<Carrier>,
    opening: Option<(Opening, Instant)>,
    /// Bytes of a frame that is not whole yet.
    cut: Vec<u8>,
    uplink: Option<(LocalBoxFuture<'static, Result<Bytes, Broken>>, Instant)>,
    /// Not before this time.
    attach_at: Instant,
    failures: u32,
    /// When to try another transport though nothing is wrong.
    switch_at: Instant,
    /// No new streams on this session.
    draining: bool,
    /// The session is being ended; when to stop waiting for that.
    leaving: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

/// A stream's application.
struct App {
    job: Job,
    written: u64,
    finished: bool,
    taken: u64,
    ended: bool,
    want: Vec<u8>,
    next_write: Instant,
    next_take: Instant,
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl<'a> Client<'a> {
    fn new(setting: &'a Setting, life: u64) -> Self {
        let now = now();
        let mut random = Random::new(setting.seed.wrapping_add(life << 32));
        Self {
            setting,
            kind: random.choose(setting.kinds),
            random,
            born: now,
            session: new_session(setting),
            session_since: setting.ledger.now(),
            streams: BTreeMap::new(),
            pending: setting.jobs.borrow().clone(),
            current: None,
            n: None,
            by_request: false,
            former: None,
            opening: None,
            cut: Vec::new(),
            uplink: None,
            attach_at: now,
            failures: 0,
            switch_at: now + Duration::from_secs(5),
            draining: false,
            leaving: None,
            timer: Box::pin(sleep_until(now.into())),
        }
    }

    fn trace(&self, line: impl std::fmt::Display) {
        self.setting
            .ledger
            .trace(format_args!("client {}: {line}", self.setting.id));
    }

    /// There is nothing to do, and the gateway was told so, if it could be.
    fn is_done(&self) -> bool {
        let told = self.session.ended().is_some() && !self.session.can_transmit();
        let told = told && self.uplink.is_none();
        self.leaving.is_some_and(|until| told || until <= now())
    }

    /// Everything that needs no waiting.
    fn turn(&mut self) {
        let now = now();
        self.session.handle_timeout(now);
        self.events(now);
        if self.session.ended().is_some() && self.leaving.is_none() {
            self.start_over(now);
        }
        self.open_streams(now);
        let ids: Vec<StreamId> = self.streams.keys().copied().collect();
        for id in ids {
            self.write(id, now);
            self.take(id, now);
        }
        self.events(now);
        if self.draining && self.streams.is_empty() && self.leaving.is_none() {
            self.session.end(Code::Closed, "", now);
            self.start_over(now);
        }
        if self.pending.is_empty() && self.streams.is_empty() && self.leaving.is_none() {
            self.session.end(Code::Closed, "", now);
            self.events(now);
            self.leaving = Some(now + PATIENCE);
        }
        self.attach(now);
        let deadline = self.deadline(now);
        self.timer.as_mut().reset(deadline.into());
    }

    fn start_over(&mut self, now: Instant) {
        self.trace("a new session");
        self.session = new_session(self.setting);
        self.session_since = self.setting.ledger.now();
        self.streams.clear();
        self.drop_transports();
        self.uplink = None;
        self.draining = false;
        self.back_off(now);
    }

    fn drop_transports(&mut self) {
        self.current = None;
        self.former = None;
        self.opening = None;
        self.n = None;
        self.cut.clear();
    }

    fn back_off(&mut self, now: Instant) {
        let most = (BACKOFF * (1 << self.failures.min(5))).min(MAX_BACKOFF);
        let most = u64::try_from(most.as_millis()).expect("seconds");
        self.attach_at = now + Duration::from_millis(self.random.range(0, most));
        self.failures += 1;
        if self.random.percent(40) {
            self.kind = self.random.choose(self.setting.kinds);
        }
    }

    fn events(&mut self, now: Instant) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Closed {
                    stream,
                    code,
                    text,
                    stats,
                } => {
                    if let Some(app) = self.streams.remove(&stream) {
                        self.setting
                            .ledger
                            .closed(app.job.request.key, code, &text, &stats);
                        self.finish_job(app.job, code == Code::Closed);
                    }
                }
                Event::Detached { n, why } => {
                    self.trace(format_args!("DETACH {n} {why:?}"));
                    if self.n == Some(n) && why == DetachReason::Rotate {
                        self.current = None;
                        self.n = None;
                        self.attach_at = now;
                    }
                }
                Event::PeerDead { n } => {
                    self.trace(format_args!("peer dead on {n}"));
                    self.current = None;
                    self.n = None;
                    self.back_off(now);
                }
                Event::GoAway { after, code } => {
                    self.trace(format_args!("GOAWAY {code} {after:?}"));
                    self.draining |= code == Code::GoingAway;
                }
                Event::Ended { code } => self.trace(format_args!("session ended: {code}")),
                Event::Opened { .. }
                | Event::Open { .. }
                | Event::Refused { .. }
                | Event::Readable(_)
                | Event::Writable(_) => {}
            }
        }
    }

    /// A job whose stream ended with a code is tried again, as a new stream.
    fn finish_job(&mut self, job: Job, well: bool) {
        let mut jobs = self.setting.jobs.borrow_mut();
        jobs.retain(|other| other.request.key != job.request.key);
        let attempt = job.request.key & 0xFFFF;
        if !well {
            assert!(attempt < MAX_ATTEMPTS, "a job fails for ever");
            let mut again = job;
            again.request.key += 1;
            again.at = Duration::ZERO;
            jobs.push_back(again);
            self.pending.push_back(again);
        }
    }

    fn open_streams(&mut self, now: Instant) {
        if self.draining || self.session.ended().is_some() {
            return;
        }
        let born = self.born;
        while let Some(index) = self.pending.iter().position(|job| born + job.at <= now) {
            let job = self.pending.remove(index).expect("it was found");
            let id = self.session.open(0, &format!("b{}", job.backend));
            let (key, client) = (job.request.key, self.setting.id);
            let ledger = &self.setting.ledger;
            ledger.opened(key, client, job.backend, self.session_since);
            let app = App {
                job,
                written: 0,
                finished: false,
                taken: 0,
                ended: false,
                want: Vec::new(),
                next_write: now,
                next_take: now,
            };
            self.streams.insert(id, app);
        }
    }

    fn write(&mut self, id: StreamId, now: Instant) {
        let Some(app) = self.streams.get_mut(&id) else {
            return;
        };
        let request = app.job.request;
        while !app.finished && app.next_write <= now {
            let room = self.session.room(id);
            if room == 0 {
                return;
            }
            let bytes = if app.written == 0 {
                // Sent as a whole: the session has room for at least that.
                request.encode().to_vec()
            } else {
                let at = app.written - REQUEST_LEN as u64;
                let most = if app.job.lazy { 2_000 } else { 40_000 };
                let chunk = self.random.range(1, most).min(room as u64);
                let len = chunk.min(request.up - at);
                request
                    .up_pattern()
                    .bytes(at, usize::try_from(len).expect("a chunk"))
            };
            let taken = self.session.write(id, &bytes);
            app.written += taken as u64;
            self.setting.ledger.wrote(request.key, Direction::Up, taken);
            if app.written == request.up + REQUEST_LEN as u64 {
                app.finished = true;
                self.session.finish(id);
                self.setting.ledger.finished(request.key, Direction::Up);
            }
            if app.job.lazy {
                app.next_write = now + Duration::from_millis(self.random.range(1, 120));
            }
        }
    }

    fn take(&mut self, id: StreamId, now: Instant) {
        let Some(app) = self.streams.get_mut(&id) else {
            return;
        };
        let request = app.job.request;
        if app.next_take > now || app.ended {
            return;
        }
        let most = if app.job.lazy {
            self.random.range(1, 4_000)
        } else {
            u64::MAX
        };
        let most = usize::try_from(most).expect("64 bits");
        let bytes: Vec<u8> = self
            .session
            .peek(id)
            .flatten()
            .copied()
            .take(most)
            .collect();
        if app.job.lazy {
            app.next_take = now + Duration::from_millis(self.random.range(1, 120));
        }
        if !bytes.is_empty() {
            app.want.resize(bytes.len(), 0);
            request.down_pattern().fill(app.taken, &mut app.want);
            if app.want != bytes {
                let at = app.taken;
                let problem = format!("stream {:x}, down: wrong bytes from {at} on", request.key);
                self.setting.ledger.fail(problem);
            }
            app.taken += bytes.len() as u64;
            self.setting
                .ledger
                .delivered(request.key, Direction::Down, bytes.len());
            self.session.consume(id, bytes.len(), now);
        }
        if self.session.fin_is_next(id) {
            app.ended = true;
            self.setting.ledger.ended(request.key, Direction::Down);
            let complete = app.taken == request.down;
            self.session.consume_fin(id, now);
            if !complete {
                // The backend was killed, which looks like an end to TCP, but not to the application.
                self.session.reset(id, Code::Aborted, "", now);
            }
        }
    }

    /// Starts a transport when there is none, or another one when it is time for that.
    fn attach(&mut self, now: Instant) {
        if self.leaving.is_some_and(|_| self.n.is_none()) || self.opening.is_some() {
            return;
        }
        let idle = self.n.is_none() && self.attach_at <= now;
        // Before the session has a name, another transport would make another session.
        let known = self.session.identity().is_some();
        let switch = known && self.switch_at <= now && self.leaving.is_none();
        if !idle && (!switch || self.n.is_none()) {
            return;
        }
        if switch {
            self.kind = self.random.choose(self.setting.kinds);
            self.switch_at = now + Duration::from_millis(self.random.range(500, 12_000));
        }
        let mut hello = Vec::new();
        let mut patience = PATIENCE;
        if self.kind != Kind::WebSocket {
            let link = if self.kind == Kind::Poll {
                Link::Poll
            } else {
                Link::Open
            };
            self.begin(link, Uplink::Separate, true, now);
            self.session.transmit_hello(&mut hello, false, now);
        }
        if self.kind == Kind::Poll {
            patience += crate::world::HOLD;
        }
        self.trace(format_args!(">{}", Show(&hello)));
        let place = self.place();
        self.opening = Some((transport::open(self.kind, place, hello), now + patience));
    }

    fn begin(&mut self, link: Link, uplink: Uplink, by_request: bool, now: Instant) {
        let n = self.session.attach(link, uplink, now);
        self.trace(format_args!("HELLO {n} {:?} {uplink:?}", self.kind));
        self.n = Some(n);
        self.by_request = by_request;
        self.former = self.current.take();
        self.cut.clear();
    }

    fn place(&self) -> Place {
        let sid = self.session.identity().map_or("new", |(sid, _)| sid);
        Place {
            gateway: self.setting.gateway,
            sid: sid.to_owned(),
        }
    }

    /// Ready when something happened or is due.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = now();
        let mut any = self.poll_opening(cx, now);
        any |= self.poll_current(cx, now);
        self.poll_former(cx, now);
        any |= self.poll_uplink(cx, now);
        any |= self.start_uplink(now);
        if any {
            return Poll::Ready(());
        }
        self.timer.as_mut().poll(cx)
    }

    /// When to look again if nothing happens.
    fn deadline(&self, now: Instant) -> Instant {
        let born = self.born;
        let apps = self.streams.values().flat_map(|app| {
            let write = (!app.finished && app.job.lazy).then_some(app.next_write);
            let take = (!app.ended && app.job.lazy).then_some(app.next_take);
            [write, take]
        });
        let jobs = self.pending.iter().map(|job| Some(born + job.at));
        let idle = self.n.is_none() && self.opening.is_none() && self.leaving.is_none();
        // An order from outside is looked for twice a second.
        let look = now + Duration::from_millis(500);
        let known = self.session.identity().is_some() && self.leaving.is_none();
        let switch = known && self.n.is_some() && self.opening.is_none();
        let fixed = [
            self.session.poll_timeout(),
            idle.then_some(self.attach_at),
            switch.then_some(self.switch_at),
            self.opening.as_ref().map(|(_, until)| *until),
            self.uplink.as_ref().map(|(_, until)| *until),
            self.leaving,
        ];
        // What was due and was not done waits for something else.
        let due = apps.chain(jobs).flatten().filter(|at| *at > now);
        due.chain(fixed.into_iter().flatten())
            .fold(look, Instant::min)
    }

    fn poll_opening(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some((opening, until)) = &mut self.opening else {
            return false;
        };
        let outcome = match opening.as_mut().poll(cx) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending if *until <= now => Err(Broken::Network),
            Poll::Pending => return false,
        };
        self.opening = None;
        match outcome {
            Ok(carrier) => {
                if carrier.takes_frames() {
                    self.begin(Link::Open, Uplink::Fresh, false, now);
                }
                self.current = Some(carrier);
            }
            Err(broken) => {
                self.trace(format_args!("{:?} not opened: {broken:?}", self.kind));
                if self.current.is_none() {
                    self.gone(broken, now);
                }
            }
        }
        true
    }

    fn poll_current(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(carrier) = &mut self.current else {
            return false;
        };
        let incoming = carrier.poll(cx);
        let is_reply = matches!(carrier, Carrier::Reply(_));
        match incoming {
            Poll::Ready(Ok(incoming)) => {
                self.failures = 0;
                match incoming {
                    Incoming1::Message(frames) => {
                        self.trace(format_args!("<{}", Show(&frames)));
                        self.session.handle_message(&frames, now);
                    }
                    Incoming1::Bytes(bytes) => {
                        self.cut.extend_from_slice(&bytes);
                        self.trace(format_args!("<{}", Show(&self.cut)));
                        let mut rest = &self.cut[..];
                        self.session.handle_bytes(&mut rest, now);
                        self.cut = rest.to_vec();
                    }
                }
                if is_reply {
                    // The next poll follows at once.
                    self.current = None;
                    if let Some(n) = self.n.take() {
                        self.session.detach(n, now);
                    }
                    self.attach_at = now;
                }
                return true;
            }
            Poll::Ready(Err(broken)) => {
                self.trace(format_args!("transport gone: {broken:?}"));
                self.gone(broken, now);
                return true;
            }
            Poll::Pending => {}
        }
        self.transmit(cx, now)
    }

    fn transmit(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(carrier) = &mut self.current else {
            return false;
        };
        let mut sent = false;
        while carrier.takes_frames() && self.session.can_transmit() {
            match carrier.poll_room(cx) {
                Poll::Pending => break,
                Poll::Ready(Err(broken)) => {
                    self.gone(broken, now);
                    return true;
                }
                Poll::Ready(Ok(())) => {}
            }
            let mut frames = Vec::new();
            if !self.session.poll_transmit(&mut frames, BATCH, now) {
                break;
            }
            self.setting.ledger.trace(format_args!(
                "client {}: >{}",
                self.setting.id,
                Show(&frames)
            ));
            carrier.send(frames);
            sent = true;
        }
        if let Err(broken) = carrier.poll_flush(cx) {
            self.gone(broken, now);
            return true;
        }
        sent
    }

    /// What the transport before still brings.
    fn poll_former(&mut self, cx: &mut Context<'_>, now: Instant) {
        while let Some(carrier) = &mut self.former {
            match carrier.poll(cx) {
                Poll::Ready(Ok(Incoming1::Message(frames))) => {
                    self.session.handle_message(&frames, now);
                }
                // A frame that was cut at the switch cannot be told from its middle.
                Poll::Ready(Ok(Incoming1::Bytes(_)) | Err(_)) => self.former = None,
                Poll::Pending => return,
            }
        }
    }

    fn start_uplink(&mut self, now: Instant) -> bool {
        let by_request = self.n.is_some() && self.by_request;
        if self.uplink.is_some() || !by_request || !self.session.can_transmit() {
            return false;
        }
        let Some((_, token)) = self.session.identity() else {
            return false;
        };
        let token = *token;
        let mut frames = Vec::new();
        if !self.session.poll_transmit(&mut frames, BATCH, now) {
            return false;
        }
        self.trace(format_args!("up >{}", Show(&frames)));
        self.uplink = Some((transport::up(self.place(), &token, frames), now + PATIENCE));
        true
    }

    fn poll_uplink(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some((request, until)) = &mut self.uplink else {
            return false;
        };
        let outcome = match request.as_mut().poll(cx) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending if *until <= now => Err(Broken::Network),
            Poll::Pending => return false,
        };
        self.uplink = None;
        match outcome {
            Ok(frames) => {
                self.trace(format_args!("up <{}", Show(&frames)));
                self.session.handle_message(&frames, now);
            }
            Err(broken) => {
                self.trace(format_args!("request failed: {broken:?}"));
                if self.session.ended().is_none() {
                    self.session.rewind(now);
                }
                if broken == Broken::Lost || self.random.percent(50) {
                    // The downlink knows more, and attaching anew asks.
                    self.gone(Broken::Network, now);
                }
            }
        }
        true
    }

    /// The transport is gone, or was not to be had.
    fn gone(&mut self, broken: Broken, now: Instant) {
        self.current = None;
        self.former = None;
        self.opening = None;
        if let Some(n) = self.n.take() {
            self.session.detach(n, now);
        }
        if broken == Broken::Lost && self.session.ended().is_none() {
            self.session.end(Code::Lost, "", now);
        }
        self.back_off(now);
    }
}

fn new_session(setting: &Setting) -> Session {
    let mut session = Session::client(setting.config.clone());
    if let Some(mutant) = setting.mutant {
        session.mutate(mutant);
    }
    session
}

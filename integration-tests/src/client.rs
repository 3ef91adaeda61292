//! A client of the session protocol over every transport, with the same [`Session`] type that the
//! gateway uses, in its other role.
//!
//! Invariants:
//! - one lock guards the session, and every change of it wakes whoever waits for a condition;
//! - the application side ([`Stream`]) knows nothing of transports, so a story is the same over all.

mod downlink;
mod form;
mod stream;
mod tickets;
mod uplink;
mod webtransport;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use perigee_session::{Code, Config, DetachReason, Event, Session, StreamId, StreamStats};
use tokio::{sync::watch, task::JoinSet, time::timeout};

pub use self::{stream::Stream, uplink::Faults};
use crate::{
    http::{Error, Http, Version},
    proxy::Medium,
    random::Random,
    wait::soon,
};

/// A way to carry a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One WebSocket for both directions.
    WebSocket,
    /// The same on a stream of an HTTP/2 connection (RFC 8441).
    Http2WebSocket,
    /// One WebTransport session with a stream for both directions.
    WebTransport,
    /// An endless reply down, POSTs up.
    Stream,
    /// Held replies down, POSTs up.
    Poll,
    /// The same over one HTTP/2 connection.
    Http2Stream,
    /// The same over one HTTP/2 connection.
    Http2Poll,
    /// Server-sent events down, POSTs up.
    Sse,
    /// Pages of scripts in an iframe down, forms up.
    Htmlfile,
    /// Script tags down, forms up.
    Jsonp,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::WebSocket,
        Self::Http2WebSocket,
        Self::WebTransport,
        Self::Stream,
        Self::Poll,
        Self::Http2Stream,
        Self::Http2Poll,
        Self::Sse,
        Self::Htmlfile,
        Self::Jsonp,
    ];

    /// Those that pass through a proxy for TCP.
    pub const OVER_TCP: [Self; 9] = [
        Self::WebSocket,
        Self::Http2WebSocket,
        Self::Stream,
        Self::Poll,
        Self::Http2Stream,
        Self::Http2Poll,
        Self::Sse,
        Self::Htmlfile,
        Self::Jsonp,
    ];

    /// The name in the log of a gateway.
    #[must_use]
    pub const fn log_name(self) -> &'static str {
        match self {
            Self::WebSocket | Self::Http2WebSocket => "websocket",
            Self::WebTransport => "webtransport",
            Self::Stream | Self::Http2Stream => "stream",
            Self::Poll | Self::Http2Poll => "poll",
            Self::Sse => "sse",
            Self::Htmlfile => "htmlfile",
            Self::Jsonp => "jsonp",
        }
    }
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Why.
    pub code: Code,
    /// For people.
    pub text: String,
    /// What it carried.
    pub stats: StreamStats,
}

/// A client with one session.
#[derive(Debug)]
pub struct Client {
    state: Arc<State>,
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct State {
    address: SocketAddr,
    /// Where WebTransport is to be had; where the gateway says if nobody said.
    webtransport: OnceLock<SocketAddr>,
    /// How long a request may take before it counts as lost.
    patience: Duration,
    inner: Mutex<Inner>,
    /// Changes whenever the session does.
    changed: watch::Sender<()>,
    /// Reading from the network is paused.
    paused: watch::Sender<bool>,
    http1: Http,
    http2: Http,
}

#[derive(Debug)]
struct Inner {
    session: Session,
    opened: BTreeMap<StreamId, String>,
    closed: BTreeMap<StreamId, Closed>,
    ended: Option<Code>,
    go_away: Option<(Duration, Code)>,
    detached: Vec<DetachReason>,
    /// Rises with each attach, so that transports know when they are not the newest.
    epoch: u64,
    /// The transport of this epoch still lives.
    alive: bool,
    /// Nothing was heard on the transports of epochs up to this one for too long.
    silent: u64,
    /// How frames go up by requests; they go by the downlink itself if `None`.
    uplink: Option<Way>,
    /// The uplink's task runs.
    uplink_runs: bool,
    /// How the gateway refused or closed the newest transport.
    refusal: Option<Refusal>,
    /// Tickets that were issued, the newest last.
    tickets: Vec<String>,
    diary: Diary,
    faults: Faults,
    random: Random,
}

/// What became of the last transports and requests, for the failure of a story.
#[derive(Debug)]
struct Diary {
    began: Instant,
    lines: VecDeque<String>,
}

impl Diary {
    /// Lines that are kept: what a failure needs to be understood, and no more.
    const LINES: usize = 60;

    fn new() -> Self {
        Self {
            began: Instant::now(),
            lines: VecDeque::new(),
        }
    }

    fn note(&mut self, what: impl std::fmt::Display) {
        if self.lines.len() == Self::LINES {
            self.lines.pop_front();
        }
        let at = self.began.elapsed().as_millis();
        self.lines.push_back(format!("{at} ms: {what}"));
    }
}

/// How frames go up by requests of their own.
#[derive(Debug, Clone, Copy)]
enum Way {
    Post(Version),
    /// As a page sends a form, over HTTP/1.1.
    Form,
}

/// How the gateway turned a transport away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The close code of a WebSocket or a WebTransport session.
    Close(u16),
    /// An HTTP status.
    Status(u16),
}

impl Inner {
    /// Files what happened where stories look for it.
    fn drain(&mut self) -> bool {
        let mut any = false;
        while let Some(event) = self.session.poll_event() {
            any = true;
            match event {
                Event::Opened { stream, reached } => {
                    self.opened.insert(stream, reached);
                }
                Event::Closed {
                    stream,
                    code,
                    text,
                    stats,
                } => {
                    self.closed.insert(stream, Closed { code, text, stats });
                }
                Event::Detached { why, .. } => self.detached.push(why),
                Event::PeerDead { .. } => {
                    self.alive = false;
                    self.silent = self.epoch;
                    let epoch = self.epoch;
                    self.diary.note(format_args!("transport {epoch} is silent"));
                }
                Event::GoAway { after, code } => self.go_away = Some((after, code)),
                Event::Ended { code } => self.ended = Some(code),
                // Streams look for themselves.
                Event::Open { .. }
                | Event::Refused { .. }
                | Event::Readable(_)
                | Event::Writable(_) => {}
            }
        }
        any
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the session and wakes who waits.
    fn change<T>(&self, change: impl FnOnce(&mut Inner, Instant) -> T) -> T {
        let output = {
            let mut inner = self.lock();
            let output = change(&mut inner, Instant::now());
            inner.drain();
            output
        };
        self.changed.send_replace(());
        output
    }

    /// Waits for a condition, for as long as it takes.
    ///
    /// Looking may change the session, as transmitting does.
    async fn when<T>(&self, mut look: impl FnMut(&mut Inner) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let (found, happened) = {
                let mut inner = self.lock();
                let found = look(&mut inner);
                (found, inner.drain())
            };
            if happened {
                self.changed.send_replace(());
            }
            if let Some(found) = found {
                return found;
            }
            // The sender is in `self`.
            _ = changed.changed().await;
        }
    }

    /// Waits for a reply for as long as a client that is not to wait for ever.
    async fn patiently<T>(
        &self,
        reply: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match timeout(self.patience, reply).await {
            Ok(reply) => reply,
            Err(late) => {
                self.give_up_http2().await;
                Err(late.into())
            }
        }
    }

    /// Leaves a connection that may carry nothing any more to itself: the next request makes another.
    async fn give_up_http2(&self) {
        self.http2.cut().await;
    }

    /// Where it stands, for the failure of a story.
    fn standing(&self) -> String {
        let inner = self.lock();
        let session = &inner.session;
        let due = session.poll_timeout();
        format!(
            "transport {} alive {} silent up to {}, attachment {:?}, uplink {:?} runs {}, \
             sid {:?}, ended {:?}, has something to say {}, due in {:?}, detached {:?}, refused {:?}, \
             now {} ms\n{}",
            inner.epoch,
            inner.alive,
            inner.silent,
            session.attachment(),
            inner.uplink,
            inner.uplink_runs,
            session.identity().map(|(sid, _)| sid),
            inner.ended,
            session.can_transmit(),
            due.map(|due| due.saturating_duration_since(Instant::now())),
            inner.detached.last(),
            inner.refusal,
            inner.diary.began.elapsed().as_millis(),
            inner
                .diary
                .lines
                .iter()
                .fold(String::new(), |all, line| all + line + "\n"),
        )
    }

    fn http(&self, version: Version) -> Http {
        match version {
            Version::Http1 => self.http1.clone(),
            Version::Http2 => self.http2.clone(),
        }
    }
}

impl Client {
    /// A client that has not attached yet.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self::with(address, Config::default(), Faults::default(), 0)
    }

    /// A client with other bounds than usual and an uplink that fails on purpose.
    #[must_use]
    pub fn with(address: SocketAddr, config: Config, faults: Faults, seed: u64) -> Self {
        let patience = config.peer_dead;
        let inner = Inner {
            session: Session::client(config),
            opened: BTreeMap::new(),
            closed: BTreeMap::new(),
            ended: None,
            go_away: None,
            detached: Vec::new(),
            epoch: 0,
            alive: false,
            silent: 0,
            uplink: None,
            uplink_runs: false,
            refusal: None,
            tickets: Vec::new(),
            diary: Diary::new(),
            faults,
            random: Random::new(seed),
        };
        let state = Arc::new(State {
            address,
            webtransport: OnceLock::new(),
            patience,
            inner: Mutex::new(inner),
            changed: watch::Sender::new(()),
            paused: watch::Sender::new(false),
            http1: Http::new(address, Version::Http1),
            http2: Http::new(address, Version::Http2),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(keep_time(Arc::clone(&state)));
        Self {
            state,
            tasks: Mutex::new(tasks),
        }
    }

    /// Says where WebTransport is to be had, whatever the gateway says: behind a relay of datagrams.
    pub fn webtransport_at(&self, address: SocketAddr) {
        self.state.webtransport.get_or_init(|| address);
    }

    /// Attaches a new client and waits until it has a session.
    pub async fn connect(address: SocketAddr, transport: Transport) -> Self {
        let client = Self::new(address);
        client.attach(transport);
        client.welcomed().await;
        client
    }

    /// Attaches over a transport, which replaces the one in use, if any.
    pub fn attach(&self, transport: Transport) {
        let (epoch, starts_uplink) = self.state.change(|inner, _| {
            inner.epoch += 1;
            inner.alive = true;
            inner.refusal = None;
            inner.uplink = transport.uplink();
            let starts_uplink = inner.uplink.is_some() && !inner.uplink_runs;
            inner.uplink_runs |= starts_uplink;
            let epoch = inner.epoch;
            inner
                .diary
                .note(format_args!("transport {epoch} is {transport:?}"));
            (epoch, starts_uplink)
        });
        self.spawn(downlink::run(Arc::clone(&self.state), transport, epoch));
        if starts_uplink {
            self.spawn(uplink::run(Arc::clone(&self.state)));
        }
    }

    /// Cuts all transports in use without a word, as a lost network or a closed tab would.
    pub async fn cut(&self) {
        let mut old =
            std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        old.shutdown().await;
        self.state.give_up_http2().await;
        self.state.change(|inner, now| {
            inner.epoch += 1;
            inner.alive = false;
            inner.uplink_runs = false;
            // Whatever request was on its way.
            inner.session.rewind(now);
            if let Some(n) = inner.session.attachment() {
                inner.session.detach(n, now);
            }
        });
        self.spawn(keep_time(Arc::clone(&self.state)));
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that ended are of no more use.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Attaches again whenever the transport is gone, each time over one of these by chance.
    pub fn stay_attached(
        self: &Arc<Self>,
        transports: &'static [Transport],
        seed: u64,
    ) -> AbortOnDrop {
        let client = Arc::clone(self);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut random = Random::new(seed);
            loop {
                client.attach(random.choose(transports));
                client
                    .state
                    .when(|inner| (!inner.alive || inner.ended.is_some()).then_some(()))
                    .await;
                if client.ended_now().is_some() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
        AbortOnDrop { _tasks: tasks }
    }

    /// Stops reading from the network, as a busy page would.
    pub fn pause(&self) {
        self.state.paused.send_replace(true);
    }

    /// Goes on reading.
    pub fn go_on(&self) {
        self.state.paused.send_replace(false);
    }

    /// Asks for a stream.
    #[must_use]
    pub fn open(&self, target: &str) -> Stream {
        self.open_service(0, target)
    }

    /// Asks for a stream of a service, by its number.
    #[must_use]
    pub fn open_service(&self, service: u8, target: &str) -> Stream {
        let open = |inner: &mut Inner| inner.session.open(service, target);
        let id = self.state.change(|inner, _| open(inner));
        Stream::new(Arc::clone(&self.state), id)
    }

    /// Asks for a stream and waits until the backend is reached.
    ///
    /// # Panics
    ///
    /// When it is not.
    pub async fn reach(&self, target: &str) -> Stream {
        let stream = self.open(target);
        if let Err(closed) = stream.opened().await {
            panic!("{target}: {closed:?}");
        }
        stream
    }

    /// Waits until the gateway gave the client a session.
    pub async fn welcomed(&self) -> String {
        let welcomed = self
            .state
            .when(|inner| inner.session.identity().map(|(sid, _)| sid.to_owned()));
        soon("WELCOME", welcomed).await
    }

    /// The session's token, base64url, as it goes in a header.
    ///
    /// # Panics
    ///
    /// Before the WELCOME.
    #[must_use]
    pub fn token(&self) -> String {
        let inner = self.state.lock();
        let (_, token) = inner.session.identity().expect("the client was welcomed");
        uplink::bearer(token)
    }

    /// The tickets that this client was given, the newest last.
    #[must_use]
    pub fn tickets(&self) -> Vec<String> {
        self.state.lock().tickets.clone()
    }

    /// Where it stands, and how its last transports fared: for the failure of a story.
    #[must_use]
    pub fn standing(&self) -> String {
        self.state.standing()
    }

    /// The raw token.
    ///
    /// # Panics
    ///
    /// Before the WELCOME.
    #[must_use]
    pub fn raw_token(&self) -> [u8; perigee_session::TOKEN_LEN] {
        *self
            .state
            .lock()
            .session
            .identity()
            .expect("the client was welcomed")
            .1
    }

    /// Waits for the end of the session.
    pub async fn ended(&self) -> Code {
        soon(
            "the end of the session",
            self.state.when(|inner| inner.ended),
        )
        .await
    }

    /// Whether the session is over.
    #[must_use]
    pub fn ended_now(&self) -> Option<Code> {
        self.state.lock().ended
    }

    /// Waits until the newest transport is gone, and says how it was turned away, if it was.
    pub async fn lost_transport(&self) -> Option<Refusal> {
        let lost = self
            .state
            .when(|inner| (!inner.alive).then_some(inner.refusal));
        soon("the end of the transport", lost).await
    }

    /// Waits for GOAWAY.
    pub async fn go_away(&self) -> (Duration, Code) {
        soon("GOAWAY", self.state.when(|inner| inner.go_away)).await
    }

    /// Waits for a DETACH with this reason.
    pub async fn detached(&self, why: DetachReason) {
        let detached = self
            .state
            .when(|inner| inner.detached.contains(&why).then_some(()));
        soon("DETACH", detached).await;
    }

    /// Ends the session in good order, and waits until the gateway has been told.
    pub async fn end(&self) {
        self.state.change(|inner, now| {
            // Said once only: a client whose last word is lost is forgotten in time.
            inner.faults = Faults::default();
            inner.session.end(Code::Closed, "", now);
        });
        let told = self
            .state
            .when(|inner| (!inner.alive && !inner.uplink_runs).then_some(()));
        soon("the gateway to end the session", told).await;
    }
}

impl Transport {
    /// A list of this one, for [`Client::stay_attached`].
    #[must_use]
    pub const fn only(self) -> &'static [Self] {
        match self {
            Self::WebSocket => &[Self::WebSocket],
            Self::Http2WebSocket => &[Self::Http2WebSocket],
            Self::WebTransport => &[Self::WebTransport],
            Self::Stream => &[Self::Stream],
            Self::Poll => &[Self::Poll],
            Self::Http2Stream => &[Self::Http2Stream],
            Self::Http2Poll => &[Self::Http2Poll],
            Self::Sse => &[Self::Sse],
            Self::Htmlfile => &[Self::Htmlfile],
            Self::Jsonp => &[Self::Jsonp],
        }
    }

    /// What carries it.
    #[must_use]
    pub const fn medium(self) -> Medium {
        match self {
            Self::WebSocket
            | Self::Http2WebSocket
            | Self::Stream
            | Self::Poll
            | Self::Http2Stream
            | Self::Http2Poll
            | Self::Sse
            | Self::Htmlfile
            | Self::Jsonp => Medium::Tcp,
            Self::WebTransport => Medium::Udp,
        }
    }

    /// Its name in the ladder, and the HTTP it uses where that makes a difference.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Http2WebSocket => "websocket (HTTP/2)",
            Self::WebTransport => "webtransport",
            Self::Stream => "stream",
            Self::Poll => "poll",
            Self::Http2Stream => "stream (HTTP/2)",
            Self::Http2Poll => "poll (HTTP/2)",
            Self::Sse => "sse",
            Self::Htmlfile => "htmlfile",
            Self::Jsonp => "jsonp",
        }
    }

    /// How frames go up, if not with the downlink.
    const fn uplink(self) -> Option<Way> {
        match self {
            Self::WebSocket | Self::Http2WebSocket | Self::WebTransport => None,
            Self::Stream | Self::Poll | Self::Sse => Some(Way::Post(Version::Http1)),
            Self::Http2Stream | Self::Http2Poll => Some(Way::Post(Version::Http2)),
            Self::Htmlfile | Self::Jsonp => Some(Way::Form),
        }
    }
}

/// Ends its tasks when it is dropped.
#[derive(Debug)]
pub struct AbortOnDrop {
    _tasks: JoinSet<()>,
}

/// Tells the session when its deadlines pass.
async fn keep_time(state: Arc<State>) {
    let mut changed = state.changed.subscribe();
    loop {
        changed.mark_unchanged();
        let deadline = state.lock().session.poll_timeout();
        let expired = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = expired => state.change(|inner, now| inner.session.handle_timeout(now)),
            _ = changed.changed() => {}
        }
    }
}

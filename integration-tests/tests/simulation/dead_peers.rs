//! Clients that vanish without a word, one for each transport, with the timeouts that a gateway has by default: each is
//! found within the time that section 8 of docs/protocol.md gives, and one that is only quiet never is.
//!
//! QUIC is not simulated, so WebTransport has a network of the system's own; its clock is stopped and moved by hand.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    future::pending,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    thread,
    time::{Duration, SystemTime},
};

use perigee_gateway::simulation::{self, LastTask};
use perigee_integration_tests::{
    ORIGIN,
    gateway::Configuration,
    proxy::{Medium, Proxy},
    wait::DEADLINE,
    webtransport::WebTransport,
};
use perigee_session::{Config, Event, Link, Session, Uplink};
use tokio::{io::AsyncReadExt, task::JoinSet, time::advance};
use turmoil::{Builder, net::TcpListener};

use crate::{
    backend,
    peer::{News, Way, live},
};

const PORT: u16 = 8000;
const TICK: Duration = Duration::from_millis(50);
/// When clients vanish: after two heartbeats, so that it is not their beginning that counts.
const VANISH: Duration = Duration::from_secs(60);
/// Silence after which the gateway gives a transport up.
const PEER_DEAD: Duration = Duration::from_secs(55);
/// The longest time between two signs of life of a client: a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(25);
/// For transports of one reply each: how long one is held, and the time that a client has for the next.
const HOLD: Duration = Duration::from_secs(25);
const NEXT: Duration = Duration::from_secs(10);
/// What the network and a step of the simulation may add.
const GRACE: Duration = Duration::from_millis(500);

/// One for each transport that vanishes, and one that stays.
const CLIENTS: usize = 2 * Way::ALL.len();

/// What is known of the clients, by their index.
#[derive(Default)]
struct Known {
    opened: RefCell<BTreeSet<usize>>,
    /// When the backend learned that they are gone.
    gone: RefCell<BTreeMap<usize, Duration>>,
}

fn way(client: usize) -> Way {
    Way::ALL[client % Way::ALL.len()]
}

const fn vanishes(client: usize) -> bool {
    client < Way::ALL.len()
}

fn name(client: usize) -> String {
    format!("client{client}")
}

/// Every connection says whose it is, and is not spoken on any more.
async fn watch(known: Rc<Known>) -> turmoil::Result {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, backend::PORT)).await?;
    let mut connections = JoinSet::new();
    loop {
        let (mut stream, _) = listener.accept().await?;
        let known = Rc::clone(&known);
        connections.spawn_local(async move {
            let Ok(client) = stream.read_u8().await else {
                return;
            };
            _ = stream.read_u8().await;
            let now = turmoil::sim_elapsed().expect("in a simulation");
            known.gone.borrow_mut().insert(client.into(), now);
        });
    }
}

#[test]
fn a_client_that_vanishes_is_found_in_time_on_every_transport() {
    simulation::begin(1, None);
    let known = Rc::new(Known::default());
    let mut sim = Builder::new()
        .tick_duration(TICK)
        .simulation_duration(Duration::from_secs(24 * 3600))
        .epoch(SystemTime::UNIX_EPOCH)
        .rng_seed(1)
        .build();
    // A stream ends as soon as its client is given up, so that its backend can tell when that was.
    let address = format!("backend:{}", backend::PORT);
    let at_once = "networks = [\"192.168.0.0/16\"]\nresume_timeout = \"0s\"";
    let config = Configuration::new()
        .log_level("error")
        .backend_with("watching", address, at_once)
        .parse();
    sim.host("gateway", move || {
        let config = config.clone();
        async move {
            let _last = LastTask;
            let _running = simulation::start(config, PORT).await?;
            pending().await
        }
    });
    let watching = Rc::clone(&known);
    sim.host("backend", move || watch(Rc::clone(&watching)));
    let gateway = SocketAddr::new(sim.lookup("gateway"), PORT);
    for client in 0..CLIENTS {
        let known = Rc::clone(&known);
        sim.host(name(client), move || {
            let known = Rc::clone(&known);
            async move {
                let tell = |news| {
                    assert_eq!(news, News::Opened, "{:?}", way(client));
                    known.opened.borrow_mut().insert(client);
                };
                let id = [u8::try_from(client).expect("few")];
                live(way(client), gateway, "watching", &id, tell).await;
                pending().await
            }
        });
    }
    while sim.elapsed() < VANISH {
        sim.step().expect("every host is well");
    }
    assert_eq!(known.opened.borrow().len(), CLIENTS);
    assert_eq!(known.gone.take(), BTreeMap::new(), "all are well");
    for client in (0..CLIENTS).filter(|client| vanishes(*client)) {
        sim.partition(name(client), "gateway");
    }
    while sim.elapsed() < VANISH + 2 * PEER_DEAD {
        sim.step().expect("every host is well");
    }
    let gone = known.gone.take();
    for client in 0..CLIENTS {
        let (way, found) = (way(client), gone.get(&client));
        let (from, to) = match (vanishes(client), way.is_held()) {
            (false, _) => {
                assert_eq!(found, None, "{way:?} was only quiet");
                continue;
            }
            (true, false) => (PEER_DEAD - HEARTBEAT, PEER_DEAD),
            (true, true) => (Duration::ZERO, HOLD + NEXT),
        };
        let found = *found.unwrap_or_else(|| panic!("{way:?} was never found")) - VANISH;
        assert!(
            (from..=to + GRACE).contains(&found),
            "{way:?} was found after {found:?}"
        );
    }
}

/// Waits for what the network brings, while the clock stands still.
async fn with_stopped_clock(what: &str, mut look: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !look() {
        assert!(started.elapsed() < DEADLINE, "waited in vain for {what}");
        // Tokio moves a paused clock on where all wait, but not for a thread.
        let pause = || thread::sleep(Duration::from_millis(2));
        tokio::task::spawn_blocking(pause).await.expect("no panic");
    }
}

/// Moves the clock, and has everybody look at it often on the way.
async fn wait(time: Duration) {
    const STEP: Duration = Duration::from_millis(100);
    let mut left = time;
    while !left.is_zero() {
        let step = left.min(STEP);
        advance(step).await;
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        left -= step;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_that_vanishes_is_found_in_time_on_webtransport() {
    simulation::begin(1, None);
    let config = Configuration::new()
        .log_level("error")
        .backend("any", "127.0.0.1:1")
        .parse();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (address, census, _accepting) =
        simulation::start_webtransport(config, any).expect("a socket on loopback");
    let network = Proxy::unharmed(address, Medium::Udp).await;
    let path = "/perigee/v1/new/wt";
    let mut client = WebTransport::connect(network.address, path, Some(ORIGIN))
        .await
        .expect("a session");
    let mut session = Session::client(Config::default());
    let now = || tokio::time::Instant::now().into_std();
    session.attach(Link::Open, Uplink::Fresh, now());
    let mut heard = 0;
    let mut frames = Vec::new();
    // WELCOME, and the PING by which the client confirms it.
    while heard < 2 || session.can_transmit() {
        while session.poll_transmit(&mut frames, 48 * 1024, now()) {}
        client
            .send
            .write_all(&std::mem::take(&mut frames))
            .await
            .expect("open");
        let down = client.receive().await.expect("open").expect("open");
        session.handle_bytes(&mut &down[..], now());
        heard += 1;
        while let Some(event) = session.poll_event() {
            assert!(!matches!(event, Event::Ended { .. }), "{event:?}");
        }
    }
    assert_eq!(census.counts().sessions, 1);
    tokio::time::pause();
    network.fall_silent();
    wait(PEER_DEAD - Duration::from_secs(5)).await;
    assert_eq!(census.counts().connections, 1, "given up too soon");
    // The connection is kept for a few seconds more, should the client hear the last words.
    wait(Duration::from_secs(5) + LAST_WORDS).await;
    with_stopped_clock("the end", || census.counts().connections == 0).await;
    // The session goes when nobody has come back to it.
    assert_eq!(census.counts().sessions, 1);
    wait(RESUME).await;
    with_stopped_clock("the end of the session", || census.counts().sessions == 0).await;
}

/// How long a connection that is given up waits for its client to take the last words.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How long a session waits for its client.
const RESUME: Duration = Duration::from_secs(120);

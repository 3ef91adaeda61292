//! A gateway that drains has a crowd of clients come to the next one, and they do not come all at once.

use std::{
    cell::{Cell, RefCell},
    future::pending,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, SystemTime},
};

use perigee_gateway::{
    Counts,
    simulation::{self, LastTask, Simulated},
};
use perigee_integration_tests::{gateway::Configuration, random::Random};
use perigee_session::Code;
use tokio::{task::JoinSet, time::sleep};
use turmoil::{Builder, net::TcpListener};

use crate::{
    backend,
    peer::{News, Way, live},
};

const PORT: u16 = 8000;
const TICK: Duration = Duration::from_millis(20);
const CLIENTS: usize = 3000;
/// They share machines, as there are not so many ports.
const HOSTS: usize = 3;
/// How long they take to come at first.
const ARRIVAL: Duration = Duration::from_secs(10);
/// How long the gateway drains: its default. Each session ends at its own time in the second half.
const DRAIN: Duration = Duration::from_secs(8);
/// What the network takes, and clients that are between two replies when their session ends.
const GRACE: Duration = Duration::from_secs(1);
/// Parts of the window that are looked at one by one.
const PARTS: usize = 8;

/// What is known of the crowd.
#[derive(Default)]
struct Crowd {
    /// Clients of the first gateway whose stream is open.
    opened: Cell<usize>,
    told: Cell<usize>,
    ended: Cell<usize>,
    /// When each went to the next gateway, and how many have their stream there.
    went: RefCell<Vec<Duration>>,
    settled: Cell<usize>,
    drains_at: Cell<Option<Duration>>,
    /// What was left in the first gateway when it had stopped.
    left: Cell<Option<Counts>>,
}

fn now() -> Duration {
    turmoil::sim_elapsed().expect("in a simulation")
}

fn more(count: &Cell<usize>) {
    count.set(count.get() + 1);
}

/// One page: its stream ends with the session, and then it connects again.
async fn page(way: Way, gateways: [SocketAddr; 2], wait: Duration, crowd: &Crowd) {
    sleep(wait).await;
    let [first, next] = gateways;
    let ended = Cell::new(false);
    live(way, first, "quiet", b"!", |news| match news {
        News::Opened => more(&crowd.opened),
        News::GoAway => more(&crowd.told),
        News::Ended(code) => {
            assert_eq!(code, Code::GoingAway, "{way:?}");
            more(&crowd.ended);
            ended.set(true);
        }
        News::Refused => panic!("{way:?} lost its gateway"),
    })
    .await;
    assert!(ended.get(), "{way:?}");
    crowd.went.borrow_mut().push(now());
    live(way, next, "quiet", b"!", |news| {
        assert_eq!(news, News::Opened, "{way:?}");
        more(&crowd.settled);
    })
    .await;
}

/// Takes connections and says nothing.
async fn quiet() -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", backend::PORT)).await?;
    let mut held = Vec::new();
    loop {
        held.push(listener.accept().await?);
    }
}

#[test]
fn a_drain_spreads_a_crowd_and_loses_nobody() {
    simulation::begin(1, None);
    let crowd = Rc::new(Crowd::default());
    let mut sim = Builder::new()
        .tick_duration(TICK)
        .simulation_duration(Duration::from_secs(3600))
        .epoch(SystemTime::UNIX_EPOCH)
        .rng_seed(1)
        .max_message_latency(Duration::from_millis(50))
        .tcp_capacity(CLIENTS)
        .build();
    let address = format!("backend:{}", backend::PORT);
    let mut configuration = Configuration::new().log_level("error").backend_with(
        "quiet",
        address,
        "networks = [\"192.168.0.0/16\"]",
    );
    for most in [
        "connections",
        "connections_per_client",
        "sessions",
        "sessions_per_client",
    ] {
        configuration = configuration.limit(&format!("max_{most} = 100000"));
    }
    let config = configuration.parse();
    assert_eq!(config.timeouts.drain, DRAIN);
    sim.host("backend", quiet);
    for name in ["first", "next"] {
        let (crowd, config) = (Rc::clone(&crowd), config.clone());
        sim.host(name, move || {
            let (crowd, config) = (Rc::clone(&crowd), config.clone());
            async move {
                let _last = LastTask;
                let Simulated {
                    gateway,
                    census,
                    accepting,
                } = simulation::start(config, PORT).await?;
                if name == "next" {
                    return pending().await;
                }
                while crowd.opened.get() < CLIENTS {
                    sleep(Duration::from_millis(100)).await;
                }
                crowd.drains_at.set(Some(now()));
                gateway.shutdown().await;
                accepting.join_all().await;
                crowd.left.set(Some(census.counts()));
                pending().await
            }
        });
    }
    let gateways = ["first", "next"].map(|name| SocketAddr::new(sim.lookup(name), PORT));
    for host in 0..HOSTS {
        let crowd = Rc::clone(&crowd);
        sim.host(format!("pages{host}"), move || {
            let crowd = Rc::clone(&crowd);
            async move {
                let mut random = Random::new(host as u64);
                let mut pages = JoinSet::new();
                for number in (host..CLIENTS).step_by(HOSTS) {
                    let crowd = Rc::clone(&crowd);
                    let wait = ARRIVAL.mul_f64(random.range(0, 1000) as f64 / 1000.0);
                    let way = Way::ALL[number / HOSTS % Way::ALL.len()];
                    pages.spawn_local(async move { page(way, gateways, wait, &crowd).await });
                }
                pages.join_all().await;
                Ok(())
            }
        });
    }
    let deadline = Duration::from_secs(120);
    while crowd.settled.get() < CLIENTS || crowd.left.get().is_none() {
        sim.step().expect("every host is well");
        assert!(
            sim.elapsed() < deadline,
            "{} opened, {} told, {} ended, {} settled again",
            crowd.opened.get(),
            crowd.told.get(),
            crowd.ended.get(),
            crowd.settled.get()
        );
    }
    assert_eq!(crowd.left.get(), Some(Counts::default()));
    assert_eq!((crowd.told.get(), crowd.ended.get()), (CLIENTS, CLIENTS));
    let drains_at = crowd.drains_at.get().expect("it drained");
    let window = DRAIN / 2;
    let mut parts = [0; PARTS];
    let all = crowd.went.take();
    assert_eq!(all.len(), CLIENTS);
    for went in all {
        let after = went - drains_at;
        assert!(
            (window..=DRAIN + GRACE).contains(&after),
            "one went {after:?} after the drain began"
        );
        let part = (after - window).as_millis() * PARTS as u128 / window.as_millis();
        // The network took some of the last ones over the end.
        parts[usize::try_from(part).expect("few").min(PARTS - 1)] += 1;
    }
    // Nowhere twice as many as if they went one after the other, and nowhere nobody.
    let fair = CLIENTS / PARTS;
    assert!(
        parts
            .iter()
            .all(|count| (fair / 2..=fair * 2).contains(count)),
        "{parts:?}"
    );
}

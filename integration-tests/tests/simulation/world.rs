//! A world from a seed: a gateway, backends and clients, what goes wrong and when, and what has to
//! be true in the end.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::pending,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, SystemTime},
};

use perigee_gateway::{
    Counts,
    config::Config,
    simulation::{self, Census, LastTask, Simulated},
};
use perigee_integration_tests::{gateway::Configuration, random::Random};
use perigee_session::Mutant;
use turmoil::{Builder, Sim};

use crate::{
    backend::{self, Request, Service},
    client::{self, Job, Order, Setting},
    ledger::{Cause, Ledger},
    transport::Kind,
    weather::{self, Event, Weather},
};

/// Where the gateway listens.
const PORT: u16 = 8000;
/// How long the simulated time of a step is.
const TICK: Duration = Duration::from_millis(10);
/// How long a poll is held.
pub(crate) const HOLD: Duration = Duration::from_secs(3);
/// How long a session lives without its client.
const RESUME: Duration = Duration::from_secs(12);
/// Silence after which a peer is taken for dead.
const PEER_DEAD: Duration = Duration::from_secs(5);
/// How long a gateway drains.
const DRAIN: Duration = Duration::from_secs(3);
/// What a gateway that stopped leaves to tasks of its own.
const LAST_WORDS: Duration = Duration::from_secs(4);
/// In good weather everything is done within this.
const CALM: Duration = Duration::from_secs(240);
/// After the last client left, nothing is left of it within this: the longest of all timeouts in a
/// row, with a reserve.
const AFTERMATH: Duration = Duration::from_secs(40);

/// What came of a run.
pub(crate) struct Report {
    /// The first way in which a promise was broken.
    pub(crate) problem: Option<String>,
    /// Everything that happened, in order.
    pub(crate) trace: Vec<String>,
    /// Streams that ended well.
    pub(crate) well: u64,
    /// Streams that ended with a code.
    pub(crate) ill: u64,
    /// Simulated time.
    pub(crate) elapsed: Duration,
}

/// The gateway, as long as it is not killed.
#[derive(Default)]
struct Gateway {
    running: RefCell<Option<Simulated>>,
    /// What to do to it.
    order: Cell<Option<GatewayOrder>>,
    /// The one before, which was shut down: nothing may be left of it.
    stopped: RefCell<Option<(Duration, Census)>>,
}

#[derive(Clone, Copy)]
pub(crate) enum GatewayOrder {
    /// Its clock is ahead by so much from one moment to the next.
    Jump(Duration),
    /// It stops in order, and another one starts.
    Restart,
}

/// Runs the world that follows from a seed.
pub(crate) fn run(seed: u64, mutant: Option<Mutant>) -> Report {
    simulation::begin(seed, mutant);
    let mut random = Random::new(seed);
    let ledger = Ledger::default();
    let mut sim = build(&mut random, seed);
    let backends = 2;
    let gateway = Rc::new(Gateway::default());
    add_gateway(&mut sim, &gateway, &ledger, backends);
    for index in 0..backends {
        let ledger = ledger.clone();
        sim.host(backend_name(index), move || {
            backend::run(ledger.clone(), seed)
        });
    }
    let address = SocketAddr::new(sim.lookup("gateway"), PORT);
    let clients: Vec<Rc<Setting>> = (0..usize::try_from(random.range(1, 4)).expect("few"))
        .map(|id| Rc::new(setting(id, address, &ledger, &mut random, backends, mutant)))
        .collect();
    for setting in &clients {
        let setting = Rc::clone(setting);
        sim.host(client_name(setting.id), move || {
            client::run(Rc::clone(&setting))
        });
    }
    let mut world = World {
        sim,
        gateway,
        clients,
        ledger,
    };
    let mut weather = weather::forecast(&mut random, world.clients.len(), backends);
    let outcome = world.live(&mut weather);
    if let Err(problem) = outcome {
        world.ledger.fail(problem);
    }
    let elapsed = world.sim.elapsed();
    let (well, ill) = world.ledger.tally();
    // The hosts go while there is a world around them.
    let ledger = world.ledger.clone();
    world.gateway.running.take();
    drop(world);
    Report {
        problem: ledger.problem(),
        trace: ledger.take_trace(),
        well,
        ill,
        elapsed,
    }
}

fn build(random: &mut Random, seed: u64) -> Sim<'static> {
    let mut builder = Builder::new();
    let millis = Duration::from_millis;
    let fastest = random.range(0, 20);
    builder
        .tick_duration(TICK)
        .simulation_duration(Duration::from_secs(24 * 3600))
        .epoch(SystemTime::UNIX_EPOCH)
        .rng_seed(seed)
        .min_message_latency(millis(fastest))
        .max_message_latency(millis(fastest + random.range(1, 120)))
        // Segments on their way before a writer waits.
        .tcp_capacity(random.choose(&[8, 16, 64]))
        .build()
}

fn client_name(id: usize) -> String {
    format!("client{id}")
}

fn backend_name(index: usize) -> String {
    format!("backend{index}")
}

fn configuration(backends: usize) -> Config {
    let mut configuration = Configuration::new().log_level("error");
    for index in 0..backends {
        let address = format!("{}:{}", backend_name(index), backend::PORT);
        let networks = "networks = [\"192.168.0.0/16\"]";
        configuration = configuration.backend_with(&format!("b{index}"), address, networks);
    }
    for line in ["replay_down = \"64KiB\"", "replay_up = \"16KiB\""] {
        configuration = configuration.limit(line);
    }
    let seconds = |key: &str, time: Duration| format!("{key} = \"{}s\"", time.as_secs());
    for line in [
        seconds("hold", HOLD),
        seconds("resume", RESUME),
        seconds("peer_dead", PEER_DEAD),
        seconds("drain", DRAIN),
    ] {
        configuration = configuration.timeout(&line);
    }
    for line in [
        "heartbeat = \"2s\"",
        "hello = \"4s\"",
        "connect = \"4s\"",
        "first_byte = \"5s\"",
        "head = \"5s\"",
        "body = \"5s\"",
        "http_idle = \"8s\"",
        "stream_rotate = \"10s\"",
        "stream_rotate_bytes = \"64KiB\"",
        "tombstone = \"10s\"",
    ] {
        configuration = configuration.timeout(line);
    }
    configuration.parse()
}

fn add_gateway(sim: &mut Sim<'_>, gateway: &Rc<Gateway>, ledger: &Ledger, backends: usize) {
    let config = configuration(backends);
    let (gateway, ledger) = (Rc::clone(gateway), ledger.clone());
    sim.host("gateway", move || {
        let (gateway, ledger, config) = (Rc::clone(&gateway), ledger.clone(), config.clone());
        async move {
            let _last = LastTask;
            loop {
                *gateway.running.borrow_mut() =
                    Some(simulation::start(config.clone(), PORT).await?);
                ledger.trace("gateway: started");
                gateway.until_told_to_stop().await;
                let running = gateway.running.take();
                let Some(Simulated {
                    gateway: stopping,
                    census,
                    accepting,
                }) = running
                else {
                    return pending().await;
                };
                stopping.shutdown().await;
                accepting.join_all().await;
                ledger.trace("gateway: stopped");
                gateway.stopped.borrow_mut().replace((ledger.now(), census));
            }
        }
    });
}

impl Gateway {
    async fn until_told_to_stop(&self) {
        loop {
            match self.order.take() {
                Some(GatewayOrder::Restart) => return,
                Some(GatewayOrder::Jump(time)) => tokio::time::advance(time).await,
                None => tokio::time::sleep(Duration::from_millis(250)).await,
            }
        }
    }
}

fn setting(
    id: usize,
    gateway: SocketAddr,
    ledger: &Ledger,
    random: &mut Random,
    backends: usize,
    mutant: Option<Mutant>,
) -> Setting {
    let kinds: &[&'static [Kind]] = &[
        &[Kind::WebSocket],
        &[Kind::Stream],
        &[Kind::Poll],
        &Kind::ALL,
        &Kind::ALL,
    ];
    let jobs: VecDeque<Job> = (0..random.range(1, 4))
        .map(|number| job(random, id as u64 * 100 + number, backends))
        .collect();
    Setting {
        id,
        seed: random.number(),
        gateway,
        ledger: ledger.clone(),
        config: perigee_session::Config {
            window: 24 * 1024,
            replay: 32 * 1024,
            heartbeat: Duration::from_secs(2),
            // 2.2 times the heartbeat.
            peer_dead: Duration::from_millis(4400),
            ..perigee_session::Config::default()
        },
        mutant,
        kinds: random.choose(kinds),
        jobs: RefCell::new(jobs),
        order: Cell::new(None),
        lives: Cell::new(0),
    }
}

fn job(random: &mut Random, number: u64, backends: usize) -> Job {
    let lazy = random.percent(60);
    let most = if lazy { 20_000 } else { 150_000 };
    let up = if random.percent(10) {
        0
    } else {
        random.range(0, most)
    };
    let service = random.choose(&[Service::Echo, Service::Generate]);
    let down = match service {
        Service::Echo => up,
        Service::Generate => random.range(0, most),
    };
    Job {
        backend: usize::try_from(random.range(0, backends as u64)).expect("few"),
        // The lowest 16 bits count the attempts.
        request: Request {
            key: (number + 1) << 16,
            service,
            slow: random.percent(30),
            up,
            down,
        },
        at: Duration::from_millis(random.range(0, 15_000)),
        lazy,
    }
}

struct World {
    sim: Sim<'static>,
    gateway: Rc<Gateway>,
    clients: Vec<Rc<Setting>>,
    ledger: Ledger,
}

impl World {
    fn live(&mut self, weather: &mut Weather) -> Result<(), String> {
        while !weather.is_over() {
            self.ledger.set_time(self.sim.elapsed());
            while let Some(event) = weather.next_until(self.sim.elapsed()) {
                self.ledger.trace(format_args!("weather: {event:?}"));
                self.happen(event);
            }
            self.step()?;
        }
        let calm_since = self.sim.elapsed();
        while self.anybody_left() {
            self.step()?;
            if self.sim.elapsed() > calm_since + CALM {
                return Err(format!(
                    "clients are not done: {}",
                    self.ledger.open_streams()
                ));
            }
        }
        let alone_since = self.sim.elapsed();
        while self.counts() != Counts::default() || !self.ledger.is_settled() {
            self.step()?;
            if self.sim.elapsed() > alone_since + AFTERMATH {
                self.ledger.check_outcomes(RESUME);
                return Err(format!("left in the gateway: {:?}", self.counts()));
            }
        }
        self.ledger.check_outcomes(RESUME);
        Ok(())
    }

    fn step(&mut self) -> Result<(), String> {
        self.ledger.set_time(self.sim.elapsed());
        self.sim
            .step()
            .map_err(|error| format!("a host failed: {error}"))?;
        if let Some(panic) = crate::panics::take() {
            return Err(panic);
        }
        let over = |(since, _): &mut (Duration, Census)| *since + LAST_WORDS <= self.sim.elapsed();
        if let Some((_, census)) = self.gateway.stopped.borrow_mut().take_if(over) {
            let left = census.counts();
            if left != Counts::default() {
                return Err(format!("left in a gateway that stopped: {left:?}"));
            }
        }
        self.ledger.problem().map_or(Ok(()), Err)
    }

    fn anybody_left(&mut self) -> bool {
        let ids = 0..self.clients.len();
        ids.into_iter()
            .any(|id| self.sim.is_host_running(client_name(id)))
    }

    fn counts(&self) -> Counts {
        let running = self.gateway.running.borrow();
        running.as_ref().map_or_else(
            || Counts {
                tasks: 1,
                ..Counts::default()
            },
            |running| running.census.counts(),
        )
    }

    fn happen(&mut self, event: Event) {
        let now = self.sim.elapsed();
        self.ledger.set_time(now);
        let (sim, gateway) = (&mut self.sim, "gateway");
        match event {
            Event::Trouble { cause, time } => self.ledger.trouble(cause, now, now + time),
            Event::Partition(id) => sim.partition(client_name(id), gateway),
            Event::PartitionUp(id) => sim.partition_oneway(client_name(id), gateway),
            Event::PartitionDown(id) => sim.partition_oneway(gateway, client_name(id)),
            Event::Repair(id) => sim.repair(client_name(id), gateway),
            Event::Hold(id) => sim.hold(client_name(id), gateway),
            Event::Release(id) => sim.release(client_name(id), gateway),
            Event::Lossy(id, percent) => {
                sim.set_link_fail_rate(client_name(id), gateway, f64::from(percent) / 100.0);
            }
            Event::Latency(id, time) => sim.set_link_latency(client_name(id), gateway, time),
            Event::Sleep(id, time) => self.clients[id].order.set(Some(Order::Sleep(time))),
            Event::Jump(id, time) => self.clients[id].order.set(Some(Order::Jump(time))),
            Event::Kill(id) => {
                if sim.is_host_running(client_name(id)) {
                    sim.crash(client_name(id));
                    self.ledger.client_died(id);
                }
            }
            Event::Revive(id) => {
                if !self.clients[id].jobs.borrow().is_empty()
                    && !sim.is_host_running(client_name(id))
                {
                    sim.bounce(client_name(id));
                }
            }
            Event::HoldBackend(index) => sim.hold(backend_name(index), gateway),
            Event::ReleaseBackend(index) => sim.release(backend_name(index), gateway),
            Event::KillBackend(index) => sim.crash(backend_name(index)),
            Event::ReviveBackend(index) => sim.bounce(backend_name(index)),
            Event::KillGateway => {
                // Dropped with the host's tasks, it would stop in order.
                let running = self.gateway.running.take();
                simulation::kill(|| sim.crash(gateway));
                drop(running);
            }
            Event::ReviveGateway => sim.bounce(gateway),
            Event::GatewayOrder(order) => self.gateway.order.set(Some(order)),
        }
    }
}

impl std::fmt::Debug for GatewayOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Jump(time) => write!(f, "Jump({time:?})"),
            Self::Restart => f.write_str("Restart"),
        }
    }
}

/// What explains that a client was away.
pub(crate) const fn away(id: usize) -> Cause {
    Cause::Away(id)
}

//! Sessions on mixed transports for a long time, under random cuts: every byte is verified, and in
//! the end the gateway is as small as it was.
//!
//! `make soak` runs it (`SOAK_SESSIONS`, `SOAK_SECONDS`, `PERIGEE_SEED`). The tests of every day leave it
//! out: what it measures needs a machine with nothing else to do.

#![expect(clippy::print_stdout, reason = "a long run says what it found")]

use std::{
    env,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use perigee_integration_tests::{
    client::{Client, Faults, Transport},
    exchange::{Verifying, exchange},
    gateway::Configuration,
    process::Process,
    proxy::{End, Fate, Proxy},
    random::{Random, seed_from_environment},
    wait::until_eq,
};
use perigee_session::Config;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

/// What a gateway that has stopped has none of.
const COUNTS: [&str; 5] = [
    "sessions",
    "streams",
    "connections",
    "backends",
    "buffered_bytes",
];
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// Longest pause between two transfers of a session.
const MOST_PAUSE_MS: u64 = 4000;
/// What the gateway's memory may have grown by, beside a quarter of what it has after all sessions
/// were there once: tables that stay as large as they were, and pages that a small block holds.
const TOLERATED: u64 = 4 * MIB;

/// How much, for how long.
#[derive(Debug, Clone, Copy)]
struct Soak {
    sessions: u64,
    time: Duration,
    seed: u64,
}

/// What was done.
#[derive(Debug, Default)]
struct Done {
    sessions: AtomicU64,
    abandoned: AtomicU64,
    streams: AtomicU64,
    bytes: AtomicU64,
}

/// What one session needs.
struct World {
    address: SocketAddr,
    patience: Duration,
    backend: Verifying,
    done: Done,
    ends: Instant,
}

#[ignore = "needs a machine of its own: make soak"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_wrong_and_nothing_is_left() {
    let number = |name, default| match env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text:?} is not a number")),
        Err(_) => default,
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let soak = Soak {
        sessions: number("SOAK_SESSIONS", 100),
        time: Duration::from_secs(number("SOAK_SECONDS", 15)),
        seed: seed_from_environment(now.map_or(1, |now| now.as_secs())),
    };
    soak.run().await;
}

impl Soak {
    async fn run(self) {
        println!("{self:?}");
        let backend = Verifying::start().await;
        let gateway = Process::with_honest_memory(&self.configuration(&backend)).await;
        let mut random = Random::new(self.seed);
        let seed = random.number();
        let proxy = Proxy::start(gateway.address, move || fate(&mut random)).await;
        let mut world = World {
            address: proxy.address,
            patience: self.patience(),
            backend,
            done: Done::default(),
            ends: Instant::now(),
        };
        println!("at first: {}", held(&gateway));
        let descriptors = gateway.descriptors();
        // All sessions at once, so that the gateway has been as large as it will be.
        world = self.wave(world, seed).await;
        until_eq(descriptors, || gateway.descriptors()).await;
        let memory = gateway.memory();
        println!("after a first wave: {}", held(&gateway));

        world.ends = Instant::now() + self.time;
        let peak = watch(&gateway, world.ends);
        let (world, peak) = tokio::join!(self.wave(world, !seed), peak);
        println!("at most: {} MiB", peak / MIB);
        until_eq(descriptors, || gateway.descriptors()).await;
        println!("in the end: {}", held(&gateway));
        println!("{:?}, {} connections cut", world.done, proxy.cuts());

        assert_eq!(world.backend.mismatches(), [], "seed {}", self.seed);
        let tolerated = memory + memory / 4 + TOLERATED;
        let left = gateway.memory();
        assert!(left <= tolerated, "{left} bytes, {memory} after one wave");
        self.stops_empty(gateway).await;
    }

    /// Every session until the time is over, each of them at least once.
    async fn wave(self, world: World, seed: u64) -> World {
        let world = Arc::new(world);
        let mut sessions = JoinSet::new();
        for index in 0..self.sessions {
            let mut random = Random::new(seed ^ index);
            let world = Arc::clone(&world);
            sessions.spawn(async move {
                // Not all at the same moment, in which nobody is patient enough.
                let wait = random.range(0, 10 * self.sessions);
                sleep(Duration::from_millis(wait)).await;
                loop {
                    world.session(&mut random).await?;
                    if Instant::now() >= world.ends {
                        return Ok::<(), String>(());
                    }
                }
            });
        }
        while let Some(session) = sessions.join_next().await {
            if let Err(wrong) = session.expect("a session does not panic") {
                panic!("PERIGEE_SEED={}: {wrong}", self.seed);
            }
        }
        Arc::into_inner(world).expect("all sessions have ended")
    }

    /// A session that nobody told of its end is over in time, long before the grace period is.
    async fn stops_empty(self, mut gateway: Process) {
        gateway.signal("TERM");
        let status = gateway.exited().await;
        assert!(status.success(), "seed {}: {status}", self.seed);
        let events = gateway.events();
        let stopped = events.last().expect("the gateway says so");
        assert_eq!(stopped["message"], "stopped", "seed {}", self.seed);
        for count in COUNTS {
            assert_eq!(stopped[count], 0, "seed {}: {count}", self.seed);
        }
        let warnings = events.iter().filter(|event| event["level"] != "INFO");
        let warnings: Vec<_> = warnings.collect();
        assert!(warnings.is_empty(), "seed {}: {warnings:?}", self.seed);
    }

    /// Silence after which a client gives a transport up: the more sessions, the longer a machine
    /// may take to get round to one of them.
    fn patience(self) -> Duration {
        Duration::from_secs((4 + self.sessions / 100).min(20))
    }

    fn configuration(self, backend: &Verifying) -> Configuration {
        let patience = self.patience().as_secs();
        let resume = patience * 2 + 4;
        Configuration::new()
            .backend_with(
                "verifying",
                backend.address,
                &format!("resume_timeout = \"{resume}s\""),
            )
            .limit("max_connections = 100000")
            .limit("max_connections_per_client = 100000")
            .limit("max_sessions = 100000")
            .limit("max_sessions_per_client = 100000")
            .timeout("heartbeat = \"1s\"")
            .timeout("hold = \"1s\"")
            .timeout(&format!("peer_dead = \"{patience}s\""))
            .timeout(&format!("http_idle = \"{patience}s\""))
            .timeout(&format!("resume = \"{resume}s\""))
            // A client may find out late that its first transport died.
            .timeout(&format!("hello = \"{resume}s\""))
            .timeout(&format!("drain = \"{}s\"", resume * 2))
            .log_level("info")
    }
}

impl World {
    /// One session with some streams, one after the other, over whatever transport chance picks.
    async fn session(&self, random: &mut Random) -> Result<(), String> {
        let config = Config {
            peer_dead: self.patience,
            ..Config::default()
        };
        let client = Client::with(self.address, config, Faults::default(), random.number());
        let client = Arc::new(client);
        let attached = client.stay_attached(&Transport::ALL, random.number());
        for _ in 0..random.range(1, 6) {
            let seed = random.number();
            let stream = client.open("verifying");
            stream
                .opened()
                .await
                .map_err(|closed| format!("stream {seed} was not opened: {closed:?}"))?;
            let least = random.range(KIB, 256 * KIB);
            let moved = exchange(&stream, &self.backend, seed, least, || true).await?;
            self.done.streams.fetch_add(1, Relaxed);
            self.done.bytes.fetch_add(moved.up + moved.down, Relaxed);
            if random.percent(20) {
                // In the middle of whatever the old transport carries.
                client.attach(random.choose(&Transport::ALL));
            }
            let pause = Duration::from_millis(random.range(0, MOST_PAUSE_MS));
            sleep_until(self.ends.min(Instant::now() + pause)).await;
            if Instant::now() >= self.ends {
                break;
            }
        }
        self.done.sessions.fetch_add(1, Relaxed);
        if random.percent(10) && Instant::now() < self.ends {
            // As a laptop that is shut for good: the gateway has to find out.
            let left = client.open("verifying");
            _ = left.opened().await;
            drop(attached);
            client.cut().await;
            self.done.abandoned.fetch_add(1, Relaxed);
        } else {
            client.end().await;
        }
        Ok(())
    }
}

/// Half of the connections live as long as they like; the others end somewhere, somehow.
fn fate(random: &mut Random) -> Fate {
    if random.percent(50) {
        return Fate::unharmed();
    }
    let end = match random.range(0, 100) {
        // Each costs its client the time in which it finds out.
        0..2 => End::Silence,
        2..15 => End::HalfClose,
        15..50 => End::Fin,
        _ => End::Reset,
    };
    // Small and large distances are equally likely.
    let mut distance = || 1 << random.range(4, 20);
    let (up, down) = (distance(), distance());
    Fate::cut(up + random.range(0, up), down + random.range(0, down), end)
}

fn held(gateway: &Process) -> String {
    let (memory, descriptors) = (gateway.memory(), gateway.descriptors());
    format!("{} KiB, {descriptors} descriptors", memory / KIB)
}

/// The most memory that was seen until then.
async fn watch(gateway: &Process, until: Instant) -> u64 {
    let mut most = 0;
    while Instant::now() < until {
        most = most.max(gateway.memory());
        sleep(Duration::from_millis(200)).await;
    }
    most
}

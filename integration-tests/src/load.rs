//! Sessions on mixed transports under random cuts, every byte verified: the load that a gateway has
//! to bear without getting larger.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use perigee_session::Config;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    client::{Client, Faults, Transport},
    exchange::{Verifying, exchange},
    gateway::Configuration,
    proxy::{End, Fate, Proxy},
    random::{Random, mix},
};

const KIB: u64 = 1024;
/// Longest pause between two transfers of a session.
const MOST_PAUSE_MS: u64 = 4000;
/// The backend of all transfers, by two names: a session that nobody comes back to need not live long.
const BACKEND: &str = "verifying";
const LEFT_ALONE: &str = "left-alone";
/// Transports in a row that may take as long to fail as a client is patient.
const MOST_FAILURES: u64 = 10;
/// Transfers at a time: more of them share the same processors, and none gets on.
const TRANSFERS: usize = 100;
/// Seconds that a gateway waits for the first HELLO at most.
const MOST_HELLO: u64 = 60;

/// What the load needs beside the gateway.
#[derive(Debug)]
pub struct Load {
    sessions: u64,
    /// Seconds after which a silent gateway says something, and for which a poll is held.
    heartbeat: u64,
    patience: Duration,
    seed: u64,
    backend: Verifying,
}

/// A gateway under load, behind a network that cuts.
#[derive(Debug)]
pub struct Loaded {
    load: Load,
    network: Proxy,
    done: Done,
    /// Whose turn it is to transfer. The others are attached and quiet, as most pages are.
    turns: Semaphore,
    /// So that no wave repeats the one before.
    waves: AtomicU64,
}

/// What was done.
#[derive(Debug, Default)]
struct Done {
    sessions: AtomicU64,
    abandoned: AtomicU64,
    streams: AtomicU64,
    bytes: AtomicU64,
}

impl Load {
    /// So many sessions at a time.
    pub async fn new(sessions: u64, seed: u64) -> Self {
        Self {
            sessions,
            heartbeat: (1 + sessions / 200).min(8),
            // The more sessions, the longer a machine may take to get round to one of them.
            patience: Duration::from_secs((4 + sessions / 100).min(20)),
            seed,
            backend: Verifying::start().await,
        }
    }

    /// How long a gateway keeps a session whose client left without a word.
    #[must_use]
    pub fn resume(&self) -> Duration {
        // What is rare happens where there are many, and where there are few nobody wants to wait.
        let failures = (3 + self.sessions / 50).min(MOST_FAILURES);
        self.patience * u32::try_from(failures).expect("a small number")
    }

    /// Of a gateway that can bear it.
    #[must_use]
    pub fn configuration(&self) -> Configuration {
        let (heartbeat, patience) = (self.heartbeat, self.patience.as_secs());
        let resume = self.resume().as_secs();
        // A client may find out late that its first transport died.
        let hello = resume.min(MOST_HELLO);
        Configuration::new()
            .backend_with(
                BACKEND,
                self.backend.address,
                &format!("resume_timeout = \"{resume}s\""),
            )
            .backend_with(
                LEFT_ALONE,
                self.backend.address,
                &format!("resume_timeout = \"{patience}s\""),
            )
            .limit("max_connections = 100000")
            .limit("max_connections_per_client = 100000")
            .limit("max_sessions = 100000")
            .limit("max_sessions_per_client = 100000")
            .timeout(&format!("heartbeat = \"{heartbeat}s\""))
            .timeout(&format!("hold = \"{heartbeat}s\""))
            .timeout(&format!("peer_dead = \"{patience}s\""))
            .timeout(&format!("http_idle = \"{patience}s\""))
            .timeout(&format!("resume = \"{resume}s\""))
            .timeout(&format!("hello = \"{hello}s\""))
            .timeout(&format!("drain = \"{}s\"", resume * 2))
            .log_level("info")
    }

    /// Puts the network in front of a gateway.
    pub async fn on(self, gateway: SocketAddr) -> Loaded {
        let mut random = Random::new(mix(self.seed));
        Loaded {
            network: Proxy::start(gateway, move || fate(&mut random)).await,
            load: self,
            done: Done::default(),
            turns: Semaphore::new(TRANSFERS),
            waves: AtomicU64::new(0),
        }
    }
}

impl Loaded {
    /// As [`Load::resume`].
    #[must_use]
    pub fn resume(&self) -> Duration {
        self.load.resume()
    }

    /// All sessions until the time is over, and each of them at least once.
    ///
    /// # Errors
    ///
    /// The first thing that was not as it must be.
    pub async fn wave(self: &Arc<Self>, time: Duration) -> Result<(), String> {
        let ends = Instant::now() + time;
        let wave = self.waves.fetch_add(1, Relaxed);
        let seed = mix(self.load.seed ^ mix(wave));
        let mut sessions = JoinSet::new();
        for index in 0..self.load.sessions {
            let mut random = Random::new(seed ^ index);
            let world = Arc::clone(self);
            sessions.spawn(async move {
                // Not all at the same moment, in which nobody is patient enough.
                let wait = random.range(0, 10 * world.load.sessions);
                sleep(Duration::from_millis(wait)).await;
                loop {
                    world.session(ends, &mut random).await?;
                    if Instant::now() >= ends {
                        return Ok::<(), String>(());
                    }
                }
            });
        }
        while let Some(session) = sessions.join_next().await {
            let outcome = session.expect("a session does not panic");
            outcome.map_err(|wrong| format!("PERIGEE_SEED={}: {wrong}", self.load.seed))?;
        }
        match self.load.backend.mismatches() {
            wrong if wrong.is_empty() => Ok(()),
            wrong => Err(format!("PERIGEE_SEED={}: {wrong:?}", self.load.seed)),
        }
    }

    /// One session with some streams, one after the other, over whatever transport chance picks.
    async fn session(&self, ends: Instant, random: &mut Random) -> Result<(), String> {
        let config = Config {
            peer_dead: self.load.patience,
            ..Config::default()
        };
        let address = self.network.address;
        let client = Client::with(address, config, Faults::default(), random.number());
        let client = Arc::new(client);
        let attached = client.stay_attached(&Transport::ALL, random.number());
        for _ in 0..random.range(1, 6) {
            let seed = random.number();
            let least = random.range(KIB, 256 * KIB);
            self.transfer(&client, seed, least)
                .await
                .map_err(|wrong| format!("{wrong}: {}", client.standing()))?;
            if random.percent(20) {
                // In the middle of whatever the old transport carries.
                client.attach(random.choose(&Transport::ALL));
            }
            let pause = Duration::from_millis(random.range(0, MOST_PAUSE_MS));
            sleep_until(ends.min(Instant::now() + pause)).await;
            if Instant::now() >= ends {
                break;
            }
        }
        self.done.sessions.fetch_add(1, Relaxed);
        if random.percent(10) && Instant::now() < ends {
            // As a laptop that is shut for good: the gateway has to find out.
            let left = client.open(LEFT_ALONE);
            _ = left.opened().await;
            drop(attached);
            client.cut().await;
            self.done.abandoned.fetch_add(1, Relaxed);
        } else {
            client.end().await;
        }
        Ok(())
    }

    async fn transfer(&self, client: &Client, seed: u64, least: u64) -> Result<(), String> {
        let _turn = self.turns.acquire().await.expect("it is never closed");
        let stream = client.open(BACKEND);
        if let Err(closed) = stream.opened().await {
            return Err(format!("stream {seed} was not opened: {closed:?}"));
        }
        let moved = exchange(&stream, &self.load.backend, seed, least, || true).await?;
        self.done.streams.fetch_add(1, Relaxed);
        self.done.bytes.fetch_add(moved.up + moved.down, Relaxed);
        Ok(())
    }
}

/// What was done, and what the network did about it.
impl std::fmt::Display for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = |count: &AtomicU64| count.load(Relaxed);
        write!(
            f,
            "{} sessions, {} of them abandoned, {} streams, {} MiB, {} connections cut",
            of(&self.done.sessions),
            of(&self.done.abandoned),
            of(&self.done.streams),
            of(&self.done.bytes) / KIB / KIB,
            self.network.cuts()
        )
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

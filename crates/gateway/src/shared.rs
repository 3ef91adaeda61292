//! What every part of a running gateway may use: its configuration, its sessions, its counters.

use std::{net::IpAddr, ops::Deref, panic::AssertUnwindSafe, sync::Arc, time::Instant};

use futures_util::FutureExt;
use perigee_session::{Code, Config as SessionConfig};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::error;

use crate::{
    backend::{Names, TlsClients},
    config::Config,
    dialect::bosh::Sessions,
    http::{Asker, Refusal},
    listener::development::DevelopmentCertificate,
    net::now,
    ops::{
        access_log,
        per_client::PerClient,
        stats::{Counts, Stats},
    },
    registry::{Door, Identity, Registry},
    session_task::{Command, SessionTask},
};

/// A handle to the state of one gateway.
#[derive(Debug, Clone)]
pub(crate) struct Shared(Arc<State>);

/// The state behind [`Shared`].
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) tls: Arc<TlsClients>,
    pub(crate) names: Names,
    pub(crate) webtransport: Option<WebTransportOffer>,
    /// What all sessions have in common.
    pub(crate) sessions: Arc<SessionConfig>,
    pub(crate) registry: Registry,
    pub(crate) bosh: Sessions,
    pub(crate) stats: Stats,
    pub(crate) connections_per_client: PerClient,
    pub(crate) sessions_per_client: PerClient,
    /// Sessions and plain tunnels: what a drain waits for.
    pub(crate) work: TaskTracker,
    /// Connections and goodbyes, which follow from that.
    pub(crate) tasks: TaskTracker,
    /// No new sessions and tunnels from here on; clients of live sessions may come back.
    pub(crate) draining: CancellationToken,
    /// The grace period is over: what is still open says goodbye.
    pub(crate) ending: CancellationToken,
    /// Goodbyes are over too.
    pub(crate) stopping: CancellationToken,
    started: Instant,
}

/// How clients reach this gateway by WebTransport.
#[derive(Debug)]
pub(crate) struct WebTransportOffer {
    /// `None` for the host that clients know the gateway by.
    pub(crate) host: Option<IpAddr>,
    /// Of UDP.
    pub(crate) port: u16,
    /// One that browsers know by its hash only.
    pub(crate) certificate: Option<Arc<DevelopmentCertificate>>,
}

impl Deref for Shared {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        tls: TlsClients,
        webtransport: Option<WebTransportOffer>,
    ) -> Self {
        Self(Arc::new(State {
            sessions: Arc::new(session_config(&config)),
            config,
            tls: Arc::new(tls),
            names: Names::default(),
            webtransport,
            registry: Registry::default(),
            bosh: Sessions::default(),
            stats: Stats::default(),
            connections_per_client: PerClient::default(),
            sessions_per_client: PerClient::default(),
            work: TaskTracker::new(),
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            ending: CancellationToken::new(),
            stopping: CancellationToken::new(),
            started: now(),
        }))
    }

    /// Whether the operator believes what this peer says of its clients.
    pub(crate) fn is_trusted_proxy(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.config
            .trusted_proxies
            .iter()
            .any(|net| net.contains(&peer))
    }

    /// Milliseconds since the gateway started.
    pub(crate) fn uptime_ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            connections: self.stats.connections.get(),
            sessions: self.stats.sessions.get(),
            streams: self.stats.streams.get(),
            backends: self.stats.backends.get(),
            buffered_bytes: self.stats.buffered_bytes.get(),
            tasks: (self.work.len() + self.tasks.len()) as u64,
        }
    }

    /// Starts a session for a client, and the task that owns it on this thread.
    ///
    /// # Errors
    ///
    /// The gateway is draining, full, or short of memory, or the client has its share.
    pub(crate) fn create_session(&self, asker: &Asker) -> Result<Arc<Door>, Refusal> {
        let refuse = |code: Code, text: &'static str| {
            access_log::refused(&asker.client, "new session", code, &text);
            Refusal::new(code, text)
        };
        let limits = &self.config.limits;
        if self.draining.is_cancelled() {
            return Err(refuse(Code::GoingAway, "the gateway is stopping"));
        }
        if self.memory_is_full() {
            self.shed_one();
            return Err(refuse(
                Code::Overloaded,
                "the gateway has no memory to spare",
            ));
        }
        let share = self
            .sessions_per_client
            .count_below(asker.client.address, limits.max_sessions_per_client)
            .ok_or_else(|| refuse(Code::Limit, "this client has as many sessions as it may"))?;
        let counted = self
            .stats
            .sessions
            .count_below(limits.max_sessions as u64)
            .ok_or_else(|| {
                refuse(
                    Code::Overloaded,
                    "the gateway has as many sessions as it may",
                )
            })?;
        let identity = Identity::random(&self.config.node)
            .map_err(|_| refuse(Code::Internal, "the system has no random numbers"))?;
        let door = Arc::new(Door::new(&identity, asker.client.origin.clone()));
        self.registry.insert(Arc::clone(&door));
        let mut task = SessionTask::new(
            self.clone(),
            asker.client.clone(),
            identity,
            Arc::clone(&door),
        );
        let running = AssertUnwindSafe(async move { task.run().await }).catch_unwind();
        // Nor in another `async` block, which would have a copy.
        self.work.spawn(running.map(move |ended| {
            // A fault in one session ends that session and nothing else.
            if ended.is_err() {
                error!(
                    "a session was ended by a fault of the gateway; please report the panic above"
                );
            }
            drop((share, counted));
        }));
        Ok(door)
    }

    /// Detached sessions stop reading their backends (soft mark: three quarters of the budget).
    pub(crate) fn memory_is_short(&self) -> bool {
        self.stats.buffered_bytes.get() > self.config.limits.max_memory_bytes / 4 * 3
    }

    /// Nothing new is taken and the oldest detached session ends (hard mark).
    pub(crate) fn memory_is_full(&self) -> bool {
        self.stats.buffered_bytes.get() > self.config.limits.max_memory_bytes
    }

    /// Ends the session that has been detached longest.
    pub(crate) fn shed_one(&self) {
        if let Some(door) = self.registry.longest_detached() {
            // A full inbox belongs to a session that is busy, not to one that nobody comes back to.
            _ = door.inbox.try_send(Command::End {
                code: Code::Overloaded,
                why: "the gateway has no memory to spare",
            });
        }
    }
}

fn session_config(config: &Config) -> SessionConfig {
    let (timeouts, limits) = (&config.timeouts, &config.limits);
    SessionConfig {
        window: limits.replay_up_bytes,
        replay: limits.replay_down_bytes,
        max_streams: limits.max_streams,
        heartbeat: timeouts.heartbeat,
        peer_dead: timeouts.peer_dead,
        ack_delay: timeouts.ack_delay,
        resume: timeouts.resume,
        confirm: timeouts.hello,
        tombstone: timeouts.tombstone,
    }
}

//! The life of a gateway: bind, run, drain, stop.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::Router;
use perigee_session::Code;
use tokio::{
    runtime,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::{
    backend::TlsClients,
    config::{Config, Listener},
    http,
    listener::{
        self, Entry,
        tls::{self, Certificate},
    },
    net,
    ops::stats::Counts,
    session_task::Command,
    shared::Shared,
};

/// Time for last frames and close handshakes after the grace period.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// A running gateway. Dropping it without [`Gateway::shutdown`] stops it at once.
#[derive(Debug)]
pub struct Gateway {
    shared: Shared,
    addresses: Vec<SocketAddr>,
    workers: Vec<JoinHandle<()>>,
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A listener's address cannot be had.
    #[error("cannot listen on {address}: {error}; {remedy}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A listener's certificate, or those that backends are verified with, cannot be had.
    #[error("{0}")]
    Tls(String),
    /// The system gives no thread or no event queue.
    #[error("cannot start a worker: {0}; raise the limits of processes and open files")]
    Worker(io::Error),
}

impl Gateway {
    /// Binds every listener, then starts the workers; `pages` are served beside the gateway's own
    /// paths. Nothing was started if it fails.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start(config: Config, pages: Router) -> Result<Self, StartError> {
        let tls =
            TlsClients::load(&config.policy).map_err(|error| StartError::Tls(error.to_string()))?;
        let mut sockets: Vec<Vec<(std::net::TcpListener, Entry)>> =
            (0..config.workers).map(|_| Vec::new()).collect();
        let mut addresses = Vec::new();
        let mut certificates = Vec::new();
        for listener in &config.listeners {
            let (entry, certificate) = entry(listener)?;
            certificates.extend(certificate);
            let address = listener.address;
            let failed = |error| bind_error(address, error);
            let group = listener::bind(address, config.workers).map_err(failed)?;
            let bound = group
                .first()
                .map_or(Ok(address), std::net::TcpListener::local_addr);
            addresses.push(bound.map_err(failed)?);
            for (sockets, socket) in sockets.iter_mut().zip(group) {
                sockets.push((socket, entry.clone()));
            }
        }
        let shared = Shared::new(config, tls);
        let router = http::router(shared.clone(), pages);
        let workers = sockets
            .into_iter()
            .enumerate()
            .map(|(index, sockets)| {
                // One worker follows all certificates.
                let certificates = std::mem::take(&mut certificates);
                start_worker(index, sockets, certificates, shared.clone(), router.clone())
            })
            .collect::<io::Result<_>>()
            .map_err(StartError::Worker)?;
        Ok(Self::of(shared, addresses, workers))
    }

    pub(crate) fn of(
        shared: Shared,
        addresses: Vec<SocketAddr>,
        workers: Vec<JoinHandle<()>>,
    ) -> Self {
        Self {
            shared,
            addresses,
            workers,
        }
    }

    /// The addresses in use, in the order of the configuration, with real ports.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What is alive now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }

    /// Stops in order: takes no new sessions, tells every client, waits for sessions to end until the
    /// grace period (`timeouts.drain`) is over, ends the rest with code `going_away`, stops
    /// listening, and returns when every task has ended. Clients of live sessions may come back
    /// until then, so that a transport cut in mid-drain costs no bytes.
    pub async fn shutdown(mut self) {
        let grace = self.shared.config.timeouts.drain;
        info!(
            sessions = self.shared.stats.sessions.get(),
            ?grace,
            "draining"
        );
        self.shared.draining.cancel();
        self.shared.work.close();
        self.tell_all(|| Command::GoAway { after: grace }).await;
        if timeout(grace, self.shared.work.wait()).await.is_err() {
            self.tell_all(|| Command::End {
                code: Code::GoingAway,
                why: "the gateway is stopping",
            })
            .await;
        }
        let deadline = Instant::now() + LAST_WORDS;
        // A client between two replies comes once more, over a new connection, and is told.
        _ = timeout_at(deadline, self.sessions_ended()).await;
        self.shared.ending.cancel();
        self.shared.tasks.close();
        let goodbyes = async {
            self.shared.work.wait().await;
            self.shared.tasks.wait().await;
        };
        if timeout_at(deadline, goodbyes).await.is_err() {
            let tasks = self.shared.counts().tasks;
            warn!(tasks, "some clients did not take their last frames in time");
        }
        self.shared.stopping.cancel();
        join(std::mem::take(&mut self.workers)).await;
        info!("stopped");
    }

    async fn sessions_ended(&self) {
        for commands in self.shared.registry.all() {
            commands.closed().await;
        }
    }

    async fn tell_all(&self, command: impl Fn() -> Command) {
        for commands in self.shared.registry.all() {
            // A session that just ended has nothing to be told.
            _ = commands.send(command()).await;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shared.draining.cancel();
        self.shared.ending.cancel();
        self.shared.stopping.cancel();
    }
}

/// What a listener needs beside its socket, and the certificate to follow.
fn entry(listener: &Listener) -> Result<(Entry, Option<Arc<Certificate>>), StartError> {
    let Some(files) = &listener.tls else {
        return Ok((Entry { tls: None }, None));
    };
    let failed = |error: &dyn std::fmt::Display| StartError::Tls(error.to_string());
    let certificate = Certificate::load(files.clone()).map_err(|error| failed(&error))?;
    let config = tls::server_config(Arc::clone(&certificate)).map_err(|error| failed(&error))?;
    let tls = Some(TlsAcceptor::from(Arc::new(config)));
    Ok((Entry { tls }, Some(certificate)))
}

/// Waits for the threads, which end by themselves by now. A simulated gateway has none.
async fn join(workers: Vec<JoinHandle<()>>) {
    if workers.is_empty() {
        return;
    }
    // Joining may block for the time of a task's poll.
    let joined = tokio::task::spawn_blocking(move || {
        workers.into_iter().all(|worker| worker.join().is_ok())
    })
    .await;
    if !joined.unwrap_or(false) {
        warn!("a worker ended with a panic");
    }
}

/// One thread with a runtime of its own: what it accepts stays on it.
fn start_worker(
    index: usize,
    sockets: Vec<(std::net::TcpListener, Entry)>,
    certificates: Vec<Arc<Certificate>>,
    shared: Shared,
    router: Router,
) -> io::Result<JoinHandle<()>> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(32)
        .build()?;
    let listeners = {
        let _entered = runtime.enter();
        sockets
            .into_iter()
            .map(|(socket, entry)| Ok((net::listener(socket)?, entry)))
            .collect::<io::Result<Vec<_>>>()?
    };
    thread::Builder::new()
        .name(format!("perigee-{index}"))
        .spawn(move || {
            runtime.block_on(async {
                let mut accepting = JoinSet::new();
                for (socket, entry) in listeners {
                    let (shared, router) = (shared.clone(), router.clone());
                    accepting.spawn(listener::accept(shared, socket, entry, router));
                }
                let mut following = JoinSet::new();
                for certificate in certificates {
                    following.spawn(certificate.follow());
                }
                accepting.join_all().await;
                following.shutdown().await;
                // Goodbyes of this worker go on until the gateway has stopped.
                shared.stopping.cancelled().await;
            });
        })
}

fn bind_error(address: SocketAddr, error: io::Error) -> StartError {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => "another program uses it; stop that one or choose another port",
        io::ErrorKind::PermissionDenied => "choose a port above 1023 or grant CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => {
            "no interface has this address; use one of the machine's own"
        }
        _ => "check the address",
    };
    StartError::Bind {
        address,
        error,
        remedy,
    }
}

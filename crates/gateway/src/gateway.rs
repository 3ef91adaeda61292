//! The life of a gateway: bind, run, drain, stop.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
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
use tokio_rustls::{TlsAcceptor, rustls::server::ResolvesServerCert};
use tracing::{info, warn};

use crate::{
    assets,
    backend::TlsClients,
    config::{Config, Listener},
    http,
    listener::{
        self, Entry,
        development::DevelopmentCertificate,
        quic,
        tls::{self, Certificate},
    },
    net,
    ops::stats::Counts,
    session_task::{Command, STOPPING},
    shared::{Shared, WebTransportOffer},
};

/// How often a port that the system chooses is tried for TCP and UDP alike.
const MAX_BIND_ATTEMPTS: u32 = 16;
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
    #[error("cannot listen on {protocol} {address}: {error}; {remedy}")]
    Bind {
        /// TCP or UDP.
        protocol: &'static str,
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
    /// paths and the pages that the configuration asks for. Nothing was started if it fails.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start(config: Config, pages: Router) -> Result<Self, StartError> {
        let pages = pages.merge(assets::pages_of(&config.policy));
        Self::start_with(config, pages, None)
    }

    /// As [`Gateway::start`], with WebTransport at `development`, too, if that is not `None`, or at
    /// another port of its address: with a certificate that is for trying out.
    pub(crate) fn start_with(
        config: Config,
        pages: Router,
        development: Option<SocketAddr>,
    ) -> Result<Self, StartError> {
        let tls =
            TlsClients::load(&config.policy).map_err(|error| StartError::Tls(error.to_string()))?;
        let mut sockets: Vec<Vec<(std::net::TcpListener, Entry)>> =
            (0..config.workers).map(|_| Vec::new()).collect();
        let mut addresses = Vec::new();
        let mut certificates = Vec::new();
        let mut quic = Vec::new();
        let mut offer = None;
        for listener in &config.listeners {
            let (entry, certificate) = entry(listener)?;
            let (group, address, udp) = bind(listener, config.workers)?;
            addresses.push(address);
            if let (Some(udp), Some(certificate)) = (udp, &certificate) {
                quic.push((udp, quic_config(certificate.clone(), &config)?));
                offer.get_or_insert(WebTransportOffer {
                    host: None,
                    port: address.port(),
                    certificate: None,
                });
            }
            certificates.extend(certificate);
            for (sockets, socket) in sockets.iter_mut().zip(group) {
                sockets.push((socket, entry.clone()));
            }
        }
        if let Some(address) = development {
            let certificate = DevelopmentCertificate::new();
            let certificate =
                Arc::new(certificate.map_err(|error| StartError::Tls(error.to_string()))?);
            let socket = quic::bind(address)
                .or_else(|_| quic::bind(SocketAddr::new(address.ip(), 0)))
                .and_then(|socket| Ok((socket.local_addr()?.port(), socket)));
            let (port, socket) = socket.map_err(|error| bind_error("UDP", address, error))?;
            quic.push((socket, quic_config(certificate.clone(), &config)?));
            offer = Some(WebTransportOffer {
                // A browser may take "localhost" for the IPv6 address alone.
                host: address.ip().is_loopback().then_some(address.ip()),
                port,
                certificate: Some(certificate),
            });
        }
        let shared = Shared::new(config, tls, offer);
        let routes = http::Routes::new(shared.clone(), pages);
        let workers = sockets
            .into_iter()
            .enumerate()
            .map(|(index, sockets)| {
                let listeners = Listeners {
                    sockets,
                    // These are of one worker each; the first has them all.
                    quic: std::mem::take(&mut quic),
                    certificates: std::mem::take(&mut certificates),
                };
                start_worker(index, listeners, shared.clone(), routes.clone())
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

    /// Stops in order: takes no new sessions, tells every client, waits for sessions to end, ends
    /// each that did not with code `going_away` at its own time in the second half of the grace
    /// period (`timeouts.drain`), stops listening, and returns when every task has ended. Clients of
    /// live sessions may come back until then, so that a transport cut in mid-drain costs no bytes.
    pub async fn shutdown(mut self) {
        let grace = self.shared.config.timeouts.drain;
        info!(
            sessions = self.shared.stats.sessions.get(),
            ?grace,
            "draining"
        );
        self.shared.draining.cancel();
        self.shared.work.close();
        self.tell_all(|| Command::GoAway { grace }).await;
        if timeout(grace, self.shared.work.wait()).await.is_err() {
            let sessions = self.shared.stats.sessions.get();
            warn!(sessions, "the grace period is over, what is left is ended");
            self.tell_all(|| Command::End {
                code: Code::GoingAway,
                why: STOPPING,
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
        let counts = self.shared.counts();
        info!(
            sessions = counts.sessions,
            streams = counts.streams,
            connections = counts.connections,
            backends = counts.backends,
            buffered_bytes = counts.buffered_bytes,
            "stopped"
        );
    }

    async fn sessions_ended(&self) {
        for door in self.shared.registry.all() {
            door.inbox.closed().await;
        }
        for inbox in self.shared.bosh.all() {
            inbox.closed().await;
        }
    }

    async fn tell_all(&self, command: impl Fn() -> Command) {
        for door in self.shared.registry.all() {
            // A session that just ended has nothing to be told.
            _ = door.inbox.send(command()).await;
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
    let proxy_protocol = listener.proxy_protocol;
    let Some(files) = &listener.tls else {
        let entry = Entry {
            proxy_protocol,
            ..Entry::default()
        };
        return Ok((entry, None));
    };
    let failed = |error: &dyn std::fmt::Display| StartError::Tls(error.to_string());
    let certificate = Certificate::load(files.clone()).map_err(|error| failed(&error))?;
    let config = tls::server_config(Arc::clone(&certificate)).map_err(|error| failed(&error))?;
    let entry = Entry {
        proxy_protocol,
        tls: Some(TlsAcceptor::from(Arc::new(config))),
        webtransport: listener.webtransport,
    };
    Ok((entry, Some(certificate)))
}

/// The sockets of a listener: one of TCP for each worker, and one of UDP where it speaks WebTransport.
fn bind(
    listener: &Listener,
    workers: usize,
) -> Result<(Vec<std::net::TcpListener>, SocketAddr, Option<UdpSocket>), StartError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let failed = |error| bind_error("TCP", listener.address, error);
        let group =
            listener::bind(listener.address, workers, listener.reuse_port).map_err(failed)?;
        let address = match group.first() {
            Some(socket) => socket.local_addr().map_err(failed)?,
            None => listener.address,
        };
        if !listener.webtransport {
            return Ok((group, address, None));
        }
        match quic::bind(address) {
            Ok(udp) => return Ok((group, address, Some(udp))),
            // What the system chose for TCP may be taken for UDP.
            Err(_) if listener.address.port() == 0 && attempts < MAX_BIND_ATTEMPTS => {}
            Err(error) => return Err(bind_error("UDP", address, error)),
        }
    }
}

fn quic_config(
    certificate: Arc<dyn ResolvesServerCert>,
    config: &Config,
) -> Result<quinn::ServerConfig, StartError> {
    quic::server_config(certificate, &config.timeouts)
        .map_err(|error| StartError::Tls(error.to_string()))
}

/// What one worker listens on, and the certificates it follows.
struct Listeners {
    sockets: Vec<(std::net::TcpListener, Entry)>,
    quic: Vec<(UdpSocket, quinn::ServerConfig)>,
    certificates: Vec<Arc<Certificate>>,
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
    listeners: Listeners,
    shared: Shared,
    routes: http::Routes,
) -> io::Result<JoinHandle<()>> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(32)
        .build()?;
    let Listeners {
        sockets,
        quic,
        certificates,
    } = listeners;
    let (sockets, endpoints) = {
        let _entered = runtime.enter();
        let sockets = sockets
            .into_iter()
            .map(|(socket, entry)| Ok((net::listener(socket)?, entry)))
            .collect::<io::Result<Vec<_>>>()?;
        let endpoints = quic
            .into_iter()
            .map(|(socket, config)| quic::endpoint(socket, config))
            .collect::<io::Result<Vec<_>>>()?;
        (sockets, endpoints)
    };
    thread::Builder::new()
        .name(format!("perigee-{index}"))
        .spawn(move || {
            runtime.block_on(async {
                let mut accepting = JoinSet::new();
                for (socket, entry) in sockets {
                    let (shared, routes) = (shared.clone(), routes.clone());
                    accepting.spawn(listener::accept(shared, socket, entry, routes));
                }
                for endpoint in endpoints {
                    accepting.spawn(quic::accept(shared.clone(), endpoint));
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

fn bind_error(protocol: &'static str, address: SocketAddr, error: io::Error) -> StartError {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => "another program uses it; stop that one or choose another port",
        io::ErrorKind::PermissionDenied => "choose a port above 1023 or grant CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => {
            "no interface has this address; use one of the machine's own"
        }
        _ => "check the address",
    };
    StartError::Bind {
        protocol,
        address,
        error,
        remedy,
    }
}

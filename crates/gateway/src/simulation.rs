//! A gateway inside a simulation by turmoil: the same parts as in [`Gateway::start`], on one thread.

use std::{
    cell::Cell,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::Router;
use perigee_session::{Mutant, Session};
use tokio::task::JoinSet;

pub use crate::net::simulated::{LastTask, TcpStream, kill};
use crate::{
    Counts, Gateway,
    backend::TlsClients,
    config::Config,
    http,
    listener::{self, Entry, development::DevelopmentCertificate, quic},
    net,
    shared::Shared,
};

thread_local! {
    static MUTANT: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// A gateway that runs on a simulated host.
#[derive(Debug)]
pub struct Simulated {
    /// To shut it down. Dropping it stops it.
    pub gateway: Gateway,
    /// What is alive in it, also after that.
    pub census: Census,
    /// What accepts connections, for as long as this is not dropped.
    pub accepting: JoinSet<()>,
}

/// Counts what is alive in a gateway.
#[derive(Debug)]
pub struct Census(Shared);

/// Begins a simulation on this thread: what random numbers follow from, and the rule that all
/// sessions of its gateways break, if any.
pub fn begin(seed: u64, mutant: Option<Mutant>) {
    net::begin(seed);
    MUTANT.set(mutant);
}

/// Starts a gateway on `port` of the simulated host that calls this.
///
/// # Errors
///
/// The port is in use, or the roots that the policy's backends need cannot be read.
pub async fn start(config: Config, port: u16) -> io::Result<Simulated> {
    let tls = TlsClients::load(&config.policy).map_err(io::Error::other)?;
    let shared = Shared::new(config, tls, None);
    let routes = http::Routes::new(shared.clone(), Router::new());
    let listener = net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
    let address = listener.local_addr()?;
    let mut accepting = JoinSet::new();
    let entry = Entry::default();
    accepting.spawn(listener::accept(shared.clone(), listener, entry, routes));
    Ok(Simulated {
        gateway: Gateway::of(shared.clone(), vec![address], Vec::new()),
        census: Census(shared),
        accepting,
    })
}

/// Starts the part of a gateway that speaks WebTransport, over UDP of the system's and with the clock of the runtime that
/// calls this: QUIC is not simulated.
///
/// # Errors
///
/// The address is in use, or there is no certificate to be had.
pub fn start_webtransport(
    config: Config,
    address: SocketAddr,
) -> io::Result<(SocketAddr, Census, JoinSet<()>)> {
    let tls = TlsClients::load(&config.policy).map_err(io::Error::other)?;
    let certificate = DevelopmentCertificate::new().map_err(io::Error::other)?;
    let quic = quic::server_config(Arc::new(certificate), &config.timeouts);
    let socket = quic::bind(address)?;
    let address = socket.local_addr()?;
    let endpoint = quic::endpoint(socket, quic.map_err(io::Error::other)?)?;
    let shared = Shared::new(config, tls, None);
    let mut accepting = JoinSet::new();
    accepting.spawn(quic::accept(shared.clone(), endpoint));
    Ok((address, Census(shared), accepting))
}

/// Whether a gateway meant to reset a connection whose two addresses its backend gives.
#[must_use]
pub fn was_reset(gateway: SocketAddr, backend: SocketAddr) -> bool {
    net::was_reset(gateway, backend)
}

/// How many bytes such a connection took from the gateway.
#[must_use]
pub fn written(gateway: SocketAddr, backend: SocketAddr) -> u64 {
    net::written(gateway, backend)
}

impl Census {
    /// What is alive now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.counts()
    }
}

/// A session that breaks the rule that is to be broken in this simulation.
pub(crate) fn mutated(mut session: Session) -> Session {
    if let Some(mutant) = MUTANT.get() {
        session.mutate(mutant);
    }
    session
}

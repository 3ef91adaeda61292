//! A gateway inside a simulation by turmoil: the same parts as in [`Gateway::start`], on one thread.

use std::{io, net::Ipv4Addr};

use axum::Router;
use tokio::task::JoinSet;

use crate::{
    Gateway,
    backend::TlsClients,
    config::Config,
    http,
    listener::{self, Entry},
    net,
    shared::Shared,
};

/// What the random numbers of every gateway on this thread follow from.
pub fn seed(seed: u64) {
    net::seed(seed);
}

/// Starts a gateway on `port` of the simulated host that calls this. It accepts until the tasks are
/// dropped or the gateway was shut down.
///
/// # Errors
///
/// The port is in use, or the roots that the policy's backends need cannot be read.
pub async fn start(config: Config, port: u16) -> io::Result<(Gateway, JoinSet<()>)> {
    let tls = TlsClients::load(&config.policy).map_err(io::Error::other)?;
    let shared = Shared::new(config, tls, None);
    let router = http::router(shared.clone(), Router::new());
    let listener = net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
    let address = listener.local_addr()?;
    let mut accepting = JoinSet::new();
    let entry = Entry::default();
    accepting.spawn(listener::accept(shared.clone(), listener, entry, router));
    Ok((Gateway::of(shared, vec![address], Vec::new()), accepting))
}

//! What comes before HTTP on a connection: the header of a proxy, the first byte, TLS.

use std::{
    io::{Error, Result},
    net::SocketAddr,
};

use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::{
    io::{ClientSocket, Wire},
    proxy_header,
};
use crate::{
    http1::From,
    net::{self, TcpStream},
    ops::{per_client::Share, stats::Counted},
    shared::Shared,
};

/// What the connections of a listener begin with.
#[derive(Clone, Default)]
pub(crate) struct Entry {
    /// A PROXY header, from proxies that are trusted.
    pub(crate) proxy_protocol: bool,
    pub(crate) tls: Option<TlsAcceptor>,
    /// WebTransport is spoken on the UDP port of the same number.
    pub(crate) webtransport: bool,
}

/// What a connection counts against, for as long as its socket lives.
#[derive(Debug)]
pub(crate) struct Accepted {
    _counted: Counted,
    /// None until a proxy has said who the client is.
    share: Option<Share>,
}

/// Counts a connection, unless there are as many as there may be.
pub(super) fn admit(shared: &Shared, client: SocketAddr) -> Option<Accepted> {
    let mut accepted = Accepted::new(shared, client)?;
    accepted.count_for(shared, client).then_some(accepted)
}

impl Entry {
    /// Counts a connection, unless there are as many as there may be or it comes from nobody who
    /// is expected here.
    pub(super) fn admit(&self, shared: &Shared, peer: SocketAddr) -> Option<Accepted> {
        if !self.proxy_protocol {
            return admit(shared, peer);
        }
        if !shared.is_trusted_proxy(peer.ip()) {
            debug!(client.addr = %peer.ip(), "connection refused: not from a trusted proxy");
            return None;
        }
        Accepted::new(shared, peer)
    }

    /// HTTP begins with the first byte.
    pub(super) fn is_bare(&self) -> bool {
        !self.proxy_protocol && self.tls.is_none()
    }

    /// Who the requests of a client come from that enters here.
    pub(super) fn from(&self, client: SocketAddr) -> From {
        From {
            address: client.ip(),
            tls: self.tls.is_some(),
            webtransport: self.webtransport,
        }
    }

    /// A connection with nothing before HTTP.
    pub(super) fn bare(stream: TcpStream, accepted: Accepted) -> ClientSocket {
        without_delay(&stream);
        ClientSocket::new(Wire::Plain(stream), accepted)
    }

    /// Waits, with deadlines, until HTTP begins. Returns who the client is, as far as it can be
    /// known before that.
    pub(super) async fn pass(
        &self,
        shared: &Shared,
        mut stream: TcpStream,
        peer: SocketAddr,
        mut accepted: Accepted,
    ) -> Result<(ClientSocket, SocketAddr)> {
        let timeouts = &shared.config.timeouts;
        without_delay(&stream);
        let begun = async {
            let mut client = peer;
            if self.proxy_protocol {
                client = Box::pin(proxy_header::read(&mut stream))
                    .await?
                    .unwrap_or(peer);
                if !accepted.count_for(shared, client) {
                    return Err(Error::other("the client behind the proxy has its share"));
                }
            }
            net::readable(&mut stream).await?;
            Ok(client)
        };
        let client = timeout(timeouts.first_byte, begun).await??;
        let wire = match &self.tls {
            None => Wire::Plain(stream),
            Some(tls) => {
                let handshake = Box::pin(tls.accept(stream));
                let stream = timeout(timeouts.head, handshake).await??;
                Wire::Tls(Box::new(stream))
            }
        };
        Ok((ClientSocket::new(wire, accepted), client))
    }
}

/// Linux has it from the socket that listens.
fn without_delay(stream: &TcpStream) {
    if !cfg!(target_os = "linux") {
        // On failure frames are late, and whole.
        _ = stream.set_nodelay(true);
    }
}

impl Accepted {
    fn new(shared: &Shared, peer: SocketAddr) -> Option<Self> {
        let max = shared.config.limits.max_connections as u64;
        let Some(counted) = shared.stats.connections.count_below(max) else {
            debug!(client.addr = %peer.ip(), "connection refused: max_connections reached");
            return None;
        };
        Some(Self {
            _counted: counted,
            share: None,
        })
    }

    /// Takes the client's share; false if it has all of it.
    fn count_for(&mut self, shared: &Shared, client: SocketAddr) -> bool {
        // Behind a proxy all clients share one address, which the operator has said to trust.
        let max = if shared.is_trusted_proxy(client.ip()) {
            usize::MAX
        } else {
            shared.config.limits.max_connections_per_client
        };
        self.share = shared.connections_per_client.count_below(client.ip(), max);
        if self.share.is_none() {
            debug!(client.addr = %client.ip(), "connection refused: max_connections_per_client reached");
        }
        self.share.is_some()
    }
}

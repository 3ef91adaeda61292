//! QUIC for WebTransport: one UDP socket that carries all connections of its listener.
//!
//! It lives on one worker, unlike TCP's sockets: with SO_REUSEPORT the kernel chooses among sockets
//! by the sender's address, so a client whose address changes would land at a socket that knows
//! nothing of its connection, and surviving that change is what QUIC is for.
//!
//! Invariants:
//! - what counts for a connection over TCP counts here: the limits, the deadlines, the drain;
//! - an address that has proved nothing yet costs the gateway little.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use quinn::{
    Connection, Endpoint, EndpointConfig, Incoming, ServerConfig, TokioRuntime, TransportConfig,
    VarInt,
    crypto::rustls::{NoInitialCipherSuite, QuicServerConfig},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::timeout;
use tokio_rustls::rustls::{self, crypto::ring, server::ResolvesServerCert, version::TLS13};
use tracing::debug;

use super::entry::{Accepted, admit};
use crate::{
    config::Timeouts,
    ops::stats::{Counted, Gauge},
    shared::Shared,
    transport::webtransport,
};

/// The CONNECT stream and the one with the frames.
const BIDIRECTIONAL_STREAMS: VarInt = VarInt::from_u32(2);
/// HTTP/3's control stream and QPACK's two, and some of the meaningless ones that keep the protocol flexible.
const UNIDIRECTIONAL_STREAMS: VarInt = VarInt::from_u32(8);
/// Most that a client may send ahead on one stream. The session grants less on each of its own (64 KiB),
/// so that this only has to hold the frames of several at once.
const STREAM_RECEIVE_BYTES: VarInt = VarInt::from_u32(128 * 1024);
/// And on all streams of a connection.
const RECEIVE_BYTES: VarInt = VarInt::from_u32(160 * 1024);
/// Most that is held for a client until it acks: what one stream may have on its way (`replay_down`).
const SEND_BYTES: u64 = 256 * 1024;
/// HTTP/3 has to offer datagrams where there is WebTransport. Nobody reads them; the oldest are dropped.
const DATAGRAM_BYTES: usize = 2 * 1024;
/// What the kernel may hold for all clients of the listener together; it may allow less.
const SOCKET_BYTES: usize = 4 * 1024 * 1024;
/// Connection attempts that wait for a look at them, and what each may send meanwhile.
const MAX_INCOMING: usize = 1024;
const INCOMING_BYTES: u64 = 16 * 1024;
/// With so many handshakes under way, the next clients have to prove their address first.
const MAX_UNPROVEN: u64 = 64;
/// H3_NO_ERROR (RFC 9114 §8.1).
const NO_ERROR: VarInt = VarInt::from_u32(0x100);
/// For the packets that tell the last clients of the end.
const LAST_PACKETS: Duration = Duration::from_millis(100);

/// Binds the socket. Nobody shares its address, not even another gateway.
pub(crate) fn bind(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        // As over TCP.
        socket.set_only_v6(true)?;
    }
    // A kernel that allows less is told so by loss, which QUIC repairs.
    _ = socket.set_recv_buffer_size(SOCKET_BYTES);
    _ = socket.set_send_buffer_size(SOCKET_BYTES);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// What every connection of a listener starts from.
///
/// # Errors
///
/// The provider of cryptography has not what QUIC needs.
pub(crate) fn server_config(
    certificate: Arc<dyn ResolvesServerCert>,
    timeouts: &Timeouts,
) -> Result<ServerConfig, NoServerConfig> {
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config
        .transport_config(Arc::new(transport_config(timeouts)))
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_BYTES * MAX_INCOMING as u64);
    Ok(config)
}

/// Why there is no [`ServerConfig`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoServerConfig {
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error(transparent)]
    CipherSuite(#[from] NoInitialCipherSuite),
}

fn transport_config(timeouts: &Timeouts) -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(BIDIRECTIONAL_STREAMS)
        .max_concurrent_uni_streams(UNIDIRECTIONAL_STREAMS)
        .stream_receive_window(STREAM_RECEIVE_BYTES)
        .receive_window(RECEIVE_BYTES)
        .send_window(SEND_BYTES)
        .datagram_receive_buffer_size(Some(DATAGRAM_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BYTES)
        // The session's own PING keeps the path open, and shows a client that lives more than its network stack does.
        .keep_alive_interval(None)
        // Where QUIC hears nothing, the session hears nothing. A time that is too long for QUIC is no timeout.
        .max_idle_timeout(timeouts.peer_dead.try_into().ok());
    config
}

/// Puts a socket to work; on the runtime of the worker it is for.
pub(crate) fn endpoint(socket: std::net::UdpSocket, config: ServerConfig) -> io::Result<Endpoint> {
    socket.set_nonblocking(true)?;
    Endpoint::new(
        EndpointConfig::default(),
        Some(config),
        socket,
        Arc::new(TokioRuntime),
    )
}

/// Accepts until the gateway ends, and carries what was accepted until it has stopped.
pub(crate) async fn accept(shared: Shared, endpoint: Endpoint) {
    let unproven = Gauge::default();
    loop {
        tokio::select! {
            biased;
            () = shared.ending.cancelled() => break,
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => start(&shared, incoming, &unproven),
                None => break,
            },
        }
    }
    endpoint.set_server_config(None);
    shared.stopping.cancelled().await;
    endpoint.close(NO_ERROR, b"");
    _ = timeout(LAST_PACKETS, endpoint.wait_idle()).await;
}

/// Starts a connection unless there are too many.
fn start(shared: &Shared, incoming: Incoming, unproven: &Gauge) {
    if !incoming.remote_address_validated() && unproven.get() >= MAX_UNPROVEN {
        // A client repeats its first packet with the token it gets; a forged address gets none.
        if let Err(error) = incoming.retry() {
            error.into_incoming().ignore();
        }
        return;
    }
    let peer = incoming.remote_address();
    let Some(accepted) = admit(shared, peer) else {
        incoming.refuse();
        return;
    };
    let handshake = unproven.count();
    let shared = shared.clone();
    shared
        .tasks
        .clone()
        .spawn(async move { serve(&shared, incoming, peer, accepted, handshake).await });
}

async fn serve(
    shared: &Shared,
    incoming: Incoming,
    peer: SocketAddr,
    accepted: Accepted,
    handshake: Counted,
) {
    let beginning = async {
        let connection: Connection = incoming.accept()?.await?;
        drop(handshake);
        webtransport::Request::read(connection).await
    };
    let begun = tokio::select! {
        biased;
        begun = timeout(shared.config.timeouts.head, beginning) => begun,
        () = shared.ending.cancelled() => return,
    };
    match begun {
        Ok(Ok(request)) => webtransport::handle(shared, request, accepted).await,
        Ok(Err(error)) => debug!(client.addr = %peer.ip(), %error, "connection did not begin"),
        Err(_) => debug!(client.addr = %peer.ip(), "connection did not begin in time"),
    }
}

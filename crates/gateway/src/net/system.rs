//! The system's network and random numbers.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpSocket;
pub(crate) use tokio::net::{TcpListener, TcpStream};

/// Accepts from a socket that listens.
pub(crate) fn listener(socket: std::net::TcpListener) -> io::Result<TcpListener> {
    TcpListener::from_std(socket)
}

/// Connects; only for the backend module, and only to an address that policy allowed.
pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv6() {
        TcpSocket::new_v6()?
    } else {
        TcpSocket::new_v4()?
    };
    #[expect(clippy::disallowed_methods, reason = "who may call this is checked")]
    socket.connect(address).await
}

/// The addresses of a name.
pub(crate) async fn resolve(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    #[expect(clippy::disallowed_methods, reason = "this is where it belongs")]
    Ok(tokio::net::lookup_host((name, port)).await?.collect())
}

/// The name of an address, if it has one, and whatever else the system calls it by if not. Blocks.
pub(crate) fn name_of(address: IpAddr) -> io::Result<String> {
    dns_lookup::lookup_addr(&address).map_err(Into::into)
}

/// Waits until something can be read: bytes or an end.
pub(crate) async fn readable(stream: &mut TcpStream) -> io::Result<()> {
    // Readiness alone may be what is left of an earlier read.
    stream.peek(&mut [0]).await?;
    Ok(())
}

/// Has the system ask after a silent peer.
pub(crate) fn keep_alive(stream: &TcpStream, after: Duration) -> io::Result<()> {
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(after))
}

/// Makes the end of the connection a reset rather than FIN.
pub(crate) fn reset_when_dropped(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// The time of day, for who is told it; nothing else depends on it.
pub(crate) fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// Random bytes that nobody can guess.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    #[expect(clippy::disallowed_methods, reason = "this is where it belongs")]
    getrandom::fill(bytes)
}

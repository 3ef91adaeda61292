//! turmoil's network, and numbers from a seed.

use std::{cell::Cell, future::poll_fn, io, net::SocketAddr, time::Duration};

use tokio::io::ReadBuf;
pub(crate) use turmoil::net::{TcpListener, TcpStream};

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// The system's sockets are no part of the simulation.
pub(crate) fn listener(_: std::net::TcpListener) -> io::Result<TcpListener> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Connects; only for the backend module, and only to an address that policy allowed.
pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect(address).await
}

/// The addresses of a name.
pub(crate) async fn resolve(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(turmoil::net::lookup_host((name, port)).await?.collect())
}

/// Waits until something can be read: bytes or an end.
pub(crate) async fn readable(stream: &mut TcpStream) -> io::Result<()> {
    let mut byte = [0];
    let mut byte = ReadBuf::new(&mut byte);
    poll_fn(|cx| stream.poll_peek(cx, &mut byte)).await?;
    Ok(())
}

/// The simulated network has no such thing: a peer that is gone stays silent.
#[expect(clippy::unnecessary_wraps, reason = "same shape as the system's")]
pub(crate) fn keep_alive(_: &TcpStream, _: Duration) -> io::Result<()> {
    Ok(())
}

/// The simulated network resets a connection that is dropped unread, and no other.
#[expect(clippy::unnecessary_wraps, reason = "same shape as the system's")]
pub(crate) fn reset_when_dropped(_: &TcpStream) -> io::Result<()> {
    Ok(())
}

/// Numbers that follow from [`seed`] (SplitMix64).
#[expect(clippy::unnecessary_wraps, reason = "same shape as the system's")]
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    for chunk in bytes.chunks_mut(8) {
        let state = SEED.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        SEED.set(state);
        let n = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        chunk.copy_from_slice(&(n ^ (n >> 31)).to_le_bytes()[..chunk.len()]);
    }
    Ok(())
}

/// What the random numbers of this thread follow from.
pub(crate) fn seed(seed: u64) {
    SEED.set(seed);
}

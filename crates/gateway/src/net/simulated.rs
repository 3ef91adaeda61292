//! turmoil's network, and numbers from a seed.
//!
//! Where turmoil has less than a system has, what was asked of it is kept for the thread, because all
//! hosts of a simulation share one.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};
use turmoil::net as turmoil;

/// How long FIN waits for room: after a reset there will never be any.
const FIN_TIMEOUT: Duration = Duration::from_secs(10);

thread_local! {
    static CHANCE: Cell<u64> = const { Cell::new(0) };
    static WRITTEN: RefCell<BTreeMap<(SocketAddr, SocketAddr), u64>> = const { RefCell::new(BTreeMap::new()) };
    static RESETS: RefCell<BTreeSet<(SocketAddr, SocketAddr)>> = const { RefCell::new(BTreeSet::new()) };
}

/// Accepts connections.
pub(crate) struct TcpListener(turmoil::TcpListener);

/// A connection whose FIN waits for room in the receiver's queue: turmoil loses one that finds it
/// full.
#[derive(Debug)]
pub struct TcpStream {
    stream: turmoil::TcpStream,
    fin_deadline: Option<Pin<Box<Sleep>>>,
}

impl TcpListener {
    /// Listens on the simulated host that calls this.
    pub(crate) async fn bind(address: impl ::turmoil::ToSocketAddrs) -> io::Result<Self> {
        Ok(Self(turmoil::TcpListener::bind(address).await?))
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    pub(crate) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        Ok((TcpStream::from(stream), peer))
    }
}

impl From<turmoil::TcpStream> for TcpStream {
    fn from(stream: turmoil::TcpStream) -> Self {
        Self {
            stream,
            fin_deadline: None,
        }
    }
}

impl TcpStream {
    pub(crate) fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.stream.set_nodelay(nodelay)
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        let pair = (self.stream.local_addr()?, self.stream.peer_addr()?);
        WRITTEN.with_borrow_mut(|all| *all.entry(pair).or_default() += written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let room = pin!(self.stream.writable()).poll(cx).is_ready();
        let mut late = || {
            let deadline = self
                .fin_deadline
                .get_or_insert_with(|| Box::pin(sleep(FIN_TIMEOUT)));
            deadline.as_mut().poll(cx).is_ready()
        };
        if room || late() {
            Pin::new(&mut self.stream).poll_shutdown(cx)
        } else {
            Poll::Pending
        }
    }
}

/// The system's sockets are no part of the simulation.
pub(crate) fn listener(_: std::net::TcpListener) -> io::Result<TcpListener> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Connects; only for the backend module, and only to an address that policy allowed.
pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    Ok(turmoil::TcpStream::connect(address).await?.into())
}

/// The addresses of a name.
pub(crate) async fn resolve(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(turmoil::lookup_host((name, port)).await?.collect())
}

/// Waits until something can be read: bytes or an end.
pub(crate) async fn readable(stream: &mut TcpStream) -> io::Result<()> {
    let mut byte = [0];
    let mut byte = ReadBuf::new(&mut byte);
    poll_fn(|cx| stream.stream.poll_peek(cx, &mut byte)).await?;
    Ok(())
}

/// The simulated network has no such thing: a peer that is gone stays silent.
#[expect(clippy::unnecessary_wraps, reason = "same shape as the system's")]
pub(crate) fn keep_alive(_: &TcpStream, _: Duration) -> io::Result<()> {
    Ok(())
}

/// The simulated network ends connections with FIN; who is at the other end asks [`was_reset`].
pub(crate) fn reset_when_dropped(stream: &TcpStream) -> io::Result<()> {
    let pair = (stream.stream.local_addr()?, stream.stream.peer_addr()?);
    RESETS.with_borrow_mut(|resets| resets.insert(pair));
    Ok(())
}

/// Whether the gateway's end of a connection, whose address is `theirs` to the other end, was to
/// end it with a reset.
pub(crate) fn was_reset(theirs: SocketAddr, ours: SocketAddr) -> bool {
    RESETS.with_borrow(|resets| resets.contains(&(theirs, ours)))
}

/// How many bytes the gateway's end of a connection took, addressed as in [`was_reset`].
pub(crate) fn written(theirs: SocketAddr, ours: SocketAddr) -> u64 {
    WRITTEN.with_borrow(|all| all.get(&(theirs, ours)).copied().unwrap_or(0))
}

/// Numbers that follow from the seed (SplitMix64).
#[expect(clippy::unnecessary_wraps, reason = "same shape as the system's")]
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    for chunk in bytes.chunks_mut(8) {
        let state = CHANCE.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        CHANCE.set(state);
        let n = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        chunk.copy_from_slice(&(n ^ (n >> 31)).to_le_bytes()[..chunk.len()]);
    }
    Ok(())
}

/// Begins anew on this thread.
pub(crate) fn begin(seed: u64) {
    CHANCE.set(seed);
    WRITTEN.take();
    RESETS.take();
}

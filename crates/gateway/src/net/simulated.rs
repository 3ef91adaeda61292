//! turmoil's network, and numbers from a seed.
//!
//! Where turmoil has less than a system has, what was asked of it is kept for the thread, because all
//! hosts of a simulation share one.
//!
//! Invariant: what happens follows from the seed, also when a host is killed, whose tasks are dropped
//! in an order that depends on how many tasks there were in the process before.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
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
    static CONNECTIONS: Cell<u64> = const { Cell::new(0) };
    /// The connections of the host that is being killed, by their numbers.
    static KILLED: RefCell<Option<BTreeMap<u64, turmoil::TcpStream>>> = const { RefCell::new(None) };
}

/// Accepts connections.
pub(crate) struct TcpListener(turmoil::TcpListener);

/// A connection whose FIN waits for room in the receiver's queue: turmoil loses one that finds it
/// full.
#[derive(Debug)]
pub struct TcpStream {
    /// Always there until it is dropped.
    stream: Option<turmoil::TcpStream>,
    fin_deadline: Option<Pin<Box<Sleep>>>,
    /// Later connections of a simulation have higher ones.
    number: u64,
}

/// Kept by the main task of a host, the last of its tasks that is dropped: with it end the connections
/// of a host that [`kill`] kills.
#[derive(Debug)]
pub struct LastTask;

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
        let number = CONNECTIONS.get();
        CONNECTIONS.set(number + 1);
        Self {
            stream: Some(stream),
            fin_deadline: None,
            number,
        }
    }
}

impl TcpStream {
    pub(crate) fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.stream().set_nodelay(nodelay)
    }

    fn stream(&self) -> &turmoil::TcpStream {
        self.stream.as_ref().expect("it is not dropped")
    }

    fn pinned(&mut self) -> Pin<&mut turmoil::TcpStream> {
        Pin::new(self.stream.as_mut().expect("it is not dropped"))
    }

    /// Our address and theirs.
    fn pair(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.stream().local_addr()?, self.stream().peer_addr()?))
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        KILLED.with_borrow_mut(|killed| {
            if let Some(killed) = killed
                && let Some(stream) = self.stream.take()
            {
                killed.insert(self.number, stream);
            }
        });
    }
}

impl Drop for LastTask {
    fn drop(&mut self) {
        for (_, stream) in KILLED.take().unwrap_or_default() {
            drop(stream);
        }
    }
}

/// Kills a host whose main task holds a [`LastTask`]: `kill` drops its tasks.
pub fn kill(kill: impl FnOnce()) {
    KILLED.set(Some(BTreeMap::new()));
    kill();
    KILLED.set(None);
}

impl AsyncRead for TcpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.pinned().poll_read(cx, buffer)
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(self.pinned().poll_write(cx, bytes))?;
        let pair = self.pair()?;
        WRITTEN.with_borrow_mut(|all| *all.entry(pair).or_default() += written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let room = pin!(self.stream().writable()).poll(cx).is_ready();
        let mut late = || {
            let deadline = self
                .fin_deadline
                .get_or_insert_with(|| Box::pin(sleep(FIN_TIMEOUT)));
            deadline.as_mut().poll(cx).is_ready()
        };
        if room || late() {
            self.pinned().poll_shutdown(cx)
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

/// Addresses of the simulation have no names.
pub(crate) fn name_of(_address: IpAddr) -> io::Result<String> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Waits until something can be read: bytes or an end.
pub(crate) async fn readable(stream: &mut TcpStream) -> io::Result<()> {
    let mut byte = [0];
    let mut byte = ReadBuf::new(&mut byte);
    poll_fn(|cx| stream.pinned().poll_peek(cx, &mut byte)).await?;
    Ok(())
}

/// The simulated network has no such thing: a peer that is gone stays silent.
#[expect(clippy::unnecessary_wraps, reason = "same shape as the system's")]
pub(crate) fn keep_alive(_: &TcpStream, _: Duration) -> io::Result<()> {
    Ok(())
}

/// The simulated network ends connections with FIN; who is at the other end asks [`was_reset`].
pub(crate) fn reset_when_dropped(stream: &TcpStream) -> io::Result<()> {
    let pair = stream.pair()?;
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

/// A simulation has no time of day.
pub(crate) fn wall_clock() -> SystemTime {
    SystemTime::UNIX_EPOCH
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
    CONNECTIONS.set(0);
}

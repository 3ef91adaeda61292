//! Backends: servers that echo, and sockets that a story plays by hand.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    pattern::{Pattern, Verifier},
    wait::soon,
};

/// Bytes moved at a time.
const CHUNK: usize = 64 * 1024;

/// A backend that the story plays by hand.
#[derive(Debug)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    listener: TcpListener,
}

impl Backend {
    /// Listens on IPv4.
    pub async fn listen() -> Self {
        Self::listen_on("127.0.0.1:0").await
    }

    /// Listens on an address with port 0.
    ///
    /// # Panics
    ///
    /// When the machine does not have the address.
    pub async fn listen_on(address: &str) -> Self {
        let listener = TcpListener::bind(address)
            .await
            .expect("a loopback address");
        Self {
            address: listener.local_addr().expect("it is bound"),
            listener,
        }
    }

    /// The next connection of the gateway.
    pub async fn accept(&self) -> TcpStream {
        let (stream, _) = soon("a connection to the backend", self.listener.accept())
            .await
            .expect("accept");
        stream
    }
}

/// A backend that sends everything back until its client's FIN, and then its own.
#[derive(Debug)]
pub struct Echo {
    /// Where it listens.
    pub address: SocketAddr,
    accepted: Arc<AtomicU64>,
    _task: JoinSet<()>,
}

impl Echo {
    /// Starts it.
    pub async fn start() -> Self {
        Self::start_on("127.0.0.1:0").await
    }

    /// Starts it on an address with port 0.
    pub async fn start_on(address: &str) -> Self {
        let backend = Backend::listen_on(address).await;
        let address = backend.address;
        let accepted = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&accepted);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((stream, _)) = backend.listener.accept() => {
                        count.fetch_add(1, Relaxed);
                        connections.spawn(echo(stream));
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Self {
            address,
            accepted,
            _task: task,
        }
    }

    /// How many connections reached it so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }
}

/// Sends back what comes; how it ends is the business of the other side.
pub async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => {
                _ = stream.shutdown().await;
                return;
            }
            Ok(len) => {
                if stream.write_all(&buffer[..len]).await.is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

/// Sends bytes of a pattern.
///
/// # Panics
///
/// When the other side is gone.
pub async fn send(stream: &mut (impl AsyncWrite + Unpin), pattern: Pattern, from: u64, to: u64) {
    let mut buffer = vec![0; CHUNK];
    let mut at = from;
    while at < to {
        let len = usize::try_from((to - at).min(CHUNK as u64)).expect("a chunk");
        pattern.fill(at, &mut buffer[..len]);
        stream
            .write_all(&buffer[..len])
            .await
            .expect("the gateway takes it");
        at += len as u64;
    }
}

/// Receives until so many bytes of a pattern were verified.
///
/// # Panics
///
/// When a byte is wrong or the other side ends early.
pub async fn receive(stream: &mut (impl AsyncRead + Unpin), verifier: &mut Verifier, to: u64) {
    let mut buffer = vec![0; CHUNK];
    while verifier.verified < to {
        let len = stream.read(&mut buffer).await.expect("the gateway sends");
        assert_ne!(
            len, 0,
            "the gateway ended after {} of {to} bytes",
            verifier.verified
        );
        verifier.take(&buffer[..len]);
    }
}

/// Reads FIN.
///
/// # Panics
///
/// When there is something else.
pub async fn expect_fin(stream: &mut (impl AsyncRead + Unpin)) {
    let mut byte = [0];
    assert_eq!(
        soon("FIN", stream.read(&mut byte))
            .await
            .expect("FIN, not RST"),
        0
    );
}

/// Reads RST.
///
/// # Panics
///
/// When there is something else.
pub async fn expect_rst(stream: &mut (impl AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    let error = soon("RST", stream.read_to_end(&mut rest))
        .await
        .expect_err("RST, not FIN");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

/// Ends a connection with RST.
///
/// # Panics
///
/// When the system does not let us.
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .expect("a socket can linger");
    drop(stream);
}

/// Writes until TCP takes no more, and says how much it took. `full` is how long it may take
/// nothing before it counts as full.
///
/// # Panics
///
/// When the other side is gone.
pub async fn fill(stream: &mut TcpStream, pattern: Pattern, full: Duration) -> u64 {
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    loop {
        pattern.fill(at, &mut buffer);
        match tokio::time::timeout(full, stream.write(&buffer)).await {
            Ok(taken) => at += taken.expect("the gateway is there") as u64,
            Err(_) => return at,
        }
    }
}

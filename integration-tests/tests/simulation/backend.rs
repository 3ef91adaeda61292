//! Backends: each connection says in its first bytes what it wants, an echo or a pattern.

use std::{net::Ipv4Addr, time::Duration};

use perigee_gateway::simulation::{TcpStream, was_reset};
use perigee_integration_tests::{pattern::Pattern, random::Random};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    task::JoinSet,
    time::sleep,
};
use turmoil::net::TcpListener;

use crate::ledger::{Direction, Key, Ledger};

/// Where every backend listens.
pub(crate) const PORT: u16 = 7000;
/// Length of a [`Request`].
pub(crate) const REQUEST_LEN: usize = 26;

/// What a client asks of a backend, in front of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) key: Key,
    pub(crate) service: Service,
    /// The backend is in no hurry.
    pub(crate) slow: bool,
    /// Bytes that follow.
    pub(crate) up: u64,
    /// Bytes to answer with.
    pub(crate) down: u64,
}

/// What a backend does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// Sends back what comes.
    Echo,
    /// Sends bytes of its own, whatever comes.
    Generate,
}

impl Request {
    pub(crate) fn encode(self) -> [u8; REQUEST_LEN] {
        let mut bytes = [0; REQUEST_LEN];
        bytes[0] = u8::from(self.service == Service::Generate);
        bytes[1] = u8::from(self.slow);
        bytes[2..10].copy_from_slice(&self.key.to_be_bytes());
        bytes[10..18].copy_from_slice(&self.up.to_be_bytes());
        bytes[18..26].copy_from_slice(&self.down.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8; REQUEST_LEN]) -> Self {
        let number =
            |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("8 of 26 bytes"));
        Self {
            key: number(2),
            service: if bytes[0] == 0 {
                Service::Echo
            } else {
                Service::Generate
            },
            slow: bytes[1] != 0,
            up: number(10),
            down: number(18),
        }
    }

    pub(crate) fn up_pattern(self) -> Pattern {
        Pattern(self.key)
    }

    pub(crate) fn down_pattern(self) -> Pattern {
        match self.service {
            Service::Echo => self.up_pattern(),
            Service::Generate => Pattern(!self.key),
        }
    }
}

/// A backend until it is killed.
pub(crate) async fn run(ledger: Ledger, seed: u64) -> turmoil::Result {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        while connections.try_join_next().is_some() {}
        connections.spawn_local(serve(stream, ledger.clone(), seed));
    }
}

async fn serve(mut stream: turmoil::net::TcpStream, ledger: Ledger, seed: u64) {
    let mut head = [0; REQUEST_LEN];
    // The client may be gone before it said anything.
    if stream.read_exact(&mut head).await.is_err() {
        return;
    }
    let request = Request::decode(&head);
    let (Ok(gateway), Ok(ours)) = (stream.peer_addr(), stream.local_addr()) else {
        return;
    };
    ledger.connected(request.key, gateway, ours);
    ledger.delivered(request.key, Direction::Up, REQUEST_LEN);
    let pace = Pace {
        random: Random::new(seed ^ request.key),
        slow: request.slow,
    };
    let (read, write) = tokio::io::split(TcpStream::from(stream));
    let reset = move || was_reset(gateway, ours);
    match request.service {
        Service::Echo => echo(request, read, write, &ledger, pace, reset).await,
        Service::Generate => {
            let sending = generate(request, write, &ledger, pace.clone());
            let taking = take(request, read, &ledger, pace, reset);
            tokio::join!(biased; sending, taking);
        }
    }
}

/// How fast a backend is.
#[derive(Clone)]
struct Pace {
    random: Random,
    slow: bool,
}

impl Pace {
    async fn wait(&mut self) {
        if self.slow {
            sleep(Duration::from_millis(self.random.range(5, 200))).await;
        }
    }

    fn chunk(&mut self) -> usize {
        usize::try_from(self.random.range(1, 16 * 1024)).expect("small")
    }
}

/// Compares what comes.
struct Incoming {
    request: Request,
    at: u64,
    want: Vec<u8>,
}

impl Incoming {
    fn check(&mut self, bytes: &[u8], ledger: &Ledger) {
        self.want.resize(bytes.len(), 0);
        self.request.up_pattern().fill(self.at, &mut self.want);
        if self.want != bytes {
            let (key, at) = (self.request.key, self.at);
            ledger.fail(format_args!("stream {key:x}, up: wrong bytes from {at} on"));
        }
        self.at += bytes.len() as u64;
        ledger.delivered(self.request.key, Direction::Up, bytes.len());
    }
}

async fn echo(
    request: Request,
    mut read: ReadHalf<TcpStream>,
    mut write: WriteHalf<TcpStream>,
    ledger: &Ledger,
    mut pace: Pace,
    reset: impl Fn() -> bool,
) {
    let mut incoming = Incoming {
        request,
        at: 0,
        want: Vec::new(),
    };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        pace.wait().await;
        let chunk = pace.chunk();
        match read.read(&mut buffer[..chunk]).await {
            Err(_) => return,
            Ok(0) if reset() => return,
            Ok(0) => break,
            Ok(len) => {
                incoming.check(&buffer[..len], ledger);
                if !send(&mut write, request.key, &buffer[..len], ledger).await {
                    return;
                }
            }
        }
    }
    ledger.ended(request.key, Direction::Up);
    ledger.finished(request.key, Direction::Down);
    _ = write.shutdown().await;
}

async fn take(
    request: Request,
    mut read: ReadHalf<TcpStream>,
    ledger: &Ledger,
    mut pace: Pace,
    reset: impl Fn() -> bool,
) {
    let mut incoming = Incoming {
        request,
        at: 0,
        want: Vec::new(),
    };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        pace.wait().await;
        let chunk = pace.chunk();
        match read.read(&mut buffer[..chunk]).await {
            Err(_) => return,
            Ok(0) if reset() => return,
            Ok(0) => return ledger.ended(request.key, Direction::Up),
            Ok(len) => incoming.check(&buffer[..len], ledger),
        }
    }
}

async fn generate(
    request: Request,
    mut write: WriteHalf<TcpStream>,
    ledger: &Ledger,
    mut pace: Pace,
) {
    let mut at = 0;
    while at < request.down {
        pace.wait().await;
        let len = (pace.chunk() as u64).min(request.down - at);
        let bytes = request
            .down_pattern()
            .bytes(at, usize::try_from(len).expect("a chunk"));
        if !send(&mut write, request.key, &bytes, ledger).await {
            return;
        }
        at += len;
    }
    ledger.finished(request.key, Direction::Down);
    _ = write.shutdown().await;
}

/// Writes all of it, or says that nobody takes it any more.
async fn send(
    write: &mut WriteHalf<TcpStream>,
    key: Key,
    mut bytes: &[u8],
    ledger: &Ledger,
) -> bool {
    while !bytes.is_empty() {
        match write.write(bytes).await {
            Ok(len) => {
                ledger.wrote(key, Direction::Down, len);
                bytes = &bytes[len..];
            }
            Err(_) => return false,
        }
    }
    true
}

//! A network that fails: relays for TCP, HTTP and UDP that cut, stall, hold back, repeat, lose and
//! rewrite, as seeded chance tells them.
//!
//! Invariants:
//! - a fault strikes a bounded number of times; after that the network has healed and harms nothing;
//! - what a fault does is chosen by a seed and by bytes, never by how fast the machine is.

mod datagram;
mod fault;
mod http;
mod network;
mod pump;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinSet,
};

pub use self::fault::{Fault, Medium};
use self::{
    datagram::Harm,
    fault::Kind,
    network::{Direction, Line, Network},
    pump::{Outcome, both, pump},
};
use crate::random::Random;

/// What becomes of one TCP connection.
#[derive(Debug, Clone, Default)]
pub struct Fate {
    /// From the client to the gateway.
    pub up: Course,
    /// From the gateway to the client.
    pub down: Course,
}

/// What becomes of one direction of it.
#[derive(Debug, Clone, Default)]
pub struct Course {
    /// It ends by itself.
    pub cut: Option<Cut>,
    /// How its bytes travel.
    pub pace: Pace,
}

/// An end that the network makes.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// Bytes that still arrive.
    after: u64,
    /// The same at first, and again if the fault may not strike yet.
    distance: u64,
    /// What follows them.
    end: End,
    /// It is what the relay is for, and counts; else it comes until the network has healed.
    is_the_fault: bool,
}

/// How the network ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// RST to both sides, which also loses what is on its way.
    Reset,
    /// FIN to both sides.
    Fin,
    /// FIN in this direction only; what its sender says after that is lost.
    HalfClose,
    /// Nothing arrives any more in either direction, and nobody is told.
    Silence,
}

/// How bytes travel.
#[derive(Debug, Clone, Default)]
pub enum Pace {
    /// As fast as they can.
    #[default]
    Free,
    /// Each batch waits for up to so long.
    Delay(Duration, Random),
    /// So many bytes at a time, with a pause after each.
    Throttle(usize, Duration),
    /// Held back until there are up to so many bytes, or until the time since the first of them
    /// has passed.
    Gather(u64, Option<Duration>, Random),
}

impl Fate {
    /// It is not harmed.
    #[must_use]
    pub fn unharmed() -> Self {
        Self::default()
    }

    /// It ends after so many bytes from the client, or so many from the gateway.
    #[must_use]
    pub const fn cut(up: u64, down: u64, end: End) -> Self {
        Self {
            up: Course::cut(up, end),
            down: Course::cut(down, end),
        }
    }
}

impl Course {
    /// It ends after so many bytes.
    #[must_use]
    pub const fn cut(after: u64, end: End) -> Self {
        Self {
            cut: Some(Cut {
                after,
                distance: after,
                end,
                is_the_fault: true,
            }),
            pace: Pace::Free,
        }
    }

    /// Its bytes travel in another way.
    #[must_use]
    pub const fn paced(pace: Pace) -> Self {
        Self { cut: None, pace }
    }
}

/// A relay in front of a gateway.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    network: Arc<Network>,
    _task: JoinSet<()>,
}

impl Proxy {
    /// Relays TCP to `target`; `fate` says what becomes of each connection.
    pub async fn start(target: SocketAddr, fate: impl FnMut() -> Fate + Send + 'static) -> Self {
        Self::tcp(target, Network::endless(), fate).await
    }

    /// Relays to `target` and does no harm: to count what goes over the wire.
    pub async fn unharmed(target: SocketAddr, medium: Medium) -> Self {
        match medium {
            Medium::Tcp => Self::start(target, Fate::unharmed).await,
            Medium::Udp => Self::udp(target, Network::endless(), Harm::None, Random::new(0)).await,
        }
    }

    /// Relays to `target` and suffers from one fault until it has healed.
    pub async fn faulty(target: SocketAddr, fault: Fault, medium: Medium, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let network = Network::healing(fault, &mut random);
        match fault.kind(medium) {
            Kind::Tcp => Self::tcp(target, network, move || fault.fate(&mut random)).await,
            Kind::Http(rewrite) => {
                let (listener, address) = listen().await;
                let shared = Arc::clone(&network);
                let relay = move |client| {
                    let seed = random.number();
                    http::relay(client, target, rewrite, Arc::clone(&shared), seed)
                };
                Self::accepting(listener, address, network, relay)
            }
            Kind::Udp(harm) => Self::udp(target, network, harm, random).await,
        }
    }

    async fn udp(target: SocketAddr, network: Arc<Network>, harm: Harm, random: Random) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").await.expect("loopback");
        let address = front.local_addr().expect("it is bound");
        let mut task = JoinSet::new();
        let shared = Arc::clone(&network);
        task.spawn(datagram::relay(front, target, harm, shared, random));
        Self {
            address,
            network,
            _task: task,
        }
    }

    async fn tcp(
        target: SocketAddr,
        network: Arc<Network>,
        mut fate: impl FnMut() -> Fate + Send + 'static,
    ) -> Self {
        let (listener, address) = listen().await;
        let shared = Arc::clone(&network);
        let relay = move |client| relay(client, target, fate(), Arc::clone(&shared));
        Self::accepting(listener, address, network, relay)
    }

    fn accepting<F>(
        listener: TcpListener,
        address: SocketAddr,
        network: Arc<Network>,
        mut relay: impl FnMut(TcpStream) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut relays = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((client, _)) = listener.accept() => {
                        relays.spawn(relay(client));
                    }
                    Some(_) = relays.join_next() => {}
                }
            }
        });
        Self {
            address,
            network,
            _task: task,
        }
    }

    /// Resets all connections.
    pub fn cut_all(&self) {
        self.network.cut_all();
    }

    /// From now on no datagram arrives any more, and nobody is told.
    pub fn fall_silent(&self) {
        self.network.fall_silent();
    }

    /// How many connections were cut so far.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.network.cuts()
    }

    /// The fault strikes no more.
    pub fn heal(&self) {
        self.network.heal();
    }

    /// Whether the fault strikes no more, because it has so often.
    #[must_use]
    pub fn has_healed(&self) -> bool {
        self.network.has_healed()
    }

    /// Bytes carried so far, up and down: payload of TCP or UDP.
    #[must_use]
    pub fn carried(&self) -> (u64, u64) {
        self.network.carried()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // They hold on to the network that owns them.
        self.network.end();
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

async fn relay(mut client: TcpStream, target: SocketAddr, fate: Fate, network: Arc<Network>) {
    let Ok(mut gateway) = TcpStream::connect(target).await else {
        return;
    };
    // Small writes must arrive as they were written, not when the system finds it worth while.
    _ = (client.set_nodelay(true), gateway.set_nodelay(true));
    let mut cut_all = network.told_to_cut();
    let outcome = {
        let line = Line::new(&network);
        let (from_client, to_client) = client.split();
        let (from_gateway, to_gateway) = gateway.split();
        let up = pump(from_client, to_gateway, fate.up, &line, Direction::Up);
        let down = pump(from_gateway, to_client, fate.down, &line, Direction::Down);
        tokio::select! {
            outcome = both(up, down) => outcome,
            _ = cut_all.changed() => Outcome::Reset,
        }
    };
    if outcome == Outcome::Ended {
        return;
    }
    network.count_cut();
    if outcome == Outcome::Reset {
        for stream in [&client, &gateway] {
            _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }
}

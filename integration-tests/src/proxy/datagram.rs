//! A relay of datagrams that does harm to them.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tokio::{net::UdpSocket, task::JoinSet, time::sleep};

use super::{
    fault::{MOST_DELAY, THROTTLE_PAUSE},
    network::{Direction, Network},
    pump::fraction,
};
use crate::random::Random;

/// Larger than any datagram of QUIC.
const DATAGRAM: usize = 64 * 1024;

/// What is done to datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Harm {
    /// Nothing.
    None,
    /// Some never arrive.
    Lose,
    /// Some arrive after later ones.
    Reorder,
    /// Some arrive twice.
    Duplicate,
    /// Each arrives late, in order.
    Delay,
    /// One after the other, with pauses.
    Throttle,
    /// After some, none of its client arrives any more.
    Silence,
    /// The gateway sees the client at another address from some datagram on.
    Move,
}

/// One client's way to the gateway.
struct Flow {
    gateway: Arc<UdpSocket>,
    silent: Arc<AtomicBool>,
    random: Random,
    /// Relays what comes back until the client moves.
    _back: JoinSet<()>,
}

/// Relays until it is dropped.
pub(super) async fn relay(
    front: UdpSocket,
    target: SocketAddr,
    harm: Harm,
    network: Arc<Network>,
    mut random: Random,
) {
    let front = Arc::new(front);
    let mut flows: BTreeMap<SocketAddr, Flow> = BTreeMap::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let Ok((len, client)) = front.recv_from(&mut buffer).await else {
            // An ICMP error of an earlier datagram.
            continue;
        };
        let datagram = buffer[..len].to_vec();
        let flow = match flows.entry(client) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let seed = random.number();
                let Some(flow) = Flow::start(&front, client, target, harm, &network, seed).await
                else {
                    continue;
                };
                new.insert(flow)
            }
        };
        if harm == Harm::Move && flow.random.percent(5) && network.strikes() {
            network.count_cut();
            let seed = flow.random.number();
            if let Some(moved) = Flow::start(&front, client, target, harm, &network, seed).await {
                *flow = moved;
            }
        }
        let to = Arc::clone(&flow.gateway);
        let send = move |datagram: Vec<u8>| {
            let to = Arc::clone(&to);
            async move { _ = to.send(&datagram).await }
        };
        let (silent, random) = (&flow.silent, &mut flow.random);
        carry(
            datagram,
            Direction::Up,
            harm,
            &network,
            silent,
            random,
            send,
        )
        .await;
    }
}

impl Flow {
    async fn start(
        front: &Arc<UdpSocket>,
        client: SocketAddr,
        target: SocketAddr,
        harm: Harm,
        network: &Arc<Network>,
        seed: u64,
    ) -> Option<Self> {
        let gateway = UdpSocket::bind("127.0.0.1:0").await.ok()?;
        gateway.connect(target).await.ok()?;
        let gateway = Arc::new(gateway);
        let silent = Arc::new(AtomicBool::new(false));
        let mut random = Random::new(seed);
        let (from, front, network) = (Arc::clone(&gateway), Arc::clone(front), Arc::clone(network));
        let (hushed, mut chance) = (Arc::clone(&silent), Random::new(random.number()));
        let mut back = JoinSet::new();
        back.spawn(async move {
            let mut buffer = vec![0; DATAGRAM];
            loop {
                let Ok(len) = from.recv(&mut buffer).await else {
                    continue;
                };
                let datagram = buffer[..len].to_vec();
                let front = Arc::clone(&front);
                let send = move |datagram: Vec<u8>| {
                    let front = Arc::clone(&front);
                    async move { _ = front.send_to(&datagram, client).await }
                };
                let down = Direction::Down;
                carry(datagram, down, harm, &network, &hushed, &mut chance, send).await;
            }
        });
        Some(Self {
            gateway,
            silent,
            random,
            _back: back,
        })
    }
}

/// Sends a datagram on, as far as the harm lets it.
async fn carry<F>(
    datagram: Vec<u8>,
    direction: Direction,
    harm: Harm,
    network: &Network,
    silent: &AtomicBool,
    random: &mut Random,
    send: impl Fn(Vec<u8>) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    if silent.load(Relaxed) || network.is_silent() {
        return;
    }
    network.carry(direction, datagram.len());
    let often = match harm {
        Harm::Lose => 15,
        Harm::Reorder | Harm::Duplicate => 40,
        Harm::Delay | Harm::Throttle => 100,
        Harm::Silence => 2,
        Harm::None | Harm::Move => 0,
    };
    if !random.percent(often) || !network.strikes() {
        return send(datagram).await;
    }
    match harm {
        Harm::Lose => {}
        Harm::Silence => silent.store(true, Relaxed),
        Harm::Duplicate => {
            send(datagram.clone()).await;
            send(datagram).await;
        }
        Harm::Reorder => {
            let late = fraction(MOST_DELAY, random.range(0, 1000));
            network.spawn(async move {
                sleep(late).await;
                send(datagram).await;
            });
        }
        Harm::Delay => {
            sleep(fraction(MOST_DELAY, random.range(0, 1000))).await;
            send(datagram).await;
        }
        Harm::Throttle => {
            sleep(THROTTLE_PAUSE).await;
            send(datagram).await;
        }
        Harm::None | Harm::Move => send(datagram).await,
    }
}

//! Every transport meets every fault of the network: a transfer both ways at once is right at every
//! byte while the fault lasts, and complete once the network has healed.
//!
//! docs/transports.md has the matrix, and is compared with what ran; `make transports` writes it.

use std::{env, fmt::Write, net::SocketAddr, sync::Arc, time::Duration};

use perigee_integration_tests::{
    client::{Client, Faults, Transport},
    document::Section,
    exchange::{Verifying, exchange},
    gateway::Configuration,
    proxy::{Fault, Medium, Proxy},
    random::{seed_from_environment, seed_of},
};
use perigee_session::Config;
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};

/// Bytes each way before and after the network heals: more than a window of either side.
const LEAST: u64 = 384 * 1024;
/// Cells at a time.
const AT_A_TIME: usize = 12;
/// For one cell on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);
/// Silence after which a client gives a transport up; the gateway says something each second.
const PATIENCE: Duration = Duration::from_secs(3);

/// One field of the matrix.
#[derive(Debug, Clone, Copy)]
struct Cell {
    transport: Transport,
    fault: Fault,
}

impl Cell {
    fn all() -> impl Iterator<Item = Self> {
        let cells = |fault| Transport::ALL.map(|transport| Self { transport, fault });
        Fault::ALL.into_iter().flat_map(cells)
    }

    fn name(self) -> String {
        format!("{}, {}", self.transport.name(), self.fault.name())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transport_survives_every_fault() {
    let base = seed_from_environment(1);
    let only = env::var("PERIGEE_CELL").unwrap_or_default();
    let backend = Arc::new(Verifying::start().await);
    let gateway = Configuration::new()
        .backend("verifying", backend.address)
        .limit("max_connections_per_client = 10000")
        .limit("max_sessions_per_client = 10000")
        .timeout("heartbeat = \"1s\"")
        .timeout("hold = \"1s\"")
        .timeout("peer_dead = \"5s\"")
        .timeout("resume = \"15s\"")
        .start();
    let turns = Arc::new(Semaphore::new(AT_A_TIME));
    let mut cells = JoinSet::new();
    for cell in Cell::all() {
        let name = cell.name();
        if cell.fault.is_void_for(cell.transport).is_some() || !name.contains(&only) {
            continue;
        }
        let (backend, turns) = (Arc::clone(&backend), Arc::clone(&turns));
        let target = match cell.transport.medium() {
            Medium::Tcp => gateway.address,
            Medium::Udp => gateway.webtransport,
        };
        cells.spawn(async move {
            let _turn = turns.acquire().await;
            let mut run = JoinSet::new();
            let seed = seed_of(base, &name);
            run.spawn(async move { cell.run(target, &backend, seed).await });
            let failed = match timeout(DEADLINE, run.join_next()).await {
                Ok(Some(Ok(Ok(())))) => return None,
                Ok(Some(Ok(Err(wrong)))) => wrong,
                // A panic is told where it happens.
                Ok(Some(Err(panic))) => panic.to_string(),
                Ok(None) | Err(_) => "did not come to an end".to_owned(),
            };
            Some(format!(
                "{name}: {failed}\n  again: PERIGEE_SEED={base} PERIGEE_CELL='{name}' \
                 cargo test -p perigee-integration-tests --test gateway matrix"
            ))
        });
    }
    let failures: Vec<String> = cells.join_all().await.into_iter().flatten().collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    gateway.until_empty().await;
    if only.is_empty() {
        Section::of("transports.md", "matrix").must_say(&table());
    }
}

/// The matrix as the document shows it: every cell that is not void has run when this is called.
fn table() -> String {
    let mut reasons: Vec<&str> = Vec::new();
    let mut table = String::from("| the network |");
    for transport in Transport::ALL {
        write!(table, " {} |", transport.name()).expect("to a string");
    }
    write!(table, "\n| --- |{}", " :-: |".repeat(Transport::ALL.len())).expect("to a string");
    for fault in Fault::ALL {
        write!(table, "\n| {} |", fault.name()).expect("to a string");
        for transport in Transport::ALL {
            let field = match fault.is_void_for(transport) {
                None => "✓".to_owned(),
                Some(reason) => {
                    let known = reasons.iter().position(|known| *known == reason);
                    let number = known.unwrap_or_else(|| {
                        reasons.push(reason);
                        reasons.len() - 1
                    });
                    format!("{}", number + 1)
                }
            };
            write!(table, " {field} |").expect("to a string");
        }
    }
    table.push_str("\n\n✓ was run; a number says why there is nothing to run:\n");
    for (index, reason) in reasons.iter().enumerate() {
        write!(table, "\n{}. {reason}", index + 1).expect("to a string");
    }
    table
}

impl Cell {
    async fn run(self, gateway: SocketAddr, backend: &Verifying, seed: u64) -> Result<(), String> {
        let Self { transport, fault } = self;
        let proxy = Proxy::faulty(gateway, fault, transport.medium(), seed).await;
        let config = Config {
            peer_dead: PATIENCE,
            ..Config::default()
        };
        let client = Client::with(proxy.address, config, Faults::default(), seed);
        client.webtransport_at(proxy.address);
        let client = Arc::new(client);
        let attached = client.stay_attached(transport.only(), seed);
        let stream = client.open("verifying");
        stream
            .opened()
            .await
            .map_err(|closed| format!("was not opened: {closed:?}"))?;
        let healed = || proxy.has_healed();
        exchange(&stream, backend, seed, LEAST, healed).await?;
        client.end().await;
        drop(attached);
        Ok(())
    }
}

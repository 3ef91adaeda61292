//! The same transfer over every transport, side by side: how long it takes and what it costs on the
//! wire. Writes the table of docs/transports.md; `make transports` runs it.

use std::{fmt::Write, fs, process::Command, sync::Arc, time::Duration};

use perigee_integration_tests::{
    backend::{Backend, expect_fin, receive, send},
    client::{Client, Faults, Transport},
    document::Section,
    gateway::{Configuration, TestGateway},
    pattern::{Pattern, Verifier},
    proxy::{Medium, Proxy},
};
use perigee_session::Config;
use tokio::{io::AsyncWriteExt, time::Instant};

/// Bytes of a transfer.
const PAYLOAD: u64 = 10 * 1024 * 1024;
/// Of so many transfers the one in the middle counts.
const ROUNDS: usize = 5;

/// What one transfer cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    time: Duration,
    /// Bytes of both directions beyond the payload.
    overhead: u64,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let backend = Backend::listen().await;
    let gateway = Configuration::new()
        .backend("peer", backend.address)
        .start();
    let mut costs = Vec::new();
    for transport in Transport::ALL {
        let mut downs = Vec::new();
        let mut ups = Vec::new();
        for _ in 0..ROUNDS {
            downs.push(transfer(&gateway, &backend, transport, true).await);
            ups.push(transfer(&gateway, &backend, transport, false).await);
        }
        downs.sort_unstable();
        ups.sort_unstable();
        costs.push((transport, downs[ROUNDS / 2], ups[ROUNDS / 2]));
    }
    let table = table(&costs);
    #[expect(clippy::print_stdout, reason = "it is what this program is for")]
    {
        println!("{table}");
    }
    Section::of("transports.md", "overhead").write(&table);
}

/// One transfer in one direction, from the first byte to the other side's FIN.
async fn transfer(
    gateway: &TestGateway,
    backend: &Backend,
    transport: Transport,
    down: bool,
) -> Cost {
    let proxy = match transport.medium() {
        Medium::Tcp => Proxy::unharmed(gateway.address, Medium::Tcp).await,
        Medium::Udp => Proxy::unharmed(gateway.webtransport, Medium::Udp).await,
    };
    let client = Client::with(proxy.address, Config::default(), Faults::default(), 0);
    client.webtransport_at(proxy.address);
    let client = Arc::new(client);
    let attached = client.stay_attached(transport.only(), 0);
    let stream = client.reach("peer").await;
    let mut peer = backend.accept().await;
    let (up_before, down_before) = proxy.carried();
    let started = Instant::now();
    let pattern = Pattern(1);
    if down {
        let server = async {
            send(&mut peer, pattern, 0, PAYLOAD).await;
            peer.shutdown().await.expect("FIN can be sent");
        };
        let mut verifier = Verifier::new(pattern);
        let page = stream.receive(&mut verifier, PAYLOAD);
        let (received, ()) = tokio::join!(page, server);
        received.expect("the stream is open");
    } else {
        let page = async {
            let sent = stream.send(pattern, 0, PAYLOAD).await;
            sent.expect("the stream is open");
            stream.finish();
        };
        let server = async {
            receive(&mut peer, &mut Verifier::new(pattern), PAYLOAD).await;
            expect_fin(&mut peer).await;
        };
        tokio::join!(page, server);
    }
    let time = started.elapsed();
    let (up, down) = proxy.carried();
    client.end().await;
    drop(attached);
    Cost {
        time,
        overhead: (up - up_before + down - down_before).saturating_sub(PAYLOAD),
    }
}

fn table(costs: &[(Transport, Cost, Cost)]) -> String {
    let (_, base_down, base_up) = costs[0];
    let mut table = String::from(
        "| transport | time down | overhead down | time up | overhead up |\n\
         | --- | --: | --: | --: | --: |\n",
    );
    for (transport, down, up) in costs {
        let ratio = |cost: &Cost, base: Cost| cost.time.as_secs_f64() / base.time.as_secs_f64();
        let overhead = |cost: &Cost| {
            let percent = cost.overhead as f64 * 100.0 / PAYLOAD as f64;
            format!("{} ({percent:.2} %)", grouped(cost.overhead))
        };
        writeln!(
            table,
            "| {} | {:.1} | {} | {:.1} | {} |",
            transport.name(),
            ratio(down, base_down),
            overhead(down),
            ratio(up, base_up),
            overhead(up)
        )
        .expect("to a string");
    }
    let milliseconds = |cost: Cost| cost.time.as_millis();
    write!(
        table,
        "\nTimes are multiples of websocket's, which took {} ms down and {} ms up. {}, {}.",
        milliseconds(base_down),
        milliseconds(base_up),
        machine(),
        date()
    )
    .expect("to a string");
    table
}

/// A number with commas between its thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let (head, tail) = digits.split_at(first);
    let mut groups: Vec<&str> = Vec::new();
    groups.extend((!head.is_empty()).then_some(head));
    groups.extend((0..tail.len() / 3).map(|group| &tail[group * 3..group * 3 + 3]));
    groups.join(",")
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let about = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = about
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("an unknown processor", |(_, model)| model);
    let profile = match cfg!(debug_assertions) {
        true => "development profile",
        false => "release profile",
    };
    format!("{cores} cores of {model}, loopback, client and gateway in one process, {profile}")
}

fn date() -> String {
    let date = Command::new("date").arg("+%F").output();
    let date = date.expect("every system has `date`");
    String::from_utf8_lossy(&date.stdout).trim().to_owned()
}

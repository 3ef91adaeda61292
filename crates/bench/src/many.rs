//! More tunnels at once than one process may have descriptors: several gateways at one port, clients
//! and backends in several processes, too.
//!
//! All tunnels are open before the first of them carries anything, and none is closed before all have
//! carried a message there and back.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    Result,
    engine::{Engine, Load},
    load::Echo,
    measure::{Figure, PATIENCE, SMALL},
    server::{self, Paths, Program, Server},
    usage,
};

/// Tunnels of a gateway, which has two descriptors for each: the system spreads them by chance, so
/// there is room for more.
const OF_GATEWAY: usize = 9_000;
/// Tunnels of a process of clients, which binds a port for each. The system gives it half of the ports
/// that it has, and gateways connect from the other half to a backend.
const OF_CLIENTS: usize = 10_000;
/// How long each tunnel may take beyond what everything may.
const EACH: Duration = Duration::from_millis(2);

/// The clients of one process.
#[derive(Debug, clap::Args)]
pub(crate) struct Clients {
    /// Where they come from.
    #[arg(long)]
    from: Ipv4Addr,
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    tunnels: usize,
    /// What their numbers begin after.
    #[arg(long)]
    after: u64,
    /// Seconds for each thing that they are told to do, and until they are told.
    #[arg(long)]
    patience: u64,
}

/// A process of clients, which ends with its owner.
struct Process {
    child: Child,
    words: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Holds so many tunnels, and says what that took.
pub(crate) fn run(tunnels: usize, paths: &Paths) -> Result<Vec<(Figure, f64)>> {
    let patience = PATIENCE + EACH * u32::try_from(tunnels)?;
    let backends = (0..tunnels.div_ceil(OF_GATEWAY))
        .map(|_| Server::backend())
        .collect::<Result<Vec<_>>>()?;
    let address = server::free_address()?;
    let gateways = backends
        .iter()
        .map(|backend| Server::gateway_at(address, backend.address, paths))
        .collect::<Result<Vec<_>>>()?;
    let before = memory(&gateways)?;
    let clients = opened(tunnels, address, patience).map_err(|error| {
        let mut logs = gateways.iter().chain(&backends).map(Server::log);
        let complaint = logs.find(|log| !log.is_empty()).unwrap_or_default();
        format!("{error} {}", complaint.lines().next().unwrap_or_default())
    })?;
    let grown = memory(&gateways)?.saturating_sub(before) as f64 / 1024.0;
    drop(clients);
    Ok(vec![
        (Figure::Held, tunnels as f64),
        (Figure::Processes, gateways.len() as f64),
        (Figure::MemoryAfter, grown / tunnels as f64),
    ])
}

/// Clients whose tunnels are all open and work.
fn opened(tunnels: usize, to: SocketAddr, patience: Duration) -> Result<Vec<Process>> {
    let mut clients: Vec<Process> = Vec::new();
    let mut left = tunnels;
    while left > 0 {
        let some = left.min(OF_CLIENTS);
        left -= some;
        clients.push(Process::start(clients.len(), to, some, patience)?);
    }
    for process in &mut clients {
        process.answer()?;
    }
    for process in &mut clients {
        process.tell()?;
    }
    let mut held = 0;
    for process in &mut clients {
        held += process.answer()?;
    }
    if held != tunnels {
        return Err(format!("{held} tunnels of {tunnels} work").into());
    }
    Ok(clients)
}

fn memory(gateways: &[Server]) -> Result<u64> {
    gateways
        .iter()
        .map(|gateway| usage::memory(gateway.id()))
        .sum()
}

impl Process {
    /// Starts clients, which open their tunnels at once.
    fn start(number: usize, to: SocketAddr, tunnels: usize, patience: Duration) -> Result<Self> {
        let from = Ipv4Addr::new(127, 0, 1, u8::try_from(number + 1)?);
        let after = number * OF_CLIENTS;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["hold", "--from", &from.to_string()])
            .args(["--to", &to.to_string()])
            .args(["--tunnels", &tunnels.to_string()])
            .args(["--after", &after.to_string()])
            .args(["--patience", &patience.as_secs().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self {
            words: child.stdin.take().ok_or("it is piped")?,
            answers: BufReader::new(child.stdout.take().ok_or("it is piped")?),
            child,
        })
    }

    /// Tells it to go on.
    fn tell(&mut self) -> Result<()> {
        Ok(self.words.write_all(b"go on\n")?)
    }

    /// Waits until it has done what it was told, and gets how many tunnels did it.
    fn answer(&mut self) -> Result<usize> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err("clients ended early".into());
        }
        Ok(line.trim().parse()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Opens tunnels, says how many, and waits for a line; has each of them carry a message, says how many
/// came back, and holds them until it is ended.
pub(crate) fn hold(clients: &Clients) -> Result<()> {
    let patience = Duration::from_secs(clients.patience);
    let heard = listen();
    let mut engine = Engine::new(server::way(Program::Perigee), clients.to, clients.to, 1)?;
    engine.from = Some(clients.from);
    engine.after = clients.after;
    let mut load = Echo::new(SMALL, 0, 1)?;
    engine.open(clients.tunnels, &mut load, patience)?;
    println!("{}", clients.tunnels);
    until_told(1, &heard, &mut engine, &mut load, patience)?;
    load.set_window(1);
    let all = clients.tunnels as u64;
    load.budget = all;
    engine.each(&mut load)?;
    engine.run(&mut load, Instant::now() + patience, &mut |load, _| {
        load.messages == all
    })?;
    println!("{}", load.messages);
    until_told(2, &heard, &mut engine, &mut load, patience)
}

/// Counts the lines that come; the end of them counts for many.
fn listen() -> Arc<AtomicUsize> {
    let heard = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&heard);
    thread::spawn(move || {
        for _ in std::io::stdin().lines().map_while(std::io::Result::ok) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        count.store(usize::MAX, Ordering::Relaxed);
    });
    heard
}

/// Answers the server's pings, and whatever else there is to do, until so many lines came.
fn until_told<L: Load>(
    lines: usize,
    heard: &AtomicUsize,
    engine: &mut Engine,
    load: &mut L,
    patience: Duration,
) -> Result<()> {
    let deadline = Instant::now() + patience;
    while heard.load(Ordering::Relaxed) < lines {
        if Instant::now() > deadline {
            return Err("nobody says how to go on".into());
        }
        let soon = Instant::now() + Duration::from_millis(50);
        engine.run(load, soon, &mut |_, _| false)?;
    }
    Ok(())
}

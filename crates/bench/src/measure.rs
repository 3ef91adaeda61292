//! One run: clients do something to a server, and figures come of it.

use std::time::{Duration, Instant};

use crate::{
    Result, backend,
    engine::{Engine, Load},
    load::{Down, Echo, Up},
    server::Server,
    usage::{self, Cpu},
    wire::Kind,
};

const MIB: f64 = 1_048_576.0;
/// How long what has an end may take: opening clients, a transfer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes that a stalled client asks for.
const STALLED: u64 = 64 << 20;
const STALLED_CLIENTS: usize = 10;
/// Clients that come and go at a time.
const CHURNING: usize = 16;
/// Messages after which what matters is compiled, where it is compiled while it runs, and the time for it.
const COMPILED: u64 = 15_000;
const COMPILED_TIME: Duration = Duration::from_secs(4);
pub(crate) const SMALL: usize = 64;

/// What clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    /// 64 clients, a message of 64 bytes at a time.
    Echo,
    /// 64 clients, 16 messages at a time.
    Pipelined,
    /// 64 clients, a message of 4 KiB at a time.
    Large,
    /// 5,000 messages in a second over 500 clients.
    Paced,
    /// 4,000 clients, a message at a time.
    Busy,
    Down,
    Up,
    /// Connect, a message, close.
    Churn,
    /// Open tunnels, at first without traffic.
    Idle,
    /// Ask for much and read nothing.
    Stall,
    /// One session with so many streams, a message at a time; or so many clients, where each has one.
    Streams(usize),
    /// As many tunnels as one process can have.
    Hold,
    /// As many tunnels as are asked for, in as many processes as that takes.
    HoldMany,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Figure {
    /// CPU of the server for a message there and back, in µs.
    Cpu,
    /// Messages, or connections, in a second.
    Rate,
    /// Half of the messages took no longer, in µs.
    Median,
    /// 99 of 100 messages took no longer, in µs.
    Tail,
    /// CPU of the server for a MiB, in ms.
    CpuPerMib,
    /// MB in a second.
    Speed,
    /// CPU of the server for a connection, in µs.
    CpuPerConnection,
    /// KiB for a tunnel before traffic.
    Memory,
    /// KiB for a tunnel after a message on each.
    MemoryAfter,
    /// KiB for a tunnel that is held when all are closed.
    MemoryLeft,
    /// Percent of a core while clients are stalled.
    Busy,
    /// Tunnels that were held.
    Held,
    /// Processes that held them.
    Processes,
}

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) warm_up: Duration,
    pub(crate) time: Duration,
    /// Bytes of a transfer.
    pub(crate) bulk: u64,
    /// Tunnels that are idle.
    pub(crate) idle: usize,
    /// How long clients are stalled.
    pub(crate) stall: Duration,
}

/// A server and how to get through it.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) server: &'a Server,
    pub(crate) backend: &'a Server,
    pub(crate) kind: Kind,
    /// It takes so long that it gets less to do.
    pub(crate) slow: bool,
    /// It is compiled while it runs, so that it has to run for a while first.
    pub(crate) warms_up: bool,
}

/// The figures of one run.
pub(crate) fn run(work: Work, subject: &Subject<'_>, scale: &Scale) -> Result<Vec<(Figure, f64)>> {
    match work {
        Work::Echo => echo(subject, scale, 64, 1, SMALL),
        Work::Pipelined => echo(subject, scale, 64, 16, SMALL),
        Work::Large => echo(subject, scale, 64, 1, 4096),
        Work::Busy => echo(subject, scale, 4000, 1, SMALL),
        Work::Paced => paced(subject, scale),
        Work::Down => down(subject, scale),
        Work::Up => up(subject, scale),
        Work::Churn => churn(subject, scale),
        Work::Idle => idle(subject, scale),
        Work::Stall => stall(subject, scale),
        Work::Streams(streams) => in_turn(subject, scale, streams),
        Work::Hold => hold(subject),
        Work::HoldMany => Err("that takes more than one server".into()),
    }
}

impl Subject<'_> {
    pub(crate) fn engine(&self, streams: usize) -> Result<Engine> {
        Engine::new(
            self.kind,
            self.server.address,
            self.backend.address,
            streams,
        )
    }

    fn cpu(&self) -> Result<Cpu> {
        Cpu::of(self.server.id())
    }

    fn memory(&self) -> Result<f64> {
        Ok(usage::memory(self.server.id())? as f64 / 1024.0)
    }

    /// Lets a server run in.
    fn warm_up(&self, engine: &mut Engine, load: &mut Echo, scale: &Scale) -> Result<()> {
        wait(engine, load, scale.warm_up)?;
        if self.warms_up {
            let deadline = Instant::now() + COMPILED_TIME;
            engine.run(load, deadline, &mut |load, _| load.messages >= COMPILED)?;
        }
        Ok(())
    }

    fn bulk(&self, scale: &Scale) -> u64 {
        if self.slow {
            scale.bulk / 8
        } else {
            scale.bulk
        }
    }
}

fn echo(
    subject: &Subject<'_>,
    scale: &Scale,
    clients: usize,
    window: usize,
    size: usize,
) -> Result<Vec<(Figure, f64)>> {
    let mut engine = subject.engine(1)?;
    let mut load = Echo::new(size, 0, 1)?;
    engine.open(clients, &mut load, PATIENCE)?;
    load.set_window(window);
    engine.each(&mut load)?;
    echoed(&mut engine, &mut load, subject, scale)
}

/// Measures messages that are on their way already, and waits for the last of them.
fn echoed(
    engine: &mut Engine,
    load: &mut Echo,
    subject: &Subject<'_>,
    scale: &Scale,
) -> Result<Vec<(Figure, f64)>> {
    subject.warm_up(engine, load, scale)?;
    let before = subject.cpu()?;
    let begin = Instant::now();
    load.start();
    wait(engine, load, scale.time)?;
    let cpu = subject.cpu()?.since(&before);
    let time = begin.elapsed();
    let messages = load.messages as f64;
    if load.messages == 0 {
        return Err("no message came back".into());
    }
    let quantile = |q| load.latencies.value_at_quantile(q) as f64 / 1000.0;
    let figures = vec![
        (Figure::Cpu, micros(cpu) / messages),
        (Figure::Rate, messages / time.as_secs_f64()),
        (Figure::Median, quantile(0.5)),
        (Figure::Tail, quantile(0.99)),
    ];
    finish(engine, load)?;
    Ok(figures)
}

/// Every message has to come back.
pub(crate) fn finish(engine: &mut Engine, load: &mut Echo) -> Result<()> {
    load.budget = 0;
    let all = engine.run(load, Instant::now() + PATIENCE, &mut |load, _| {
        load.outstanding() == 0
    })?;
    if !all {
        return Err(format!("{} messages did not come back", load.outstanding()).into());
    }
    engine.close_all();
    Ok(())
}

fn paced(subject: &Subject<'_>, scale: &Scale) -> Result<Vec<(Figure, f64)>> {
    let mut engine = subject.engine(1)?;
    let mut load = Echo::new(SMALL, 0, 1)?;
    engine.open(500, &mut load, PATIENCE)?;
    load.pace(5_000);
    echoed(&mut engine, &mut load, subject, scale)
}

fn in_turn(subject: &Subject<'_>, scale: &Scale, streams: usize) -> Result<Vec<(Figure, f64)>> {
    let has_streams = subject.kind == Kind::Session;
    let (clients, streams) = if has_streams {
        (1, streams)
    } else {
        (streams, 1)
    };
    let mut engine = subject.engine(streams)?;
    let load = Echo::new(SMALL, 0, streams)?;
    let mut load = if has_streams {
        load.in_turn()
    } else {
        load.clients_in_turn()
    };
    engine.open(clients, &mut load, PATIENCE)?;
    load.set_window(1);
    engine.each(&mut load)?;
    echoed(&mut engine, &mut load, subject, scale)
}

fn down(subject: &Subject<'_>, scale: &Scale) -> Result<Vec<(Figure, f64)>> {
    let len = subject.bulk(scale);
    let mut load = Down::new(len);
    transfer(subject, &mut load, len, |load| load.total)
}

fn up(subject: &Subject<'_>, scale: &Scale) -> Result<Vec<(Figure, f64)>> {
    let len = subject.bulk(scale) / backend::SINK_STEP * backend::SINK_STEP;
    let mut load = Up::new(len);
    transfer(subject, &mut load, len, |load| load.total)
}

fn transfer<L: Load>(
    subject: &Subject<'_>,
    load: &mut L,
    len: u64,
    total: impl Fn(&L) -> u64,
) -> Result<Vec<(Figure, f64)>> {
    let mut engine = subject.engine(1)?;
    let before = subject.cpu()?;
    let begin = Instant::now();
    engine.open(1, load, PATIENCE)?;
    let whole = engine.run(load, begin + PATIENCE, &mut |load, _| total(load) >= len)?;
    let cpu = subject.cpu()?.since(&before);
    let time = begin.elapsed();
    if !whole {
        return Err(format!("{} of {len} bytes came in {PATIENCE:?}", total(load)).into());
    }
    engine.close_all();
    Ok(vec![
        (Figure::CpuPerMib, micros(cpu) / 1000.0 / (len as f64 / MIB)),
        (Figure::Speed, len as f64 / 1e6 / time.as_secs_f64()),
    ])
}

fn churn(subject: &Subject<'_>, scale: &Scale) -> Result<Vec<(Figure, f64)>> {
    let mut engine = subject.engine(1)?;
    let mut load = Echo::churn(SMALL)?;
    engine.open(CHURNING, &mut load, PATIENCE)?;
    subject.warm_up(&mut engine, &mut load, scale)?;
    let before = subject.cpu()?;
    let begin = Instant::now();
    load.start();
    wait(&mut engine, &mut load, scale.time)?;
    let cpu = subject.cpu()?.since(&before);
    let time = begin.elapsed();
    let connections = load.messages as f64;
    engine.close_all();
    if load.messages == 0 {
        return Err("no connection got through".into());
    }
    Ok(vec![
        (Figure::CpuPerConnection, micros(cpu) / connections),
        (Figure::Rate, connections / time.as_secs_f64()),
    ])
}

fn idle(subject: &Subject<'_>, scale: &Scale) -> Result<Vec<(Figure, f64)>> {
    let tunnels = if subject.slow {
        scale.idle / 10
    } else {
        scale.idle
    };
    let each = |memory: f64, before: f64| (memory - before).max(0.0) / tunnels as f64;
    let before = subject.memory()?;
    let mut engine = subject.engine(1)?;
    let mut load = Echo::new(SMALL, 0, 1)?;
    engine.open(tunnels, &mut load, PATIENCE)?;
    let opened = each(subject.memory()?, before);
    load.set_window(1);
    load.budget = tunnels as u64;
    engine.each(&mut load)?;
    let echoed = engine.run(&mut load, Instant::now() + PATIENCE, &mut |load, _| {
        load.messages == tunnels as u64
    })?;
    if !echoed {
        return Err(format!("{} messages of {tunnels} came back", load.messages).into());
    }
    let after = each(subject.memory()?, before);
    engine.close_all();
    let left = each(settled(subject)?, before);
    Ok(vec![
        (Figure::Memory, opened),
        (Figure::MemoryAfter, after),
        (Figure::MemoryLeft, left),
    ])
}

/// Memory when it does not fall any more.
fn settled(subject: &Subject<'_>) -> Result<f64> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut memory = subject.memory()?;
    loop {
        std::thread::sleep(Duration::from_millis(250));
        let next = subject.memory()?;
        if next >= memory || Instant::now() > deadline {
            return Ok(next);
        }
        memory = next;
    }
}

fn stall(subject: &Subject<'_>, scale: &Scale) -> Result<Vec<(Figure, f64)>> {
    let before = subject.memory()?;
    let mut engine = subject.engine(1)?;
    let mut load = Down::new(STALLED);
    engine.open(STALLED_CLIENTS, &mut load, PATIENCE)?;
    engine.stalled = true;
    wait(&mut engine, &mut load, scale.stall)?;
    let cpu_before = subject.cpu()?;
    let begin = Instant::now();
    wait(&mut engine, &mut load, scale.stall)?;
    let cpu = subject.cpu()?.since(&cpu_before);
    let busy = 100.0 * cpu.as_secs_f64() / begin.elapsed().as_secs_f64();
    let grown = (subject.memory()? - before).max(0.0) / STALLED_CLIENTS as f64;
    engine.close_all();
    Ok(vec![(Figure::Memory, grown), (Figure::Busy, busy)])
}

fn hold(subject: &Subject<'_>) -> Result<Vec<(Figure, f64)>> {
    let tunnels = 9_900;
    let mut engine = subject.engine(1)?;
    let mut load = Echo::new(SMALL, 0, 1)?;
    engine.open(tunnels, &mut load, PATIENCE)?;
    load.set_window(1);
    load.budget = tunnels as u64;
    engine.each(&mut load)?;
    let all = engine.run(&mut load, Instant::now() + PATIENCE, &mut |load, _| {
        load.messages == tunnels as u64
    })?;
    let held = load.messages as f64;
    engine.close_all();
    if all {
        Ok(vec![(Figure::Held, held)])
    } else {
        Err(format!("{held} tunnels of {tunnels} work").into())
    }
}

fn wait<L: Load>(engine: &mut Engine, load: &mut L, time: Duration) -> Result<()> {
    engine.run(load, Instant::now() + time, &mut |_, _| false)?;
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

//! A measurement as a whole: who, what, how often and in which order.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use crate::{
    Result,
    measure::{self, Figure, Scale, Subject, Work},
    report,
    server::{self, Paths, Program, Server},
    wire::Kind,
};

/// Where the tables are kept.
const DOCUMENT: &str = "docs/performance.md";

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Fewer rivals and shorter runs.
    #[arg(long)]
    quick: bool,
    /// Keep the tables in docs/performance.md.
    #[arg(long)]
    write: bool,
    /// How often each run is repeated.
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Only rows whose name contains one of these words.
    #[arg(long, value_name = "WORD")]
    only: Vec<String>,
    /// Only runs whose name contains one of these words.
    #[arg(long, value_name = "WORD")]
    work: Vec<String>,
    /// The gateway.
    #[arg(long, value_name = "FILE", default_value = "target/release/perigee")]
    gateway: PathBuf,
}

/// A row of the tables: a program, and the way through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    Direct,
    FloorTcp,
    FloorWebSocket,
    Haproxy,
    Nginx,
    Lighttpd,
    Websocat,
    NodeWs,
    Websockify,
    WispJs,
    SockJsStreaming,
    SockJsPolling,
    Nchan,
    Plain,
    Session,
    SessionStream,
    SessionPoll,
    Irc,
}

/// The rows of a quick run, and of a whole one.
const QUICK: [Row; 12] = [
    Row::FloorTcp,
    Row::FloorWebSocket,
    Row::Haproxy,
    Row::Lighttpd,
    Row::SockJsStreaming,
    Row::SockJsPolling,
    Row::Nchan,
    Row::Plain,
    Row::Session,
    Row::SessionStream,
    Row::SessionPoll,
    Row::Irc,
];
const ALL: [Row; 18] = [
    Row::Direct,
    Row::FloorTcp,
    Row::FloorWebSocket,
    Row::Haproxy,
    Row::Nginx,
    Row::Lighttpd,
    Row::Websocat,
    Row::NodeWs,
    Row::Websockify,
    Row::WispJs,
    Row::SockJsStreaming,
    Row::SockJsPolling,
    Row::Nchan,
    Row::Plain,
    Row::Session,
    Row::SessionStream,
    Row::SessionPoll,
    Row::Irc,
];
const QUICK_WORK: [Work; 7] = [
    Work::Echo,
    Work::Pipelined,
    Work::Large,
    Work::Down,
    Work::Up,
    Work::Churn,
    Work::Idle,
];
const ALL_WORK: [Work; 15] = [
    Work::Echo,
    Work::Pipelined,
    Work::Large,
    Work::Paced,
    Work::Busy,
    Work::Down,
    Work::Up,
    Work::Churn,
    Work::Idle,
    Work::Stall,
    Work::Streams(1),
    Work::Streams(10),
    Work::Streams(100),
    Work::Streams(1000),
    Work::Hold,
];

impl Row {
    pub(crate) fn program(self) -> Program {
        match self {
            Self::Direct => Program::Direct,
            Self::FloorTcp => Program::FloorTcp,
            Self::FloorWebSocket => Program::FloorWebSocket,
            Self::Haproxy => Program::Haproxy,
            Self::Nginx => Program::Nginx,
            Self::Lighttpd => Program::Lighttpd,
            Self::Websocat => Program::Websocat,
            Self::NodeWs => Program::NodeWs,
            Self::Websockify => Program::Websockify,
            Self::WispJs => Program::WispJs,
            Self::SockJsStreaming | Self::SockJsPolling => Program::SockJs,
            Self::Nchan => Program::Nchan,
            Self::Plain | Self::Session | Self::SessionStream | Self::SessionPoll | Self::Irc => {
                Program::Perigee
            }
        }
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::SockJsPolling => Kind::SockJsPolling,
            Self::Session => Kind::Session,
            Self::SessionStream => Kind::SessionStream,
            Self::SessionPoll => Kind::SessionPoll,
            Self::Irc => Kind::Irc,
            row => server::way(row.program()),
        }
    }

    pub(crate) fn name(self) -> String {
        let name = self.program().name();
        match self {
            Self::SockJsStreaming => format!("{name}, xhr streaming"),
            Self::SockJsPolling => format!("{name}, xhr polling"),
            Self::Nchan => format!("{name}, long-poll"),
            Self::Plain => format!("{name}, plain WebSocket"),
            Self::Session => format!("{name}, session, WebSocket"),
            Self::SessionStream => format!("{name}, session, HTTP stream"),
            Self::SessionPoll => format!("{name}, session, long-poll"),
            Self::Irc => format!("{name}, IRC over WebSocket"),
            _ => name.to_owned(),
        }
    }

    pub(crate) fn is_ours(self) -> bool {
        self.program() == Program::Perigee
    }

    /// Those that do the same for a page by the same kind of transport.
    pub(crate) fn rivals(self) -> &'static [Self] {
        match self {
            Self::Plain | Self::Session => &[
                Self::Lighttpd,
                Self::Websocat,
                Self::NodeWs,
                Self::Websockify,
                Self::WispJs,
            ],
            Self::SessionStream => &[Self::SockJsStreaming],
            Self::SessionPoll => &[Self::SockJsPolling],
            _ => &[],
        }
    }

    /// Whether this is work for it.
    fn does(self, work: Work) -> bool {
        match work {
            // They have no messages that ask a backend for so much.
            Work::Down | Work::Up | Work::Stall => self.kind().carries_bytes(),
            Work::Streams(_) => self == Self::Session,
            Work::Hold => matches!(self, Self::Plain | Self::Session),
            // Thousands of processes would measure the machine.
            Work::Busy | Work::Paced => !self.program().forks(),
            Work::Idle => self != Self::Direct,
            Work::Echo | Work::Pipelined | Work::Large | Work::Churn => true,
        }
    }

    fn is_slow(self) -> bool {
        matches!(
            self,
            Self::SockJsStreaming | Self::SockJsPolling | Self::Websockify
        )
    }
}

impl Work {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Echo => "echo".to_owned(),
            Self::Pipelined => "16 in flight".to_owned(),
            Self::Large => "4 KiB".to_owned(),
            Self::Paced => "paced".to_owned(),
            Self::Busy => "4,000 busy".to_owned(),
            Self::Down => "bulk down".to_owned(),
            Self::Up => "bulk up".to_owned(),
            Self::Churn => "churn".to_owned(),
            Self::Idle => "idle".to_owned(),
            Self::Stall => "stalled reader".to_owned(),
            Self::Streams(1) => "1 stream".to_owned(),
            Self::Streams(streams) => format!("{streams} streams"),
            Self::Hold => "hold".to_owned(),
        }
    }
}

/// What was measured: each figure as often as there were rounds.
#[derive(Debug, Default)]
pub(crate) struct Results {
    samples: BTreeMap<(Row, Work, Figure), Vec<f64>>,
    /// From the start of the gateway to its first connection, in ms.
    starts: Vec<f64>,
    /// Bytes of its binary.
    pub(crate) binary: u64,
    pub(crate) rounds: usize,
    pub(crate) quick: bool,
    /// Runs that failed, and why.
    pub(crate) failures: Vec<String>,
}

impl Results {
    /// The median over the rounds.
    pub(crate) fn median(&self, row: Row, work: Work, figure: Figure) -> Option<f64> {
        self.samples
            .get(&(row, work, figure))
            .and_then(|all| median(all))
    }

    pub(crate) fn start(&self) -> Option<f64> {
        median(&self.starts)
    }

    /// Rows that have anything, in order.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.samples.keys().map(|(row, _, _)| *row).collect();
        rows.dedup();
        rows
    }
}

fn median(all: &[f64]) -> Option<f64> {
    let mut sorted = all.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        return sorted.get(middle).copied();
    }
    Some((sorted.get(middle.checked_sub(1)?)? + sorted.get(middle)?) / 2.0)
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let root = std::env::current_dir()?;
    let paths = Paths {
        gateway: std::path::absolute(&options.gateway)?,
        root: root.clone(),
    };
    let binary = std::fs::metadata(&paths.gateway).map_err(|error| {
        format!(
            "{}: {error}; build it with: make build",
            paths.gateway.display()
        )
    })?;
    settle_down()?;
    let scale = if options.quick {
        Scale {
            warm_up: Duration::from_millis(150),
            time: Duration::from_millis(500),
            bulk: 128 << 20,
            idle: 500,
            stall: Duration::from_millis(500),
        }
    } else {
        Scale {
            warm_up: Duration::from_millis(300),
            time: Duration::from_secs(2),
            bulk: 512 << 20,
            idle: 4000,
            stall: Duration::from_secs(2),
        }
    };
    let mut results = Results {
        rounds: options.rounds.unwrap_or(if options.quick { 1 } else { 5 }),
        quick: options.quick,
        binary: binary.len(),
        ..Results::default()
    };
    // Who names something gets it, however quick it is to be.
    let rows: &[Row] = if options.quick && options.only.is_empty() {
        &QUICK
    } else {
        &ALL
    };
    let works: &[Work] = if options.quick && options.work.is_empty() {
        &QUICK_WORK
    } else {
        &ALL_WORK
    };
    let mut rows: Vec<Row> = rows
        .iter()
        .copied()
        .filter(|row| named(&options.only, &row.name()))
        .collect();
    let begin = Instant::now();
    for round in 1..=results.rounds {
        for work in works
            .iter()
            .filter(|work| named(&options.work, &work.name()))
        {
            eprintln!(
                "round {round} of {}, after {} s: {}",
                results.rounds,
                begin.elapsed().as_secs(),
                work.name()
            );
            for row in rows.iter().filter(|row| row.does(*work)) {
                if let Err(error) = measure(*row, *work, &paths, &scale, &mut results) {
                    let failure = format!("{}, {}: {error}", row.name(), work.name());
                    eprintln!("  {failure}");
                    results.failures.push(failure);
                }
            }
            // Nobody always comes after the same one.
            if !rows.is_empty() {
                rows.rotate_left(1);
            }
        }
    }
    let text = report::text(&results, &paths);
    println!("{text}");
    if options.write {
        report::keep(&root.join(DOCUMENT), &text)?;
    }
    if results.failures.is_empty() {
        Ok(())
    } else {
        Err(format!("{} runs failed", results.failures.len()).into())
    }
}

fn named(words: &[String], name: &str) -> bool {
    words.is_empty() || words.iter().any(|word| name.contains(word.as_str()))
}

/// One run, with servers of its own.
fn measure(
    row: Row,
    work: Work,
    paths: &Paths,
    scale: &Scale,
    results: &mut Results,
) -> Result<()> {
    let backend = Server::backend()?;
    let started = match row.program() {
        Program::Direct => None,
        program => Some(Server::start(program, backend.address, paths)?),
    };
    let server = started.as_ref().unwrap_or(&backend);
    let subject = Subject {
        server,
        backend: &backend,
        kind: row.kind(),
        slow: row.is_slow(),
        warms_up: row.program().is_of_node(),
    };
    for (figure, value) in measure::run(work, &subject, scale)? {
        results
            .samples
            .entry((row, work, figure))
            .or_default()
            .push(value);
    }
    if row.is_ours() {
        results.starts.push(server.started.as_secs_f64() * 1000.0);
    }
    Ok(())
}

/// One core for this process and all its children, and as many files as there may be.
pub(crate) fn settle_down() -> Result<()> {
    let allowed = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU)
        .rev()
        .find(|core| allowed.is_set(*core));
    let mut one = CpuSet::new();
    one.set(last.ok_or("there is no core to run on")?);
    sched_setaffinity(None, &one)?;
    let files = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: files.maximum,
            maximum: files.maximum,
        },
    )?;
    Ok(())
}

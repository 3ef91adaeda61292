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
    Result, many,
    measure::{self, Figure, Scale, Subject, Work},
    report,
    row::{ALL, ALL_WORK, QUICK, QUICK_WORK, Row},
    server::{Paths, Program, Server},
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
    /// Tunnels of the work `hold many`.
    #[arg(long, value_name = "N", default_value_t = 250_000)]
    tunnels: usize,
    /// The gateway.
    #[arg(long, value_name = "FILE", default_value = "target/release/perigee")]
    gateway: PathBuf,
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
    /// Everything was asked for.
    pub(crate) whole: bool,
    /// Runs that failed, and why.
    pub(crate) failures: Vec<String>,
}

impl Results {
    pub(crate) fn add(&mut self, row: Row, work: Work, figures: Vec<(Figure, f64)>) {
        for (figure, value) in figures {
            let samples = self.samples.entry((row, work, figure));
            samples.or_default().push(value);
        }
    }

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
        rounds: options.rounds.unwrap_or(if options.quick { 1 } else { 3 }),
        quick: options.quick,
        whole: !options.quick && options.only.is_empty() && options.work.is_empty(),
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
    let mut own_failures = 0;
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
            let takes_part = |row: &&Row| row.does(*work) && (round == 1 || row.repeats(*work));
            for row in rows.iter().filter(takes_part) {
                let measured = if *work == Work::HoldMany {
                    many::run(options.tunnels, &paths)
                        .map(|figures| results.add(*row, *work, figures))
                } else {
                    measure(*row, *work, &paths, &scale, &mut results)
                };
                if let Err(error) = measured {
                    let failure = format!("{}, {}: {error}", row.name(), work.name());
                    eprintln!("  {failure}");
                    results.failures.push(failure);
                    own_failures += u32::from(row.is_ours());
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
    // What a rival cannot do is in the tables, and no fault of this run.
    if own_failures == 0 {
        Ok(())
    } else {
        Err(format!("{own_failures} runs of the gateway failed").into())
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
    results.add(row, work, measure::run(work, &subject, scale)?);
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

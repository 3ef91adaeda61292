//! The gateway in a simulated world: network, clock and chance follow from a seed, and a seed that
//! fails fails again. docs/architecture.md says what this covers and what it does not.
//!
//! `PERIGEE_SEED=17` runs one seed and prints what happened; `PERIGEE_SEEDS=5000` runs more of them.

#![expect(clippy::print_stdout, reason = "what a seed did is for people to read")]

mod backend;
mod client;
mod dead_peers;
mod drain;
mod ledger;
mod panics;
mod peer;
mod show;
mod transport;
mod weather;
mod world;

use std::{
    env,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use perigee_session::Mutant;

use self::world::{Report, run};

/// The name of the threads that simulate.
const THREAD: &str = "simulation";
/// What CI runs.
const SEEDS: u64 = 200;
/// Worlds in which a broken rule has to be noticed.
const MUTANT_SEEDS: u64 = 200;
/// Worlds that are run twice.
const TWICE: u64 = 50;
/// Lines of the trace that are printed of a failure.
const LINES: usize = 60;

fn number(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value:?} is no number")),
    )
}

/// Runs worlds on all cores; the reports are in the order of the seeds.
fn simulate(seeds: impl IntoIterator<Item = u64>, mutant: Option<Mutant>) -> Vec<(u64, Report)> {
    panics::watch();
    let seeds: Vec<u64> = seeds.into_iter().collect();
    let next = AtomicU64::new(0);
    let reports = Mutex::new(Vec::new());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores.min(seeds.len()) {
            let worker = || {
                loop {
                    let index = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).expect("few");
                    let Some(&seed) = seeds.get(index) else {
                        return;
                    };
                    let report = run(seed, mutant);
                    reports.lock().expect("no panic").push((seed, report));
                }
            };
            thread::Builder::new()
                .name(THREAD.to_owned())
                .spawn_scoped(scope, worker)
                .expect("a thread");
        }
    });
    let mut reports = reports.into_inner().expect("no panic");
    reports.sort_by_key(|(seed, _)| *seed);
    reports
}

fn tail(trace: &[String]) -> String {
    trace[trace.len().saturating_sub(LINES)..].join("\n")
}

#[test]
fn no_weather_breaks_the_promise() {
    if let Some(seed) = number("PERIGEE_SEED") {
        for (_, report) in simulate([seed], None) {
            println!("{}", report.trace.join("\n"));
            assert_eq!(report.problem, None, "seed {seed}");
        }
        return;
    }
    let seeds = number("PERIGEE_SEEDS").unwrap_or(SEEDS);
    let reports = simulate(0..seeds, None);
    let failed: Vec<&(u64, Report)> = reports
        .iter()
        .filter(|(_, report)| report.problem.is_some())
        .collect();
    for (seed, report) in &failed {
        println!(
            "seed {seed}: {}",
            report.problem.as_deref().unwrap_or_default()
        );
    }
    if let Some((seed, report)) = failed.first() {
        panic!(
            "{}\n{} of {seeds} seeds failed; PERIGEE_SEED={seed} runs the first of them again",
            tail(&report.trace),
            failed.len(),
        );
    }
    let sum = |of: fn(&Report) -> u64| reports.iter().map(|(_, report)| of(report)).sum::<u64>();
    let (well, ill) = (sum(|report| report.well), sum(|report| report.ill));
    println!("{seeds} seeds: {well} streams ended well, {ill} with a code that was due");
    println!("{} s simulated", sum(|report| report.elapsed.as_secs()));
    assert!(
        well > seeds && ill > seeds / 10,
        "the weather was not what it should be"
    );
}

#[test]
fn a_seed_is_a_world() {
    // The second of each pair runs on a thread that may have simulated something else before.
    for seed in 0..TWICE {
        let [(_, first), (_, second)] = &simulate([seed, seed], None)[..] else {
            panic!("two runs");
        };
        let both = first.trace.iter().zip(&second.trace);
        if let Some((at, (one, two))) = both.enumerate().find(|(_, (one, two))| one != two) {
            panic!(
                "seed {seed} differs from line {at} on:\n{one}\n{two}\n{}",
                tail(&first.trace[..at])
            );
        }
        assert_eq!(first.trace.len(), second.trace.len(), "seed {seed}");
        assert!(first.trace.len() > 50, "seed {seed}: nothing happened");
    }
}

#[test]
fn broken_rules_are_noticed() {
    // Of the core's mutants those that whole connections lost and a gateway killed bring to light;
    // the core's own tests are for the others.
    for mutant in [Mutant::NoDedupe, Mutant::TrimOnSend, Mutant::AckOnReceive] {
        let noticed = (0..MUTANT_SEEDS).step_by(4).find_map(|from| {
            let reports = simulate(from..from + 4, Some(mutant));
            let mut problems = reports
                .into_iter()
                .filter_map(|(seed, report)| Some((seed, report.problem?)));
            problems.next()
        });
        let Some((seed, problem)) = noticed else {
            panic!("{mutant:?} was noticed in none of {MUTANT_SEEDS} worlds");
        };
        println!("{mutant:?}: seed {seed}: {problem}");
    }
}

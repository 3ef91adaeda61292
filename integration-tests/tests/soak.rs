//! Sessions on mixed transports for a long time, under random cuts: every byte is verified, and in
//! the end the gateway is as small as it was.
//!
//! Every day it is short; `make soak` has it run for as long as one likes (`SOAK_SESSIONS`,
//! `SOAK_SECONDS`, `PERIGEE_SEED`).

#![expect(clippy::print_stdout, reason = "a long run says what it found")]

use std::{
    env,
    fmt::Display,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use perigee_integration_tests::{
    load::{Load, Loaded},
    process::Process,
    random::seed_from_environment,
    wait::DEADLINE,
};
use tokio::time::{Instant, sleep};

/// What a gateway that has stopped has none of.
const COUNTS: [&str; 5] = [
    "sessions",
    "streams",
    "connections",
    "backends",
    "buffered_bytes",
];
/// Between two looks at the memory of a process.
const LOOK: Duration = Duration::from_millis(100);
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// What the gateway may keep of what it had at most, and what in any case: pages that a small block
/// holds.
const KEPT_PART: u64 = 5;
const KEPT: u64 = 4 * MIB;
/// By how much memory may differ from one time to the next.
const TOLERATED: u64 = 2 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_wrong_and_nothing_is_left() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seed = seed_from_environment(now.map_or(1, |now| now.as_secs()));
    let sessions = number("SOAK_SESSIONS", 48);
    let time = Duration::from_secs(number("SOAK_SECONDS", 4));
    println!("{sessions} sessions for {time:?}, PERIGEE_SEED={seed}");

    let load = Load::new(sessions, seed).await;
    let gateway = Process::start(&load.configuration()).await;
    let loaded = Arc::new(load.on(gateway.address).await);
    println!("at first: {}", held(&gateway));
    let (descriptors, first) = (gateway.descriptors(), gateway.memory());
    let peak = wave(&loaded, &gateway, time / 2).await;
    goes_down_to(descriptors, &loaded, || gateway.descriptors()).await;
    let most = first + peak / KEPT_PART + KEPT;
    let kept = goes_down_to(most, &loaded, || gateway.memory()).await;
    println!("after the first half: {}", held(&gateway));

    // As much again, and no more is left than before.
    wave(&loaded, &gateway, time / 2).await;
    goes_down_to(descriptors, &loaded, || gateway.descriptors()).await;
    goes_down_to(kept + TOLERATED, &loaded, || gateway.memory()).await;
    println!("after the second half: {}", held(&gateway));
    println!("{loaded}");
    stops_empty(gateway, &loaded, seed).await;
}

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    match env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text:?} is not a number")),
        Err(_) => default,
    }
}

/// All sessions for so long; returns the most memory that was seen.
async fn wave(loaded: &Arc<Loaded>, gateway: &Process, time: Duration) -> u64 {
    let mut wave = pin!(loaded.wave(time));
    let mut most = 0;
    loop {
        tokio::select! {
            outcome = &mut wave => match outcome {
                Ok(()) => break,
                Err(wrong) => panic!("{wrong}"),
            },
            () = sleep(LOOK) => most = most.max(gateway.memory()),
        }
    }
    println!("at most: {} MiB", most / MIB);
    most
}

/// Looks until there is no more than that, and returns what there is then. Sessions whose last word was
/// lost have to be forgotten first, and an allocator may take its time.
async fn goes_down_to<T>(most: T, loaded: &Loaded, look: impl Fn() -> T) -> T
where
    T: PartialOrd + Display,
{
    let deadline = Instant::now() + loaded.resume() + DEADLINE;
    loop {
        let seen = look();
        if seen <= most {
            return seen;
        }
        let late = Instant::now() >= deadline;
        assert!(!late, "still {seen} instead of at most {most}");
        sleep(LOOK).await;
    }
}

/// A session that nobody told of its end is over in time, long before the grace period is.
async fn stops_empty(mut gateway: Process, loaded: &Loaded, seed: u64) {
    gateway.signal("TERM");
    let deadline = Instant::now() + loaded.resume() + DEADLINE;
    while gateway.is_running() {
        assert!(Instant::now() < deadline, "seed {seed}: it does not stop");
        sleep(LOOK).await;
    }
    let status = gateway.exited().await;
    assert!(status.success(), "seed {seed}: {status}");
    let events = gateway.events();
    let stopped = events.last().expect("the gateway says so");
    assert_eq!(stopped["message"], "stopped", "seed {seed}");
    for count in COUNTS {
        assert_eq!(stopped[count], 0, "seed {seed}: {count}");
    }
    let warnings = events.iter().filter(|event| event["level"] != "INFO");
    let warnings: Vec<_> = warnings.collect();
    assert!(warnings.is_empty(), "seed {seed}: {warnings:?}");
}

fn held(gateway: &Process) -> String {
    let (memory, descriptors) = (gateway.memory(), gateway.descriptors());
    format!("{} KiB, {descriptors} descriptors", memory / KIB)
}

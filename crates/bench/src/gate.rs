//! A bound on what the gateway itself does for a message: instructions in user space, counted by
//! valgrind, which do not depend on what else the machine does.
//!
//! The same clients send a number of messages and then another number, each time through a new
//! gateway. The difference is due to the messages alone.

use std::{fs, path::Path};

use crate::{
    Result,
    load::Echo,
    measure::{self, Subject},
    run::settle_down,
    server::{Paths, Program, Server},
    wire::Kind,
};

const CLIENTS: usize = 64;
const SIZE: usize = 64;
/// Messages of the two runs.
const FEW: u64 = 1_280;
const MANY: u64 = 6_400;

/// Valgrind counts an instruction that fills or copies memory once for each byte, the processor once:
/// so the C library is told to do without.
const COUNTED: &str = "GLIBC_TUNABLES=glibc.cpu.hwcaps=-ERMS,-FSRM";

/// A way through the gateway: instructions for a message there and back that it may take, and what it should take one day.
struct Bound {
    name: &'static str,
    kind: Kind,
    most: u64,
    target: Option<u64>,
}

/// A tenth more than what was counted when they were last set, which is more than they vary by.
const BOUNDS: [Bound; 5] = [
    Bound {
        name: "plain WebSocket",
        kind: Kind::WebSocket("/ws/bench", "binary"),
        most: 11_300,
        target: Some(4_000),
    },
    Bound {
        name: "session, WebSocket",
        kind: Kind::Session,
        most: 19_500,
        target: Some(6_000),
    },
    Bound {
        name: "session, HTTP stream",
        kind: Kind::SessionStream,
        most: 70_700,
        target: None,
    },
    Bound {
        name: "session, long-poll",
        kind: Kind::SessionPoll,
        most: 126_700,
        target: None,
    },
    Bound {
        name: "IRC over WebSocket",
        kind: Kind::Irc,
        most: 18_100,
        target: None,
    },
];

pub(crate) fn run(gateway: &Path, profiles: Option<&Path>) -> Result<()> {
    let paths = Paths {
        gateway: std::path::absolute(gateway)?,
        root: std::env::current_dir()?,
    };
    if !paths.gateway.exists() {
        return Err(format!(
            "{} is missing; build it with: make build",
            gateway.display()
        )
        .into());
    }
    settle_down()?;
    let mut passed = true;
    println!("user instructions for a round trip of {SIZE} bytes, {CLIENTS} connections");
    for bound in &BOUNDS {
        let few = count(bound.kind, FEW, &paths, None)?;
        let keep = profiles.map(|folder| folder.join(bound.name.replace([' ', ','], "-")));
        let many = count(bound.kind, MANY, &paths, keep.as_deref())?;
        let each = many.saturating_sub(few) / (MANY - FEW);
        let verdict = if each > bound.most { "too many" } else { "ok" };
        let target = match bound.target {
            Some(target) if each > target => format!(", target {target} is open"),
            _ => String::new(),
        };
        println!(
            "  {:<24}{each:>8}, at most {:>8}: {verdict}{target}",
            bound.name, bound.most
        );
        passed &= each <= bound.most;
    }
    if passed {
        Ok(())
    } else {
        Err("the gateway does more for a message than before; crates/bench/src/gate.rs has the bounds, \
             and `perigee-bench gate --profiles FOLDER` says where the instructions go"
            .into())
    }
}

/// Instructions of a gateway that carried so many messages.
fn count(kind: Kind, messages: u64, paths: &Paths, keep: Option<&Path>) -> Result<u64> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("valgrind");
    let profile = keep.map_or_else(|| folder.path().join("profile"), Path::to_owned);
    let below = [
        "env".to_owned(),
        COUNTED.to_owned(),
        "valgrind".to_owned(),
        "--tool=callgrind".to_owned(),
        format!("--callgrind-out-file={}", profile.display()),
        format!("--log-file={}", log.display()),
    ];
    let backend = Server::backend()?;
    let server = Server::launch(Program::Perigee, backend.address, paths, &below)?;
    let subject = Subject {
        server: &server,
        backend: &backend,
        kind,
        slow: false,
        warms_up: false,
    };
    let mut engine = subject.engine(1)?;
    let mut load = Echo::new(SIZE, 0, 1)?;
    engine.open(CLIENTS, &mut load, measure::PATIENCE)?;
    load.set_window(1);
    load.budget = messages;
    engine.each(&mut load)?;
    engine.run(
        &mut load,
        std::time::Instant::now() + measure::PATIENCE,
        &mut |load, _| load.messages == messages,
    )?;
    measure::finish(&mut engine, &mut load)?;
    if load.messages != messages {
        return Err(format!("{} of {messages} messages came back", load.messages).into());
    }
    server.stop()?;
    let log = fs::read_to_string(log)?;
    let collected = log
        .lines()
        .find_map(|line| line.split_once("Collected :"))
        .ok_or_else(|| format!("valgrind did not say how many instructions there were: {log}"))?;
    Ok(collected.1.trim().parse()?)
}

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
    server::{self, Paths, Program, Server},
    wire::Kind,
};

const CLIENTS: usize = 64;
const SIZE: usize = 64;
/// Messages of the two runs.
const FEW: u64 = 640;
const MANY: u64 = 3_200;

/// Valgrind counts an instruction that fills or copies memory once for each byte, the processor once:
/// so the C library is told to do without.
const COUNTED: &str = "GLIBC_TUNABLES=glibc.cpu.hwcaps=-ERMS,-FSRM";

/// How the gateway was built that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Built {
    /// As everybody who tests it has it: what is executed more shows there as well, and nothing is built for it.
    ForDevelopment,
    /// As it is used: what the targets are about.
    ForProduction,
}

/// A way through the gateway, and the instructions for a message there and back that it may take.
struct Bound {
    name: &'static str,
    kind: Kind,
    development: u64,
    production: u64,
    /// What it should take one day, built for production.
    target: Option<u64>,
}

/// A tenth more than what was counted when they were last set, and a little more where another processor's way to
/// copy memory shows, which is more than they vary by.
const BOUNDS: [Bound; 7] = [
    Bound {
        name: "plain WebSocket",
        kind: Kind::WebSocket("/ws/bench", "binary"),
        development: 5_900,
        production: 3_800,
        target: Some(4_000),
    },
    Bound {
        name: "session, WebSocket",
        kind: Kind::Session,
        development: 9_500,
        production: 6_000,
        target: Some(6_000),
    },
    Bound {
        name: "session, HTTP stream",
        kind: Kind::SessionStream,
        development: 26_600,
        production: 16_700,
        target: None,
    },
    Bound {
        name: "session, long-poll",
        kind: Kind::SessionPoll,
        development: 39_900,
        production: 24_000,
        target: None,
    },
    Bound {
        name: "IRC over WebSocket",
        kind: Kind::Irc,
        development: 14_400,
        production: 9_400,
        target: None,
    },
    Bound {
        name: "STOMP over WebSocket",
        kind: Kind::Stomp,
        development: 31_200,
        production: 20_300,
        target: None,
    },
    Bound {
        name: "XMPP by BOSH",
        kind: server::BOSH,
        development: 437_000,
        production: 258_000,
        target: None,
    },
];

impl Built {
    fn path(self) -> &'static str {
        match self {
            Self::ForDevelopment => "target/debug/perigee",
            Self::ForProduction => "target/release/perigee",
        }
    }

    fn command(self) -> &'static str {
        match self {
            Self::ForDevelopment => "cargo build -p perigee-gateway",
            Self::ForProduction => "make build",
        }
    }
}

impl Bound {
    fn most(&self, built: Built) -> u64 {
        match built {
            Built::ForDevelopment => self.development,
            Built::ForProduction => self.production,
        }
    }

    /// What is not reached yet.
    fn open_target(&self, built: Built, each: u64) -> Option<u64> {
        self.target
            .filter(|target| built == Built::ForProduction && each > *target)
    }
}

pub(crate) fn run(built: Built, only: &[String], profiles: Option<&Path>) -> Result<()> {
    let paths = Paths {
        gateway: std::path::absolute(built.path())?,
        root: std::env::current_dir()?,
    };
    if !paths.gateway.exists() {
        let (path, command) = (built.path(), built.command());
        return Err(format!("{path} is missing; build it with: {command}").into());
    }
    settle_down()?;
    if let Some(folder) = profiles {
        fs::create_dir_all(folder)?;
    }
    let mut passed = true;
    println!("user instructions for a round trip of {SIZE} bytes, {CLIENTS} connections");
    let wanted =
        |bound: &&Bound| only.is_empty() || only.iter().any(|word| bound.name.contains(word));
    for bound in BOUNDS.iter().filter(wanted) {
        let few = count(bound.kind, FEW, &paths, None)?;
        let keep = profiles.map(|folder| folder.join(bound.name.replace([' ', ','], "-")));
        let many = count(bound.kind, MANY, &paths, keep.as_deref())?;
        let each = many.saturating_sub(few) / (MANY - FEW);
        let most = bound.most(built);
        let verdict = if each > most { "too many" } else { "ok" };
        let target = bound
            .open_target(built, each)
            .map_or_else(String::new, |target| format!(", target {target} is open"));
        println!(
            "  {:<24}{each:>8}, at most {most:>8}: {verdict}{target}",
            bound.name
        );
        passed &= each <= most;
    }
    if passed {
        Ok(())
    } else {
        Err("the gateway does more for a message than before; crates/bench/src/gate.rs has the bounds, \
             and `perigee-bench gate --profiles FOLDER` says where the instructions go (--development for what `make test` counts)"
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

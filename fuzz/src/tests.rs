//! Every seed that is kept, and mutations of them.
//!
//! `PERIGEE_ROUNDS=1000000` makes more of them, `PERIGEE_SEED=17` begins with the one of that number.

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use crate::{mutation::mutate, targets};

struct Target {
    name: &'static str,
    run: fn(&[u8]),
    /// Folders with seeds beside its own.
    more: &'static [&'static str],
    rounds: u64,
}

/// Beyond these the whole takes too long for every run.
const TARGETS: [Target; 9] = [
    Target {
        name: "frame",
        run: targets::frame::run,
        more: &[],
        rounds: 1_000_000,
    },
    Target {
        name: "session",
        run: targets::session::run,
        more: &["fuzz/seeds/frame"],
        rounds: 200_000,
    },
    Target {
        name: "http",
        run: targets::http::run,
        more: &[],
        rounds: 200_000,
    },
    Target {
        name: "xmpp",
        run: targets::xmpp::run,
        more: &[],
        rounds: 40_000,
    },
    Target {
        name: "irc",
        run: targets::irc::run,
        more: &[],
        rounds: 50_000,
    },
    Target {
        name: "proxies",
        run: targets::proxies::run,
        more: &[],
        rounds: 300_000,
    },
    Target {
        name: "stomp",
        run: targets::stomp::run,
        more: &[],
        rounds: 50_000,
    },
    Target {
        name: "policy",
        run: targets::policy::run,
        more: &[],
        rounds: 300_000,
    },
    Target {
        name: "config",
        run: targets::config::run,
        more: &["config", "config/invalid"],
        rounds: 10_000,
    },
];

#[test]
fn frame() {
    check("frame");
}

#[test]
fn session() {
    check("session");
}

#[test]
fn http() {
    check("http");
}

#[test]
fn xmpp() {
    check("xmpp");
}

#[test]
fn stomp() {
    check("stomp");
}

#[test]
fn irc() {
    check("irc");
}

#[test]
fn proxies() {
    check("proxies");
}

#[test]
fn policy() {
    check("policy");
}

#[test]
fn config() {
    check("config");
}

fn check(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.expect("it is in the table");
    let folders = [format!("fuzz/seeds/{name}")];
    let folders = folders
        .iter()
        .map(String::as_str)
        .chain(target.more.iter().copied());
    let seeds: Vec<(PathBuf, Vec<u8>)> = folders.flat_map(files).collect();
    for (path, seed) in &seeds {
        judge(target.run, seed, || path.display().to_string());
    }
    let seeds: Vec<Vec<u8>> = seeds.into_iter().map(|(_, seed)| seed).collect();
    let tokens = dictionary(name);
    let first = number("PERIGEE_SEED").unwrap_or(0);
    let rounds = number("PERIGEE_ROUNDS").unwrap_or(target.rounds);
    for seed in (0..rounds).map(|round| first.wrapping_add(round)) {
        let input = mutate(seed, &seeds, &tokens);
        let again =
            || format!("PERIGEE_SEED={seed} PERIGEE_ROUNDS=1 cargo test -p perigee-fuzz {name}");
        judge(target.run, &input, again);
    }
}

fn judge(run: fn(&[u8]), input: &[u8], again: impl Fn() -> String) {
    // What went wrong is printed before this.
    if catch_unwind(AssertUnwindSafe(|| run(input))).is_err() {
        panic!(
            "the input was b\"{}\"\n  again: {}",
            input.escape_ascii(),
            again()
        );
    }
}

/// All files of a folder, in the order of their names.
fn files(folder: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let entries =
        fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a name").path()).collect();
    paths.sort();
    paths.retain(|path| path.is_file());
    assert!(!paths.is_empty(), "{folder} has no seeds");
    paths
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).expect("a seed")))
        .collect()
}

/// The tokens of a dictionary, in libFuzzer's format: each in quotes on a line of its own.
fn dictionary(name: &str) -> Vec<Vec<u8>> {
    let path = root().join(format!("fuzz/dictionaries/{name}.dict"));
    let text = fs::read_to_string(&path).expect("a dictionary");
    let tokens: Vec<Vec<u8>> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| token(line).unwrap_or_else(|| panic!("{name}.dict: {line}")))
        .collect();
    assert!(!tokens.is_empty(), "{name}.dict has no tokens");
    tokens
}

fn token(line: &str) -> Option<Vec<u8>> {
    let mut rest = line.strip_prefix('"')?.strip_suffix('"')?;
    let mut token = Vec::new();
    while let Some(c) = rest.chars().next() {
        let (byte, used) = match rest.strip_prefix("\\x") {
            Some(hex) => (u8::from_str_radix(hex.get(..2)?, 16).ok()?, 4),
            None => (u8::try_from(c).ok().filter(|_| c != '\\')?, 1),
        };
        token.push(byte);
        rest = &rest[used..];
    }
    Some(token).filter(|token| !token.is_empty())
}

fn number(variable: &str) -> Option<u64> {
    let value = env::var(variable).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable}={value:?} is not a number")))
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn every_target_is_in_the_table_and_has_what_it_needs() {
    let mut built = files("fuzz/libfuzzer/fuzz_targets");
    let names = built
        .iter_mut()
        .map(|(path, _)| path.file_stem().expect("a name").display().to_string());
    let mut known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    known.sort_unstable();
    assert_eq!(names.collect::<Vec<_>>(), known);
    for folder in ["fuzz/seeds", "fuzz/dictionaries"] {
        let entries = fs::read_dir(root().join(folder)).expect("a folder");
        let mut names: Vec<PathBuf> = entries.map(|entry| entry.expect("a name").path()).collect();
        names.sort();
        let stems: Vec<_> = names
            .iter()
            .filter_map(|path| path.file_stem()?.to_str())
            .collect();
        assert_eq!(stems, known, "{folder}");
    }
}

/// Whether it shows with an input.
type Mistake = dyn Fn(&[u8]) -> bool;

/// Mistakes of the kinds that decoders have, each found by changes of one kind.
#[test]
fn mutations_find_mistakes() {
    const ROUNDS: u64 = 20_000;
    let seeds = [
        b"length 12, kind A, \x00\x00\x00\x05hello".to_vec(),
        b"kind B and a tail".to_vec(),
    ];
    let tokens = [b"magic".to_vec()];
    let mistakes: [(&str, &Mistake); 7] = [
        ("nothing at all", &|input| input.is_empty()),
        ("cut before its end", &|input| input.ends_with(b"\x05hel")),
        ("a number in digits that is too large", &|input| {
            has(input, b"length 18446744073709551615,")
        }),
        ("a length in bytes that is too large", &|input| {
            has(input, b"\xff\xff\xff\xffhello")
        }),
        ("a token inside", &|input| has(input, b"\x05magic")),
        ("one and then the other", &|input| {
            has(input, b"kind A") && input.ends_with(b" and a tail")
        }),
        ("a field twice", &|input| {
            input.windows(4).filter(|part| part == b"kind").count() == 2
        }),
    ];
    for (name, wrong) in mistakes {
        let found = (0..ROUNDS).any(|seed| wrong(&mutate(seed, &seeds, &tokens)));
        assert!(found, "{name}");
        assert!(
            !seeds.iter().any(|seed| wrong(seed)),
            "{name}: without a change"
        );
    }
}

fn has(input: &[u8], what: &[u8]) -> bool {
    input.windows(what.len()).any(|part| part == what)
}

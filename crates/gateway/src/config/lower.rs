//! From the file's shape to the runtime shape: defaults, ranges, and what keys demand of each other.
//!
//! Every function reports what is wrong and returns something usable, so that the next one can report too;
//! the result counts only if nothing was reported.

mod backends;
mod listeners;
mod rules;
mod services;
mod settings;
mod users;

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
};

use ipnet::IpNet;

use super::{
    Config, Legacy, Log, LogFormat, TlsFiles, TlsFilesError, defaults,
    document::List,
    file::{File, LegacyFile, LogFile},
    memory,
    problem::{At, Problems},
    suggest::nearest,
};
use crate::policy::{ForwardedHeader, Host, Malformed, Origin, Policy, parse_range, quote};

/// What a configuration depends on beyond its text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings {
    pub(super) cores: usize,
    pub(super) memory_bytes: u64,
    pub(super) is_file: fn(&Path) -> bool,
    pub(super) check_tls: fn(&TlsFiles) -> Result<(), TlsFilesError>,
    pub(super) read: fn(&Path) -> io::Result<String>,
}

impl Surroundings {
    pub(super) fn of_this_machine() -> Self {
        Self {
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory::total_bytes(),
            is_file: Path::is_file,
            check_tls: |files| files.load().map(drop),
            read: |path| fs::read_to_string(path),
        }
    }
}

/// Lowers a whole file. Relative paths in it start at `folder`.
pub(super) fn lower(
    file: &File,
    folder: &Path,
    surroundings: Surroundings,
    problems: &mut Problems,
) -> Config {
    let (timeouts, dial) = settings::timeouts(file.timeouts.as_ref(), problems);
    let users = users::users(file, problems);
    let (allow, deny) = rules::rules(file, problems);
    let resolve = |path: &str| -> Option<PathBuf> {
        let path = folder.join(path);
        (surroundings.is_file)(&path).then_some(path)
    };
    let backends = backends::backends(file, dial, &resolve, surroundings, problems);
    let workers = settings::count(file.workers.as_ref(), defaults::WORKERS, problems);
    Config {
        node: node(file.node.as_ref(), problems),
        workers: if workers == 0 {
            surroundings.cores
        } else {
            workers
        },
        trusted_proxies: ranges(file.trusted_proxies.as_ref(), parse_range, problems),
        forwarded_header: one_of(file.forwarded_header.as_ref(), &FORWARDED_HEADERS, problems),
        server_names: server_names(file.server_names.as_ref(), problems),
        public_url: file
            .public_url
            .as_ref()
            .and_then(|at| parsed(at, parse_public_url, problems)),
        listeners: listeners::listeners(
            file.listener.as_ref().map_or(&[], |tables| &tables.0),
            file.trusted_proxies
                .as_ref()
                .is_some_and(|list| !list.items.is_empty()),
            folder,
            surroundings.check_tls,
            problems,
        ),
        policy: Policy {
            backends,
            allow,
            deny,
            dial,
            users: users.into(),
        },
        limits: settings::limits(file.limits.as_ref(), surroundings.memory_bytes, problems),
        timeouts,
        legacy: legacy(file.legacy.as_ref()),
        log: log(file.log.as_ref(), problems),
        warnings: Vec::new(),
    }
}

/// Where clients find the gateway: what a page's origin would be.
fn parse_public_url(text: &str) -> Result<Origin, Malformed> {
    let form = "write https://, the host and, if it is not 443, the port";
    let origin: Origin = text
        .parse()
        .map_err(|_| Malformed::new("is not where clients could find the gateway", form))?;
    if !matches!(&*origin.scheme, "http" | "https") {
        return Err(Malformed::new("is neither http nor https", form));
    }
    Ok(origin)
}

/// In lower case, as HTTP/2 sends them.
const FORWARDED_HEADERS: [(&str, ForwardedHeader); 2] = [
    ("x-forwarded-for", ForwardedHeader::XForwardedFor),
    ("forwarded", ForwardedHeader::Forwarded),
];

fn node(node: Option<&At<String>>, problems: &mut Problems) -> String {
    let Some(node) = node else {
        return defaults::NODE.to_owned();
    };
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !(1..=16).contains(&node.value.len()) || !node.value.chars().all(known) {
        problems.malformed(
            node,
            &Malformed::new("is not a node id", "use 1 to 16 of a-z and 0-9"),
        );
    }
    node.value.clone()
}

fn server_names(list: Option<&List<String>>, problems: &mut Problems) -> Vec<Host> {
    let server_name = |text: &str| match text.split_once(':') {
        Some((_, rest)) if rest.starts_with("//") => {
            Err(Malformed::new("is a URL", "write its host alone"))
        }
        Some((_, port)) if !port.contains(':') => Err(Malformed::new(
            "has a port",
            "write the host alone, which stands for all its ports",
        )),
        _ => canonical(text),
    };
    list.map_or(&[][..], |list| &list.items)
        .iter()
        .filter_map(|item| parsed(item, server_name, problems))
        .collect()
}

fn legacy(file: Option<&LegacyFile>) -> Legacy {
    let on = |key: fn(&LegacyFile) -> &Option<At<bool>>| {
        file.and_then(|file| key(file).as_ref())
            .is_some_and(|at| at.value)
    };
    Legacy {
        htmlfile: on(|file| &file.htmlfile),
        jsonp: on(|file| &file.jsonp),
    }
}

fn log(log: Option<&LogFile>, problems: &mut Problems) -> Log {
    const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    const LEVELS: [(&str, tracing::Level); 5] = [
        ("info", tracing::Level::INFO),
        ("error", tracing::Level::ERROR),
        ("warn", tracing::Level::WARN),
        ("debug", tracing::Level::DEBUG),
        ("trace", tracing::Level::TRACE),
    ];
    Log {
        format: one_of(log.and_then(|log| log.format.as_ref()), &FORMATS, problems),
        level: one_of(log.and_then(|log| log.level.as_ref()), &LEVELS, problems),
    }
}

/// One word of a list, the first being the default.
fn one_of<T: Copy>(at: Option<&At<String>>, words: &[(&str, T)], problems: &mut Problems) -> T {
    let default = words[0].1;
    let Some(at) = at else {
        return default;
    };
    if let Some(&(_, value)) = words.iter().find(|(word, _)| *word == at.value) {
        return value;
    }
    let known = words.iter().map(|&(word, _)| word);
    let remedy = match nearest(&at.value, known.clone()) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => format!(
            "write one of {}",
            known.map(quote).collect::<Vec<_>>().join(", ")
        ),
    };
    problems.malformed(at, &Malformed::new("is not known here", remedy));
    default
}

/// Address ranges, read by `parse`; those that cannot be read are left out.
fn ranges(
    list: Option<&List<String>>,
    parse: impl Fn(&str) -> Result<IpNet, Malformed>,
    problems: &mut Problems,
) -> Vec<IpNet> {
    let items = list.map_or(&[][..], |list| &list.items);
    items
        .iter()
        .filter_map(|item| parsed(item, &parse, problems))
        .collect()
}

/// Reads a text, reporting if that fails.
fn parsed<T>(
    at: &At<String>,
    parse: impl Fn(&str) -> Result<T, Malformed>,
    problems: &mut Problems,
) -> Option<T> {
    parse(&at.value)
        .map_err(|why| problems.malformed(at, &why))
        .ok()
}

/// Reads a text that must be written in the form that is compared: a reader of the file sees what the gateway sees.
fn canonical<T>(text: &str) -> Result<T, Malformed>
where
    T: std::str::FromStr<Err = Malformed> + ToString,
{
    let value: T = text.parse()?;
    let form = value.to_string();
    if form == text {
        return Ok(value);
    }
    Err(Malformed::new(
        "is not in the form that is compared",
        format!("write {}", quote(&form)),
    ))
}

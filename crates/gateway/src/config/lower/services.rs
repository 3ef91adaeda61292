//! `service`, `tunnel` and the tables of services in `[backend.NAME]`.

mod irc;

use std::path::{Path, PathBuf};

use super::{
    super::{
        document::Table,
        file::BackendFile,
        problem::{At, Place, Problems},
    },
    Surroundings, parsed,
};
use crate::policy::{Malformed, Secret, ServiceName, ServiceSettings};

/// What a backend speaks, and whether it can be tunnelled to.
pub(super) fn service(
    table: &BackendFile,
    resolve: &dyn Fn(&str) -> Option<PathBuf>,
    surroundings: Surroundings,
    problems: &mut Problems,
) -> (Option<ServiceSettings>, bool) {
    let name = table
        .service
        .as_ref()
        .and_then(|at| parsed(at, service_name, problems));
    let files = Files {
        resolve,
        read: surroundings.read,
    };
    let irc = irc::irc(table.irc.as_ref().map(Table::shape), &files, problems);
    let service = name.map(|name| match name {
        Spoken::Irc => ServiceSettings::Irc(irc),
    });
    let tables = [(Spoken::Irc, "irc", table.irc.as_ref().map(Table::place))];
    for (of, word, place) in tables {
        if let Some(place) = place
            && name != Some(of)
        {
            has_no_effect(table, (word, place), problems);
        }
    }
    let tunnel = match &table.tunnel {
        Some(at) => {
            if !at.value && table.service.is_none() {
                problems.report(
                    &at.place,
                    "leaves no way to reach the backend",
                    "add a service, or remove it",
                );
            }
            at.value
        }
        None => service.is_none(),
    };
    (service, tunnel)
}

/// A table of a service that the backend has not.
fn has_no_effect(table: &BackendFile, (word, place): (&str, &Place), problems: &mut Problems) {
    let remedy = match &table.service {
        Some(at) if at.value == word => return,
        Some(_) => "remove it, or change the service".to_owned(),
        None => format!("add service = \"{word}\" to the backend, or remove it"),
    };
    problems.report(place, "has no effect without its service", remedy);
}

/// The services that a backend may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Irc,
}

fn service_name(text: &str) -> Result<Spoken, Malformed> {
    match text.parse() {
        Ok(ServiceName::Irc) => Ok(Spoken::Irc),
        _ => Err(Malformed::new("is not a service", "write \"irc\"")),
    }
}

/// How files that a service needs are read.
struct Files<'a> {
    resolve: &'a dyn Fn(&str) -> Option<PathBuf>,
    read: fn(&Path) -> std::io::Result<String>,
}

impl Files<'_> {
    /// The first line of a file.
    fn secret(&self, at: &At<String>, problems: &mut Problems) -> Option<Secret> {
        let Some(path) = (self.resolve)(&at.value) else {
            let why = Malformed::new(
                "is no file that can be found",
                "write its path, relative to this file",
            );
            problems.malformed(at, &why);
            return None;
        };
        let text = match (self.read)(&path) {
            Ok(text) => text,
            Err(error) => {
                let why = Malformed::new(
                    format!("cannot be read: {error}"),
                    "check its permissions, and that it is text",
                );
                problems.malformed(at, &why);
                return None;
            }
        };
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        Some(Secret::new(line))
    }
}

/// A text, or its default.
fn text(
    at: Option<&At<String>>,
    default: &str,
    check: impl Fn(&str) -> Result<(), Malformed>,
    problems: &mut Problems,
) -> String {
    let Some(at) = at else {
        return default.to_owned();
    };
    if let Err(why) = check(&at.value) {
        problems.malformed(at, &why);
        return default.to_owned();
    }
    at.value.clone()
}

//! `service`, `tunnel` and the tables of services in `[backend.NAME]`.

mod irc;
mod stomp;
mod xmpp;

use std::path::{Path, PathBuf};

pub(super) use self::xmpp::Xmpp;
use super::{
    super::{
        document::Table,
        file::BackendFile,
        problem::{At, Place, Problems},
    },
    Surroundings, parsed,
};
use crate::policy::{
    BackendAddress, Malformed, Secret, ServiceName, ServiceSettings, XmppSettings,
};

/// What a backend speaks, and whether it can be tunnelled to.
pub(super) fn service(
    table: &BackendFile,
    xmpp: Option<XmppSettings>,
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
    let stomp = table.stomp.as_ref();
    let stomp = stomp.map(|table| (table.shape(), table.place()));
    let stomp = stomp::stomp(stomp, &files, problems);
    let service = name.and_then(|name| match name {
        Spoken::Irc => Some(ServiceSettings::Irc(irc)),
        Spoken::Xmpp => xmpp.map(ServiceSettings::Xmpp),
        Spoken::Stomp => Some(ServiceSettings::Stomp(stomp)),
    });
    let tables = [
        (Spoken::Irc, "irc", table.irc.as_ref().map(Table::place)),
        (Spoken::Xmpp, "xmpp", table.xmpp.as_ref().map(Table::place)),
        (
            Spoken::Stomp,
            "stomp",
            table.stomp.as_ref().map(Table::place),
        ),
    ];
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

/// Whether the gateway serves a page for it.
pub(super) fn page(table: &BackendFile, problems: &mut Problems) -> bool {
    match &table.page {
        Some(at) if at.value && table.service.is_none() => {
            problems.report(
                &at.place,
                "has no effect without a service, as there is a page for each",
                "add a service, or remove it",
            );
            false
        }
        Some(at) => at.value,
        None => false,
    }
}

/// What a backend that speaks XMPP has to say before it is known how its connection is secured.
pub(super) fn xmpp(
    place: &Place,
    table: &BackendFile,
    address: Option<&BackendAddress>,
    problems: &mut Problems,
) -> Option<Xmpp> {
    let is_xmpp = table.service.as_ref().is_some_and(|at| at.value == "xmpp");
    is_xmpp.then(|| Xmpp::read(place, table, address, problems))
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
    Xmpp,
    Stomp,
}

fn service_name(text: &str) -> Result<Spoken, Malformed> {
    match text.parse() {
        Ok(ServiceName::Irc) => Ok(Spoken::Irc),
        Ok(ServiceName::Xmpp) => Ok(Spoken::Xmpp),
        Ok(ServiceName::Stomp) => Ok(Spoken::Stomp),
        _ => Err(Malformed::new(
            "is not a service",
            "write \"irc\", \"xmpp\" or \"stomp\"",
        )),
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

//! `[backend.NAME]`.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use super::{
    super::{
        defaults,
        file::{BackendFile, File},
        problem::{At, Problems},
    },
    Surroundings, canonical, parsed, ranges, services, settings,
};
use crate::policy::{
    Backend, BackendAddress, BackendName, BackendTls, DialDefaults, Host, HostPort, Malformed,
    parse_network,
};

/// Lowers all backends; those without a usable name or address are left out.
pub(super) fn backends(
    file: &File,
    dial: DialDefaults,
    resolve: &dyn Fn(&str) -> Option<PathBuf>,
    surroundings: Surroundings,
    problems: &mut Problems,
) -> BTreeMap<BackendName, Arc<Backend>> {
    let mut backends = BTreeMap::new();
    for (name, table) in file.backend.as_ref().map_or(&[][..], |named| &named.0) {
        let parsed_name = parsed(name, canonical::<BackendName>, problems);
        let backend = backend(name, table, dial, resolve, surroundings, problems);
        if let (Some(name), Some(backend)) = (parsed_name, backend) {
            backends.insert(name, Arc::new(backend));
        }
    }
    backends
}

fn backend(
    name: &At<String>,
    table: &BackendFile,
    dial: DialDefaults,
    resolve: &dyn Fn(&str) -> Option<PathBuf>,
    surroundings: Surroundings,
    problems: &mut Problems,
) -> Option<Backend> {
    let networks = ranges(table.networks.as_ref(), parse_network, problems);
    let mut set = |at: Option<&At<Duration>>, setting, inherited| match at {
        Some(_) => settings::duration(at, setting, problems),
        None => inherited,
    };
    let connect_timeout = set(
        table.connect_timeout.as_ref(),
        defaults::CONNECT,
        dial.connect_timeout,
    );
    let resume_timeout = set(
        table.resume_timeout.as_ref(),
        defaults::RESUME,
        dial.resume_timeout,
    );
    let tcp_keepalive = set(
        table.tcp_keepalive.as_ref(),
        defaults::TCP_KEEPALIVE,
        dial.tcp_keepalive,
    );
    let Some(at) = &table.address else {
        let place = name.place.missing("address");
        problems.missing(
            &place,
            "is missing",
            "write address = \"host:port\" or \"unix:/path\"",
        );
        return None;
    };
    let address = parsed(at, parse_address, problems);
    let xmpp = services::xmpp(&name.place, table, address.as_ref(), problems);
    let tls = tls(table, address.as_ref(), xmpp.as_ref(), resolve, problems);
    let (tls, starttls) = match &xmpp {
        Some(xmpp) if xmpp.starttls => (None, tls),
        _ => (tls, None),
    };
    let xmpp = xmpp.and_then(|xmpp| xmpp.settle(starttls));
    let (service, tunnel) = services::service(table, xmpp, resolve, surroundings, problems);
    let page = services::page(table, problems);
    let backend = Backend {
        name: name.value.as_str().into(),
        address: address?,
        tls,
        service,
        tunnel,
        page,
        networks,
        connect_timeout,
        resume_timeout,
        tcp_keepalive,
    };
    if let BackendAddress::Tcp(HostPort {
        host: Host::Address(literal),
        ..
    }) = &backend.address
        && let Err(forbidden) = backend.check(*literal)
    {
        let (why, remedy) = forbidden.why.problem_and_remedy();
        problems.malformed(at, &Malformed::new(why, remedy));
    }
    Some(backend)
}

fn parse_address(text: &str) -> Result<BackendAddress, Malformed> {
    let Some(path) = text.strip_prefix("unix:") else {
        return canonical(text).map(BackendAddress::Tcp);
    };
    if !path.starts_with('/') || path.len() > UNIX_PATH_BYTES || path.contains('\0') {
        return Err(Malformed::new(
            "is not the path of a Unix socket",
            "write unix: and an absolute path of at most 107 bytes",
        ));
    }
    Ok(BackendAddress::Unix(path.into()))
}

fn tls(
    table: &BackendFile,
    address: Option<&BackendAddress>,
    xmpp: Option<&services::Xmpp>,
    resolve: &dyn Fn(&str) -> Option<PathBuf>,
    problems: &mut Problems,
) -> Option<BackendTls> {
    let name = table
        .tls_name
        .as_ref()
        .map(|at| parsed(at, canonical::<Host>, problems));
    let ca = table.tls_ca.as_ref().and_then(|at| {
        let path = resolve(&at.value);
        if path.is_none() {
            problems.malformed(
                at,
                &Malformed::new(
                    "is no file that can be found",
                    "write its path, relative to this file",
                ),
            );
        }
        path
    });
    let starttls = xmpp.is_some_and(|xmpp| xmpp.starttls);
    if !starttls && !table.tls.as_ref().is_some_and(|at| at.value) {
        for at in [&table.tls_name, &table.tls_ca].into_iter().flatten() {
            problems.report(
                &at.place,
                "has no effect without TLS",
                "add tls = true, or remove it",
            );
        }
        return None;
    }
    if let (Some(BackendAddress::Unix(_)), Some(at)) = (address, &table.tls) {
        problems.report(
            &at.place,
            "has no effect on a Unix socket, whose bytes do not leave the machine",
            "remove it",
        );
        return None;
    }
    // A server of XMPP proves that it is its domain's, wherever it stands (RFC 6120 §13.7.2).
    let of_domain = xmpp.and_then(services::Xmpp::certified).map(Some);
    let name = match (name.or(of_domain), address) {
        (Some(name), _) => name,
        (None, Some(BackendAddress::Tcp(address))) => Some(address.host.clone()),
        (None, Some(BackendAddress::Unix(_)) | None) => None,
    };
    name.map(|name| BackendTls { name, ca })
}

/// What `sockaddr_un` holds (unix(7)), less its final NUL.
const UNIX_PATH_BYTES: usize = 107;

//! `[[listener]]`.

use std::{net::SocketAddr, path::Path};

use super::super::{
    Listener, TlsFiles, TlsFilesError, defaults,
    file::ListenerFile,
    problem::{At, Place, Problems},
};
use crate::policy::Malformed;

/// Reads the files of a TLS listener to see whether they can be used.
pub(super) type CheckTls = fn(&TlsFiles) -> Result<(), TlsFilesError>;

/// Lowers all listeners; without any there is the default one. Relative paths start at `folder`.
pub(super) fn listeners(
    tables: &[At<ListenerFile>],
    has_trusted_proxies: bool,
    folder: &Path,
    check_tls: CheckTls,
    problems: &mut Problems,
) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    for table in tables {
        let tls = tls(&table.place, &table.value, folder, check_tls, problems);
        let webtransport = table.value.webtransport.as_ref();
        if let Some(at) = webtransport.filter(|at| at.value && tls.is_none()) {
            problems.report(
                &at.place,
                "needs TLS",
                "name the listener's tls_certificate and tls_key",
            );
        }
        let proxy_protocol = match &table.value.proxy_protocol {
            Some(at) if at.value && !has_trusted_proxies => {
                problems.report(
                    &at.place,
                    "would refuse every connection, as no proxy is trusted",
                    "list the proxy's address in trusted_proxies",
                );
                true
            }
            at => at.as_ref().is_some_and(|at| at.value),
        };
        let reuse_port = table.value.reuse_port.as_ref().is_some_and(|at| at.value);
        let Some(at) = &table.value.address else {
            problems.missing(
                &table.place.missing("address"),
                "is missing",
                "write address = \"127.0.0.1:8000\"",
            );
            continue;
        };
        match parse_address(&at.value) {
            Ok(address)
                if address.port() != 0
                    && listeners.iter().any(|other| other.address == address) =>
            {
                problems.malformed(
                    at,
                    &Malformed::new("is listed twice", "keep one of the two"),
                );
            }
            Ok(address) if address.port() == 0 && reuse_port => problems.malformed(
                at,
                &Malformed::new(
                    "is a port of its own for each process, which reuse_port wants to share",
                    "write the port that they share",
                ),
            ),
            Ok(address) => listeners.push(Listener {
                address,
                proxy_protocol,
                tls,
                webtransport: webtransport.is_some_and(|at| at.value),
                reuse_port,
            }),
            Err(why) => problems.malformed(at, &why),
        }
    }
    if listeners.is_empty() {
        listeners.push(Listener {
            address: defaults::LISTENER,
            proxy_protocol: false,
            tls: None,
            webtransport: false,
            reuse_port: false,
        });
    }
    listeners
}

fn parse_address(text: &str) -> Result<SocketAddr, Malformed> {
    match text.parse::<SocketAddr>() {
        Ok(address) => Ok(address),
        Err(_) if text.starts_with([':', '*']) => Err(Malformed::new(
            "has no address in front of the port",
            "write 0.0.0.0 or [::] for every interface, 127.0.0.1 for this machine only",
        )),
        Err(_) => Err(Malformed::new(
            "is not an address and port",
            "write ip:port, such as 127.0.0.1:8000 or [::]:8000",
        )),
    }
}

fn tls(
    place: &Place,
    table: &ListenerFile,
    folder: &Path,
    check: CheckTls,
    problems: &mut Problems,
) -> Option<TlsFiles> {
    let (certificate, key) = match (&table.tls_certificate, &table.tls_key) {
        (None, None) => return None,
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(_), None) => {
            let missing = place.missing("tls_key");
            problems.missing(&missing, "is missing", "name the certificate's key");
            return None;
        }
        (None, Some(_)) => {
            let missing = place.missing("tls_certificate");
            problems.missing(&missing, "is missing", "name the key's certificate");
            return None;
        }
    };
    let files = TlsFiles {
        certificate: folder.join(&certificate.value),
        key: folder.join(&key.value),
    };
    if let Err(error) = check(&files) {
        let at = if error.is_key { key } else { certificate };
        problems.malformed(at, &error.why);
    }
    Some(files)
}

//! `[backend.NAME.xmpp]`.

use super::{
    super::{
        super::{
            defaults,
            file::{BackendFile, XmppFile},
            problem::{Place, Problems},
        },
        one_of, parsed, settings,
    },
    Table,
};
use crate::policy::{BackendAddress, BackendTls, Host, HostPort, Malformed, XmppSettings};

/// What the table says, before it is known how the connection is secured.
#[derive(Debug)]
pub(in super::super) struct Xmpp {
    domain: Option<String>,
    pub(in super::super) starttls: bool,
    max_stanza_bytes: usize,
}

impl Xmpp {
    /// Lowers the table of a backend that speaks XMPP.
    pub(in super::super) fn read(
        place: &Place,
        table: &BackendFile,
        address: Option<&BackendAddress>,
        problems: &mut Problems,
    ) -> Self {
        let empty = XmppFile::default();
        let file = table.xmpp.as_ref().map_or(&empty, Table::shape);
        let domain = match (&file.domain, address) {
            (Some(at), _) => parsed(at, parse_domain, problems),
            (None, Some(BackendAddress::Tcp(HostPort { host, .. }))) if is_name(host) => {
                Some(host.to_string())
            }
            (None, Some(_)) => {
                let problem = "is missing, as the address has no name that could be the domain's";
                let remedy = "write the domain of its users, the part behind @";
                problems.missing(&place.missing("xmpp").missing("domain"), problem, remedy);
                None
            }
            (None, None) => None,
        };
        Self {
            domain,
            starttls: starttls(table, file, address, problems),
            max_stanza_bytes: usize::try_from(settings::size(
                file.max_stanza.as_ref(),
                defaults::XMPP_MAX_STANZA,
                problems,
            ))
            .unwrap_or(usize::MAX),
        }
    }

    /// The name that the server's certificate is for, unless another is written.
    pub(in super::super) fn certified(&self) -> Option<Host> {
        self.domain.as_ref()?.parse().ok()
    }

    /// With what STARTTLS needs, if it is to be.
    pub(in super::super) fn settle(self, starttls: Option<BackendTls>) -> Option<XmppSettings> {
        Some(XmppSettings {
            domain: self.domain?.into(),
            starttls,
            max_stanza_bytes: self.max_stanza_bytes,
        })
    }
}

/// Whether the gateway asks for TLS: always where the connection has none and leaves this machine by a socket,
/// unless the operator says otherwise, and is warned.
fn starttls(
    table: &BackendFile,
    file: &XmppFile,
    address: Option<&BackendAddress>,
    problems: &mut Problems,
) -> bool {
    let written = file.starttls.as_ref();
    let is_wanted = one_of(written, &[("required", true), ("off", false)], problems);
    let useless = if table.tls.as_ref().is_some_and(|at| at.value) {
        Some(("has no effect with tls = true", "remove one of the two"))
    } else if matches!(address, Some(BackendAddress::Unix(_))) {
        Some((
            "has no effect on a Unix socket, whose bytes do not leave the machine",
            "remove it",
        ))
    } else {
        None
    };
    if let Some((problem, remedy)) = useless {
        if let Some(at) = written {
            problems.report(&at.place, problem, remedy);
        }
        return false;
    }
    let is_here = match address {
        Some(BackendAddress::Tcp(HostPort { host, .. })) => match host {
            Host::Address(address) => address.is_loopback(),
            Host::Name(name) => name.is_localhost(),
        },
        Some(BackendAddress::Unix(_)) | None => true,
    };
    if let Some(at) = written
        && !is_wanted
        && !is_here
    {
        problems.warn(
            &at.place,
            "sends passwords and messages over the network as they are",
            "write \"required\" if the server offers STARTTLS",
        );
    }
    is_wanted
}

fn is_name(host: &Host) -> bool {
    matches!(host, Host::Name(_))
}

fn parse_domain(text: &str) -> Result<String, Malformed> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "\"&'/<>@".contains(c);
    if text.is_empty() || text.len() > DOMAIN_BYTES || text.contains(odd) {
        return Err(Malformed::new(
            "is not a domain of XMPP",
            "write the part behind @ of its users' addresses",
        ));
    }
    Ok(text.to_owned())
}

/// What a part of an XMPP address holds (RFC 7622 §3.1).
const DOMAIN_BYTES: usize = 1023;

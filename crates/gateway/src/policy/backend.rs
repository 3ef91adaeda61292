//! Where a connection goes, and which addresses its name may turn out to be.
//!
//! Knows nothing of clients. Resolving and dialling is done elsewhere, with the addresses that [`Permit::check_answers`](super::Permit::check_answers) returned.
//!
//! Invariant: an address that is not on the public internet is used only if the configuration names it.

use std::{fmt, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    address::{AddressClass, classify},
    host::Host,
    service::{ServiceName, ServiceSettings},
    target::HostPort,
};

/// A TCP server that policy may let a client reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// The name in the configuration, or the canonical `host:port` the client asked for.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: BackendAddress,
    /// TLS to the backend; `None` for plain TCP.
    pub tls: Option<BackendTls>,
    /// What it speaks; without, it can be tunnelled to only.
    pub service: Option<ServiceSettings>,
    /// Whether it can be tunnelled to, past its service. Default: if it has none.
    pub tunnel: bool,
    /// Whether the gateway serves a page for it; never without a service. Default no.
    pub page: bool,
    /// Ranges beyond the public internet that the name may resolve into.
    pub networks: Vec<IpNet>,
    /// Time to resolve, connect and finish TLS, all together.
    pub connect_timeout: Duration,
    /// How long a stream survives without an attachment; 0 ends it with its transport.
    pub resume_timeout: Duration,
    /// Idle time before the first TCP keepalive probe.
    pub tcp_keepalive: Duration,
}

/// Where a backend listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendAddress {
    /// TCP.
    Tcp(HostPort),
    /// A Unix domain socket.
    Unix(PathBuf),
}

impl fmt::Display for BackendAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How a backend proves who it is. There is no setting that skips the proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendTls {
    /// The name (or address) its certificate must be for; sent as SNI if it is a name.
    pub name: Host,
    /// A PEM file with the roots to trust in place of the system's.
    pub ca: Option<PathBuf>,
}

impl Backend {
    /// How it is to be secured on request of the gateway, where clients use it in this way.
    pub(crate) fn starttls(&self, service: ServiceName) -> Option<(&str, &BackendTls)> {
        match &self.service {
            Some(ServiceSettings::Xmpp(settings)) if service == ServiceName::Xmpp => {
                let tls = settings.starttls.as_ref()?;
                Some((&settings.domain, tls))
            }
            _ => None,
        }
    }

    /// Each set of roots that it needs.
    pub(crate) fn every_tls(&self) -> impl Iterator<Item = &BackendTls> {
        let of_service = self.starttls(ServiceName::Xmpp).map(|(_, tls)| tls);
        self.tls.iter().chain(of_service)
    }

    /// Whether clients may use it in this way.
    pub fn offers(&self, service: ServiceName) -> bool {
        match service {
            ServiceName::Tunnel => self.tunnel,
            ServiceName::Irc | ServiceName::Xmpp | ServiceName::Stomp => self
                .service
                .as_ref()
                .is_some_and(|settings| settings.name() == service),
        }
    }

    /// Whether the configuration lets this backend's name be this address.
    pub(crate) fn check(&self, address: IpAddr) -> Result<(), ForbiddenAddress> {
        if is_permitted(address, &self.networks, || self.is_meant_by_host(address)) {
            return Ok(());
        }
        let why = Forbidden::Class(classify(address));
        Err(ForbiddenAddress {
            backend: Arc::clone(&self.name),
            address,
            why,
        })
    }

    /// Whether the host itself says this address: as a literal, or as `localhost`.
    fn is_meant_by_host(&self, address: IpAddr) -> bool {
        match &self.address {
            BackendAddress::Tcp(HostPort {
                host: Host::Address(literal),
                ..
            }) => *literal == address,
            BackendAddress::Tcp(HostPort {
                host: Host::Name(name),
                ..
            }) => name.is_localhost() && is_this_machine(address),
            BackendAddress::Unix(_) => false,
        }
    }
}

/// The one rule about addresses: public ones are free, others must be named, and metadata services by their exact address in `networks`.
pub(super) fn is_permitted(
    address: IpAddr,
    networks: &[IpNet],
    is_named: impl FnOnce() -> bool,
) -> bool {
    match classify(address) {
        AddressClass::Global => true,
        AddressClass::Metadata => networks.contains(&IpNet::from(address)),
        AddressClass::Unspecified | AddressClass::Multicast => false,
        AddressClass::Loopback
        | AddressClass::Private
        | AddressClass::LinkLocal
        | AddressClass::Cgnat
        | AddressClass::Documentation
        | AddressClass::Reserved => networks.iter().any(|net| net.contains(&address)) || is_named(),
    }
}

/// Whether an address is loopback in its own right; `64:ff9b::7f00:1` is loopback of someone else's translator.
fn is_this_machine(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => LOOPBACK_V4.contains(&v4),
        IpAddr::V6(v6) => LOOPBACK_V6.contains(&v6),
    }
}

/// An address that a backend's name must not be; none of the name's addresses is used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("backend {backend:?} has the address {address}, {why}")]
pub struct ForbiddenAddress {
    /// The backend's name.
    pub backend: Arc<str>,
    /// The address that is in the way.
    pub address: IpAddr,
    /// Why.
    pub why: Forbidden,
}

/// Why an address is forbidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forbidden {
    /// It is not public, and nothing in the configuration names it.
    Class(AddressClass),
    /// A deny rule covers it.
    Denied {
        /// The rule's label.
        rule: Arc<str>,
    },
}

impl Forbidden {
    /// What is wrong with the address, and what an operator who meant it does.
    pub(crate) fn problem_and_remedy(&self) -> (String, &'static str) {
        match self {
            Self::Class(class @ (AddressClass::Unspecified | AddressClass::Multicast)) => (
                format!("is {class} and no place to connect to"),
                "correct the address",
            ),
            Self::Class(class @ AddressClass::Metadata) => (
                format!("is {class}"),
                "if you mean it, add exactly this address to networks",
            ),
            Self::Class(class) => (
                format!("is {class}"),
                "if you mean it, add its range to networks",
            ),
            Self::Denied { rule } => (
                format!("is covered by the deny rule {rule:?}"),
                "correct the address or the rule",
            ),
        }
    }
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (problem, remedy) = self.problem_and_remedy();
        write!(f, "which {problem}; {remedy}")
    }
}

const LOOPBACK_V4: Ipv4Net = Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 0), 8);
const LOOPBACK_V6: Ipv6Net = Ipv6Net::new_assert(std::net::Ipv6Addr::LOCALHOST, 128);

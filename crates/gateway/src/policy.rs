//! The allow-list: who may reach what, as a pure function.
//!
//! [`Policy::decide`] takes a request and gives a [`Permit`] or a [`Denial`]; it reads no clock, no socket and no file.
//! A permit names a backend, and [`Permit::check_answers`] says which of the resolver's answers may be dialled.
//! What a client is told is not known here: every denial is `denied` on the wire (docs/protocol.md section 6).
//!
//! Invariants:
//! - Nothing is reachable unless an allow rule covers it; an empty policy denies everything.
//! - A deny rule wins over every allow rule, wherever it stands, and also speaks about the addresses a name resolves to.
//! - Of the answers of a name all are permitted or none is used, and what was checked is what is dialled.
//! - A request without an `Origin` header passes only where a rule's `origins` lists `none`.

mod address;
mod backend;
mod host;
mod malformed;
mod origin;
mod pattern;
mod proxies;
mod service;
mod stomp;
mod target;
mod user;

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

pub use self::{
    address::{AddressClass, classify},
    backend::{Backend, BackendAddress, BackendTls, Forbidden, ForbiddenAddress},
    host::{Host, HostName},
    malformed::{Malformed, quote},
    origin::{Origin, OriginPattern},
    pattern::{HostPattern, PortSet, TargetPattern, parse_network, parse_range},
    proxies::{ForwardedHeader, client_address, client_is_secure},
    service::{
        IrcSettings, MAX_STANZA_BYTES, Secret, ServiceName, ServiceSettings, StompLogin,
        StompSettings, XmppSettings,
    },
    stomp::{DestinationPattern, StompGrant, StompRule},
    target::{BackendName, HostPort, Target},
    user::{TokenHash, Users},
};

/// What a client asks, and what the gateway knows about it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// From [`Origin::from_headers`]; a malformed header must have been refused before.
    pub origin: Option<&'a Origin>,
    /// The client's address, behind proxies that are trusted ([`client_address`]).
    pub client: IpAddr,
    /// Who it has proven to be, if it has.
    pub user: Option<&'a str>,
    /// How its bytes are meant.
    pub service: ServiceName,
    /// As the client wrote it.
    pub target: &'a str,
}

/// The backends and rules of one configuration.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Backends by name.
    pub backends: BTreeMap<BackendName, Arc<Backend>>,
    /// Who clients can prove to be.
    pub users: Arc<Users>,
    /// In the file's order; the first that covers a request gives it its `networks` and `expose_errors`.
    pub allow: Vec<AllowRule>,
    /// In the file's order.
    pub deny: Vec<DenyRule>,
    /// For targets of the form `host:port`, which have no backend entry to say so.
    pub dial: DialDefaults,
}

/// Timeouts of a connection to a `host:port` target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialDefaults {
    /// As [`Backend::connect_timeout`].
    pub connect_timeout: Duration,
    /// As [`Backend::resume_timeout`].
    pub resume_timeout: Duration,
    /// As [`Backend::tcp_keepalive`].
    pub tcp_keepalive: Duration,
}

/// An `[[allow]]` entry: all of `origins`, `clients` and `to` must cover a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowRule {
    /// Its name, or `allow[N]` counted from 1.
    pub label: Arc<str>,
    /// Never empty.
    pub origins: Vec<OriginPattern>,
    /// Never empty.
    pub to: Vec<TargetPattern>,
    /// Ranges beyond the public internet that `host:port` targets may be in.
    pub networks: Vec<IpNet>,
    /// Client addresses; [`every_client`] for all, empty for none.
    pub clients: Vec<IpNet>,
    /// Whether clients learn why a `host:port` target could not be reached.
    pub expose_errors: bool,
    /// Users; `None` for everybody.
    pub users: Option<Vec<Arc<str>>>,
    /// What may be done at brokers.
    pub stomp: StompRule,
}

/// A `[[deny]]` entry: covers a request if every list that is not empty does. One list at least is not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenyRule {
    /// Its name, or `deny[N]` counted from 1.
    pub label: Arc<str>,
    /// Pages; empty for all.
    pub origins: Vec<OriginPattern>,
    /// Targets, backends' own addresses and answers of the resolver; empty for all.
    pub to: Vec<TargetPattern>,
    /// Client addresses; empty for all.
    pub clients: Vec<IpNet>,
}

impl Policy {
    /// Whether some allow rule names the origin (`None`: no `Origin` header) and no deny rule shuts it out altogether.
    ///
    /// For CORS, and for refusing a page before it names a target.
    pub fn origin_allowed(&self, origin: Option<&Origin>) -> bool {
        let shut_out = self.deny.iter().any(|rule| {
            rule.to.is_empty() && rule.clients.is_empty() && rule.covers_origin(origin)
        });
        !shut_out
            && self
                .allow
                .iter()
                .any(|rule| covers_origin(&rule.origins, origin))
    }

    /// Decides whether a request may have what it asks for.
    ///
    /// # Errors
    /// The [`Denial`] says why, for the operator's log.
    pub fn decide(&self, request: &Request<'_>) -> Result<Permit, Denial> {
        let client = request.client.to_canonical();
        if !self.origin_allowed(request.origin) {
            return Err(match request.origin {
                None => Denial::MissingOrigin,
                Some(origin) => Denial::OriginNotAllowed(origin.clone()),
            });
        }
        let target: Target = request.target.parse().map_err(|why| Denial::BadTarget {
            target: quote(request.target),
            why,
        })?;
        let mut allowing = self.allow.iter().filter(|rule| {
            covers_origin(&rule.origins, request.origin)
                && covers_client(&rule.clients, client)
                && rule.admits(request)
        });
        let mut stomp = Vec::new();
        let (rule, backend) = match &target {
            Target::Backend(name) => {
                let backend = self.backends.get(name);
                let backend = backend.ok_or_else(|| Denial::UnknownBackend(name.clone()))?;
                let mut covering = allowing.filter(|rule| rule.covers_backend(name)).peekable();
                let rule = covering.peek().copied();
                if request.service == ServiceName::Stomp {
                    stomp = covering.map(AllowRule::stomp_grant).collect();
                }
                (rule, Arc::clone(backend))
            }
            Target::Address(address) => {
                let rule = allowing.find(|rule| rule.covers_address(address));
                let networks = rule.map(|rule| rule.networks.clone()).unwrap_or_default();
                (rule, Arc::new(self.dial.backend(address.clone(), networks)))
            }
        };
        let mut denied = Vec::new();
        for deny in &self.deny {
            if !deny.covers_origin(request.origin) || !deny.covers_client(client) {
                continue;
            }
            if deny.covers_target(&target, &backend) {
                return Err(Denial::DeniedBy {
                    rule: Arc::clone(&deny.label),
                    target,
                });
            }
            denied.extend(deny.patterns_for_answers(&backend));
        }
        let Some(rule) = rule else {
            return Err(Denial::NoRule { target });
        };
        if !backend.offers(request.service) {
            return Err(Denial::ServiceNotOffered {
                service: request.service,
                target,
            });
        }
        Ok(Permit {
            rule: Arc::clone(&rule.label),
            service: request.service,
            expose_errors: rule.expose_errors || matches!(target, Target::Backend(_)),
            backend,
            denied,
            stomp,
            users: Arc::clone(&self.users),
        })
    }
}

impl DialDefaults {
    fn backend(&self, address: HostPort, networks: Vec<IpNet>) -> Backend {
        Backend {
            name: address.to_string().into(),
            address: BackendAddress::Tcp(address),
            tls: None,
            service: None,
            tunnel: true,
            page: false,
            networks,
            connect_timeout: self.connect_timeout,
            resume_timeout: self.resume_timeout,
            tcp_keepalive: self.tcp_keepalive,
        }
    }
}

impl AllowRule {
    /// Whether it is for who asks. A STOMP client may still say who it is, in its first frame.
    fn admits(&self, request: &Request<'_>) -> bool {
        let Some(users) = &self.users else {
            return true;
        };
        let is_one = |user: &str| users.iter().any(|one| **one == *user);
        request.service == ServiceName::Stomp || request.user.is_some_and(is_one)
    }

    fn stomp_grant(&self) -> StompGrant {
        StompGrant {
            users: self.users.clone(),
            rule: self.stomp.clone(),
        }
    }

    fn covers_backend(&self, name: &BackendName) -> bool {
        self.to
            .iter()
            .any(|to| matches!(to, TargetPattern::Backend(listed) if listed == name))
    }

    fn covers_address(&self, target: &HostPort) -> bool {
        self.to.iter().any(|to| match to {
            TargetPattern::Backend(_) => false,
            TargetPattern::Address { host, ports } => {
                let permitted = |address| {
                    backend::is_permitted(address, &self.networks, || host.names(address))
                };
                ports.contains(target.port)
                    && host.allows(&target.host)
                    && target.address().is_none_or(permitted)
            }
        })
    }
}

impl DenyRule {
    fn covers_origin(&self, origin: Option<&Origin>) -> bool {
        self.origins.is_empty() || covers_origin(&self.origins, origin)
    }

    fn covers_client(&self, client: IpAddr) -> bool {
        self.clients.is_empty() || covers_client(&self.clients, client)
    }

    /// Whether `to` covers what was asked for or, for a backend, where it is.
    fn covers_target(&self, target: &Target, backend: &Backend) -> bool {
        self.to.is_empty()
            || self.to.iter().any(|to| match (to, &backend.address) {
                (TargetPattern::Backend(name), _) => {
                    matches!(target, Target::Backend(asked) if asked == name)
                }
                (TargetPattern::Address { host, ports }, BackendAddress::Tcp(address)) => {
                    ports.contains(address.port) && host.denies(&address.host)
                }
                (TargetPattern::Address { .. }, BackendAddress::Unix(_)) => false,
            })
    }

    /// The patterns that the resolver's answers must not meet.
    fn patterns_for_answers(&self, backend: &Backend) -> impl Iterator<Item = DeniedAnswers> {
        let port = match &backend.address {
            BackendAddress::Tcp(address) => Some(address.port),
            BackendAddress::Unix(_) => None,
        };
        self.to.iter().filter_map(move |to| match to {
            TargetPattern::Address { host, ports }
                if port.is_some_and(|port| ports.contains(port)) =>
            {
                Some(DeniedAnswers {
                    rule: Arc::clone(&self.label),
                    hosts: host.clone(),
                })
            }
            TargetPattern::Address { .. } | TargetPattern::Backend(_) => None,
        })
    }
}

fn covers_origin(origins: &[OriginPattern], origin: Option<&Origin>) -> bool {
    origins.iter().any(|pattern| pattern.matches(origin))
}

fn covers_client(clients: &[IpNet], client: IpAddr) -> bool {
    clients.iter().any(|net| net.contains(&client))
}

/// The ranges that hold every client.
pub fn every_client() -> Vec<IpNet> {
    vec![Ipv4Net::default().into(), Ipv6Net::default().into()]
}

/// Leave to connect to one backend.
#[derive(Debug, Clone)]
pub struct Permit {
    /// The label of the allow rule, for the log.
    pub rule: Arc<str>,
    /// Where to connect; for a `host:port` target made from the target and the rule.
    pub backend: Arc<Backend>,
    /// How the client's bytes are meant.
    pub service: ServiceName,
    /// Whether the client learns why a connection failed: always for backends by name, else as the rule says.
    pub expose_errors: bool,
    /// For the STOMP service: what all rules allow that cover the request, but for the user.
    pub stomp: Vec<StompGrant>,
    /// For the STOMP service: who the client may say it is.
    pub users: Arc<Users>,
    denied: Vec<DeniedAnswers>,
}

#[derive(Debug, Clone)]
struct DeniedAnswers {
    rule: Arc<str>,
    hosts: HostPattern,
}

impl Permit {
    /// Checks every answer of the resolver and returns the addresses to dial, in the resolver's order, each once.
    ///
    /// v4-mapped IPv6 comes back as IPv4, so that what was checked is what is dialled. No answers give no addresses.
    ///
    /// # Errors
    /// One address that is not permitted spoils them all: a name that points inside as well as outside is an attack or a mistake.
    pub fn check_answers(
        &self,
        answers: &[SocketAddr],
    ) -> Result<Vec<SocketAddr>, ForbiddenAddress> {
        let mut addresses = Vec::with_capacity(answers.len());
        for &answer in answers {
            let mut answer = answer;
            answer.set_ip(answer.ip().to_canonical());
            self.backend.check(answer.ip())?;
            if let Some(denied) = self
                .denied
                .iter()
                .find(|d| d.hosts.denies_address(answer.ip()))
            {
                return Err(ForbiddenAddress {
                    backend: Arc::clone(&self.backend.name),
                    address: answer.ip(),
                    why: Forbidden::Denied {
                        rule: Arc::clone(&denied.rule),
                    },
                });
            }
            if !addresses.contains(&answer) {
                addresses.push(answer);
            }
        }
        Ok(addresses)
    }
}

/// Why a request was denied: for the operator's log, never for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denial {
    /// No `Origin` header, and no rule for programs without one.
    MissingOrigin,
    /// The backend is not spoken to in this way.
    ServiceNotOffered {
        /// What was asked for.
        service: ServiceName,
        /// The canonical target.
        target: Target,
    },
    /// No rule names the page's origin, or a deny rule shuts it out.
    OriginNotAllowed(Origin),
    /// The target is neither a backend's name nor `host:port`.
    BadTarget {
        /// What the client sent, quoted and cut.
        target: String,
        /// What is wrong with it.
        why: Malformed,
    },
    /// No backend has this name.
    UnknownBackend(BackendName),
    /// No allow rule covers origin, client and target together.
    NoRule {
        /// The canonical target.
        target: Target,
    },
    /// A deny rule covers the request.
    DeniedBy {
        /// The rule's label.
        rule: Arc<str>,
        /// The canonical target.
        target: Target,
    },
}

impl std::error::Error for Denial {}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingOrigin => {
                f.write_str("no origin, and no allow rule has the origin \"none\"")
            }
            Self::ServiceNotOffered {
                service: ServiceName::Tunnel,
                target,
            } => write!(
                f,
                "target \"{target}\" is reached by its service only, as it has no tunnel = true"
            ),
            Self::ServiceNotOffered { service, target } => {
                write!(f, "target \"{target}\" has no service = \"{service}\"")
            }
            Self::OriginNotAllowed(origin) => write!(f, "origin \"{origin}\" is not allowed"),
            Self::BadTarget { target, why } => write!(f, "target {target} {why}"),
            Self::UnknownBackend(name) => write!(f, "no backend is named \"{name}\""),
            Self::NoRule { target } => {
                write!(
                    f,
                    "no allow rule covers origin, client and target \"{target}\" together"
                )
            }
            Self::DeniedBy { rule, target } => {
                write!(f, "rule {rule:?} denies target \"{target}\"")
            }
        }
    }
}

#[cfg(test)]
mod tests;

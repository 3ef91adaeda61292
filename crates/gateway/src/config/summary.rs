//! What a configuration means, for the operator who is about to use it.

use std::fmt::{Display, Write as _};

use ipnet::IpNet;

use super::{
    Config, Listener,
    units::{ShowDuration, ShowSize},
};
use crate::policy::{AllowRule, Backend, BackendAddress, DenyRule, ServiceName, every_client};

impl Config {
    /// A few lines that say who may reach what, and what is odd about it.
    pub fn summary(&self) -> String {
        let mut out = String::new();
        let Self { policy, limits, .. } = self;
        let mut line = |head: &str, rest: String| {
            // A String takes any text.
            let _ = writeln!(out, "{head:<10}{rest}");
        };
        for listener in &self.listeners {
            line("listen", describe_listener(listener));
        }
        for backend in policy.backends.values() {
            line("backend", describe_backend(backend));
        }
        for rule in &policy.deny {
            line("deny", describe_deny(rule));
        }
        for rule in &policy.allow {
            line("allow", describe_allow(rule));
        }
        line(
            "limits",
            format!(
                "{} connections, {} per client; {} sessions, {} per client; {} of memory",
                limits.max_connections,
                limits.max_connections_per_client,
                limits.max_sessions,
                limits.max_sessions_per_client,
                ShowSize(limits.max_memory_bytes / MIB * MIB),
            ),
        );
        for warning in &self.warnings {
            line("warning", warning.to_string());
        }
        out
    }
}

fn describe_listener(listener: &Listener) -> String {
    let tls = match &listener.tls {
        Some(files) => format!(" with TLS from {}", files.certificate.display()),
        None => String::new(),
    };
    let webtransport = if listener.webtransport {
        ", and WebTransport over UDP"
    } else {
        ""
    };
    format!("{}{tls}{webtransport}", listener.address)
}

fn describe_backend(backend: &Backend) -> String {
    let tls = match (&backend.tls, backend.starttls(ServiceName::Xmpp)) {
        (Some(tls), _) => format!(" with TLS as {}", tls.name),
        (None, Some((_, tls))) => format!(" with STARTTLS as {}", tls.name),
        (None, None) => String::new(),
    };
    let networks = match (&backend.address, backend.networks.is_empty()) {
        (BackendAddress::Unix(_), _) | (_, true) => String::new(),
        (BackendAddress::Tcp(_), false) => format!(", also in {}", list(&backend.networks)),
    };
    let service = match &backend.service {
        Some(service) if backend.tunnel => {
            format!(", spoken to as {} and by tunnel", service.name())
        }
        Some(service) => format!(", spoken to as {}", service.name()),
        None => String::new(),
    };
    let page = if backend.page {
        ", with a page of the gateway"
    } else {
        ""
    };
    let resume = ShowDuration(backend.resume_timeout);
    format!(
        "{}: {}{tls}{networks}{service}{page}, kept for {resume} without a client",
        backend.name, backend.address
    )
}

fn describe_allow(rule: &AllowRule) -> String {
    let AllowRule {
        label,
        origins,
        to,
        networks,
        clients,
        expose_errors,
        users,
        stomp,
    } = rule;
    let networks = match networks.is_empty() {
        true => String::new(),
        false => format!(" (also in {})", list(networks)),
    };
    let errors = if *expose_errors {
        ", with errors told apart"
    } else {
        ""
    };
    let users = users
        .as_ref()
        .map_or(String::new(), |users| format!(" for {}", list(users)));
    let stomp = [("subscribe", &stomp.subscribe), ("send to", &stomp.send)]
        .into_iter()
        .filter_map(|(what, patterns)| match patterns.as_deref()? {
            [] => Some(format!(", may {what} nothing")),
            patterns => Some(format!(", may {what} {}", list(patterns))),
        })
        .collect::<String>();
    format!(
        "{label}: {}{}{users} to {}{networks}{errors}{stomp}",
        list(origins),
        from(clients),
        list(to)
    )
}

fn describe_deny(rule: &DenyRule) -> String {
    let DenyRule {
        label,
        origins,
        to,
        clients,
    } = rule;
    let origins = if origins.is_empty() {
        "all".to_owned()
    } else {
        list(origins)
    };
    let to = if to.is_empty() {
        "everything".to_owned()
    } else {
        list(to)
    };
    format!("{label}: {origins}{} to {to}", from(clients))
}

fn from(clients: &[IpNet]) -> String {
    if clients.is_empty() || clients == every_client() {
        return String::new();
    }
    format!(" from {}", list(clients))
}

fn list<T: Display>(items: &[T]) -> String {
    items
        .iter()
        .map(T::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The budget is shown in whole units: a percentage of memory has no others.
const MIB: u64 = 1 << 20;

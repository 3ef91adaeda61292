//! What a client asks for: a backend's name, or `host:port`.
//!
//! Invariant: a [`Target`] prints as the text it parses from (canonical form), and never longer than an OPEN may carry.

use std::{fmt, net::IpAddr, str::FromStr};

use super::{host::Host, malformed::Malformed};

/// The name of a `[backend.NAME]` of the configuration: 1 to 64 of `a-z`, `0-9`, `-`, `_`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendName(Box<str>);

impl BackendName {
    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BackendName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let known = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
        if text.is_empty() || text.len() > NAME_CHARS || !text.bytes().all(known) {
            return Err(Malformed::new(
                "is not a backend's name",
                "use 1 to 64 of a-z, 0-9, - and _",
            ));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A host and a TCP port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Canonical host; an IPv4 address written as v4-mapped IPv6 is an IPv4 address here.
    pub host: Host,
    /// Never 0.
    pub port: u16,
}

impl FromStr for HostPort {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (host, port) = split_port(text)?;
        let host = match host {
            HostText::Bracketed(inner) => inner.parse()?,
            HostText::Plain(plain) => plain.parse()?,
        };
        // One address, one spelling: rules for 192.0.2.1 must see ::ffff:192.0.2.1 too.
        let host = match host {
            Host::Address(address) => Host::Address(address.to_canonical()),
            Host::Name(name) => Host::Name(name),
        };
        Ok(Self {
            host,
            port: parse_port(port)?,
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host.bracketed(), self.port)
    }
}

impl HostPort {
    /// The address, if the host is one.
    pub fn address(&self) -> Option<IpAddr> {
        match self.host {
            Host::Address(address) => Some(address),
            Host::Name(_) => None,
        }
    }
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A backend of the configuration.
    Backend(BackendName),
    /// A host and port, which a rule's pattern must cover.
    Address(HostPort),
}

impl FromStr for Target {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.len() > TARGET_BYTES {
            return Err(Malformed::new(
                "is longer than 255 bytes",
                "name a backend or host:port",
            ));
        }
        if text.contains(':') {
            text.parse().map(Self::Address)
        } else {
            text.parse().map(Self::Backend)
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend(name) => name.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// The part before the last colon of `host:port`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum HostText<'a> {
    /// What stood in brackets; it has a colon, as only IPv6 is written so.
    Bracketed(&'a str),
    /// A name or IPv4 address; it has no colon.
    Plain(&'a str),
}

/// Cuts `host:rest` or `[ipv6]:rest`.
pub(crate) fn split_port(text: &str) -> Result<(HostText<'_>, &str), Malformed> {
    if let Some(rest) = text.strip_prefix('[') {
        return match rest.split_once("]:") {
            Some((inner, port)) if inner.contains(':') => Ok((HostText::Bracketed(inner), port)),
            Some(_) => Err(Malformed::new(
                "has brackets around something else than IPv6",
                "leave the brackets out",
            )),
            None => Err(Malformed::new("has no port", "write [address]:port")),
        };
    }
    if text.contains("://") {
        return Err(Malformed::new("has a scheme", "write host:port"));
    }
    match text.rsplit_once(':') {
        Some((host, _)) if host.contains(':') => Err(Malformed::new(
            "has an IPv6 address without brackets",
            "write [address]:port",
        )),
        Some((host, port)) => Ok((HostText::Plain(host), port)),
        None => Err(Malformed::new("has no port", "write host:port")),
    }
}

/// Reads a port as browsers write it: decimal, no sign, no leading zero.
pub(crate) fn parse_port(text: &str) -> Result<u16, Malformed> {
    let plain = text.bytes().all(|c| c.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain).ok_or_else(|| {
        Malformed::new(
            "has no valid port",
            "write host:port with a port from 1 to 65535",
        )
    })
}

/// Longest backend name: it is a label in metrics and a segment of a path.
const NAME_CHARS: usize = 64;
/// Longest target of an OPEN frame (docs/protocol.md section 3).
const TARGET_BYTES: usize = 255;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn targets_have_one_spelling() {
        let cases = [
            ("irc", "irc"),
            ("irc_2-b", "irc_2-b"),
            ("IRC.example.org:6667", "irc.example.org:6667"),
            ("localhost:1", "localhost:1"),
            ("192.0.2.1:65535", "192.0.2.1:65535"),
            ("[2001:DB8::1]:6667", "[2001:db8::1]:6667"),
            ("[::ffff:192.0.2.1]:80", "192.0.2.1:80"),
        ];
        for (text, canonical) in cases {
            let target = text.parse::<Target>().map(|target| target.to_string());
            assert_eq!(target.as_deref(), Ok(canonical), "{text}");
        }
    }

    #[test]
    fn odd_targets() {
        let cases = [
            ("", "not a backend's name"),
            ("IRC", "not a backend's name"),
            ("irc.example.org", "not a backend's name"),
            ("irc\n", "not a backend's name"),
            (":6667", "no host"),
            ("a.example:", "no valid port"),
            ("a.example:0", "no valid port"),
            ("a.example:06667", "no valid port"),
            ("a.example:+80", "no valid port"),
            ("a.example:80 ", "no valid port"),
            ("a.example:65536", "no valid port"),
            ("a.example:6660-6669", "no valid port"),
            ("a.example:８０", "no valid port"),
            ("2001:db8::1:80", "without brackets"),
            ("tcp://mud.example.org:4000", "scheme"),
            ("[2001:db8::1]", "no port"),
            ("[2001:db8::1]80", "no port"),
            ("[192.0.2.1]:80", "brackets around something else"),
            ("[a.example]:80", "brackets around something else"),
            ("[[::1]]:80", "brackets where"),
            ("[fe80::1%1]:80", "zone id"),
        ];
        for (text, problem) in cases {
            let error = text.parse::<Target>().expect_err(text);
            assert!(error.problem.contains(problem), "{text}: {error}");
        }
        assert!(format!("{}:80", "a".repeat(300)).parse::<Target>().is_err());
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_a_fixed_point(text in "[a-zA-Z0-9_.:\\[\\]-]{0,40}|[a-zA-Z.]{1,20}:[0-9]{1,5}|\\[[0-9a-fA-F:]{2,20}\\]:[0-9]{1,5}|\\PC{0,20}") {
            if let Ok(target) = text.parse::<Target>() {
                prop_assert_eq!(target.to_string().parse::<Target>(), Ok(target));
            }
        }
    }
}

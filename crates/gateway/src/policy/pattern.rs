//! What rules are written in: ports, host patterns, address ranges.
//!
//! Knows texts and whether they cover a host; which rule they belong to and what follows is [`super::Policy`]'s matter.

use std::{fmt, net::IpAddr, ops::RangeInclusive, str::FromStr};

use ipnet::IpNet;

use super::{
    address::{AddressClass, Extent, embedded_v4, extent},
    host::{Host, HostName},
    malformed::Malformed,
    origin::parse_apex,
    target::{BackendName, HostText, parse_port, split_port},
};

/// A set of TCP ports, written as a list of ports and ranges: `6660-6669,7000`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSet(Vec<RangeInclusive<u16>>);

impl PortSet {
    /// Whether the port is in the set.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }
}

impl FromStr for PortSet {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let bad = |_| {
            Malformed::new(
                "has no valid ports",
                "write ports from 1 to 65535, such as 6667 or 6660-6669,7000",
            )
        };
        let range = |piece: &str| match piece.split_once('-') {
            None => parse_port(piece).map(|port| port..=port).map_err(bad),
            Some((first, last)) => {
                let (first, last) = (
                    parse_port(first).map_err(bad)?,
                    parse_port(last).map_err(bad)?,
                );
                if first > last {
                    return Err(Malformed::new(
                        "has a range of ports that runs backwards",
                        format!("write {last}-{first}"),
                    ));
                }
                Ok(first..=last)
            }
        };
        text.split(',')
            .map(range)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.0.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            if range.start() == range.end() {
                write!(f, "{comma}{}", range.start())?;
            } else {
                write!(f, "{comma}{}-{}", range.start(), range.end())?;
            }
        }
        Ok(())
    }
}

/// Which hosts an entry of `to` covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// One name or address.
    Exact(Host),
    /// `*.example.org`: names below, at any depth, not the name itself.
    Below(HostName),
    /// Addresses that are written as such; a name that resolves into the range is not covered.
    Range(IpNet),
    /// `*`: everything. Only deny rules may say so.
    Any,
}

impl HostPattern {
    /// Whether the pattern covers what an allow rule's client asked for.
    pub(crate) fn allows(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Exact(exact), host) => exact == host,
            (Self::Below(apex), Host::Name(name)) => name.is_below(apex),
            (Self::Range(net), Host::Address(address)) => net.contains(address),
            (Self::Any, _) => true,
            (Self::Below(_), Host::Address(_)) | (Self::Range(_), Host::Name(_)) => false,
        }
    }

    /// As [`Self::allows`], but an address is also seen through the IPv6 forms it may hide in: a deny rule must not miss it.
    pub(crate) fn denies(&self, host: &Host) -> bool {
        match host {
            Host::Name(_) => self.allows(host),
            Host::Address(address) => self.denies_address(*address),
        }
    }

    /// Whether a deny rule's pattern covers an address, be it asked for or the answer of the resolver.
    pub(crate) fn denies_address(&self, address: IpAddr) -> bool {
        let covers = |address: IpAddr| self.allows(&Host::Address(address));
        covers(address)
            || match address {
                IpAddr::V4(_) => false,
                IpAddr::V6(v6) => embedded_v4(v6).any(|v4| covers(v4.into())),
            }
    }

    /// Whether who wrote this pattern named this address, and not just a wide range that happens to hold it.
    pub(crate) fn names(&self, address: IpAddr) -> bool {
        match self {
            Self::Exact(host) => *host == Host::Address(address),
            Self::Range(net) => net.contains(&address) && matches!(extent(*net), Extent::Within(_)),
            Self::Below(_) | Self::Any => false,
        }
    }

    fn parse(text: HostText<'_>) -> Result<Self, Malformed> {
        let text = match text {
            HostText::Bracketed(inner) => inner,
            HostText::Plain("*") => return Ok(Self::Any),
            HostText::Plain(plain) => plain,
        };
        if text.contains('/') {
            return parse_range(text).map(Self::Range);
        }
        match text.strip_prefix("*.") {
            Some(apex) => parse_apex(apex).map(Self::Below),
            None => text.parse().map(Self::Exact).and_then(refuse_embedded),
        }
    }
}

fn refuse_embedded(pattern: HostPattern) -> Result<HostPattern, Malformed> {
    match pattern {
        HostPattern::Exact(Host::Address(address)) if address != address.to_canonical() => {
            Err(mapped())
        }
        other => Ok(other),
    }
}

/// One entry of a rule's `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetPattern {
    /// A backend, by name.
    Backend(BackendName),
    /// Hosts and ports.
    Address {
        /// Which hosts.
        host: HostPattern,
        /// On which ports.
        ports: PortSet,
    },
}

impl FromStr for TargetPattern {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if !text.contains(':') {
            return match text.parse() {
                Ok(name) => Ok(Self::Backend(name)),
                Err(_) if text.contains(['.', '*', '/']) => {
                    Err(Malformed::new("has no port", "write host:port"))
                }
                Err(error) => Err(error),
            };
        }
        let (host, ports) = split_port(text)?;
        Ok(Self::Address {
            host: HostPattern::parse(host)?,
            ports: ports.parse()?,
        })
    }
}

impl fmt::Display for TargetPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend(name) => name.fmt(f),
            Self::Address { host, ports } => match host {
                HostPattern::Exact(host) => write!(f, "{}:{ports}", host.bracketed()),
                HostPattern::Below(apex) => write!(f, "*.{apex}:{ports}"),
                HostPattern::Range(IpNet::V4(net)) => write!(f, "{net}:{ports}"),
                HostPattern::Range(IpNet::V6(net)) => write!(f, "[{net}]:{ports}"),
                HostPattern::Any => write!(f, "*:{ports}"),
            },
        }
    }
}

/// Reads `10.0.0.0/8`, or one address.
///
/// # Errors
/// Also for a range whose address has bits beyond its length, and for v4-mapped IPv6: each range has one spelling.
pub fn parse_range(text: &str) -> Result<IpNet, Malformed> {
    let bad = || {
        Malformed::new(
            "is not an address range",
            "write a range such as 10.0.0.0/8 or 2001:db8::/32",
        )
    };
    let (address, bits) = match text.split_once('/') {
        None => (text, None),
        Some((address, bits)) => (address, Some(bits)),
    };
    let address: IpAddr = address.parse().map_err(|_| bad())?;
    if address != address.to_canonical() {
        return Err(mapped());
    }
    let net = match bits {
        None => IpNet::from(address),
        Some(bits) => {
            let plain =
                bits == "0" || (!bits.starts_with('0') && bits.bytes().all(|c| c.is_ascii_digit()));
            let bits = bits.parse().ok().filter(|_| plain).ok_or_else(bad)?;
            IpNet::new(address, bits).map_err(|_| bad())?
        }
    };
    if net != net.trunc() {
        return Err(Malformed::new(
            "has an address with bits beyond the range's length",
            format!("write {}", net.trunc()),
        ));
    }
    Ok(net)
}

/// Reads an entry of `networks`: a range beyond the public internet that a name may resolve into.
///
/// # Errors
/// As [`parse_range`], and for ranges that are public anyway, that mix several kinds of addresses, or that can be no destination.
pub fn parse_network(text: &str) -> Result<IpNet, Malformed> {
    let net = parse_range(text)?;
    match extent(net) {
        Extent::Public => Err(Malformed::new(
            "is on the public internet, which needs no permission",
            "leave it out",
        )),
        Extent::Mixed => Err(Malformed::new(
            "holds public addresses or several kinds of special ones",
            "list the ranges you mean one by one, such as 10.0.0.0/8",
        )),
        Extent::Within(class @ (AddressClass::Unspecified | AddressClass::Multicast)) => {
            Err(Malformed::new(
                format!("holds {class} addresses, which no connection can go to"),
                "leave it out",
            ))
        }
        Extent::Within(_) => Ok(net),
    }
}

fn mapped() -> Malformed {
    Malformed::new("is IPv4 in the clothes of IPv6", "write the IPv4 form")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> TargetPattern {
        text.parse().expect(text)
    }

    fn covers(text: &str, host: &str, port: u16) -> bool {
        match pattern(text) {
            TargetPattern::Backend(_) => false,
            TargetPattern::Address {
                host: pattern,
                ports,
            } => ports.contains(port) && pattern.allows(&host.parse().expect(host)),
        }
    }

    #[test]
    fn patterns_cover_what_they_say() {
        let cases = [
            ("irc.example.org:6667", "irc.example.org", 6667, true),
            ("irc.example.org:6667", "irc.example.org", 6668, false),
            ("irc.example.org:6667", "a.irc.example.org", 6667, false),
            (
                "*.example.org:6660-6669,7000",
                "irc.example.org",
                6660,
                true,
            ),
            (
                "*.example.org:6660-6669,7000",
                "a.irc.example.org",
                6669,
                true,
            ),
            (
                "*.example.org:6660-6669,7000",
                "irc.example.org",
                7000,
                true,
            ),
            (
                "*.example.org:6660-6669,7000",
                "irc.example.org",
                6670,
                false,
            ),
            ("*.example.org:6660-6669,7000", "example.org", 6667, false),
            ("10.1.2.0/24:5222", "10.1.2.3", 5222, true),
            ("10.1.2.0/24:5222", "10.1.3.3", 5222, false),
            ("10.1.2.0/24:5222", "irc.example.org", 5222, false),
            ("[2001:db8::1]:1", "2001:db8::1", 1, true),
            ("[2001:db8::/32]:1", "2001:db8:ffff::1", 1, true),
            ("[2001:db8::/32]:1", "2001:db9::1", 1, false),
            ("0.0.0.0/0:1", "2001:db8::1", 1, false),
            ("*:25", "irc.example.org", 25, true),
        ];
        for (text, host, port, want) in cases {
            assert_eq!(covers(text, host, port), want, "{text} {host} {port}");
            assert_eq!(pattern(text).to_string(), text);
        }
    }

    #[test]
    fn a_denied_range_is_seen_through_ipv6() {
        let TargetPattern::Address { host, .. } = pattern("10.0.0.0/8:1-65535") else {
            unreachable!("an address pattern")
        };
        for address in [
            "10.1.2.3",
            "::ffff:10.1.2.3",
            "64:ff9b::a01:203",
            "2002:a01:203::1",
            "64:ff9b:1::a01:203",
        ] {
            assert!(
                host.denies_address(address.parse().expect(address)),
                "{address}"
            );
        }
        assert!(!host.denies_address("64:ff9b::b01:203".parse().expect("an address")));
        assert!(!host.allows(&"64:ff9b::a01:203".parse().expect("an address")));
    }

    #[test]
    fn only_a_narrow_range_names_a_special_address() {
        let cases = [
            ("10.0.0.0/8:1", "10.1.2.3", true),
            ("10.1.2.3:1", "10.1.2.3", true),
            ("0.0.0.0/0:1", "10.1.2.3", false),
            ("8.0.0.0/5:1", "10.1.2.3", false),
            ("*:1", "10.1.2.3", false),
        ];
        for (text, address, want) in cases {
            let TargetPattern::Address { host, .. } = pattern(text) else {
                unreachable!("an address pattern")
            };
            assert_eq!(host.names(address.parse().expect(address)), want, "{text}");
        }
    }

    #[test]
    fn odd_patterns() {
        let cases = [
            ("", "not a backend's name"),
            ("Irc", "not a backend's name"),
            ("*", "no port"),
            ("irc.example.org", "no port"),
            ("10.0.0.0/8", "no port"),
            ("*.org:1", "top-level"),
            ("*example.org:1", "'*'"),
            ("a.*.org:1", "'*'"),
            ("a.example:0", "no valid ports"),
            ("a.example:1,", "no valid ports"),
            ("a.example:1-", "no valid ports"),
            ("a.example:1-2-3", "no valid ports"),
            ("a.example:*", "no valid ports"),
            ("a.example:7-6", "backwards"),
            ("10.1.2.3/8:1", "bits beyond"),
            ("10.0.0.0/33:1", "not an address range"),
            ("10.0.0.0/08:1", "not an address range"),
            ("10.0.0/8:1", "not an address range"),
            ("::/0:1", "without brackets"),
            ("[::ffff:10.0.0.0/104]:1", "clothes"),
            ("[::ffff:10.0.0.1]:1", "clothes"),
            ("[*.example.org]:1", "brackets around"),
        ];
        for (text, problem) in cases {
            let error = text.parse::<TargetPattern>().expect_err(text);
            assert!(error.problem.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn networks_are_special_and_meant() {
        for text in [
            "10.0.0.0/8",
            "10.0.0.1",
            "127.0.0.1/32",
            "fd00::/8",
            "169.254.169.254/32",
            "198.18.0.0/15",
        ] {
            assert!(parse_network(text).is_ok(), "{text}");
        }
        let cases = [
            ("0.0.0.0/0", "several kinds"),
            ("::/0", "several kinds"),
            ("8.8.8.0/24", "public"),
            ("0.0.0.0", "unspecified"),
            ("224.0.0.0/4", "multicast"),
            ("corp", "not an address range"),
        ];
        for (text, problem) in cases {
            let error = parse_network(text).expect_err(text);
            assert!(error.problem.contains(problem), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn patterns_print_as_they_are_written(text in "(\\*\\.)?[a-z0-9.]{1,12}(/[0-9]{1,2})?:[0-9]{1,4}(-[0-9]{1,5})?(,[0-9]{1,5})?|\\PC{0,20}") {
            if let Ok(pattern) = text.parse::<TargetPattern>() {
                prop_assert_eq!(pattern.to_string().parse::<TargetPattern>(), Ok(pattern));
            }
        }
    }
}

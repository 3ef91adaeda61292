//! Host names and addresses in the one spelling that rules compare.
//!
//! Knows nothing of ports, rules or the resolver.
//!
//! Invariants:
//! - A [`Host`] prints as the text it parses from (canonical form), so two spellings of one host cannot pass and fail the same rule.
//! - A text that some resolver would read as an IPv4 address (`0177.1`, `0x7f.1`, `2130706433`) is never a name.

use std::{fmt, net::IpAddr, net::Ipv4Addr, net::Ipv6Addr, str::FromStr};

use super::malformed::Malformed;

/// A host: a DNS name or an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A DNS name.
    Name(HostName),
    /// An IPv4 or IPv6 address.
    Address(IpAddr),
}

impl FromStr for Host {
    type Err = Malformed;

    /// Reads a host, without brackets around an IPv6 address; ASCII capitals are folded.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.starts_with('[') {
            return Err(Malformed::new(
                "has brackets where only an address is due",
                "leave the brackets out",
            ));
        }
        if text.contains(':') {
            return match text.parse::<Ipv6Addr>() {
                Ok(address) => Ok(Self::Address(address.into())),
                Err(_) if text.contains('%') => Err(Malformed::new(
                    "has a zone id",
                    "write the address without %zone",
                )),
                Err(_) => Err(Malformed::new(
                    "is not an IPv6 address",
                    "write an address such as 2001:db8::1",
                )),
            };
        }
        if ends_in_a_number(text) {
            return match text.parse::<Ipv4Addr>() {
                Ok(address) => Ok(Self::Address(address.into())),
                Err(_) => Err(Malformed::new(
                    "is not an IPv4 address in its usual form",
                    "write four decimal numbers without leading zeros, such as 192.0.2.1",
                )),
            };
        }
        text.parse().map(Self::Name)
    }
}

impl fmt::Display for Host {
    /// The canonical text; an IPv6 address has no brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl Host {
    /// The host as it stands before `:port`: an IPv6 address gets brackets.
    pub(crate) fn bracketed(&self) -> String {
        match self {
            Self::Address(IpAddr::V6(address)) => format!("[{address}]"),
            Self::Address(IpAddr::V4(_)) | Self::Name(_) => self.to_string(),
        }
    }
}

/// A DNS name: lower-case labels of letters, digits, `-` and `_` (A-labels for other scripts), no trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(Box<str>);

impl HostName {
    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name lies below `apex`, at any depth; a name does not lie below itself.
    pub fn is_below(&self, apex: &Self) -> bool {
        self.0
            .strip_suffix(apex.as_str())
            .is_some_and(|rest| rest.ends_with('.'))
    }

    /// Whether this is `localhost`, which may mean nothing but the loopback interface (RFC 6761 §6.3).
    pub fn is_localhost(&self) -> bool {
        &*self.0 == "localhost"
    }
}

impl FromStr for HostName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.is_empty() {
            return Err(Malformed::new(
                "has no host",
                "write a host name or address",
            ));
        }
        if !text.is_ascii() {
            return Err(Malformed::new(
                "has a host with letters outside ASCII",
                "write its A-label form (xn--...)",
            ));
        }
        if text.len() > NAME_CHARS {
            return Err(Malformed::new(
                "has a host longer than 253 characters",
                "write a name that DNS can hold",
            ));
        }
        if text.ends_with('.') {
            return Err(Malformed::new(
                "has a host that ends with a dot",
                "leave the last dot out",
            ));
        }
        if ends_in_a_number(text) {
            return Err(Malformed::new(
                "has a host that ends in a number but is not an address",
                "write a host name, or an address in its usual form",
            ));
        }
        for label in text.split('.') {
            check_label(label)?;
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_label(label: &str) -> Result<(), Malformed> {
    if label.is_empty() {
        return Err(Malformed::new(
            "has an empty label in its host",
            "write one dot between two labels and none in front",
        ));
    }
    if label.len() > LABEL_CHARS {
        return Err(Malformed::new(
            "has a label longer than 63 characters in its host",
            "write a name that DNS can hold",
        ));
    }
    let known = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    if let Some(c) = label.bytes().find(|&c| !known(c)) {
        return Err(Malformed::new(
            format!("has {:?} in its host", char::from(c)),
            "use letters, digits, -, _ and dots only",
        ));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(Malformed::new(
            "has a label that starts or ends with - in its host",
            "write a name that DNS can hold",
        ));
    }
    Ok(())
}

/// Whether resolvers in the wild (`inet_aton`, WHATWG URL "ends in a number checker") would try to read the text as IPv4.
fn ends_in_a_number(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let last = text.rsplit('.').next().unwrap_or(text);
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|c| c.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|c| c.is_ascii_digit()),
    }
}

/// Longest name in text form (RFC 1035 §2.3.4: 255 octets on the wire).
const NAME_CHARS: usize = 253;
/// Longest label (RFC 1035 §2.3.4).
const LABEL_CHARS: usize = 63;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_have_one_spelling() {
        let cases = [
            ("irc.example.org", "irc.example.org"),
            ("IRC.Example.ORG", "irc.example.org"),
            (
                "_xmpp-client._tcp.example.org",
                "_xmpp-client._tcp.example.org",
            ),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("localhost", "localhost"),
            ("3com.example", "3com.example"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8:0:0::1", "2001:db8::1"),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        ];
        for (text, canonical) in cases {
            let host = text.parse::<Host>().map(|host| host.to_string());
            assert_eq!(host.as_deref(), Ok(canonical), "{text}");
        }
    }

    #[test]
    fn odd_spellings_are_no_hosts() {
        let long_label = format!("{}.example", "a".repeat(64));
        let long_name = "a.".repeat(130) + "example";
        let cases = [
            ("", "no host"),
            (".", "ends with a dot"),
            ("irc.example.org.", "ends with a dot"),
            (".example.org", "empty label"),
            ("a..b", "empty label"),
            ("bücher.example", "outside ASCII"),
            ("irc.example。org", "outside ASCII"),
            ("a b.example", "' '"),
            ("a%2e.example", "'%'"),
            ("user@irc.example", "'@'"),
            ("irc.example\0", r"'\0'"),
            ("irc.example\r\n", r"'\r'"),
            ("irc/example", "'/'"),
            ("*.example.org", "'*'"),
            ("-a.example", "starts or ends with -"),
            ("a-.example", "starts or ends with -"),
            (&long_label, "longer than 63"),
            (&long_name, "longer than 253"),
            ("0177.1", "usual form"),
            ("0177.0.0.1", "usual form"),
            ("0x7f.1", "usual form"),
            ("127.0.0.0x1", "usual form"),
            ("127.0.0.0x", "usual form"),
            ("2130706433", "usual form"),
            ("0x7f000001", "usual form"),
            ("017700000001", "usual form"),
            ("127.1", "usual form"),
            ("127.0.0.1.", "usual form"),
            ("256.0.0.1", "usual form"),
            ("1.2.3.4.5", "usual form"),
            ("example.08", "usual form"),
            ("[::1]", "brackets"),
            ("fe80::1%eth0", "zone id"),
            ("::1::", "not an IPv6"),
            ("::ffff:0177.0.0.1", "not an IPv6"),
        ];
        for (text, problem) in cases {
            let error = text.parse::<Host>().expect_err(text);
            assert!(error.problem.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn below_means_a_whole_label_below() {
        let apex: HostName = "example.org".parse().expect("a name");
        let below = |name: &str| name.parse::<HostName>().expect("a name").is_below(&apex);
        assert!(below("a.example.org"));
        assert!(below("b.a.example.org"));
        assert!(!below("example.org"));
        assert!(!below("badexample.org"));
        assert!(!below("example.org.evil.example"));
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_a_fixed_point(text in "[a-zA-Z0-9_.:-]{0,40}|\\PC{0,20}") {
            if let Ok(host) = text.parse::<Host>() {
                let canonical = host.to_string();
                prop_assert_eq!(canonical.parse::<Host>(), Ok(host));
                prop_assert!(canonical.chars().all(|c| !c.is_ascii_uppercase()));
            }
        }
    }
}

//! Who the client is when proxies stand in between.
//!
//! Invariants:
//! - what a client itself writes into the header never changes the result, as only entries that a trusted proxy added are read;
//! - only one header is read, the one that the operator says the proxies write: where they write one and pass the other on, the other is the client's.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// The header in which trusted proxies tell whom they were called from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`: addresses.
    XForwardedFor,
    /// `Forwarded` (RFC 7239): elements with a `for`.
    Forwarded,
}

impl ForwardedHeader {
    /// In lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }

    /// The header in which the same proxies tell how they were called, in lower case.
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-proto",
            Self::Forwarded => "forwarded",
        }
    }

    /// Takes the last entry off a value; `None` if there is no entry before it.
    fn split_last(self, value: &[u8]) -> (Option<&[u8]>, &[u8]) {
        let comma = match self {
            Self::XForwardedFor => value.iter().rposition(|&byte| byte == b','),
            Self::Forwarded => last_outside_quotes(value, b','),
        };
        match comma {
            Some(at) => (Some(&value[..at]), &value[at + 1..]),
            None => (None, value),
        }
    }

    fn address(self, entry: &[u8]) -> Option<IpAddr> {
        let node = match self {
            Self::XForwardedFor => entry.trim_ascii().to_vec(),
            Self::Forwarded => forwarded_pair(entry, b"for")?,
        };
        parse_node(str::from_utf8(&node).ok()?)
    }
}

/// The address of the client: the peer's, or, if the peer is a trusted proxy, the last one in the header that is not.
///
/// `values` holds the header's values in the order of the request.
/// Each proxy appends the address it was called from, so entries are believed from the right and only as far as trusted proxies wrote them.
/// An entry without an address (`unknown`, a hidden name) ends the walk: the proxy that wrote it is then the client.
pub fn client_address<'a>(
    peer: IpAddr,
    header: ForwardedHeader,
    values: impl DoubleEndedIterator<Item = &'a [u8]>,
    trusted: &[IpNet],
) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut client = peer.to_canonical();
    for value in values.rev() {
        let mut rest = Some(value);
        while let Some(value) = rest {
            if !is_trusted(&client) {
                return client;
            }
            let (before, entry) = header.split_last(value);
            let Some(address) = header.address(entry) else {
                return client;
            };
            client = address.to_canonical();
            rest = before;
        }
    }
    client
}

/// Whether the client came by TLS: to the gateway or, if the peer is a trusted proxy that says so, to that.
///
/// `values` holds the values of the header named by [`ForwardedHeader::protocol_name`].
/// Of several entries the last counts, which the nearest proxy wrote.
pub fn client_is_secure<'a>(
    (peer, tls): (IpAddr, bool),
    header: ForwardedHeader,
    mut values: impl DoubleEndedIterator<Item = &'a [u8]>,
    trusted: &[IpNet],
) -> bool {
    let peer = peer.to_canonical();
    if !trusted.iter().any(|net| net.contains(&peer)) {
        return tls;
    }
    let Some(value) = values.next_back() else {
        return tls;
    };
    let (_, entry) = header.split_last(value);
    let proto = match header {
        ForwardedHeader::XForwardedFor => Some(entry.trim_ascii().to_vec()),
        ForwardedHeader::Forwarded => forwarded_pair(entry, b"proto"),
    };
    proto.map_or(tls, |proto| proto.eq_ignore_ascii_case(b"https"))
}

/// The value of `wanted` in an element of `Forwarded` (RFC 7239 §4); `None` if there is none, or two.
fn forwarded_pair(element: &[u8], wanted: &[u8]) -> Option<Vec<u8>> {
    let mut found = None;
    let mut rest = Some(element);
    while let Some(pairs) = rest {
        let (before, pair) = match last_outside_quotes(pairs, b';') {
            Some(at) => (Some(&pairs[..at]), &pairs[at + 1..]),
            None => (None, pairs),
        };
        rest = before;
        let pair = pair.trim_ascii();
        // RFC 7239 §4 allows empty pairs.
        if pair.is_empty() {
            continue;
        }
        let equals = pair.iter().position(|&byte| byte == b'=')?;
        let (name, value) = (&pair[..equals], &pair[equals + 1..]);
        if name.eq_ignore_ascii_case(wanted) && found.replace(unquote(value)?).is_some() {
            return None;
        }
    }
    found
}

/// The last `separator` that is not in a quoted string (RFC 9110 §5.6.4).
///
/// It looks from the right, so that quotes a client left open to the left of a proxy's element make nothing of it theirs.
fn last_outside_quotes(value: &[u8], separator: u8) -> Option<usize> {
    let mut quoted = false;
    for (at, &byte) in value.iter().enumerate().rev() {
        if byte == b'"' {
            let backslashes = value[..at]
                .iter()
                .rev()
                .take_while(|&&byte| byte == b'\\')
                .count();
            quoted = !quoted || backslashes % 2 == 1;
        } else if byte == separator && !quoted {
            return Some(at);
        }
    }
    None
}

/// What a token or quoted string stands for.
fn unquote(value: &[u8]) -> Option<Vec<u8>> {
    let Some(inner) = value.strip_prefix(b"\"") else {
        return Some(value.to_vec());
    };
    let inner = inner.strip_suffix(b"\"")?;
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' => return None,
            b'\\' => out.push(*bytes.next()?),
            _ => out.push(byte),
        }
    }
    Some(out)
}

/// An address, with a port or without, IPv6 in brackets or not; some proxies add the port, and none need it.
fn parse_node(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => text.split_once(':')?,
    };
    let address: IpAddr = host.parse().ok()?;
    // A port may be hidden behind a name, too (RFC 7239 §6).
    let hidden = port.trim_start_matches(':').strip_prefix('_');
    (port.is_empty() || hidden.is_some()).then_some(address)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    use ForwardedHeader::{Forwarded, XForwardedFor};

    fn client(peer: &str, header: ForwardedHeader, values: &[impl AsRef<[u8]>]) -> String {
        let trusted = ["10.0.0.0/8", "::1/128"].map(|net| net.parse().expect(net));
        client_address(
            peer.parse().expect(peer),
            header,
            values.iter().map(AsRef::as_ref),
            &trusted,
        )
        .to_string()
    }

    #[test]
    fn the_last_address_a_trusted_proxy_vouches_for() {
        let cases: &[(&str, &[&str], &str)] = &[
            ("192.0.2.1", &[], "192.0.2.1"),
            ("192.0.2.1", &["198.51.100.1"], "192.0.2.1"),
            ("::ffff:192.0.2.1", &[], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            (
                "10.0.0.1",
                &["198.51.100.1,10.0.0.3", "10.0.0.2"],
                "198.51.100.1",
            ),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("::1", &["2001:db8::9"], "2001:db8::9"),
            ("::1", &["[2001:db8::9]:443"], "2001:db8::9"),
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["for=198.51.100.1"], "10.0.0.1"),
        ];
        for (peer, values, want) in cases {
            let got = client(peer, XForwardedFor, values);
            assert_eq!(got, *want, "{peer} {values:?}");
        }
    }

    #[test]
    fn a_trusted_proxy_says_whether_the_client_came_by_tls() {
        let cases: &[(&str, bool, ForwardedHeader, &[&str], bool)] = &[
            ("192.0.2.1", true, XForwardedFor, &[], true),
            ("192.0.2.1", false, XForwardedFor, &["https"], false),
            ("192.0.2.1", true, XForwardedFor, &["http"], true),
            ("10.0.0.1", false, XForwardedFor, &["https"], true),
            ("10.0.0.1", false, XForwardedFor, &["HTTPS"], true),
            ("10.0.0.1", true, XForwardedFor, &["http"], false),
            ("10.0.0.1", true, XForwardedFor, &[], true),
            ("10.0.0.1", false, XForwardedFor, &["https, http"], false),
            ("10.0.0.1", false, XForwardedFor, &["https", "http"], false),
            ("10.0.0.1", false, XForwardedFor, &["httpsx"], false),
            ("10.0.0.1", false, Forwarded, &["for=a;proto=https"], true),
            ("10.0.0.1", false, Forwarded, &["proto=https, for=a"], false),
            (
                "10.0.0.1",
                false,
                Forwarded,
                &["proto=https;proto=http"],
                false,
            ),
            ("10.0.0.1", true, Forwarded, &["for=a;proto=http"], false),
        ];
        let trusted = ["10.0.0.0/8".parse().expect("a range")];
        for (peer, tls, header, values, want) in cases {
            let peer = peer.parse().expect("an address");
            let values = values.iter().map(|value| value.as_bytes());
            let got = client_is_secure((peer, *tls), *header, values.clone(), &trusted);
            assert_eq!(got, *want, "{peer} {tls} {:?}", values.collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_same_in_forwarded() {
        let cases: &[(&str, &[&str], &str)] = &[
            ("192.0.2.1", &["for=198.51.100.1"], "192.0.2.1"),
            ("10.0.0.1", &["for=198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["For=\"198.51.100.1:4711\""], "198.51.100.1"),
            (
                "10.0.0.1",
                &["for=198.51.100.1;proto=https;by=10.0.0.1"],
                "198.51.100.1",
            ),
            (
                "10.0.0.1",
                &["proto=https; for=198.51.100.1 ;host=\"a;b,c\""],
                "198.51.100.1",
            ),
            (
                "10.0.0.1",
                &["for=\"[2001:db8:cafe::17]\""],
                "2001:db8:cafe::17",
            ),
            (
                "10.0.0.1",
                &["for=\"[2001:db8:cafe::17]:4711\""],
                "2001:db8:cafe::17",
            ),
            (
                "10.0.0.1",
                &["for=\"[2001:db8:cafe::17]:_port\""],
                "2001:db8:cafe::17",
            ),
            (
                "10.0.0.1",
                &["for=\"[::ffff:198.51.100.1]\""],
                "198.51.100.1",
            ),
            ("10.0.0.1", &["for=\"198.51.100\\.1\""], "198.51.100.1"),
            (
                "10.0.0.1",
                &[
                    "for=203.0.113.9, for=198.51.100.1;by=\"a, b\"",
                    "for=10.0.0.2",
                ],
                "198.51.100.1",
            ),
            (
                "10.0.0.1",
                &["for=198.51.100.1;;proto=https;"],
                "198.51.100.1",
            ),
            // Nothing that says who called the proxy: the proxy is all that is known.
            ("10.0.0.1", &["for=198.51.100.1, for=unknown"], "10.0.0.1"),
            (
                "10.0.0.1",
                &["for=198.51.100.1, for=_hidden, for=10.0.0.2"],
                "10.0.0.2",
            ),
            ("10.0.0.1", &["for=198.51.100.1, proto=https"], "10.0.0.1"),
            (
                "10.0.0.1",
                &["for=198.51.100.1;for=203.0.113.9"],
                "10.0.0.1",
            ),
            ("10.0.0.1", &["for=\"198.51.100.1"], "10.0.0.1"),
            ("10.0.0.1", &["for=\"198.51.100.1\"\""], "10.0.0.1"),
            ("10.0.0.1", &["for"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            // Quotes that a client opened and did not close.
            (
                "10.0.0.1",
                &["for=\"203.0.113.9, for=198.51.100.1"],
                "198.51.100.1",
            ),
            (
                "10.0.0.1",
                &["for=\"203.0.113.9, for=\"[2001:db8::9]:1\";proto=https"],
                "2001:db8::9",
            ),
        ];
        for (peer, values, want) in cases {
            let got = client(peer, Forwarded, values);
            assert_eq!(got, *want, "{peer} {values:?}");
        }
    }

    /// What a client may put in front: bytes, and the beginnings of what proxies write.
    fn sent() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            "\\PC{0,60}".prop_map(String::into_bytes),
            "([0-9.]{7,15}, ?){0,4}[0-9.]{7,15}".prop_map(String::into_bytes),
            "(for=|\"|\\\\|,|;|=|\\[|\\]|:| |10\\.0\\.0\\.9|unknown|_x){0,16}"
                .prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..40),
        ]
    }

    proptest! {
        #[test]
        fn what_the_client_sends_changes_nothing(sent in sent(), port in "(:[1-9][0-9]{0,3})?") {
            let elements = [
                (XForwardedFor, "198.51.100.7".to_owned(), "198.51.100.7"),
                (XForwardedFor, format!("198.51.100.7{port}"), "198.51.100.7"),
                (XForwardedFor, "198.51.100.7, 10.0.0.2".to_owned(), "198.51.100.7"),
                (XForwardedFor, "unknown".to_owned(), "10.0.0.1"),
                (Forwarded, "for=198.51.100.7".to_owned(), "198.51.100.7"),
                (Forwarded, format!("proto=https;for=\"[2001:db8::7]{port}\""), "2001:db8::7"),
                (Forwarded, format!("for=\"[2001:db8::7]{port}\";host=\"a\\\",b\""), "2001:db8::7"),
                (Forwarded, "for=198.51.100.7, for=10.0.0.2;by=\"x,y\"".to_owned(), "198.51.100.7"),
                (Forwarded, "for=_hidden".to_owned(), "10.0.0.1"),
                (Forwarded, "proto=https".to_owned(), "10.0.0.1"),
            ];
            for (header, element, want) in elements {
                let appended = [&sent[..], b", ", element.as_bytes()].concat();
                prop_assert_eq!(client("10.0.0.1", header, &[&appended]), want);
                prop_assert_eq!(client("10.0.0.1", header, &[&sent[..], element.as_bytes()]), want);
                prop_assert_eq!(client("192.0.2.1", header, &[&sent]), "192.0.2.1");
            }
        }
    }
}

//! Who the client is when proxies stand in between.
//!
//! Invariant: what a client itself writes into the header never changes the result, as only entries that a trusted proxy added are read.

use std::net::IpAddr;

use ipnet::IpNet;

/// The address of the client: the peer's, or, if the peer is a trusted proxy, the last one in `X-Forwarded-For` that is not.
///
/// `forwarded_for` holds the header's values in the order of the request.
/// Each proxy appends the address it was called from, so entries are believed from the right and only as far as trusted proxies wrote them.
/// An entry that is no address ends the walk: the proxy that wrote it is then the client.
pub fn client_address<'a>(
    peer: IpAddr,
    forwarded_for: impl DoubleEndedIterator<Item = &'a str>,
    trusted: &[IpNet],
) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut client = peer.to_canonical();
    for entry in forwarded_for.rev().flat_map(|value| value.rsplit(',')) {
        if !is_trusted(&client) {
            break;
        }
        let Ok(address) = entry.trim().parse::<IpAddr>() else {
            break;
        };
        client = address.to_canonical();
    }
    client
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(peer: &str, forwarded_for: &[&str]) -> String {
        let trusted = ["10.0.0.0/8", "::1/128"].map(|net| net.parse().expect(net));
        client_address(
            peer.parse().expect(peer),
            forwarded_for.iter().copied(),
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
            ("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &[""], "10.0.0.1"),
        ];
        for (peer, forwarded_for, want) in cases {
            assert_eq!(
                client(peer, forwarded_for),
                *want,
                "{peer} {forwarded_for:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_the_client_sends_changes_nothing(sent in "\\PC{0,60}|([0-9.]{7,15}, ?){0,4}[0-9.]{7,15}") {
            let appended = format!("{sent}, 198.51.100.7");
            prop_assert_eq!(client("10.0.0.1", &[&appended]), "198.51.100.7");
            prop_assert_eq!(client("10.0.0.1", &[&sent, "198.51.100.7"]), "198.51.100.7");
            prop_assert_eq!(client("192.0.2.1", &[&sent]), "192.0.2.1");
        }
    }
}

//! Which part of the internet an address belongs to.
//!
//! Knows the special-purpose registries (IANA, RFC 6890) and the ways to hide an IPv4 address in an IPv6 one; knows nothing of rules.
//!
//! Invariants:
//! - An IPv6 address that carries an IPv4 address is classified as the IPv4 address it carries.
//! - What no registry calls globally reachable is not [`AddressClass::Global`]: new reservations in IPv6 fail closed.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressClass {
    /// The public internet.
    Global,
    /// This machine (`127.0.0.0/8`, `::1`).
    Loopback,
    /// Site networks (RFC 1918, RFC 4193, and the local NAT64 prefix of RFC 8215).
    Private,
    /// One link (`169.254.0.0/16`, `fe80::/10`).
    LinkLocal,
    /// Carrier-grade NAT (`100.64.0.0/10`).
    Cgnat,
    /// A cloud's metadata service: it hands credentials to whoever asks.
    Metadata,
    /// `0.0.0.0/8` and `::`, which many systems take for this machine.
    Unspecified,
    /// Groups.
    Multicast,
    /// Examples in documents.
    Documentation,
    /// Every other reservation.
    Reserved,
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Global => "public",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Cgnat => "carrier-grade NAT",
            Self::Metadata => "cloud metadata",
            Self::Unspecified => "unspecified",
            Self::Multicast => "multicast",
            Self::Documentation => "documentation",
            Self::Reserved => "reserved",
        })
    }
}

/// Classifies an address after looking through every known embedding of IPv4 in IPv6.
pub fn classify(address: IpAddr) -> AddressClass {
    match address {
        IpAddr::V4(address) => classify_v4(address),
        IpAddr::V6(address) => classify_v6(address),
    }
}

fn classify_v4(address: Ipv4Addr) -> AddressClass {
    if METADATA_V4.contains(&address) {
        return AddressClass::Metadata;
    }
    let block = BLOCKS_V4.iter().find(|(net, _)| net.contains(&address));
    block.map_or(AddressClass::Global, |&(_, class)| class)
}

fn classify_v6(address: Ipv6Addr) -> AddressClass {
    if METADATA_V6.contains(&address) {
        return AddressClass::Metadata;
    }
    if LOCAL_NAT64.contains(&address) {
        // The operator of this prefix chose where in it IPv4 sits, so only what is worst is looked for.
        let metadata = embedded_v4(address).any(|v4| classify_v4(v4) == AddressClass::Metadata);
        return if metadata {
            AddressClass::Metadata
        } else {
            AddressClass::Private
        };
    }
    let mut carried = embedded_v4(address).map(classify_v4).peekable();
    if carried.peek().is_some() {
        return carried
            .find(|&class| class != AddressClass::Global)
            .unwrap_or(AddressClass::Global);
    }
    let block = BLOCKS_V6.iter().find(|(net, _)| net.contains(&address));
    match block {
        Some(&(_, class)) => class,
        None if GLOBAL_UNICAST.contains(&address) => AddressClass::Global,
        None => AddressClass::Reserved,
    }
}

/// The IPv4 addresses that packets to this IPv6 address may end at.
pub(crate) fn embedded_v4(address: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let b = address.octets();
    let low = Some(Ipv4Addr::new(b[12], b[13], b[14], b[15]));
    let found = if address.is_unspecified() || address.is_loopback() {
        [None; 4]
    } else if TEREDO.contains(&address) {
        // RFC 4380 §4: the server in clear, the client inverted.
        let client = Ipv4Addr::new(!b[12], !b[13], !b[14], !b[15]);
        [
            Some(client),
            Some(Ipv4Addr::new(b[4], b[5], b[6], b[7])),
            None,
            None,
        ]
    } else if SIX_TO_FOUR.contains(&address) {
        [
            Some(Ipv4Addr::new(b[2], b[3], b[4], b[5])),
            None,
            None,
            None,
        ]
    } else if LOCAL_NAT64.contains(&address) {
        // RFC 6052 §2.2 for prefixes of 48, 56, 64 and 96 bits; byte 8 is skipped.
        [
            low,
            Some(Ipv4Addr::new(b[6], b[7], b[9], b[10])),
            Some(Ipv4Addr::new(b[7], b[9], b[10], b[11])),
            Some(Ipv4Addr::new(b[9], b[10], b[11], b[12])),
        ]
    } else if LOW_BITS.iter().any(|net| net.contains(&address)) {
        [low, None, None, None]
    } else {
        [None; 4]
    };
    found.into_iter().flatten()
}

/// How a range lies towards the special-purpose blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Public addresses only.
    Public,
    /// Inside one block: whoever wrote the range meant that block.
    Within(AddressClass),
    /// Several kinds of addresses: it says nothing about any of them.
    Mixed,
}

/// Says how a range lies towards the special-purpose blocks.
pub(crate) fn extent(net: IpNet) -> Extent {
    if net.prefix_len() == net.max_prefix_len() {
        return match classify(net.addr()) {
            AddressClass::Global => Extent::Public,
            class => Extent::Within(class),
        };
    }
    match net {
        IpNet::V4(net) => extent_v4(net),
        IpNet::V6(net) => extent_v6(net),
    }
}

fn extent_v4(net: Ipv4Net) -> Extent {
    if let Some(&(_, class)) = BLOCKS_V4.iter().find(|(block, _)| block.contains(&net)) {
        return Extent::Within(class);
    }
    let holds_block = BLOCKS_V4.iter().any(|(block, _)| net.contains(block));
    let holds_metadata = METADATA_V4.iter().any(|address| net.contains(address));
    if holds_block || holds_metadata {
        Extent::Mixed
    } else {
        Extent::Public
    }
}

fn extent_v6(net: Ipv6Net) -> Extent {
    let b = net.addr().octets();
    if LOW_BITS.iter().any(|block| block.contains(&net)) {
        let v4 = Ipv4Addr::new(b[12], b[13], b[14], b[15]);
        return Ipv4Net::new(v4, net.prefix_len().saturating_sub(96))
            .map_or(Extent::Mixed, extent_v4);
    }
    if SIX_TO_FOUR.contains(&net) {
        let v4 = Ipv4Addr::new(b[2], b[3], b[4], b[5]);
        let bits = net.prefix_len().saturating_sub(16).min(32);
        return Ipv4Net::new(v4, bits).map_or(Extent::Mixed, |v4| extent(v4.into()));
    }
    if LOCAL_NAT64.contains(&net) {
        return Extent::Within(AddressClass::Private);
    }
    if let Some(&(_, class)) = BLOCKS_V6.iter().find(|(block, _)| block.contains(&net)) {
        return Extent::Within(class);
    }
    let holds_block = BLOCKS_V6.iter().any(|(block, _)| net.contains(block));
    if GLOBAL_UNICAST.contains(&net) && !holds_block && !net.contains(&SIX_TO_FOUR) {
        Extent::Public
    } else {
        Extent::Mixed
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits)
}

const fn v6(s: [u16; 8], bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(
        Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]),
        bits,
    )
}

/// Metadata services of the big clouds; some sit on addresses that look public.
const METADATA_V4: [Ipv4Addr; 6] = [
    Ipv4Addr::new(169, 254, 169, 254), // AWS, Azure, GCP, Oracle and most others
    Ipv4Addr::new(169, 254, 170, 2),   // AWS ECS task credentials
    Ipv4Addr::new(169, 254, 170, 23),  // AWS EKS pod identity
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba Cloud
    Ipv4Addr::new(168, 63, 129, 16),   // Azure WireServer
    Ipv4Addr::new(192, 0, 0, 192),     // Oracle Cloud Classic
];
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), // AWS
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),  // AWS EKS pod identity
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),  // GCP
];

/// IANA IPv4 Special-Purpose Address Registry, what is not globally reachable, and the classes D and E.
const BLOCKS_V4: [(Ipv4Net, AddressClass); 15] = [
    (v4(0, 0, 0, 0, 8), AddressClass::Unspecified),
    (v4(10, 0, 0, 0, 8), AddressClass::Private),
    (v4(100, 64, 0, 0, 10), AddressClass::Cgnat),
    (v4(127, 0, 0, 0, 8), AddressClass::Loopback),
    (v4(169, 254, 0, 0, 16), AddressClass::LinkLocal),
    (v4(172, 16, 0, 0, 12), AddressClass::Private),
    (v4(192, 0, 0, 0, 24), AddressClass::Reserved), // IETF protocol assignments
    (v4(192, 0, 2, 0, 24), AddressClass::Documentation),
    (v4(192, 88, 99, 0, 24), AddressClass::Reserved), // 6to4 relays, withdrawn
    (v4(192, 168, 0, 0, 16), AddressClass::Private),
    (v4(198, 18, 0, 0, 15), AddressClass::Reserved), // benchmarks
    (v4(198, 51, 100, 0, 24), AddressClass::Documentation),
    (v4(203, 0, 113, 0, 24), AddressClass::Documentation),
    (v4(224, 0, 0, 0, 4), AddressClass::Multicast),
    (v4(240, 0, 0, 0, 4), AddressClass::Reserved), // class E and broadcast
];

/// The same for IPv6; outside [`GLOBAL_UNICAST`] only blocks whose class is not `Reserved` need a line.
const BLOCKS_V6: [(Ipv6Net, AddressClass); 8] = [
    (v6([0; 8], 128), AddressClass::Unspecified),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), AddressClass::Loopback),
    (
        v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
        AddressClass::Documentation,
    ),
    (
        v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
        AddressClass::Reserved,
    ), // IETF protocol assignments
    (
        v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
        AddressClass::Documentation,
    ),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), AddressClass::Private),
    (
        v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
        AddressClass::LinkLocal,
    ),
    (
        v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
        AddressClass::Multicast,
    ),
];

/// All that is globally routed so far (RFC 4291 §2.4, IANA IPv6 address space).
const GLOBAL_UNICAST: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
/// Teredo (RFC 4380).
const TEREDO: Ipv6Net = v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32);
/// 6to4 (RFC 3056).
const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);
/// Local-use NAT64 (RFC 8215): never global, whatever it carries.
const LOCAL_NAT64: Ipv6Net = v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48);
/// Prefixes with IPv4 in the low 32 bits: v4-compatible, v4-mapped, SIIT's v4-translated (RFC 2765), NAT64 (RFC 6052).
const LOW_BITS: [Ipv6Net; 4] = [
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96),
    v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96),
    v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96),
    v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn classes_follow_the_registries() {
        use AddressClass::*;
        let cases = [
            ("1.1.1.1", Global),
            ("9.255.255.255", Global),
            ("11.0.0.0", Global),
            ("172.15.255.255", Global),
            ("172.32.0.0", Global),
            ("100.63.255.255", Global),
            ("100.128.0.0", Global),
            ("2606:4700::1111", Global),
            ("2a00::", Global),
            ("127.0.0.1", Loopback),
            ("127.255.255.255", Loopback),
            ("::1", Loopback),
            ("10.0.0.0", Private),
            ("172.16.0.1", Private),
            ("172.31.255.255", Private),
            ("192.168.1.1", Private),
            ("fc00::1", Private),
            ("fdff::1", Private),
            ("64:ff9b:1::808:808", Private),
            ("169.254.0.1", LinkLocal),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("100.64.0.1", Cgnat),
            ("100.127.255.255", Cgnat),
            ("169.254.169.254", Metadata),
            ("fd00:ec2::254", Metadata),
            ("100.100.100.200", Metadata),
            ("168.63.129.16", Metadata),
            ("64:ff9b::a9fe:a9fe", Metadata),
            ("64:ff9b:1::a9fe:a9fe", Metadata),
            ("64:ff9b:1:a9fe:a9:fe00::", Metadata),
            ("2002:a9fe:a9fe::1", Metadata),
            ("0.0.0.0", Unspecified),
            ("0.1.2.3", Unspecified),
            ("::", Unspecified),
            ("224.0.0.1", Multicast),
            ("ff02::1", Multicast),
            ("192.0.2.1", Documentation),
            ("198.51.100.1", Documentation),
            ("203.0.113.1", Documentation),
            ("2001:db8::1", Documentation),
            ("3fff::1", Documentation),
            ("192.0.0.1", Reserved),
            ("192.88.99.1", Reserved),
            ("198.18.0.1", Reserved),
            ("198.19.255.255", Reserved),
            ("240.0.0.1", Reserved),
            ("255.255.255.255", Reserved),
            ("100::1", Reserved),
            ("2001:2::1", Reserved),
            ("5f00::1", Reserved),
            ("fec0::1", Reserved),
            ("4000::1", Reserved),
            ("::ffff:127.0.0.1", Loopback),
            ("::127.0.0.1", Loopback),
            ("2001:0:7f00:1::f7f7:f7f7", Loopback),
        ];
        for (address, class) in cases {
            let address: IpAddr = address.parse().expect(address);
            assert_eq!(classify(address), class, "{address}");
        }
    }

    #[test]
    fn a_range_speaks_for_a_block_only_from_within() {
        use AddressClass::*;
        let cases = [
            ("10.0.0.0/8", Extent::Within(Private)),
            ("10.1.2.0/24", Extent::Within(Private)),
            ("10.0.0.0/7", Extent::Mixed),
            ("0.0.0.0/0", Extent::Mixed),
            ("0.0.0.0/8", Extent::Within(Unspecified)),
            ("8.8.8.0/24", Extent::Public),
            ("168.63.129.0/24", Extent::Mixed),
            ("168.63.129.16/32", Extent::Within(Metadata)),
            ("169.254.0.0/16", Extent::Within(LinkLocal)),
            ("169.254.169.254/32", Extent::Within(Metadata)),
            ("8.8.8.8/32", Extent::Public),
            ("fc00::/7", Extent::Within(Private)),
            ("fd00:1::/32", Extent::Within(Private)),
            ("::/0", Extent::Mixed),
            ("2000::/3", Extent::Mixed),
            ("2a00::/12", Extent::Public),
            ("::1/128", Extent::Within(Loopback)),
            ("::/96", Extent::Mixed),
            ("64:ff9b::/96", Extent::Mixed),
            ("64:ff9b::a00:0/104", Extent::Within(Private)),
            ("64:ff9b:1::/48", Extent::Within(Private)),
            ("2002:a00::/24", Extent::Within(Private)),
            ("2002:a00:1::/64", Extent::Within(Private)),
            ("2002::/16", Extent::Mixed),
            ("4000::/3", Extent::Mixed),
        ];
        for (net, want) in cases {
            assert_eq!(extent(net.parse().expect(net)), want, "{net}");
        }
    }

    /// Every way to spell an IPv4 address in IPv6 that has one meaning.
    fn embeddings(v4: Ipv4Addr) -> [Ipv6Addr; 6] {
        let [a, b, c, d] = v4.octets();
        let (hi, lo) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        [
            v4.to_ipv6_mapped(),
            Ipv6Addr::new(0, 0, 0, 0, 0, 0, hi, lo),
            Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, hi, lo),
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, hi, lo),
            Ipv6Addr::new(0x2002, hi, lo, 0, 0, 0, 0, 1),
            Ipv6Addr::new(0x2001, 0, 0x4136, 0xe378, 0x8000, 0x63bf, !hi, !lo),
        ]
    }

    /// Any address, and often one near a border of a block.
    fn ipv4() -> impl Strategy<Value = Ipv4Addr> {
        let border = (0..BLOCKS_V4.len(), -2i64..=2, any::<bool>()).prop_map(|(i, step, end)| {
            let net = BLOCKS_V4[i].0;
            let edge = if end { net.broadcast() } else { net.network() };
            let moved = i64::from(u32::from(edge)) + step;
            Ipv4Addr::from(u32::try_from(moved.rem_euclid(1 << 32)).expect("reduced"))
        });
        let metadata = (0..METADATA_V4.len()).prop_map(|i| METADATA_V4[i]);
        prop_oneof![any::<u32>().prop_map(Ipv4Addr::from), border, metadata]
    }

    proptest! {
        #[test]
        fn an_embedded_address_has_the_class_of_what_it_carries(v4 in ipv4()) {
            // ::0.0.0.0 and ::0.0.0.1 are :: and ::1.
            prop_assume!(u32::from(v4) > 1);
            for v6 in embeddings(v4) {
                prop_assert_eq!(classify(v6.into()), classify(v4.into()), "{} in {}", v4, v6);
            }
        }

        #[test]
        fn local_nat64_is_never_global(v4 in ipv4(), subnet in any::<u16>()) {
            let [a, b, c, d] = v4.octets();
            let (hi, lo) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let class = classify(Ipv6Addr::new(0x64, 0xff9b, 1, subnet, 0, 0, hi, lo).into());
            prop_assert_ne!(class, AddressClass::Global);
            if classify(v4.into()) == AddressClass::Metadata {
                prop_assert_eq!(class, AddressClass::Metadata);
            }
        }

        #[test]
        fn every_address_of_a_range_within_a_block_has_its_class(v4 in ipv4(), bits in 0u8..=32, host in any::<u32>()) {
            let net = Ipv4Net::new(v4, bits).expect("at most 32 bits").trunc();
            let inside = u32::from(net.network()) | (host & u32::from(net.hostmask()));
            let class = classify(Ipv4Addr::from(inside).into());
            match extent(net.into()) {
                Extent::Public => prop_assert_eq!(class, AddressClass::Global),
                Extent::Within(block) => prop_assert!(class == block || class == AddressClass::Metadata),
                Extent::Mixed => {}
            }
        }
    }
}

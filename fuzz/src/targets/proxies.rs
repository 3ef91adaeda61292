//! What proxies say of the client: PROXY headers, X-Forwarded-For and Forwarded, of any bytes.

use std::net::{IpAddr, Ipv4Addr};

use perigee_gateway::{
    fuzzing::proxy_header::{Progress, parse},
    policy::{ForwardedHeader, client_address},
};

const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// Sees whether this holds.
///
/// # Panics
///
/// When it does not.
pub fn run(bytes: &[u8]) {
    if let Ok(Progress::Whole { len, client }) = parse(bytes) {
        assert!(len <= bytes.len(), "longer than what came");
        // What follows the header changes nothing, and nothing less is a header.
        assert_eq!(parse(&bytes[..len]), Ok(Progress::Whole { len, client }));
        for cut in 0..len {
            match parse(&bytes[..cut]) {
                Ok(Progress::More(more)) => {
                    assert!(more >= 1 && cut + more <= len, "{cut} + {more} of {len}")
                }
                other => panic!("{cut} of {len} bytes: {other:?}"),
            }
        }
    }
    let trusted = ["10.0.0.0/8".parse::<ipnet::IpNet>().expect("a network")];
    for header in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
        let values = || bytes.split(|&byte| byte == b'\n');
        assert_eq!(
            client_address(STRANGER, header, values(), &trusted),
            STRANGER,
            "a stranger was believed"
        );
        assert_eq!(
            client_address(PROXY, header, values(), &[]),
            PROXY,
            "nobody is trusted"
        );
        let client = client_address(PROXY, header, values(), &trusted);
        assert_eq!(client, client.to_canonical());
    }
}

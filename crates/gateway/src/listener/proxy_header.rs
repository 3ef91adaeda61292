//! The header with which a proxy tells whose connection it passes on (PROXY protocol, versions 1 and 2).
//!
//! Invariants:
//! - not a byte is read that is not the header's;
//! - the address is the header's or none: what cannot be read ends the connection.
//!
//! Specification: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::io::{AsyncRead, AsyncReadExt};

/// How far a header has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// At least so many more bytes belong to it.
    More(usize),
    /// It is whole.
    Whole {
        /// Its length in bytes.
        len: usize,
        /// The client, unless the proxy speaks for itself (a health check) or does not know.
        client: Option<SocketAddr>,
    },
}

/// What a connection began with instead of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotProxyHeader(&'static str);

impl From<NotProxyHeader> for io::Error {
    fn from(error: NotProxyHeader) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// Looks at the beginning of a connection.
///
/// # Errors
///
/// It is no header.
pub fn parse(bytes: &[u8]) -> Result<Progress, NotProxyHeader> {
    let Some((start, _)) = bytes.split_first_chunk::<12>() else {
        return Ok(Progress::More(12 - bytes.len()));
    };
    if start == SIGNATURE {
        parse_v2(bytes)
    } else if start.starts_with(b"PROXY ") {
        parse_v1(bytes)
    } else {
        Err(NotProxyHeader("no PROXY header"))
    }
}

/// Reads the header of a connection, and nothing after it.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut header = Vec::new();
    loop {
        match parse(&header)? {
            Progress::More(len) => {
                let at = header.len();
                header.resize(at + len, 0);
                stream.read_exact(&mut header[at..]).await?;
            }
            Progress::Whole { client, .. } => return Ok(client),
        }
    }
}

fn parse_v1(bytes: &[u8]) -> Result<Progress, NotProxyHeader> {
    let line = &bytes[..bytes.len().min(V1_MAX_BYTES)];
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        if line.len() == V1_MAX_BYTES {
            return Err(NotProxyHeader("a PROXY header longer than 107 bytes"));
        }
        let least = match &line[6..] {
            [b'T', b'C', b'P', b'4', ..] => "PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n".len(),
            [b'T', b'C', b'P', b'6', ..] => "PROXY TCP6 :: :: 0 0\r\n".len(),
            _ => "PROXY UNKNOWN\r\n".len(),
        };
        let line_end = if line.ends_with(b"\r") { 1 } else { 2 };
        let more = least.saturating_sub(line.len()).max(line_end);
        return Ok(Progress::More(more.min(V1_MAX_BYTES - line.len())));
    };
    let malformed = NotProxyHeader("a malformed PROXY header of version 1");
    let text = str::from_utf8(&line[..end]).map_err(|_| malformed)?;
    let words: Vec<&str> = text.split(' ').collect();
    let client = match *words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => None,
        [
            "PROXY",
            family,
            source,
            destination,
            source_port,
            destination_port,
        ] => {
            let address = |text: &str| -> Option<IpAddr> {
                match family {
                    "TCP4" => text.parse().map(IpAddr::V4).ok(),
                    "TCP6" => text.parse().map(IpAddr::V6).ok(),
                    _ => None,
                }
            };
            let port = |text: &str| -> Option<u16> {
                let digits = text.bytes().all(|byte| byte.is_ascii_digit());
                digits.then(|| text.parse().ok()).flatten()
            };
            let whole = (
                address(source),
                address(destination),
                port(source_port),
                port(destination_port),
            );
            let (Some(address), Some(_), Some(port), Some(_)) = whole else {
                return Err(malformed);
            };
            Some(SocketAddr::new(address, port))
        }
        _ => return Err(malformed),
    };
    Ok(Progress::Whole {
        len: end + 2,
        client,
    })
}

fn parse_v2(bytes: &[u8]) -> Result<Progress, NotProxyHeader> {
    let Some((head, rest)) = bytes.split_first_chunk::<16>() else {
        return Ok(Progress::More(16 - bytes.len()));
    };
    let &[.., command, family, len_high, len_low] = head;
    let len = usize::from(u16::from_be_bytes([len_high, len_low]));
    let Some(body) = rest.get(..len) else {
        return Ok(Progress::More(len - rest.len()));
    };
    let cut = NotProxyHeader("a PROXY header of version 2 that is too short for its addresses");
    let client = match (command, family) {
        // LOCAL: the proxy itself, whatever else is said.
        (0x20, _) => None,
        // PROXY, over TCP; what follows the addresses (TLVs) is of no use here.
        (0x21, 0x11) => {
            let (source, ports) = body.split_first_chunk::<4>().ok_or(cut)?;
            let port = ports.get(4..6).ok_or(cut)?;
            body.get(..12).ok_or(cut)?;
            Some(socket_addr(Ipv4Addr::from(*source), port))
        }
        (0x21, 0x21) => {
            let (source, ports) = body.split_first_chunk::<16>().ok_or(cut)?;
            let port = ports.get(16..18).ok_or(cut)?;
            body.get(..36).ok_or(cut)?;
            Some(socket_addr(Ipv6Addr::from(*source), port))
        }
        // Unspecified, or a Unix socket of the proxy: no address to speak of.
        (0x21, 0x00 | 0x31) => None,
        _ => {
            return Err(NotProxyHeader(
                "a PROXY header of an unknown version, command or family",
            ));
        }
    };
    Ok(Progress::Whole {
        len: 16 + len,
        client,
    })
}

fn socket_addr(address: impl Into<IpAddr>, port: &[u8]) -> SocketAddr {
    let port = port.try_into().map_or(0, u16::from_be_bytes);
    SocketAddr::new(address.into(), port)
}

/// What a header of version 2 starts with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 1, line end included.
const V1_MAX_BYTES: usize = 107;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(body.len()).expect("a short body");
        [&SIGNATURE[..], &[command, family], &len.to_be_bytes(), body].concat()
    }

    fn v4_body() -> Vec<u8> {
        [
            &[192, 0, 2, 1][..],
            &[10, 0, 0, 1],
            &[0x30, 0x39],
            &[1, 187],
        ]
        .concat()
    }

    fn v6_body() -> Vec<u8> {
        let source: Ipv6Addr = "2001:db8::7".parse().expect("an address");
        [&source.octets()[..], &[0; 16], &[0x30, 0x39], &[1, 187]].concat()
    }

    #[test]
    fn headers_as_proxies_send_them() {
        let with_tlvs = [&v4_body()[..], &[3, 0, 4, 1, 2, 3, 4], &[4, 0, 1, 0]].concat();
        let longest = "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"
            .replace("...", &"f".repeat(21));
        let cases: Vec<(Vec<u8>, Option<&str>)> = vec![
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 443\r\n".to_vec(),
                Some("192.0.2.1:12345"),
            ),
            (
                b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n".to_vec(),
                Some("0.0.0.0:0"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 2001:db8::1 65535 443\r\n".to_vec(),
                Some("[2001:db8::7]:65535"),
            ),
            (b"PROXY TCP6 :: :: 0 0\r\n".to_vec(), Some("[::]:0")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (longest.into_bytes(), None),
            (v2(0x21, 0x11, &v4_body()), Some("192.0.2.1:12345")),
            (v2(0x21, 0x11, &with_tlvs), Some("192.0.2.1:12345")),
            (v2(0x21, 0x21, &v6_body()), Some("[2001:db8::7]:12345")),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &v4_body()), None),
            (v2(0x21, 0x00, &[]), None),
            (v2(0x21, 0x31, &[0; 216]), None),
            (v2(0x20, 0x00, &[7; 65_535]), None),
        ];
        for (header, want) in cases {
            let client = want.map(|want| want.parse().expect(want));
            let len = header.len();
            let whole = Ok(Progress::Whole { len, client });
            assert_eq!(parse(&header), whole, "{header:?}");
            let followed = [&header[..], b"\r\nGET / HTTP/1.1\r\n"].concat();
            assert_eq!(parse(&followed), whole, "{header:?}");
            for cut in 0..len.min(300) {
                assert!(
                    matches!(parse(&header[..cut]), Ok(Progress::More(more)) if more > 0 && cut + more <= len),
                    "{header:?} cut at {cut}: {:?}",
                    parse(&header[..cut])
                );
            }
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
        assert_eq!(long.len(), 108);
        let cases: Vec<Vec<u8>> = vec![
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0],
            b"proxy tcp4 192.0.2.1 10.0.0.1 1 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 1\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2 3\r\n".to_vec(),
            b"PROXY TCP4  192.0.2.1 10.0.0.1 1 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 +1 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 65536 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 1 \r\n".to_vec(),
            b"PROXY TCP4 192.0.2.01 10.0.0.1 1 2\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 10.0.0.1 1 2\r\n".to_vec(),
            b"PROXY TCP6 192.0.2.1 10.0.0.1 1 2\r\n".to_vec(),
            b"PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1\n10.0.0.1 1 2\r\n".to_vec(),
            b"PROXY TCP4 \xff 10.0.0.1 1 2     \r\n".to_vec(),
            long.into_bytes(),
            v2(0x11, 0x11, &v4_body()),
            v2(0x22, 0x11, &v4_body()),
            v2(0x21, 0x12, &v4_body()),
            v2(0x21, 0x11, &v4_body()[..11]),
            v2(0x21, 0x21, &v4_body()),
        ];
        for header in cases {
            assert!(parse(&header).is_err(), "{header:?}: {:?}", parse(&header));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_stand_still(
            mut bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..64),
                "PROXY (TCP4|TCP6|UNKNOWN)[ 0-9a-f:.\r\n]{0,110}".prop_map(String::into_bytes),
                (any::<u8>(), any::<u8>(), proptest::collection::vec(any::<u8>(), 0..64))
                    .prop_map(|(command, family, body)| v2(command, family, &body)),
            ],
            more in proptest::collection::vec(any::<u8>(), 0..32),
        ) {
            match parse(&bytes) {
                Ok(Progress::More(more)) => prop_assert!(more > 0 && bytes.len() + more <= 16 + 65_535),
                Ok(Progress::Whole { len, client }) => {
                    prop_assert!(len <= bytes.len());
                    // What follows changes nothing.
                    bytes.extend(more);
                    prop_assert_eq!(parse(&bytes), Ok(Progress::Whole { len, client }));
                    prop_assert_eq!(parse(&bytes[..len]), Ok(Progress::Whole { len, client }));
                }
                Err(_) => {
                    bytes.extend(more);
                    prop_assert!(parse(&bytes).is_err());
                }
            }
        }
    }
}

//! Whose connection it is, when proxies stand in between.

use std::time::Duration;

use perigee_integration_tests::{
    gateway::{Configuration, TestGateway},
    process::Process,
    raw::Raw,
    tls::Authority,
    wait::{soon, until, until_eq},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Asks from a page that is not allowed, so that the log tells who asked.
fn request(headers: &str) -> Vec<u8> {
    format!(
        "POST /perigee/v1/origin HTTP/1.1\r\nHost: gateway\r\nOrigin: https://evil.example\r\n\
         {headers}Content-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

/// Sends bytes in pieces, and returns the address that the log tells of the request in them.
async fn asked_by(gateway: &Process, pieces: &[&[u8]]) -> String {
    let refusals = || -> Vec<_> {
        let refused = |event: &serde_json::Value| event["message"] == "request refused";
        gateway.events().into_iter().filter(refused).collect()
    };
    let before = refusals().len();
    let mut client = Raw::connect(gateway.address).await;
    client.stream.set_nodelay(true).expect("it is connected");
    for piece in pieces {
        client.write(piece).await;
    }
    let answer = client.until_closed().await;
    assert!(answer.starts_with(b"HTTP/1.1 403 "), "{answer:?}");
    let event = until("the refusal in the log", || {
        refusals().into_iter().nth(before)
    })
    .await;
    event["client.addr"]
        .as_str()
        .expect("an address")
        .to_owned()
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).expect("a short body");
    [
        b"\r\n\r\n\0\r\nQUIT\n",
        &[command, family][..],
        &len.to_be_bytes(),
        body,
    ]
    .concat()
}

#[tokio::test]
async fn a_proxy_header_tells_the_client() {
    let configuration = Configuration::new()
        .top("trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]")
        .listener("proxy_protocol = true");
    let gateway = Process::start(&configuration).await;
    let v4 = [198, 51, 100, 7, 10, 0, 0, 1, 0x30, 0x39, 1, 187];
    let with_tlv = [&v4[..], &[0x20, 1, 0], &[b'x'; 256]].concat();
    let v6 = [
        &[0x20, 1, 0xd, 0xb8][..],
        &[0; 11],
        &[7],
        &[0; 16],
        &[1, 2, 3, 4],
    ]
    .concat();
    let forwarded = request("X-Forwarded-For: 203.0.113.1, 203.0.113.2\r\n");
    let plain = request("");
    let cases: [(&str, Vec<u8>, &[u8], &str); 9] = [
        (
            "v1",
            b"PROXY TCP4 198.51.100.7 10.0.0.1 1 2\r\n".into(),
            &plain,
            "198.51.100.7",
        ),
        (
            "v1, IPv6",
            b"PROXY TCP6 2001:db8::7 :: 1 2\r\n".into(),
            &plain,
            "2001:db8::7",
        ),
        (
            "v1, unknown",
            b"PROXY UNKNOWN\r\n".into(),
            &plain,
            "127.0.0.1",
        ),
        ("v2", v2(0x21, 0x11, &v4), &plain, "198.51.100.7"),
        (
            "v2, TLVs",
            v2(0x21, 0x11, &with_tlv),
            &plain,
            "198.51.100.7",
        ),
        ("v2, IPv6", v2(0x21, 0x21, &v6), &plain, "2001:db8::7"),
        ("v2, local", v2(0x20, 0x00, &[]), &plain, "127.0.0.1"),
        // The HTTP header counts as far as the chain of trusted proxies goes.
        (
            "a client that forwards",
            b"PROXY TCP4 198.51.100.7 10.0.0.1 1 2\r\n".into(),
            &forwarded,
            "198.51.100.7",
        ),
        (
            "a proxy behind the proxy",
            b"PROXY TCP4 10.0.0.9 10.0.0.1 1 2\r\n".into(),
            &forwarded,
            "203.0.113.2",
        ),
    ];
    for (name, header, request, want) in &cases {
        let at_once = [header, *request].concat();
        let got = asked_by(&gateway, &[&at_once]).await;
        assert_eq!(got, *want, "{name}, at once");
        let pieces: Vec<&[u8]> = header.chunks(1).chain([*request]).collect();
        let got = asked_by(&gateway, &pieces).await;
        assert_eq!(got, *want, "{name}, byte by byte");
    }
}

#[tokio::test]
async fn a_proxy_header_comes_before_tls() {
    let authority = Authority::new();
    let configuration = Configuration::new()
        .top("trusted_proxies = [\"127.0.0.1/32\"]")
        .listener("proxy_protocol = true");
    let gateway = Process::start(&authority.on(configuration)).await;
    let client = authority.client(&["http/1.1"]);
    let mut stream = soon(
        "TLS",
        client.connect_after(gateway.address, b"PROXY TCP4 198.51.100.7 10.0.0.1 1 2\r\n"),
    )
    .await
    .expect("TLS");
    stream.write_all(&request("")).await.expect("it is taken");
    let mut answer = Vec::new();
    soon("the answer", stream.read_to_end(&mut answer))
        .await
        .expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 403 "), "{answer:?}");
    let refused = |event: &serde_json::Value| event["message"] == "request refused";
    let event = gateway.until_logged("the refusal", refused).await;
    assert_eq!(event["client.addr"], "198.51.100.7");
}

#[tokio::test]
async fn without_a_good_header_from_a_trusted_proxy_there_is_no_connection() {
    let base = || Configuration::new().listener("proxy_protocol = true");
    let mut config = base().top("trusted_proxies = [\"127.0.0.1/32\"]").parse();
    config.timeouts.first_byte = Duration::from_millis(150);
    let gateway = TestGateway::start(config);
    let good = b"PROXY TCP4 198.51.100.7 10.0.0.1 1 2\r\n";
    let cases: [(&str, &[u8]); 6] = [
        ("nothing", b""),
        ("half a header", &good[..20]),
        ("a header and no more", good),
        ("no header", b"POST /perigee/v1/origin HTTP/1.1\r\n\r\n"),
        (
            "a malformed header",
            b"PROXY TCP4 198.51.100.7\r\nGET / HTTP/1.1\r\n\r\n",
        ),
        (
            "an endless header",
            &[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat(),
        ),
    ];
    for (name, bytes) in cases {
        let mut client = Raw::connect(gateway.address).await;
        client.write(bytes).await;
        assert_eq!(client.until_closed().await, b"", "{name}");
        until_eq(0, || gateway.counts().connections).await;
    }
    gateway.until_empty().await;

    let gateway = base().top("trusted_proxies = [\"10.0.0.0/8\"]").start();
    let mut client = Raw::connect(gateway.address).await;
    // It may be closed before this is written.
    _ = client
        .stream
        .write_all(&[&good[..], &request("")].concat())
        .await;
    assert_eq!(client.until_closed().await, b"");
    gateway.until_empty().await;
}

#[tokio::test]
async fn clients_behind_a_proxy_header_have_their_own_shares() {
    let gateway = Configuration::new()
        .top("trusted_proxies = [\"127.0.0.1/32\"]")
        .listener("proxy_protocol = true")
        .limit("max_connections_per_client = 1")
        .start();
    let connect = async |client: &str| {
        let mut connection = Raw::connect(gateway.address).await;
        let keep = "POST /perigee/v1/origin HTTP/1.1\r\nHost: gateway\r\nContent-Length: 0\r\n\r\n";
        let header = format!("PROXY TCP4 {client} 10.0.0.1 1 2\r\n{keep}");
        _ = connection.stream.write_all(header.as_bytes()).await;
        connection
    };
    let mut first = connect("198.51.100.7").await;
    first.read_until(b"\r\n\r\n").await;
    let mut second = connect("198.51.100.7").await;
    assert_eq!(second.until_closed().await, b"");
    let mut other = connect("198.51.100.8").await;
    other.read_until(b"\r\n\r\n").await;
    drop((first, other));
    gateway.until_empty().await;
    let mut again = connect("198.51.100.7").await;
    again.read_until(b"\r\n\r\n").await;
}

#[tokio::test]
async fn only_the_header_that_the_operator_named_is_read() {
    let both = request(
        "X-Forwarded-For: 203.0.113.1, 203.0.113.2\r\nForwarded: for=\"203.0.113.3, for=\"[2001:db8::7]:4711\"\r\n",
    );
    let not_text = request(
        "X-Forwarded-For: \u{fffd}, 203.0.113.2\r\nForwarded: for=\u{fffd}, for=203.0.113.4\r\n",
    );
    for (key, want, want_not_text) in [
        ("", "203.0.113.2", "203.0.113.2"),
        (
            "forwarded_header = \"x-forwarded-for\"",
            "203.0.113.2",
            "203.0.113.2",
        ),
        (
            "forwarded_header = \"forwarded\"",
            "2001:db8::7",
            "203.0.113.4",
        ),
    ] {
        let trusting = Configuration::new()
            .top("trusted_proxies = [\"127.0.0.1/32\"]")
            .top(key);
        let gateway = Process::start(&trusting).await;
        assert_eq!(asked_by(&gateway, &[&both]).await, want, "{key}");
        assert_eq!(
            asked_by(&gateway, &[&not_text]).await,
            want_not_text,
            "{key}"
        );
        let gateway = Process::start(&Configuration::new().top(key)).await;
        assert_eq!(asked_by(&gateway, &[&both]).await, "127.0.0.1", "{key}");
    }
}

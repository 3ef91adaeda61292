//! Tickets, and the replies that are read with them: who gets what, and exactly which bytes.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hyper::Method;
use perigee_integration_tests::{
    ORIGIN,
    backend::Echo,
    client::{Client, Transport},
    gateway::{Configuration, TestGateway},
    http::{Http, Version, Whole},
    random::Random,
    wait::until_eq,
};
use perigee_session::{Frame, Hello};

const OTHER: &str = "https://other.example";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

async fn world() -> (Echo, TestGateway) {
    let echo = Echo::start().await;
    let gateway = Configuration::new()
        .backend("echo", echo.address)
        .rule(&format!(
            "[[allow]]\norigins = [\"{OTHER}\"]\nto = [\"echo\"]"
        ))
        .timeout("hold = \"1s\"")
        .start();
    (echo, gateway)
}

fn hello(token: [u8; 32], n: u32) -> Vec<u8> {
    let mut frame = Vec::new();
    Frame::Hello(Hello {
        version: 1,
        caps: 0,
        n,
        next_stream: 1,
        initial: 65_536,
        token,
        prompt: true,
        entries: Vec::new(),
    })
    .encode(&mut frame);
    frame
}

fn http(gateway: &TestGateway) -> Http {
    Http::new(gateway.address, Version::Http1)
}

async fn get(gateway: &TestGateway, path: &str) -> Whole {
    let http = http(gateway).from_origin(None);
    http.fetch(Method::GET, path, &[], Vec::new())
        .await
        .expect("an answer")
}

/// The id of the session and the ticket.
async fn ticket(gateway: &TestGateway, sid: &str, kind: &str, hello: Vec<u8>) -> (String, String) {
    let (body, headers) = if kind == "sse" {
        (hello, None)
    } else {
        let form = format!("frames={}", URL_SAFE_NO_PAD.encode(hello));
        (form.into_bytes(), Some(FORM))
    };
    let path = format!("/perigee/v1/{sid}/{kind}");
    let reply = http(gateway)
        .fetch(Method::POST, &path, headers.as_slice(), body)
        .await
        .expect("an answer");
    assert_eq!(reply.status, 200, "{kind}");
    let json = if kind == "sse" {
        reply.body.to_vec()
    } else {
        let page = String::from_utf8(reply.body.to_vec()).expect("text");
        let (_, rest) = page.split_once("postMessage([200,\"").expect("a message");
        let (body, _) = rest.split_once('"').expect("its end");
        STANDARD.decode(body).expect("base64")
    };
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    let text = |key: &str| json[key].as_str().expect("text").to_owned();
    (text("sid"), text("ticket"))
}

#[tokio::test]
async fn a_ticket_reads_its_own_attachment_and_nothing_else() {
    let (_echo, gateway) = world().await;
    let (sid, first) = ticket(&gateway, "new", "jsonp", hello([0; 32], 1)).await;
    let (other_sid, other) = ticket(&gateway, "new", "jsonp", hello([0; 32], 1)).await;
    assert!(first.len() >= 22 && first != other);
    let unknown = URL_SAFE_NO_PAD.encode([0; 16]);
    for (name, sid, kind, ticket) in [
        ("a wrong one", &sid, "jsonp", &unknown),
        ("none", &sid, "jsonp", &String::new()),
        ("another session's", &sid, "jsonp", &other),
        ("the same for another session", &other_sid, "jsonp", &first),
        ("another kind of reply", &sid, "htmlfile", &first),
        ("events", &sid, "sse", &first),
    ] {
        let more = if kind == "jsonp" { "&i=1" } else { "" };
        let reply = get(
            &gateway,
            &format!("/perigee/v1/{sid}/{kind}?ticket={ticket}{more}"),
        )
        .await;
        assert_eq!(
            (reply.status.as_u16(), reply.code().as_deref()),
            (404, Some("lost")),
            "{name}"
        );
    }
    let path = format!("/perigee/v1/{sid}/jsonp?ticket={first}&i=1");
    for from in [OTHER, "null"] {
        let stranger = http(&gateway).from_origin(Some(from));
        let reply = stranger
            .fetch(Method::GET, &path, &[], Vec::new())
            .await
            .expect("an answer");
        assert_eq!(reply.status, 404, "{from}");
    }
    // It brings frames down, and is no token.
    for authorization in [format!("Bearer {first}"), format!("Bearer {first}{first}")] {
        let headers = [("authorization", authorization.as_str())];
        let up = format!("/perigee/v1/{sid}/up");
        let reply = http(&gateway)
            .fetch(Method::POST, &up, &headers, Vec::new())
            .await
            .expect("an answer");
        assert_eq!(reply.status, 404);
    }
    let reply = get(&gateway, &path).await;
    assert_eq!(reply.status, 200);
    assert!(reply.body.starts_with(b"/**/perigee1(\""));
}

#[tokio::test]
async fn a_superseded_ticket_is_of_no_use_and_later_unknown() {
    let echo = Echo::start().await;
    let mut config = Configuration::new().backend("echo", echo.address).parse();
    config.timeouts.ticket = std::time::Duration::from_secs(2);
    let gateway = TestGateway::start(config);
    let client = Client::connect(gateway.address, Transport::Sse).await;
    let sid = client.welcomed().await;
    let old = client.tickets().pop().expect("a ticket");
    let path = format!("/perigee/v1/{sid}/sse?ticket={old}");
    client.attach(Transport::WebSocket);
    client.reach("echo").await;
    assert_eq!(
        get(&gateway, &path).await.status,
        204,
        "which stops a browser"
    );
    let mut status = 204;
    while status == 204 {
        status = get(&gateway, &path).await.status.as_u16();
    }
    assert_eq!(status, 404);
    client.end().await;
    assert_eq!(get(&gateway, &path).await.status, 404);
}

#[tokio::test]
async fn an_attachment_that_is_not_the_newest_gets_no_ticket() {
    let (_echo, gateway) = world().await;
    let client = Client::connect(gateway.address, Transport::Poll).await;
    client.reach("echo").await;
    let sid = client.welcomed().await;
    let path = format!("/perigee/v1/{sid}/sse");
    let reply = http(&gateway)
        .fetch(Method::POST, &path, &[], hello(client.raw_token(), 1))
        .await
        .expect("an answer");
    assert_eq!(
        (reply.status.as_u16(), reply.code().as_deref()),
        (503, Some("rotate"))
    );
    client.end().await;
}

#[tokio::test]
async fn only_a_number_gets_into_a_script() {
    let (_echo, gateway) = world().await;
    let (sid, ticket) = ticket(&gateway, "new", "jsonp", hello([0; 32], 1)).await;
    let mut random = Random::new(1);
    let pieces = [
        "alert(1)//",
        "a.b",
        "<script>",
        "</script>",
        "%3Cscript%3E",
        "%0A",
        "%E2%80%A8",
        "CWSMIKI0hCD0Up0IZUnnnnnn",
        "+",
        "-",
        "1e9",
        "0x1",
        ";",
        "1;",
        "[1]",
        "1'",
        "%22",
        "constructor",
        "__proto__",
        "%00",
        "1.",
        ".1",
        "1_1",
        "%31",
    ];
    for round in 0..1000 {
        let mut hostile = String::new();
        for _ in 0..random.range(1, 4) {
            hostile.push_str(
                pieces
                    [usize::try_from(random.range(0, pieces.len() as u64 - 1)).expect("an index")],
            );
        }
        if hostile.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let query = match round % 4 {
            0 => format!("ticket={ticket}&i={hostile}"),
            1 => format!("ticket={ticket}&i=1&callback={hostile}"),
            2 => format!("ticket={ticket}&i=1&i={hostile}"),
            _ => format!("i=1&ticket={ticket}&{hostile}=1"),
        };
        // What no request line may have is not for us to refuse.
        let query = query
            .replace('<', "%3C")
            .replace('>', "%3E")
            .replace('"', "%22");
        let reply = get(&gateway, &format!("/perigee/v1/{sid}/jsonp?{query}")).await;
        assert_eq!(reply.status, 400, "{query}");
        assert_eq!(
            reply.header("content-type"),
            Some("application/json"),
            "{query}"
        );
        assert_eq!(
            reply.header("x-content-type-options"),
            Some("nosniff"),
            "{query}"
        );
    }
    for long in ["1234567890", ""] {
        let reply = get(
            &gateway,
            &format!("/perigee/v1/{sid}/jsonp?ticket={ticket}&i={long}"),
        )
        .await;
        assert_eq!(reply.status, 400, "{long:?}");
    }
}

#[tokio::test]
async fn headers_and_bodies_are_what_they_are() {
    let (_echo, gateway) = world().await;
    let common = |reply: &Whole| {
        for (name, value) in [
            ("cache-control", "no-store, no-transform"),
            ("x-accel-buffering", "no"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{name}");
        }
    };

    let (sid, first) = ticket(&gateway, "new", "jsonp", hello([0; 32], 1)).await;
    let script = get(
        &gateway,
        &format!("/perigee/v1/{sid}/jsonp?ticket={first}&i=7"),
    )
    .await;
    common(&script);
    assert_eq!(
        script.header("content-type"),
        Some("text/javascript; charset=utf-8")
    );
    assert_eq!(
        script.header("content-disposition"),
        Some("attachment; filename=f.txt")
    );
    assert_eq!(
        script.header("content-security-policy"),
        Some("default-src 'none'")
    );
    let text = String::from_utf8(script.body.to_vec()).expect("text");
    let (frames, at) = text
        .strip_prefix("/**/perigee7(\"")
        .and_then(|rest| rest.strip_suffix("\");"))
        .and_then(|rest| rest.split_once("\",\""))
        .expect(&text);
    assert_eq!(at, "1");
    let frames = STANDARD.decode(frames).expect("base64");
    assert!(matches!(
        Frame::decode(&mut &frames[..]),
        Ok(Some(Frame::Welcome(_)))
    ));
    // Held, and then a sign of life and no new position.
    let idle = get(
        &gateway,
        &format!("/perigee/v1/{sid}/jsonp?ticket={first}&i=8&at={at}"),
    )
    .await;
    assert_eq!(&idle.body[..], b"/**/perigee8(\"AAAAAAAAAAA=\",\"\");");
    // A position that nobody can have.
    for at in ["2000", "1_1.5_1.5", "x"] {
        let reply = get(
            &gateway,
            &format!("/perigee/v1/{sid}/jsonp?ticket={first}&i=9&at={at}"),
        )
        .await;
        assert_eq!(
            (reply.status.as_u16(), reply.code().as_deref()),
            (400, Some("protocol")),
            "{at}"
        );
    }

    let body = format!("frames={}", URL_SAFE_NO_PAD.encode(hello([9; 32], 1)));
    let page = http(&gateway)
        .fetch(
            Method::POST,
            "/perigee/v1/new/htmlfile",
            &[FORM],
            body.into_bytes(),
        )
        .await
        .expect("an answer");
    common(&page);
    assert_eq!(page.status, 404);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let policy = page.header("content-security-policy").expect("a policy");
    let nonce = policy
        .strip_prefix("default-src 'none'; script-src 'nonce-")
        .and_then(|rest| {
            rest.strip_suffix(&format!(
                "'; base-uri 'none'; form-action 'none'; frame-ancestors {ORIGIN}"
            ))
        })
        .expect(policy);
    assert_eq!(nonce.len(), 22);
    let error = STANDARD.encode(r#"{"code":"lost","message":"no such session"}"#);
    assert_eq!(
        String::from_utf8(page.body.to_vec()).expect("text"),
        format!(
            "<!doctype html><meta charset=\"utf-8\"><title>Perigee</title><script nonce=\"{nonce}\">\
             parent.postMessage([404,\"{error}\"],\"{ORIGIN}\")</script>\n"
        )
    );
    for bad in [
        "",
        "frames",
        "frames=%41",
        "frames=QQ&frames=QQ",
        "frames=QQ&x=QQ",
        "token=QQ&frames=QQ",
        "token=QQ",
    ] {
        let page = http(&gateway)
            .fetch(
                Method::POST,
                "/perigee/v1/new/htmlfile",
                &[FORM],
                bad.as_bytes().to_vec(),
            )
            .await
            .expect("an answer");
        assert_eq!(page.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_form_of_a_stranger_changes_nothing() {
    let (_echo, gateway) = world().await;
    let body = format!("frames={}", URL_SAFE_NO_PAD.encode(hello([0; 32], 1)));
    for origin in [None, Some("https://evil.example"), Some("null")] {
        let http = http(&gateway).from_origin(origin);
        for path in ["new/htmlfile", "new/jsonp", "new/up", "new/sse"] {
            let reply = http
                .fetch(
                    Method::POST,
                    &format!("/perigee/v1/{path}"),
                    &[FORM],
                    body.clone().into_bytes(),
                )
                .await
                .expect("an answer");
            assert_eq!(reply.status, 403, "{path} from {origin:?}");
            assert_eq!(reply.header("content-type"), Some("application/json"));
        }
    }
    assert_eq!(gateway.counts().sessions, 0);
}

#[tokio::test]
async fn what_is_off_is_not_there() {
    let echo = Echo::start().await;
    let gateway = Configuration::new()
        .backend("echo", echo.address)
        .without_legacy()
        .start();
    let form = format!("frames={}", URL_SAFE_NO_PAD.encode(hello([0; 32], 1)));
    for kind in ["htmlfile", "jsonp"] {
        for method in [Method::GET, Method::POST] {
            let reply = http(&gateway)
                .fetch(
                    method.clone(),
                    &format!("/perigee/v1/new/{kind}"),
                    &[FORM],
                    form.clone().into_bytes(),
                )
                .await
                .expect("an answer");
            assert_eq!(reply.status, 404, "{method} {kind}");
            assert_eq!(&reply.body[..], b"nothing is served at this address\n");
        }
    }
    // A form is no uplink then, whatever it says.
    let client = Client::connect(gateway.address, Transport::Sse).await;
    let sid = client.welcomed().await;
    let form = format!("frames=&token={}", client.token());
    let reply = http(&gateway)
        .fetch(
            Method::POST,
            &format!("/perigee/v1/{sid}/up"),
            &[FORM],
            form.into_bytes(),
        )
        .await
        .expect("an answer");
    assert_eq!(
        (reply.status.as_u16(), reply.code().as_deref()),
        (404, Some("lost"))
    );
    client.end().await;
    until_eq(0, || gateway.counts().sessions).await;
}

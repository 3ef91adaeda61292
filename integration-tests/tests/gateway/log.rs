//! What the operator reads: one line for each stream, and never what nobody should know.

use base64::{Engine, engine::general_purpose::STANDARD};
use perigee_integration_tests::{
    ORIGIN,
    backend::Echo,
    client::{Client, Transport},
    gateway::Configuration,
    process::Process,
    wait::until_eq,
};
use perigee_session::Code;

const PAYLOAD: &str = "the-secret-of-the-payload";

#[tokio::test]
async fn each_stream_has_a_line_and_no_line_has_a_secret() {
    let echo = Echo::start().await;
    // Everything any part of the gateway could think of saying.
    let gateway = Process::start(
        &Configuration::new()
            .backend("echo", echo.address)
            .log_level("trace"),
    )
    .await;
    let mut secrets = vec![PAYLOAD.to_owned()];
    for transport in Transport::ALL {
        let client = Client::connect(gateway.address, transport).await;
        let sid = client.welcomed().await;
        let token = client.raw_token();
        secrets.extend([
            client.token(),
            STANDARD.encode(token),
            format!("{token:?}"),
            sid.clone(),
        ]);
        secrets.push(token.iter().map(|byte| format!("{byte:02x}")).collect());
        let stream = client.reach("echo").await;
        stream.write(PAYLOAD.as_bytes()).await.expect("it is open");
        assert_eq!(stream.read().await.expect("an echo"), PAYLOAD.as_bytes());
        client.cut().await;
        client.attach(transport);
        stream.finish();
        assert_eq!(stream.closed_after_reading().await, Code::Closed);
        let refused = client
            .open("evil\r\n\u{1b}[31mtarget")
            .opened()
            .await
            .expect_err("it is no target");
        assert_eq!(refused.code, Code::Denied);
        client.end().await;
        secrets.extend(client.tickets());

        let lines = || {
            let closed = |event: &serde_json::Value| {
                event["message"] == "stream closed" && sid.starts_with(session(event))
            };
            gateway
                .events()
                .into_iter()
                .filter(closed)
                .collect::<Vec<_>>()
        };
        until_eq(2, || lines().len()).await;
        let line = lines()
            .into_iter()
            .find(|line| line["code"] == "closed")
            .expect("a line for the stream");
        for (field, want) in [
            ("client.addr", "127.0.0.1"),
            ("origin", ORIGIN),
            ("rule", "test"),
            ("transports", transport.log_name()),
            ("reason", ""),
            ("target", "perigee::access"),
        ] {
            assert_eq!(line[field], want, "{field}: {line}");
        }
        assert!(
            line["to"].as_str().is_some_and(|to| to.contains("echo")),
            "{line}"
        );
        for field in ["bytes_up", "bytes_down", "bytes_down_acked"] {
            assert_eq!(line[field], PAYLOAD.len(), "{field}: {line}");
        }
        assert!(line["duration_ms"].is_u64(), "{line}");
    }
    let log = gateway.log().join("\n");
    for secret in &secrets {
        assert!(!log.contains(secret.as_str()), "the log has {secret:?}");
    }
    assert!(!log.contains('\u{1b}'), "the log has an escape sequence");
}

/// The beginning of a session's id, as it is logged.
fn session(event: &serde_json::Value) -> &str {
    event["session"]
        .as_str()
        .filter(|session| !session.is_empty())
        .unwrap_or("no session")
}

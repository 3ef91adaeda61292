//! Requests over HTTP/2 that a gateway in front, or one that makes HTTP/1.1 of them, may read in another way:
//! `vectors/smuggling.json` has them under `http2`, each as a WebSocket that it would be if it were not for that.

use perigee_integration_tests::{
    backend::Echo,
    gateway::{Configuration, TestGateway},
    raw_http2::{DATA, END_STREAM, GOAWAY, HEADERS, RST_STREAM, RawHttp2, header_block, status},
    wait::until,
};
use serde_json::{Value, json};

/// The streams of a connection: one that is as it should be, and the odd one.
const GOOD: u32 = 1;
const ODD: u32 = 3;

/// Fields as they are written in the vectors: a value may be a text and how often it is repeated.
fn fields(list: &Value) -> Vec<(String, String)> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| match value {
        Value::Array(part) => {
            let times = part[1].as_u64().and_then(|times| times.try_into().ok());
            let one = part[0].as_str().expect("a text");
            one.repeat(times.expect("a number of times"))
        }
        one => one.as_str().expect("a text").to_owned(),
    };
    list.iter()
        .map(|field| (text(&field[0]), text(&field[1])))
        .collect()
}

/// Texts stand for bytes.
fn bytes(text: &str) -> Vec<u8> {
    let byte = |letter: char| u8::try_from(u32::from(letter)).expect("a byte");
    text.chars().map(byte).collect()
}

fn block(fields: &[(String, String)]) -> Vec<u8> {
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (bytes(name), bytes(value)))
        .collect();
    header_block(fields.iter().map(|(name, value)| (&name[..], &value[..])))
}

/// A request as a case wants it: what is good but for some fields, between others.
fn odd(good: &[(String, String)], case: &Value) -> Vec<(String, String)> {
    let without = case["without"].as_array().map(Vec::as_slice);
    let without = without.unwrap_or_default();
    let mut odd = fields(&case["before"]);
    let kept = good
        .iter()
        .filter(|(name, _)| !without.iter().any(|left_out| left_out == name));
    odd.extend(kept.cloned());
    odd.extend(fields(&case["after"]));
    odd
}

/// A WebSocket message of the client, masked with zeros, and its echo.
const SAID: &[u8] = b"\x82\x82\x00\x00\x00\x00hi";
const ECHO: &[u8] = b"\x82\x02hi";

/// Says something on the good stream and hears it again; `false` when the connection is over.
async fn echoes(client: &mut RawHttp2) -> bool {
    client.write(DATA, 0, GOOD, SAID).await;
    let mut heard = Vec::new();
    while heard != ECHO {
        match client.next().await {
            Some(frame) if (frame.kind, frame.stream) == (DATA, GOOD) => heard.extend(frame.body),
            // What was still said of the odd one.
            Some(frame) if frame.stream == ODD => {}
            _ => return false,
        }
    }
    true
}

/// What the gateway says of the odd stream: a status, an error of the stream, or the end of the connection.
async fn answer(client: &mut RawHttp2) -> Value {
    loop {
        match client.next().await {
            Some(frame) if frame.kind == HEADERS && frame.stream == ODD => {
                return json!(status(&frame.body));
            }
            Some(frame) if frame.kind == RST_STREAM && frame.stream == ODD => {
                return json!("error of the stream");
            }
            Some(frame) if frame.kind == GOAWAY => return json!("error of the connection"),
            Some(_) => {}
            None => return json!("nothing"),
        }
    }
}

async fn check(
    gateway: &TestGateway,
    echo: &Echo,
    good: &[(String, String)],
    case: &Value,
) -> String {
    let before = echo.accepted();
    let mut client = RawHttp2::connect(gateway.address).await;
    client.request(GOOD, &block(good), false).await;
    while client.next().await.expect("an answer").kind != HEADERS {}
    assert!(echoes(&mut client).await, "a WebSocket as it should be");
    let data = case["data"].as_str();
    client
        .request(ODD, &block(&odd(good, case)), case["ends"] == true)
        .await;
    if let Some(data) = data {
        client.write(DATA, END_STREAM, ODD, data.as_bytes()).await;
    }
    let mut wrong = String::new();
    let answer = answer(&mut client).await;
    if answer != case["answer"] {
        wrong = format!("by {}, not {answer}", case["answer"]);
    }
    // A connection that is at an end takes all its streams with it, and none of anybody else.
    let lives = answer != "error of the connection";
    if echoes(&mut client).await != lives {
        wrong += &format!(" its neighbour lives: {}", !lives);
    }
    drop(client);
    gateway.until_empty().await;
    // The neighbour, and whatever was a WebSocket.
    let due = 1 + u64::from(answer == 200);
    let reached = || echo.accepted() - before;
    let reached = until("the backend", || {
        Some(reached()).filter(|count| *count >= due)
    })
    .await;
    if reached > due {
        wrong += &format!(" {reached} connections reached the backend");
    }
    wrong
}

#[tokio::test]
async fn no_oddity_of_http2_reaches_a_backend_or_harms_a_neighbour() {
    let cases = include_str!("../../vectors/smuggling.json");
    let cases: Value = serde_json::from_str(cases).expect("JSON");
    let good = fields(&cases["http2"]["good"]);
    let echo = Echo::start().await;
    let gateway = Configuration::new().backend("echo", echo.address).start();
    let mut all = Vec::new();
    for case in cases["http2"]["cases"].as_array().expect("a list") {
        let wrong = check(&gateway, &echo, &good, case).await;
        if !wrong.is_empty() {
            all.push(format!("{}: {}, {wrong}", case["name"], case["must"]));
        }
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

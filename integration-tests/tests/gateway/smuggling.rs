//! Requests that two readers may cut at different places: `vectors/smuggling.json` has them, each with what must become of
//! it. The browser tests send the same ones through real proxies.

use perigee_integration_tests::{
    backend::Echo, gateway::Configuration, process::Process, raw::Raw, wait::until,
};
use serde_json::{Value, json};

/// A request with its `{parts}` filled in.
fn filled_in(template: &str, parts: &Value) -> Vec<u8> {
    let mut text = template.to_owned();
    for (name, part) in parts.as_object().expect("the parts") {
        let part = match part {
            Value::Array(part) => {
                let times = part[1].as_u64().and_then(|times| times.try_into().ok());
                let one = part[0].as_str().expect("a text");
                one.repeat(times.expect("a number of times"))
            }
            part => part.as_str().expect("a text").to_owned(),
        };
        text = text.replace(&format!("{{{name}}}"), &part);
    }
    assert!(!text.contains('{'), "{text}");
    text.into_bytes()
}

/// The statuses of the answers in what a connection brought, none of which has a line like a status line in its body.
fn statuses(answer: &[u8]) -> Vec<u16> {
    String::from_utf8_lossy(answer)
        .split("HTTP/1.")
        .skip(1)
        .filter_map(|rest| rest.get(2..5)?.parse().ok())
        .collect()
}

#[tokio::test]
async fn every_request_ends_where_it_must() {
    let cases = include_str!("../../vectors/smuggling.json");
    let cases: Value = serde_json::from_str(cases).expect("JSON");
    let parts = &cases["parts"];
    let echo = Echo::start().await;
    // A connection that was never at fault is kept for another request, for so long.
    let configuration = Configuration::new()
        .backend("echo", echo.address)
        .timeout("head = \"3s\"");
    let gateway = Process::start(&configuration).await;
    let mut wrong = Vec::new();
    for case in cases["cases"].as_array().expect("a list") {
        let text = |key: &str| case[key].as_str().expect("a text");
        let mut client = Raw::connect(gateway.address).await;
        // A gateway that has read enough may close before it has all.
        client
            .write_what_is_taken(filled_in(text("request"), parts))
            .await;
        // The statuses of all answers; then the connection is closed.
        let answers = statuses(&client.until_closed().await);
        if json!(answers) != case["answers"] {
            let (name, must, want) = (text("name"), text("must"), &case["answers"]);
            wrong.push(format!("{name}: {must}, by {want}, not {answers:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The log is complete once it has what came last.
    let mut client = Raw::connect(gateway.address).await;
    let last = filled_in("{second}", parts);
    let last = String::from_utf8(last).expect("text");
    client.write(last.replace("second", "last")).await;
    client.until_closed().await;
    let by = |page: &str| {
        let origin = format!("https://{page}.example");
        gateway
            .events()
            .iter()
            .any(|event| event["origin"] == *origin)
    };
    until("the last line", || by("last").then_some(())).await;
    assert!(by("outer") && by("second"));
    assert!(!by("smuggled"), "a body was taken for a request");
}

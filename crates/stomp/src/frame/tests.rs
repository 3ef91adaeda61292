use super::*;

fn frame(command: Command, headers: &[(&str, &str)]) -> Frame {
    headers
        .iter()
        .fold(Frame::new(command), |frame, (name, value)| {
            frame.with(*name, *value)
        })
}

#[test]
fn the_first_of_repeated_headers_counts() {
    let mut frame = frame(Command::Message, &[("foo", "World"), ("foo", "Hello")]);
    assert_eq!(frame.header("foo"), Some("World"));
    assert_eq!(frame.header("Foo"), None, "case counts");
    frame.set("foo", "one");
    assert_eq!(frame.headers.len(), 1);
    frame.remove("foo");
    assert_eq!(frame.header("foo"), None);
}

#[test]
fn each_version_needs_its_own_headers() {
    use Command::{Ack, Begin, Connected, Message, Nack, Receipt, Send, Subscribe, Unsubscribe};
    use Version::{V1_0, V1_1, V1_2};
    let missing = |name| Err(Error::MissingHeader(name));
    type Case = (
        Command,
        &'static [(&'static str, &'static str)],
        Version,
        Result<(), Error>,
    );
    let cases: &[Case] = &[
        (Send, &[], V1_0, missing("destination")),
        (Send, &[("destination", "/a")], V1_2, Ok(())),
        (Subscribe, &[("destination", "/a")], V1_0, Ok(())),
        (Subscribe, &[("destination", "/a")], V1_1, missing("id")),
        (
            Subscribe,
            &[
                ("destination", "/a"),
                ("id", "1"),
                ("ack", "client-individual"),
            ],
            V1_2,
            Ok(()),
        ),
        (
            Subscribe,
            &[("destination", "/a"), ("id", "1"), ("ack", "sometimes")],
            V1_2,
            Err(Error::InvalidValue("ack")),
        ),
        (Unsubscribe, &[], V1_0, missing("destination")),
        (Unsubscribe, &[("id", "1")], V1_0, Ok(())),
        (Unsubscribe, &[("destination", "/a")], V1_2, missing("id")),
        (Ack, &[("message-id", "7")], V1_0, Ok(())),
        (Ack, &[("message-id", "7")], V1_1, missing("subscription")),
        (Ack, &[("message-id", "7")], V1_2, missing("id")),
        (
            Nack,
            &[("message-id", "7")],
            V1_0,
            Err(Error::NotInVersion(V1_0)),
        ),
        (Nack, &[("id", "7")], V1_2, Ok(())),
        (Begin, &[], V1_1, missing("transaction")),
        (Connected, &[], V1_0, Ok(())),
        (Connected, &[], V1_2, missing("version")),
        (
            Connected,
            &[("version", "1.2"), ("heart-beat", "1")],
            V1_2,
            Err(Error::InvalidValue("heart-beat")),
        ),
        (
            Message,
            &[("destination", "/a"), ("message-id", "7")],
            V1_1,
            missing("subscription"),
        ),
        (Receipt, &[("receipt-id", "7")], V1_0, Ok(())),
    ];
    for (command, headers, version, want) in cases {
        assert_eq!(
            &frame(*command, headers).check(*version),
            want,
            "{command} {headers:?} {version}"
        );
    }
}

#[test]
fn only_three_frames_have_a_body() {
    for &command in Command::ALL {
        let headers = [
            "destination",
            "id",
            "message-id",
            "subscription",
            "transaction",
            "receipt-id",
        ];
        let frame = headers
            .iter()
            .fold(Frame::new(command), |frame, name| frame.with(*name, "1"))
            .with("version", "1.2")
            .with_body("body");
        let want = match command.has_body() {
            true => Ok(()),
            false => Err(Error::UnexpectedBody),
        };
        assert_eq!(frame.check(Version::V1_2), want, "{command}");
    }
}

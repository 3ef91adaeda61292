//! Which headers each frame needs, which depends on the version.

use crate::{AckMode, Command, Error, Frame, HeartBeat, Version};

/// The headers that `command` needs in `version`.
///
/// `CONNECT` is judged by the version that is negotiated, so 1.1 and later ask for `host`;
/// many clients leave it out and every server puts up with that, so it is not asked for here.
const fn required(command: Command, version: Version) -> &'static [&'static str] {
    use Version::{V1_0, V1_1, V1_2};
    match (command, version) {
        (Command::Send, _) => &["destination"],
        (Command::Subscribe, V1_0) => &["destination"],
        (Command::Subscribe, V1_1 | V1_2) => &["destination", "id"],
        (Command::Unsubscribe, V1_1 | V1_2) => &["id"],
        (Command::Ack | Command::Nack, V1_0) => &["message-id"],
        (Command::Ack | Command::Nack, V1_1) => &["subscription", "message-id"],
        (Command::Ack | Command::Nack, V1_2) => &["id"],
        (Command::Begin | Command::Commit | Command::Abort, _) => &["transaction"],
        (Command::Connected, V1_1 | V1_2) => &["version"],
        (Command::Message, V1_0) => &["destination", "message-id"],
        (Command::Message, V1_1 | V1_2) => &["destination", "message-id", "subscription"],
        (Command::Receipt, _) => &["receipt-id"],
        (Command::Unsubscribe | Command::Connected, V1_0)
        | (Command::Connect | Command::Stomp | Command::Disconnect | Command::Error, _) => &[],
    }
}

pub(super) fn check(frame: &Frame, version: Version) -> Result<(), Error> {
    let Frame { command, body, .. } = frame;
    if version == Version::V1_0 && matches!(command, Command::Nack | Command::Stomp) {
        return Err(Error::NotInVersion(version));
    }
    for name in required(*command, version) {
        if frame.header(name).is_none() {
            return Err(Error::MissingHeader(name));
        }
    }
    match command {
        Command::Unsubscribe
            if version == Version::V1_0
                && frame.header("id").or(frame.header("destination")).is_none() =>
        {
            return Err(Error::MissingHeader("destination"));
        }
        Command::Subscribe => {
            AckMode::of(frame)?;
        }
        Command::Connect | Command::Stomp | Command::Connected => {
            frame
                .header("heart-beat")
                .map_or(Ok(HeartBeat::NONE), HeartBeat::parse)?;
        }
        _ => {}
    }
    if !command.has_body() && !body.is_empty() && version > Version::V1_0 {
        return Err(Error::UnexpectedBody);
    }
    Ok(())
}

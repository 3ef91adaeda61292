//! How the messages of a subscription are acknowledged.

use crate::{Command, Error, Frame, Version};

/// The `ack` header of `SUBSCRIBE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AckMode {
    /// A message counts as consumed once it is sent.
    #[default]
    Auto,
    /// An acknowledgement covers the message it names and all before it on that subscription.
    Client,
    /// An acknowledgement covers the one message it names (since 1.1).
    ClientIndividual,
}

impl AckMode {
    /// As in the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Client => "client",
            Self::ClientIndividual => "client-individual",
        }
    }

    /// What a `SUBSCRIBE` asks for.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidValue`] for a mode that is none of the three.
    pub fn of(subscribe: &Frame) -> Result<Self, Error> {
        match subscribe.header("ack") {
            None => Ok(Self::Auto),
            Some(mode) => [Self::Auto, Self::Client, Self::ClientIndividual]
                .into_iter()
                .find(|known| known.as_str() == mode)
                .ok_or(Error::InvalidValue("ack")),
        }
    }
}

/// How a client acknowledges one message: each version has its own words for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    version: Version,
    subscription: Option<String>,
    id: String,
}

impl Acknowledgement {
    /// Reads off a `MESSAGE` what an acknowledgement of it must name.
    ///
    /// # Errors
    ///
    /// [`Error::MissingHeader`] if the server left that out: in 1.2 it sends `ack` only with messages
    /// that are to be acknowledged.
    pub fn of(message: &Frame, version: Version) -> Result<Self, Error> {
        let name = match version {
            Version::V1_0 | Version::V1_1 => "message-id",
            Version::V1_2 => "ack",
        };
        let owned = |name| message.header(name).map(str::to_owned);
        Ok(Self {
            version,
            subscription: owned("subscription"),
            id: owned(name).ok_or(Error::MissingHeader(name))?,
        })
    }

    /// `ACK`: the message was consumed.
    pub fn ack(self) -> Frame {
        self.frame(Command::Ack)
    }

    /// `NACK`: it was not.
    ///
    /// # Errors
    ///
    /// [`Error::NotInVersion`] in 1.0.
    pub fn nack(self) -> Result<Frame, Error> {
        match self.version {
            Version::V1_0 => Err(Error::NotInVersion(Version::V1_0)),
            Version::V1_1 | Version::V1_2 => Ok(self.frame(Command::Nack)),
        }
    }

    fn frame(self, command: Command) -> Frame {
        let frame = Frame::new(command);
        match self.version {
            Version::V1_2 => frame.with("id", self.id),
            Version::V1_0 | Version::V1_1 => {
                let frame = frame.with("message-id", self.id);
                match self.subscription {
                    Some(subscription) => frame.with("subscription", subscription),
                    None => frame,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_acknowledges_in_its_own_words() {
        let message = Frame::new(Command::Message)
            .with("destination", "/queue/a")
            .with("subscription", "s")
            .with("message-id", "7")
            .with("ack", "x");
        for version in Version::ALL {
            let of = || Acknowledgement::of(&message, version).expect("all headers are there");
            assert_eq!(of().ack().check(version), Ok(()), "{version}");
            match version {
                Version::V1_0 => assert_eq!(of().nack(), Err(Error::NotInVersion(version))),
                Version::V1_1 | Version::V1_2 => {
                    assert_eq!(of().nack().expect("NACK exists").check(version), Ok(()));
                }
            }
        }
        let unacknowledged = Frame::new(Command::Message).with("message-id", "7");
        assert_eq!(
            Acknowledgement::of(&unacknowledged, Version::V1_2),
            Err(Error::MissingHeader("ack"))
        );
    }
}

//! Versions of the protocol, and how two sides agree on one.

use std::fmt;

use crate::Error;

/// A version of STOMP; later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// STOMP 1.0: no escapes, no heart-beats, subscriptions by destination.
    V1_0,
    /// STOMP 1.1: escapes, heart-beats, subscription ids, `NACK`.
    V1_1,
    /// STOMP 1.2: lines may end in CR LF, acknowledgements by `ack` id.
    V1_2,
}

impl Version {
    /// All of them, the latest first.
    pub const ALL: [Self; 3] = [Self::V1_2, Self::V1_1, Self::V1_0];

    /// As in the headers `version` and `accept-version`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
        }
    }

    /// The WebSocket subprotocol (IANA WebSocket Subprotocol Name Registry).
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::V1_0 => "v10.stomp",
            Self::V1_1 => "v11.stomp",
            Self::V1_2 => "v12.stomp",
        }
    }

    /// The version of that name, as `version` of `CONNECTED` gives it.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == name)
    }

    /// The latest version that a client's `accept-version` lists. A client that sends none speaks 1.0
    /// (STOMP 1.2, Protocol Negotiation).
    ///
    /// # Errors
    ///
    /// [`Error::NoCommonVersion`] if it lists none of ours.
    pub fn negotiate(accept_version: Option<&str>) -> Result<Self, Error> {
        let Some(list) = accept_version else {
            return Ok(Self::V1_0);
        };
        list.split(',')
            .filter_map(|name| Self::parse(name.trim()))
            .max()
            .ok_or(Error::NoCommonVersion)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_common_version() {
        let cases = [
            (None, Ok(Version::V1_0)),
            (Some("1.0"), Ok(Version::V1_0)),
            (Some("1.0,1.1,2.0"), Ok(Version::V1_1)),
            (Some("1.2, 1.1"), Ok(Version::V1_2)),
            (Some("1.1,1.2,1.0"), Ok(Version::V1_2)),
            (Some("2.1"), Err(Error::NoCommonVersion)),
            (Some(""), Err(Error::NoCommonVersion)),
        ];
        for (accept, want) in cases {
            assert_eq!(Version::negotiate(accept), want, "{accept:?}");
        }
    }
}
